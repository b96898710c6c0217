package pin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shake returns how a client and a server get on.
func shake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			err = tls.Server(c, server).HandshakeContext(t.Context())
			c.Close()
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		c.Close()
	}
	<-done
	return err
}

func keeper(t *testing.T, now func() time.Time) *Keeper {
	t.Helper()
	k, err := NewKeeper(now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func split(t *testing.T, address string) *tls.Config {
	t.Helper()
	bare, c, err := Split(address)
	if err != nil || bare != "wss://203.0.113.7:7443/" || c == nil {
		t.Fatalf("%q: %q, %v", address, bare, err)
	}
	return c
}

func TestPin(t *testing.T) {
	const at = "wss://203.0.113.7:7443/"
	a, b := keeper(t, time.Now), keeper(t, time.Now)
	if a.Add(at) == b.Add(at) {
		t.Fatal("two gateways have one key")
	}
	client := split(t, a.Add(at))
	if err := shake(t, a.Config(), client); err != nil {
		t.Error(err)
	}
	if err := shake(t, b.Config(), client); !errors.Is(err, ErrOther) {
		t.Errorf("another's key: %v", err)
	}
	if err := shake(t, a.Config(), &tls.Config{ServerName: "203.0.113.7"}); err == nil {
		t.Error("who does not know the pin trusts the gateway")
	}
	old := client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := shake(t, a.Config(), old); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
}

func TestCertificateIsRenewedUnderTheSameKey(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	k := keeper(t, func() time.Time { return now })
	client := split(t, k.Add("wss://203.0.113.7:7443/"))
	serials := map[string]bool{}
	for range 10 {
		c, err := k.certificate()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if now.Before(leaf.NotBefore) || now.Add(renewal).After(leaf.NotAfter) {
			t.Errorf("at %v the certificate is good from %v to %v", now, leaf.NotBefore, leaf.NotAfter)
		}
		serials[leaf.SerialNumber.String()] = true
		if err := shake(t, k.Config(), client); err != nil {
			t.Error(err)
		}
		now = now.Add(12 * time.Hour)
	}
	if len(serials) != 5 { // in 108 hours, one each 24
		t.Errorf("%d certificates", len(serials))
	}
}

func TestSplit(t *testing.T) {
	good := keeper(t, time.Now).Add("wss://h:1/")
	for _, address := range []string{"ws://127.0.0.1:7443/", "wss://play.example.com/"} {
		if bare, c, err := Split(address); err != nil || c != nil || bare != address {
			t.Errorf("%q: %q, %v, %v", address, bare, c, err)
		}
	}
	for _, address := range []string{
		"wss://h:1/#md5=x", "wss://h:1/#sha256=", "wss://h:1/#sha256=AAAA", good + "A", strings.Replace(good, "wss:", "ws:", 1), "wss://h:1/#x",
	} {
		if bare, c, err := Split(address); err == nil {
			t.Errorf("%q: %q, %v", address, bare, c)
		}
	}
}
