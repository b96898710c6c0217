package wire

import (
	"encoding/binary"
	"math"
	"slices"

	"weft/control/mesh"
)

// The fewest bytes of an item of a view.
const (
	minClockBytes = 3
	minEnterBytes = 13
	minMoveBytes  = 6
)

func (v *View) fields(c coder) coder {
	num(&c, &v.Tick)
	v.Self.fields(&c, v.Tick)
	count(&c, &v.Clocks, MaxClocks, minClockBytes)
	for i := range v.Clocks {
		v.Clocks[i].fields(&c, v.Tick)
	}
	count(&c, &v.Leaves, MaxViewEntries, 1)
	for i := range v.Leaves {
		num(&c, &v.Leaves[i])
	}
	count(&c, &v.Enters, MaxViewEntries, minEnterBytes)
	for i := range v.Enters {
		v.Enters[i].fields(&c)
	}
	count(&c, &v.Moves, MaxViewEntries, minMoveBytes)
	for i := range v.Moves {
		if !c.reading || !c.r.short(&v.Moves[i]) {
			v.Moves[i].fields(&c)
		}
	}
	return c
}

func (s *Self) fields(c *coder, tick mesh.Tick) {
	num(c, &s.Zone)
	num(c, &s.Epoch)
	num(c, &s.Hop)
	c.since(tick, &s.Tick)
	c.vec(&s.Pos)
	c.id(&s.Held)
	c.int16(&s.Health)
}

func (k *Clock) fields(c *coder, tick mesh.Tick) {
	num(c, &k.Zone)
	num(c, &k.Epoch)
	c.since(tick, &k.Tick)
}

func (e *Enter) fields(c *coder) {
	num(c, &e.Handle)
	c.id(&e.ID)
	num(c, &e.Hop)
	octet(c, &e.Flags)
	c.int16(&e.Health)
	c.id(&e.Carrier)
	c.vec(&e.Pos)
	c.u16(&e.Yaw)
}

// What the two lowest bits of a move's first varint say; the handle is above them.
const (
	moveChanged = 1 << iota // hop, flags, health and carrier follow
	moveHeight              // Z follows; without it Z is zero
)

func (m *Move) fields(c *coder) {
	head := uint64(m.Handle)<<2 | uint64(bit(m.Changed, moveChanged)|bit(m.Z != 0, moveHeight))
	if c.reading {
		head = c.r.Uint(math.MaxUint32<<2 | 3)
		*m = Move{Handle: uint32(head >> 2), Changed: head&moveChanged != 0}
	} else {
		c.w.Uvarint(head)
	}
	c.u16(&m.X)
	c.u16(&m.Y)
	if head&moveHeight != 0 {
		if c.u16(&m.Z); m.Z == 0 {
			c.r.Fail(ErrMalformed)
		}
	}
	octet(c, &m.Yaw)
	if m.Changed {
		num(c, &m.Hop)
		octet(c, &m.Flags)
		c.int16(&m.Health)
		c.id(&m.Carrier)
	}
}

// short reads m if it is a plain one, far enough from the end, and else leaves
// everything as it is: most moves of most views, by which clients live.
func (r *Reader) short(m *Move) bool {
	if len(r.b) < 12 {
		return false
	}
	b := (*[12]byte)(r.b)
	head, n := uint32(b[0]), 1
	if head >= 0x80 {
		if head, n = head&0x7f|uint32(b[1])<<7, 2; b[1] >= 0x80 {
			head, n = head&(1<<14-1)|uint32(b[2])<<14, 3
		}
		if b[n-1]-1 >= 0x7f { // longer, or padded
			return false
		}
	}
	if head&moveChanged != 0 {
		return false
	}
	*m = Move{Handle: head >> 2, X: uint16(b[n]) | uint16(b[n+1])<<8, Y: uint16(b[n+2]) | uint16(b[n+3])<<8}
	if n += 4; head&moveHeight != 0 {
		if m.Z = uint16(b[n]) | uint16(b[n+1])<<8; m.Z == 0 {
			return false
		}
		n += 2
	}
	m.Yaw = b[n]
	r.b = r.b[n+1:]
	return true
}

// AppendMove appends the bytes of m, the same for every client, for ViewWriter.Move.
func AppendMove(dst []byte, m Move) []byte {
	c := coder{w: Writer{dst}}
	m.fields(&c)
	return c.w.B
}

// AppendEnter appends the bytes of e, the same for every client, for ViewWriter.Enter.
func AppendEnter(dst []byte, e Enter) []byte {
	c := coder{w: Writer{dst}}
	e.fields(&c)
	return c.w.B
}

// Short is a Move without the Changed fields, encoded, so that it is copied
// without a look at its length.
type Short struct {
	bytes [15]byte
	n     uint8
}

// MakeShort returns the bytes of m, which must not be Changed.
func MakeShort(m Move) (s Short) {
	b := &s.bytes
	n := binary.PutUvarint(b[:], uint64(m.Handle)<<2|uint64(bit(m.Z != 0, moveHeight)))
	binary.LittleEndian.PutUint16(b[n:], m.X)
	binary.LittleEndian.PutUint16(b[n+2:], m.Y)
	if n += 4; m.Z != 0 {
		binary.LittleEndian.PutUint16(b[n:], m.Z)
		n += 2
	}
	b[n] = m.Yaw
	s.n = uint8(n + 1)
	return s
}

