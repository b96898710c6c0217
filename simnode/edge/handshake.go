package edge

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// The handshake of two processes. N is a nonce of 32 bytes, V the version of
// the wire protocol, I an identity: shard, id, role and incarnation.
//
//	dialer   → "WEFTPEER" V N₁
//	acceptor → "WEFTPEER" V N₂ mac("key", N₁, N₂)
//	dialer   → I₁ mac("dialer", N₁, N₂, I₁)
//	acceptor → I₂ mac("acceptor", N₁, N₂, I₁, I₂)
//
// mac is HMAC-SHA256 over label, V and the parts, each behind its length,
// under a key derived from the shard's. Nobody says who it is before the other
// has proved that it knows the key, a label belongs to one direction, and both
// nonces are in every proof: nothing can be replayed or reflected. The greeting
// has this form in every version.

const (
	greetingMagic    = "WEFTPEER"
	nonceBytes       = 32
	greetingBytes    = len(greetingMagic) + 1 + nonceBytes
	maxIdentityBytes = 512
	handshakeTimeout = 2 * time.Second
)

// The errors of a handshake. The connection is to be closed.
var (
	// ErrProof: the other side does not know the shard's key.
	ErrProof = errors.New("the peer does not have this shard's key")
	// ErrStranger: it is of another shard, or what it says of itself is nonsense.
	ErrStranger = errors.New("the peer is not one of this shard")
)

// identity is who a process is.
type identity struct {
	shard       string
	node        mesh.NodeID
	role        mesh.Role
	incarnation mesh.Incarnation
}

// credentials are what a process proves itself with.
type credentials struct {
	self identity
	key  []byte
}

func newCredentials(shardKey [32]byte, self identity) (credentials, error) {
	key, err := hkdf.Key(sha256.New, shardKey[:], nil, "weft peer v1", sha256.Size)
	return credentials{self: self, key: key}, err
}

func (c credentials) mac(label string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, c.key)
	var w wire.Writer
	w.String(label)
	w.U8(wire.Version)
	for _, p := range parts {
		w.String(string(p))
	}
	h.Write(w.B)
	return h.Sum(nil)
}

func (i identity) encode() []byte {
	var w wire.Writer
	w.String(i.shard)
	w.String(string(i.node))
	w.U8(uint8(i.role))
	w.Uvarint(uint64(i.incarnation))
	return w.B
}

func decodeIdentity(b []byte) (identity, error) {
	r := wire.NewReader(b)
	i := identity{
		shard: r.String(maxIdentityBytes), node: mesh.NodeID(r.String(wire.MaxNodeIDBytes)),
		role: mesh.Role(r.U8()), incarnation: mesh.Incarnation(r.Uvarint()),
	}
	if err := r.Done(); err != nil {
		return identity{}, err
	}
	if i.node == "" || i.role != mesh.RoleNode && i.role != mesh.RoleGateway {
		return identity{}, ErrStranger
	}
	return i, nil
}

// Bytes that the acceptor sends before the connection carries messages, but for
// its identity.
const (
	dialerPreface   = greetingBytes
	acceptorPreface = greetingBytes + sha256.Size
)

// Introduction reads, off the first bytes that one side of a connection between
// processes sends, who it says it is, and how many bytes go before its first
// message; ok is false until there are enough. It is for proxies that know no
// key: nothing is proved.
func Introduction(b []byte, dialer bool) (node mesh.NodeID, role mesh.Role, preface int, ok bool) {
	at := acceptorPreface
	if dialer {
		at = dialerPreface
	}
	if len(b) < at+2 {
		return "", 0, 0, false
	}
	r := wire.NewReader(b[at:])
	n := int(r.U16())
	if len(b) < at+2+n {
		return "", 0, 0, false
	}
	i, err := decodeIdentity(b[at+2 : at+2+n])
	if err != nil {
		return "", 0, 0, false
	}
	return i.node, i.role, at + 2 + n + sha256.Size, true
}

