package edge

import (
	"encoding/binary"
	"fmt"

	"github.com/gobwas/ws"

	"weft/simnode/wire"
)

// WebSocket's framing (RFC 6455, section 5), as far as a server of small binary
// messages needs it: without extensions.

const (
	opContinuation = byte(ws.OpContinuation)
	opText         = byte(ws.OpText)
	opBinary       = byte(ws.OpBinary)
	opClose        = byte(ws.OpClose)
	opPing         = byte(ws.OpPing)
	opPong         = byte(ws.OpPong)

	maxFrameHead    = 10
	maxControlBytes = 125
)

// appendFrame appends a whole frame of a server with the payload a and then b.
func appendFrame(dst []byte, op byte, a, b []byte) []byte {
	switch n := len(a) + len(b); {
	case n < 126:
		dst = append(dst, 0x80|op, byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|op, 126, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|op, 127), uint64(n))
	}
	return append(append(dst, a...), b...)
}

// clientFrame is a frame of a client, unmasked.
type clientFrame struct {
	op      byte
	fin     bool
	payload []byte
}

// cutFrame takes the first frame off b, in place, and returns what is left. It
// is not ok if b holds only a part of it. What a client must not send, and
// frames above wire.MaxClientBytes, are wire.ErrMalformed.
func cutFrame(b []byte) (f clientFrame, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return f, b, false, nil
	}
	f.op, f.fin = b[0]&0x0f, b[0]&0x80 != 0
	control := f.op >= opClose
	n, head := int(b[1]&0x7f), 2
	switch {
	case b[0]&0x70 != 0, b[1]&0x80 == 0, f.op == opText, f.op > opBinary && f.op < opClose, f.op > opPong,
		control && (!f.fin || n > maxControlBytes), n == 127:
		return f, nil, false, fmt.Errorf("%w: a frame that begins with %x", wire.ErrMalformed, b[:2])
	case n == 126:
		if len(b) < 4 {
			return f, b, false, nil
		}
		n, head = int(b[2])<<8|int(b[3]), 4
	}
	if n > wire.MaxClientBytes {
		return f, nil, false, fmt.Errorf("%w: a frame of %d bytes", wire.ErrMalformed, n)
	}
	if len(b) < head+4+n {
		return f, b, false, nil
	}
	f.payload = b[head+4:][:n:n]
	ws.Cipher(f.payload, [4]byte(b[head:head+4]), 0)
	return f, b[head+4+n:], true, nil
}

// inbound makes messages of the bytes that a client sends. Its zero value is
// ready; it keeps memory only while a message is incomplete.
type inbound struct {
	kept    []byte // the beginning of a frame
	message []byte // of a message in several frames
	begun   bool   // such a message
}

// take calls f for each whole message and control frame of b, whose memory it
// may write to. Payloads are good until f returns. It ends at the first error.
func (in *inbound) take(b []byte, f func(op byte, payload []byte) error) error {
	own := len(in.kept) > 0
	if own {
		b = append(in.kept, b...)
	}
	for {
		fr, rest, ok, err := cutFrame(b)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		b = rest
		if err := in.add(fr, f); err != nil {
			return err
		}
	}
	switch {
	case len(b) == 0:
		in.kept = nil
	case own:
		in.kept = append(in.kept[:0], b...)
	default:
		in.kept = append([]byte(nil), b...)
	}
	return nil
}

func (in *inbound) add(fr clientFrame, f func(op byte, payload []byte) error) error {
	switch {
	case fr.op >= opClose:
		return f(fr.op, fr.payload)
	case in.begun != (fr.op == opContinuation), len(in.message)+len(fr.payload) > wire.MaxClientBytes:
		return fmt.Errorf("%w: frames that make no message", wire.ErrMalformed)
	case fr.fin && !in.begun:
		return f(fr.op, fr.payload)
	}
	in.message, in.begun = append(in.message, fr.payload...), true
	if !fr.fin {
		return nil
	}
	message := in.message
	in.message, in.begun = nil, false
	return f(opBinary, message)
}
