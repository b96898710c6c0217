package wire

import "weft/control/mesh"

// A message's first byte is its type; its fields follow in the order in which
// the fields methods name them. One method serves both ways, so that encoder
// and decoder cannot drift apart.
//
// Decoders allocate at most 16 bytes for each byte of input, and 512 more.
// Encoders do not check limits: what breaks one is refused at the other end.

// message is what every message does: move its fields into or out of c.
type message interface{ fields(c coder) coder }

// coder writes fields, or reads them. It travels by value so that it need not
// be allocated.
type coder struct {
	w       Writer
	r       Reader
	reading bool
}

type unsigned interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

// num is a varint no wider than T.
func num[T unsigned](c *coder, v *T) {
	if c.reading {
		*v = T(c.r.Uint(uint64(^T(0))))
	} else {
		c.w.Uvarint(uint64(*v))
	}
}

// octet is a single byte.
func octet[T ~uint8 | ~int8](c *coder, v *T) {
	if c.reading {
		*v = T(c.r.U8())
	} else {
		c.w.U8(uint8(*v))
	}
}

func (c *coder) u16(v *uint16) {
	if c.reading {
		*v = c.r.U16()
	} else {
		c.w.U16(*v)
	}
}

func (c *coder) int16(v *int16) {
	if c.reading {
		*v = c.r.Int16()
	} else {
		c.w.Varint(int64(*v))
	}
}

func (c *coder) int64(v *int64) {
	if c.reading {
		*v = c.r.Varint()
	} else {
		c.w.Varint(*v)
	}
}

func (c *coder) bool(v *bool) {
	if c.reading {
		*v = c.r.Bool()
	} else {
		c.w.Bool(*v)
	}
}

func (c *coder) id(v *mesh.EntityID) {
	if c.reading {
		*v = c.r.ID()
	} else {
		c.w.ID(*v)
	}
}

func (c *coder) vec(v *mesh.Vec) {
	if c.reading {
		*v = c.r.Vec(mesh.Vec{})
	} else {
		c.w.Vec(mesh.Vec{}, *v)
	}
}

func (c *coder) entity(e *mesh.Entity) {
	if c.reading {
		c.r.Entity(mesh.Vec{}, e)
	} else {
		c.w.Entity(mesh.Vec{}, e)
	}
}

func text[T ~string](c *coder, v *T, limit int) {
	if c.reading {
		*v = T(c.r.String(limit))
	} else {
		c.w.String(string(*v))
	}
}

// rest is all remaining bytes; reading aliases the input.
func (c *coder) rest(v *[]byte) {
	if c.reading {
		*v = c.r.Rest()
	} else {
		c.w.B = append(c.w.B, *v...)
	}
}

// since is tick t as its distance before base.
func (c *coder) since(base mesh.Tick, t *mesh.Tick) {
	if c.reading {
		*t = base - mesh.Tick(c.r.Varint())
	} else {
		c.w.Varint(int64(base - *t))
	}
}

// count is the length of *s, which is resized, keeping its memory.
func count[T any](c *coder, s *[]T, limit, itemBytes int) {
	if !c.reading {
		c.w.Uvarint(uint64(len(*s)))
	} else if n := c.r.Count(limit, itemBytes); n <= cap(*s) {
		*s = (*s)[:n]
	} else {
		*s = make([]T, n)
	}
}

func (c *coder) command(v *mesh.Command) {
	num(c, &v.Sequence)
	octet(c, &v.MoveX)
	octet(c, &v.MoveY)
	c.u16(&v.Yaw)
}

func (c *coder) event(v *mesh.Event) {
	num(c, &v.Number)
	octet(c, &v.Action)
	c.id(&v.Target)
	num(c, &v.Hop)
	c.vec(&v.Aim)
}

func (c *coder) pick(v *mesh.Pick) {
	num(c, &v.Player)
	num(c, &v.Event)
}

func encode(dst []byte, kind byte, m message) []byte {
	c := m.fields(coder{w: Writer{append(dst, kind)}})
	return c.w.B
}

func decode(b []byte, m message) error {
	c := m.fields(coder{r: NewReader(b[1:]), reading: true})
	return c.r.Done()
}

// check holds a message to its size before anything is read of it.
func check(b []byte, limit int) error {
	switch {
	case len(b) == 0:
		return ErrMalformed
	case len(b) > limit:
		return ErrTooLarge
	}
	return nil
}

// AppendPeer appends the bytes of m to dst.
func AppendPeer(dst []byte, m PeerMessage) []byte { return encode(dst, m.peerType(), m) }

// DecodePeer returns the message whose bytes are b. Frame.Data, Freshen.Poses
// and Relay.Message alias b; the rest is the caller's.
func DecodePeer(b []byte) (PeerMessage, error) {
	if err := check(b, MaxPeerBytes); err != nil {
		return nil, err
	}
	m := newPeer(b[0])
	if m == nil {
		return nil, ErrMalformed
	}
	if err := decode(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

// AppendClient appends the bytes of m to dst.
func AppendClient(dst []byte, m ClientMessage) []byte { return encode(dst, m.clientType(), m) }

// DecodeClient returns the message whose bytes are b, aliasing none of them.
func DecodeClient(b []byte) (ClientMessage, error) {
	if err := check(b, MaxClientBytes); err != nil {
		return nil, err
	}
	m := newClient(b[0])
	if m == nil {
		return nil, ErrMalformed
	}
	if err := decode(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

// AppendServer appends the bytes of m to dst. A gateway writes its views with
// ViewWriter instead.
func AppendServer(dst []byte, m ServerMessage) []byte { return encode(dst, m.serverType(), m) }

// DecodeServer returns the message whose bytes are b, aliasing none of them.
// DecodeView reads views without allocating.
func DecodeServer(b []byte) (ServerMessage, error) {
	if err := check(b, MaxServerBytes); err != nil {
		return nil, err
	}
	m := newServer(b[0])
	if m == nil {
		return nil, ErrMalformed
	}
	if err := decode(b, m); err != nil {
		return nil, err
	}
	return m, nil
}

// IsView reports whether b is a View, for DecodeView.
func IsView(b []byte) bool { return len(b) > 0 && b[0] == typeView }

// DecodeView reads a View into v, whose slices it overwrites and grows only
// when they are too short. After an error v holds nothing of use.
func DecodeView(b []byte, v *View) error {
	if err := check(b, MaxServerBytes); err != nil {
		return err
	}
	if !IsView(b) {
		return ErrMalformed
	}
	c := v.fields(coder{r: NewReader(b[1:]), reading: true})
	return c.r.Done()
}

// LengthBytes is what precedes each peer message on a TCP connection.
const LengthBytes = 4

// AppendFramed appends m behind its length, ready for a TCP connection.
func AppendFramed(dst []byte, m PeerMessage) []byte {
	at := len(dst)
	dst = AppendPeer(append(dst, 0, 0, 0, 0), m)
	PutLength(dst[at:], len(dst)-at-LengthBytes)
	return dst
}

// PutLength writes n into the first LengthBytes bytes of b.
func PutLength(b []byte, n int) {
	w := Writer{b[:0:LengthBytes]}
	w.U32(uint32(n))
}

// Length reads the length that b begins with: the bytes of the message after
// it, 1 to MaxPeerBytes. The stream cannot be read on after an error.
func Length(b []byte) (int, error) {
	r := NewReader(b)
	switch n := r.U32(); {
	case r.Err() != nil || n == 0:
		return 0, ErrMalformed
	case n > MaxPeerBytes:
		return 0, ErrTooLarge
	default:
		return int(n), nil
	}
}
