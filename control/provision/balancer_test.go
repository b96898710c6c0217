package provision

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/control/store/dynamostore/mototest"
)

// imported puts a certificate into the emulator's ACM and returns its ARN.
func imported(t *testing.T, server *mototest.Server) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "play.example.com"}, DNSNames: []string{"play.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string][]byte{
		"Certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"PrivateKey":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "CertificateManager.ImportCertificate")
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/acm/aws4_request, SignedHeaders=host, Signature=none")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	var out struct{ CertificateArn string }
	if err := json.NewDecoder(reply.Body).Decode(&out); err != nil || out.CertificateArn == "" {
		t.Fatalf("no certificate: %v, %s", err, reply.Status)
	}
	return out.CertificateArn
}

// With a load balancer the stack is applied, plans empty, and goes.
func TestBalancerOnTheEmulator(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	t.Parallel()
	server, err := mototest.Start()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	environ := []string{"AWS_ENDPOINT_URL=" + server.URL}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			environ = append(environ, e)
		}
	}
	s := stack(t, Options{Env: "test", Environ: environ})
	zips, err := filepath.Abs("../../infra/tests/zips")
	if err != nil {
		t.Fatal(err)
	}
	v := Variables{
		"region": "us-east-1", "zips": zips, "arch": architecture(), "emulator": true,
		"load_balancer": true, "certificate_arn": imported(t, server), "client_domain": "play.example.com",
	}
	plan, err := s.Plan(t.Context(), v)
	if err == nil {
		err = s.Apply(t.Context(), plan)
	}
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Plan(t.Context(), v); err != nil || !again.Empty() {
		t.Errorf("a second plan is not empty: %v %v", again.Changes, err)
	}
	if err := s.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := s.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}
