// Package ticket makes and reads the tickets that admit players to a gateway.
// They are PASETO v4.local tokens: whoever has the shard's key can make and
// read them, nobody else can do either.
package ticket

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"aidanwoods.dev/go-paseto"

	"weft/control/mesh"
)

// The errors of Verify. A client may ask for a new ticket in either case.
var (
	ErrInvalid = errors.New("the ticket is not one of this shard")
	ErrExpired = errors.New("the ticket has expired")
)

// Claims is what a ticket says.
type Claims struct {
	Player mesh.PlayerID
	// Session is the one that the ticket resumes; 0 opens a new one.
	Session uint64
	// Gateways are those that it admits to, at most MaxGateways. A ticket that
	// resumes a session, which a gateway made itself, is good at every gateway.
	Gateways []mesh.NodeID
	Expires  time.Time // to the second
}

// MaxGateways bounds the gateways of a ticket, so that it fits into a hello.
const MaxGateways = 2

// Admits reports whether c is for gateway.
func (c Claims) Admits(gateway mesh.NodeID) bool {
	return c.Session != 0 || slices.Contains(c.Gateways, gateway)
}

// Booth makes and reads the tickets of one shard. Its methods may be called
// concurrently.
type Booth struct {
	key   paseto.V4SymmetricKey
	shard []byte
}

// NewBooth derives the key for tickets from the shard's.
func NewBooth(shardKey [32]byte, shard string) (*Booth, error) {
	derived, err := hkdf.Key(sha256.New, shardKey[:], nil, "weft ticket v1", 32)
	if err != nil {
		return nil, err
	}
	key, err := paseto.V4SymmetricKeyFromBytes(derived)
	if err != nil {
		return nil, err
	}
	return &Booth{key: key, shard: []byte(shard)}, nil
}

// JoinToken derives from the shard's key what a studio's own backend shows to
// have players admitted, unless it was given another token: 64 hexadecimal digits.
func JoinToken(shardKey [32]byte, shard string) (string, error) {
	derived, err := hkdf.Key(sha256.New, shardKey[:], []byte(shard), "weft join v1", 32)
	return hex.EncodeToString(derived), err
}

const (
	claimPlayer   = "player"
	claimSession  = "session"
	claimGateways = "gateways"
)

// Mint returns a ticket of about 200 bytes, and the names of the gateways, that says c.
func (b *Booth) Mint(c Claims) string {
	t := paseto.NewToken()
	t.SetString(claimPlayer, strconv.FormatUint(uint64(c.Player), 10))
	if c.Session != 0 {
		t.SetString(claimSession, strconv.FormatUint(c.Session, 10))
	}
	if len(c.Gateways) > 0 {
		_ = t.Set(claimGateways, c.Gateways[:min(len(c.Gateways), MaxGateways)]) // strings can always be encoded
	}
	t.SetExpiration(c.Expires)
	return t.V4Encrypt(b.key, b.shard)
}

// Verify returns what the ticket says, if it was made for this shard and has
// not expired at now.
func (b *Booth) Verify(ticket string, now time.Time) (Claims, error) {
	t, err := paseto.NewParserWithoutExpiryCheck().ParseV4Local(b.key, ticket, b.shard)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	expires, err := t.GetExpiration()
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !now.Before(expires) {
		return Claims{}, ErrExpired
	}
	c := Claims{Expires: expires}
	text, err := t.GetString(claimPlayer)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	player, err := strconv.ParseUint(text, 10, 32)
	if err != nil || player == 0 {
		return Claims{}, fmt.Errorf("%w: player %q", ErrInvalid, text)
	}
	c.Player = mesh.PlayerID(player)
	if text, err := t.GetString(claimSession); err == nil {
		if c.Session, err = strconv.ParseUint(text, 10, 64); err != nil {
			return Claims{}, fmt.Errorf("%w: session %q", ErrInvalid, text)
		}
	}
	if _, ok := t.Claims()[claimGateways]; ok {
		if err := t.Get(claimGateways, &c.Gateways); err != nil {
			return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return c, nil
}
