package secret

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch {
		case strings.Contains(string(body), "text"):
			_, _ = io.WriteString(w, `{"SecretString":"hush"}`)
		case strings.Contains(string(body), "bytes"):
			_, _ = io.WriteString(w, `{"SecretBinary":"aHVzaA=="}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException"}`)
		}
	}))
	defer server.Close()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), HTTPClient: server.Client()}
	if got, err := Read(t.Context(), cfg, "text"); err != nil || got != "hush" {
		t.Errorf("%q, %v", got, err)
	}
	for id, fault := range map[string]string{"bytes": "holds no text", "missing": "GetSecretValue"} {
		if _, err := Read(t.Context(), cfg, id); err == nil || !strings.Contains(err.Error(), fault) || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v", id, err)
		}
	}
}
