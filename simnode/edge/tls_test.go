package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"weft/control/mesh"
	"weft/control/options"
	"weft/simnode/pin"
	"weft/simnode/process"
	"weft/simnode/ticket"
	"weft/simnode/wire"
)

// issued returns a certificate for 127.0.0.1 with its key, and who trusts it.
func issued(t *testing.T) (text string, trusted *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	trusted = x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	return string(cert) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), trusted
}

func TestClientTLS(t *testing.T) {
	text, trusted := issued(t)
	file := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode, certificate, scheme string
		pinned                    bool
	}{
		{options.TLSOff, "", "ws", false},
		{options.TLSPinned, "", "wss", true},
		{options.TLSBehind, "", "wss", false},
		{options.TLSCertificate, text, "wss", false},
		{options.TLSCertificate, file, "wss", false},
	} {
		o := options.Gateway{ClientTLS: c.mode, ClientCertificate: options.Secret(c.certificate)}
		s, err := newClientTLS(o)
		if err != nil || s.scheme() != c.scheme {
			t.Fatalf("%s: %v, %q", c.mode, err, s.scheme())
		}
		plain, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "gateway") }), ErrorLog: silent}
		go server.Serve(s.over(plain))
		address, config, err := pin.Split(s.named(c.scheme + "://" + plain.Addr().String() + "/"))
		if err != nil || (config != nil) != c.pinned {
			t.Fatalf("%s: %v, pinned %v", c.mode, err, config != nil)
		}
		switch c.mode {
		case options.TLSCertificate:
			config = &tls.Config{RootCAs: trusted}
		case options.TLSBehind: // a balancer checks nothing
			config = &tls.Config{InsecureSkipVerify: true}
		}
		get := func(url string) string {
			transport := &http.Transport{TLSClientConfig: config}
			defer transport.CloseIdleConnections()
			reply, err := (&http.Client{Transport: transport}).Get(url)
			if err != nil {
				return err.Error()
			}
			defer reply.Body.Close()
			body, _ := io.ReadAll(reply.Body)
			return string(body)
		}
		if got := get("http" + strings.TrimPrefix(address, "ws")); got != "gateway" {
			t.Errorf("%s: %s", c.mode, got)
		}
		if c.mode != options.TLSOff {
			if got := get("http://" + plain.Addr().String()); got == "gateway" {
				t.Errorf("%s: speaks without TLS", c.mode)
			}
		}
		server.Close()
	}
	for _, bad := range []string{"nothing", "-----BEGIN NONSENSE-----"} {
		if _, err := newClientTLS(options.Gateway{ClientTLS: options.TLSCertificate, ClientCertificate: options.Secret(bad)}); err == nil || !strings.Contains(err.Error(), "give a PEM text, or a file") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A ticket for a balancer is good at the gateways behind it.
func TestTicketForABalancer(t *testing.T) {
	r, url := newDoor(t)
	ws := knock(t, url)
	shown := r.booth.Mint(ticket.Claims{Player: 3, Gateways: []mesh.NodeID{"wss://play.example/"}, Expires: time.Now().Add(time.Minute)})
	if err := ws.Write(t.Context(), websocket.MessageBinary, wire.AppendClient(nil, &wire.Hello{Player: 3, Ticket: shown})); err != nil {
		t.Fatal(err)
	}
	if up := <-r.inbox; up.ev.Kind != process.EventClientUp || up.ev.Hello.Player != 3 {
		t.Errorf("%+v", up.ev)
	}
}