// greet is called by the side that dialed. It returns who the other side is.
func (c credentials) greet(conn net.Conn) (identity, error) {
	mine, err := c.greeting(conn)
	if err != nil {
		return identity{}, err
	}
	theirs, err := readGreeting(conn)
	if err != nil {
		return identity{}, err
	}
	if err := c.check(conn, "key", mine, theirs); err != nil {
		return identity{}, err
	}
	self := c.self.encode()
	if err := c.introduce(conn, self, "dialer", mine, theirs, self); err != nil {
		return identity{}, err
	}
	return c.meet(conn, "acceptor", mine, theirs, self)
}

// welcome is called by the side that was dialed.
func (c credentials) welcome(conn net.Conn) (identity, error) {
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return identity{}, err
	}
	theirs, wrong := readGreeting(conn)
	if wrong != nil && !errors.Is(wrong, wire.ErrVersion) {
		return identity{}, wrong
	}
	mine, err := c.greeting(conn) // also to who speaks another version, so that it can tell
	if err != nil || wrong != nil {
		return identity{}, errors.Join(wrong, err)
	}
	if _, err := conn.Write(c.mac("key", theirs, mine)); err != nil {
		return identity{}, err
	}
	peer, err := c.meet(conn, "dialer", theirs, mine)
	if err != nil {
		return identity{}, err
	}
	self := c.self.encode()
	return peer, c.introduce(conn, self, "acceptor", theirs, mine, peer.encode(), self)
}

// greeting sends a fresh nonce and returns it.
func (c credentials) greeting(conn net.Conn) ([]byte, error) {
	b := make([]byte, greetingBytes)
	copy(b, greetingMagic)
	b[len(greetingMagic)] = wire.Version
	nonce := b[greetingBytes-nonceBytes:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	_, err := conn.Write(b)
	return nonce, err
}

func readGreeting(conn net.Conn) (nonce []byte, err error) {
	b := make([]byte, greetingBytes)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	if string(b[:len(greetingMagic)]) != greetingMagic {
		return nil, wire.ErrMalformed
	}
	if v := b[len(greetingMagic)]; v != wire.Version {
		return nil, fmt.Errorf("%w: the peer speaks %d, this process %d", wire.ErrVersion, v, wire.Version)
	}
	return b[greetingBytes-nonceBytes:], nil
}

// check reads the other side's proof and compares it.
func (c credentials) check(conn net.Conn, label string, parts ...[]byte) error {
	var proof [sha256.Size]byte
	if _, err := io.ReadFull(conn, proof[:]); err != nil {
		return err
	}
	if !hmac.Equal(proof[:], c.mac(label, parts...)) {
		return ErrProof
	}
	return nil
}

// introduce sends who we are, with the proof.
func (c credentials) introduce(conn net.Conn, self []byte, label string, parts ...[]byte) error {
	w := wire.Writer{}
	w.U16(uint16(len(self)))
	w.B = append(append(w.B, self...), c.mac(label, parts...)...)
	_, err := conn.Write(w.B)
	return err
}

// meet reads who the other side is, and checks the proof over parts and that.
func (c credentials) meet(conn net.Conn, label string, parts ...[]byte) (identity, error) {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return identity{}, err
	}
	r := wire.NewReader(head[:])
	n := int(r.U16())
	if n == 0 || n > maxIdentityBytes {
		return identity{}, wire.ErrTooLarge
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return identity{}, err
	}
	if err := c.check(conn, label, append(parts, b)...); err != nil {
		return identity{}, err
	}
	peer, err := decodeIdentity(b)
	switch {
	case err != nil:
		return identity{}, err
	case peer.shard != c.self.shard:
		return identity{}, fmt.Errorf("%w: it is of shard %q", ErrStranger, peer.shard)
	case peer.node == c.self.node && peer.incarnation == c.self.incarnation:
		return identity{}, fmt.Errorf("%w: it is this very process", ErrStranger)
	case !bytes.Equal(peer.encode(), b):
		return identity{}, wire.ErrMalformed
	}
	return peer, nil
}