// AppendShort appends the bytes of s to dst: what AppendMove does.
func AppendShort(dst []byte, s *Short) []byte {
	n := len(dst)
	if cap(dst)-n < len(s.bytes) {
		dst = slices.Grow(dst, len(s.bytes))
	}
	b := dst[n : n+len(s.bytes)]
	*(*[15]byte)(b) = s.bytes
	return dst[:n+int(s.n)]
}

// ViewWriter puts a client's view together from entries that were encoded once
// for all clients. Its methods after Begin return false, and do nothing, when
// the entry would break a limit: keep it for the next view. It keeps its
// memory from view to view; the zero value is ready for Begin.
type ViewWriter struct {
	tick                              mesh.Tick
	size, limit                       int
	head, clocks                      Writer
	enters, moves, leaves             Writer
	nClocks, nEnters, nMoves, nLeaves int
}

// countBytes is the most that the four counts of a view take.
const countBytes = 1 + 3*2

// maxHandleBytes is the most that a handle takes.
const maxHandleBytes = 5

// Begin starts a new view and forgets the last.
func (w *ViewWriter) Begin(tick mesh.Tick, self Self) {
	w.tick, w.limit = tick, MaxServerBytes
	w.head.B = append(w.head.B[:0], typeView)
	w.head.Uvarint(uint64(tick))
	c := coder{w: w.head}
	self.fields(&c, tick)
	w.head = c.w
	w.clocks.B, w.enters.B, w.moves.B, w.leaves.B = w.clocks.B[:0], w.enters.B[:0], w.moves.B[:0], w.leaves.B[:0]
	w.nClocks, w.nEnters, w.nMoves, w.nLeaves = 0, 0, 0, 0
	w.size = len(w.head.B) + countBytes
}

// Len returns the size of the view so far, at most six bytes too high.
func (w *ViewWriter) Len() int { return w.size }

// Limit bounds the size of the view from here on.
func (w *ViewWriter) Limit(bytes int) { w.limit = min(bytes, MaxServerBytes) }

// Entries returns how many enters, moves and leaves the view has so far.
func (w *ViewWriter) Entries() (enters, moves, leaves int) { return w.nEnters, w.nMoves, w.nLeaves }

// Clock adds a zone's clock.
func (w *ViewWriter) Clock(k Clock) bool {
	c := coder{w: w.clocks}
	k.fields(&c, w.tick)
	n := len(c.w.B) - len(w.clocks.B)
	if w.nClocks >= MaxClocks || w.size+n > w.limit {
		return false
	}
	w.clocks = c.w
	w.nClocks++
	w.size += n
	return true
}

// Enter adds what AppendEnter made.
func (w *ViewWriter) Enter(entry []byte) bool { return w.add(&w.enters, &w.nEnters, entry) }

// Move adds what AppendMove made.
func (w *ViewWriter) Move(entry []byte) bool { return w.add(&w.moves, &w.nMoves, entry) }

// Short adds what MakeShort made.
func (w *ViewWriter) Short(s *Short) bool {
	if w.nMoves >= MaxViewEntries || w.size+int(s.n) > w.limit {
		return false
	}
	w.moves.B = AppendShort(w.moves.B, s)
	w.nMoves++
	w.size += int(s.n)
	return true
}

// Share counts in n moves that other clients get as well: the bytes of them
// are to follow what Append appends.
func (w *ViewWriter) Share(n, bytes int) bool {
	if w.nMoves+n > MaxViewEntries || w.size+bytes > w.limit {
		return false
	}
	w.nMoves += n
	w.size += bytes
	return true
}

// Leave adds the handle of an entity that left.
func (w *ViewWriter) Leave(handle uint32) bool {
	if w.nLeaves >= MaxViewEntries || w.size+maxHandleBytes > w.limit {
		return false
	}
	n := len(w.leaves.B)
	w.leaves.Uvarint(uint64(handle))
	w.nLeaves++
	w.size += len(w.leaves.B) - n
	return true
}

func (w *ViewWriter) add(run *Writer, n *int, entry []byte) bool {
	if *n >= MaxViewEntries || w.size+len(entry) > w.limit {
		return false
	}
	run.B = append(run.B, entry...)
	*n++
	w.size += len(entry)
	return true
}

// Append appends the view's bytes to dst: the same that AppendServer writes of
// a View with these entries, as far as they are not shared.
func (w *ViewWriter) Append(dst []byte) []byte {
	v := Writer{append(dst, w.head.B...)}
	v.Uvarint(uint64(w.nClocks))
	v.B = append(v.B, w.clocks.B...)
	v.Uvarint(uint64(w.nLeaves))
	v.B = append(v.B, w.leaves.B...)
	v.Uvarint(uint64(w.nEnters))
	v.B = append(v.B, w.enters.B...)
	v.Uvarint(uint64(w.nMoves))
	return append(v.B, w.moves.B...)
}
