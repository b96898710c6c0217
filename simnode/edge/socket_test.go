package edge

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weft/simnode/metadata"
)

func TestAdvertised(t *testing.T) {
	task := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"Networks":[{"IPv4Addresses":["10.0.2.106"]}]}`)) //nolint:errcheck // the test sees it
	}))
	t.Cleanup(func() {
		task.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	t.Setenv(metadata.TaskVariable, task.URL)
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7400}
	for wanted, want := range map[string]string{
		"": "127.0.0.1:7400", "10.1.1.1:0": "10.1.1.1:7400", "node.example:9000": "node.example:9000",
		"metadata": "10.0.2.106:7400", "metadata:0": "10.0.2.106:7400", "metadata:9000": "10.0.2.106:9000",
	} {
		if got, err := advertised(t.Context(), wanted, at); got != want || err != nil {
			t.Errorf("%q gives %q, %v; want %q", wanted, got, err, want)
		}
	}
	for wanted, want := range map[string]string{
		"": "ws://127.0.0.1:7400/", "wss://play.example/": "wss://play.example/",
		"wss://metadata/": "wss://10.0.2.106/", "wss://metadata:0/": "wss://10.0.2.106:7400/", "ws://metadata:9/x": "ws://10.0.2.106:9/x",
		"wss://metadata.play.example:7443/": "wss://10-0-2-106.play.example:7443/",
	} {
		if got, err := clientURL(t.Context(), wanted, "ws", at); got != want || err != nil {
			t.Errorf("%q gives %q, %v; want %q", wanted, got, err, want)
		}
	}
	t.Setenv(metadata.TaskVariable, "http://127.0.0.1:1")
	if got, err := advertised(t.Context(), "metadata", at); err == nil || !strings.HasPrefix(err.Error(), "WEFT_ADVERTISE: ECS does not tell the task's address (") {
		t.Errorf("gives %q, %v", got, err)
	}
	if got, err := clientURL(t.Context(), "wss://metadata/", "wss", at); err == nil || !strings.HasPrefix(err.Error(), "WEFT_CLIENT_ADVERTISE: ECS does not tell") {
		t.Errorf("gives %q, %v", got, err)
	}
}
