// Package pin lets clients know a gateway that has no domain and no certificate
// of an authority: by the hash of its public key, which is in its URL as
//
//	wss://203.0.113.7:7443/#sha256=HASH
//
// the SHA-256 of the key in its X.509 form, in unpadded base64url. A fragment is
// never sent. Who told the client the URL vouches for the key: function join over
// HTTPS, or another gateway.
package pin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// life is how long a certificate is good, renewal before when it is replaced,
	// and skew how far back it begins, for clients whose clocks are slow.
	life, renewal, skew = 48 * time.Hour, 24 * time.Hour, time.Hour
	prefix              = "sha256="
)

// ErrOther: the gateway has another key than its URL says. Do not talk to it;
// ask join for gateways again.
var ErrOther = errors.New("the gateway's key is not the one that its address names")

// Keeper has a key of its own, and certificates for it that it signs itself.
type Keeper struct {
	key *ecdsa.PrivateKey
	pin string
	now func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate
	ends time.Time
}

// NewKeeper makes up a key, which lives as long as the process and is kept nowhere.
func NewKeeper(now func() time.Time) (*Keeper, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Keeper{key: key, pin: hash(spki), now: now}, nil
}

// Add returns u with the key's hash.
func (k *Keeper) Add(u string) string { return u + "#" + prefix + k.pin }

// Config returns the server's side of TLS 1.3 under the key.
func (k *Keeper) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, // WebSocket over HTTP/1.1
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.certificate() },
	}
}

// certificate returns one that is good for a day or more.
func (k *Keeper) certificate() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if k.cert != nil && now.Before(k.ends.Add(-renewal)) {
		return k.cert, nil
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "weft gateway"}, DNSNames: []string{"gateway.weft.invalid"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.key.PublicKey, k.key)
	if err != nil {
		return nil, err
	}
	k.cert, k.ends = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.key}, t.NotAfter
	return k.cert, nil
}

// Split returns the address without its pin, and the client's side of TLS: nil,
// which is the system's authorities, if it names none. The pin is all that such
// a client checks: neither name nor dates, since its clock may be wrong.
func Split(address string) (bare string, c *tls.Config, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Fragment == "" {
		return address, nil, err
	}
	want, ok := strings.CutPrefix(u.Fragment, prefix)
	if raw, err := base64.RawURLEncoding.DecodeString(want); !ok || err != nil || len(raw) != sha256.Size || u.Scheme != "wss" {
		return "", nil, errors.New("the gateway's address ends in something else than a wss:// address does: #sha256= and a hash")
	}
	u.Fragment = ""
	return u.String(), &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || subtle.ConstantTimeCompare([]byte(hash(s.PeerCertificates[0].RawSubjectPublicKeyInfo)), []byte(want)) != 1 {
				return ErrOther
			}
			return nil
		},
	}, nil
}

func hash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
