package wire

import (
	"encoding/binary"
	"math"
)

// Writer appends fields to B. Fixed fields are little-endian; varints are
// LEB128, signed ones zigzag, always of the least possible length.
type Writer struct{ B []byte }

func (w *Writer) U8(v uint8)       { w.B = append(w.B, v) }
func (w *Writer) U16(v uint16)     { w.B = binary.LittleEndian.AppendUint16(w.B, v) }
func (w *Writer) U32(v uint32)     { w.B = binary.LittleEndian.AppendUint32(w.B, v) }
func (w *Writer) U64(v uint64)     { w.B = binary.LittleEndian.AppendUint64(w.B, v) }
func (w *Writer) Uvarint(v uint64) { w.B = binary.AppendUvarint(w.B, v) }
func (w *Writer) Varint(v int64)   { w.B = binary.AppendVarint(w.B, v) }

func (w *Writer) Bool(v bool) {
	if v {
		w.U8(1)
	} else {
		w.U8(0)
	}
}

// String writes a length and the bytes of s.
func (w *Writer) String(s string) {
	w.Uvarint(uint64(len(s)))
	w.B = append(w.B, s...)
}

// Reader takes fields off the front of a message. After the first fault every
// read returns zero and Err says what was wrong, so a decoder checks once, at
// the end. It refuses what a Writer would not write, and never panics.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a Reader of b. What it returns by Take and Rest aliases b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Err returns the first fault, or nil.
func (r *Reader) Err() error { return r.err }

// Fail makes err the fault, unless there is one already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// Done returns the first fault; bytes left over are one.
func (r *Reader) Done() error {
	if len(r.b) > 0 {
		r.Fail(ErrMalformed)
	}
	return r.err
}

// Take returns the next n bytes, not copied, or nil.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.Fail(ErrMalformed)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// Rest returns all that is left, not copied; nil when nothing is.
func (r *Reader) Rest() []byte {
	if len(r.b) == 0 {
		return nil
	}
	return r.Take(len(r.b))
}

func (r *Reader) U8() uint8 {
	if len(r.b) == 0 {
		r.Fail(ErrMalformed)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *Reader) U16() uint16 {
	if b := r.Take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *Reader) U32() uint32 {
	if b := r.Take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *Reader) U64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *Reader) Bool() bool {
	v := r.U8()
	if v > 1 {
		r.Fail(ErrMalformed)
	}
	return v == 1
}

// Uvarint reads a varint of at most 64 bits and refuses a padded one.
func (r *Reader) Uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.b[n-1] == 0 {
		r.Fail(ErrMalformed)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Uint reads a varint that must not exceed limit.
func (r *Reader) Uint(limit uint64) uint64 {
	v := r.Uvarint()
	if v > limit {
		r.Fail(ErrMalformed)
		return 0
	}
	return v
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// Varint reads a zigzag varint of 64 bits; Int32 and Int16 narrower ones.
func (r *Reader) Varint() int64 { return unzigzag(r.Uvarint()) }
func (r *Reader) Int32() int32  { return int32(unzigzag(r.Uint(math.MaxUint32))) }
func (r *Reader) Int16() int16  { return int16(unzigzag(r.Uint(math.MaxUint16))) }

// Count reads the length of a list. It must not exceed limit, and there must
// be at least itemBytes bytes left for each item, so that what a caller
// allocates for the list is bounded by the bytes that came.
func (r *Reader) Count(limit, itemBytes int) int {
	n := r.Uvarint()
	if n > uint64(limit) {
		r.Fail(ErrTooLarge)
		return 0
	}
	if n*uint64(itemBytes) > uint64(len(r.b)) {
		r.Fail(ErrMalformed)
		return 0
	}
	return int(n)
}

// String reads a length of at most limit and so many bytes.
func (r *Reader) String(limit int) string { return string(r.Take(r.Count(limit, 1))) }
