// Package wire holds the messages of Weft and their bytes. A decoder never
// panics, allocates no more than a stated multiple of its input, and accepts
// only what the encoder would write, so that decode and encode are inverse.
package wire

import "errors"

// Version of both protocols, peers and clients. A process refuses another.
const Version = 3

// The limits of a message, enforced by both sides.
const (
	// SilenceMilli is how much longer than Welcome.KeepAliveMilli a gateway may be silent, in ms.
	SilenceMilli = 3000

	MaxPeerBytes     = 4 << 20 // a frame of 100,000 entities fits
	MaxClientBytes   = 1 << 10 // client to gateway
	MaxServerBytes   = 64 << 10
	MaxTicketBytes   = 768
	MaxTextBytes     = 256
	MaxNodeIDBytes   = 128
	MaxGateways      = 4
	MaxInputs        = 4096
	MaxMembers       = 256 // of one crossing
	MaxImpacts       = 1024
	MaxViewEntries   = 4096 // each of enters, moves, leaves
	MaxClocks        = 64
	MaxGatewayURLLen = 256
)

// The errors of decoding. All mean: count it, and end the connection.
var (
	// ErrMalformed: the bytes are not a message of this version.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge: a length exceeds a limit above.
	ErrTooLarge = errors.New("message too large")
	// ErrVersion: the peer speaks another version.
	ErrVersion = errors.New("unknown protocol version")
)
