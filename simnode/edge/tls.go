package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"weft/control/options"
	"weft/simnode/pin"
)

// clientTLS is how a gateway speaks with its clients; nil is without TLS.
type clientTLS struct {
	config *tls.Config
	keeper *pin.Keeper // whose key clients are told of; or nil
}

func newClientTLS(o options.Gateway) (*clientTLS, error) {
	switch o.ClientTLS {
	case options.TLSPinned, options.TLSBehind:
		k, err := pin.NewKeeper(time.Now)
		if err != nil {
			return nil, err
		}
		c := &clientTLS{config: k.Config()}
		if o.ClientTLS == options.TLSPinned {
			c.keeper = k
		}
		return c, nil
	case options.TLSCertificate:
		cert, err := certificate(string(o.ClientCertificate))
		if err != nil {
			return nil, fmt.Errorf("WEFT_CLIENT_CERTIFICATE: %w; give a PEM text, or a file, with the certificate, its chain and its private key", err)
		}
		return &clientTLS{config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{cert}}}, nil
	}
	return nil, nil
}

// certificate reads a chain and its key from a text, or from the file of that name.
func certificate(text string) (tls.Certificate, error) {
	if !strings.Contains(text, "-----BEGIN") {
		raw, err := os.ReadFile(text)
		if err != nil {
			return tls.Certificate{}, errors.New("there is no such file")
		}
		text = string(raw)
	}
	cert, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		return tls.Certificate{}, errors.New("it holds no certificate with its key")
	}
	return cert, nil
}

func (c *clientTLS) scheme() string {
	if c == nil {
		return "ws"
	}
	return "wss"
}

// named is url with what clients know the gateway by.
func (c *clientTLS) named(url string) string {
	if c == nil || c.keeper == nil {
		return url
	}
	return c.keeper.Add(url)
}

// over returns what accepts nothing but TLS on l's connections.
func (c *clientTLS) over(l net.Listener) net.Listener {
	if c == nil {
		return l
	}
	return tls.NewListener(l, c.config)
}
