package replication

import (
	"bytes"
	"maps"
	"math"
	"math/bits"
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// What the first byte of stored bytes says: the format in the high half, its
// version in the low one. Stored bytes outlive the program: a changed format
// gets a new version, and the decoder goes on reading the old one.
const (
	formatRecords = 0x11
	formatState   = 0x21
	formatPoses   = 0x31
	formatKey     = 0x41
	formatDelta   = 0x51
)

// The decoders of this package allocate at most 256 bytes for each byte of
// input, and 4,096 more. They return wire.ErrMalformed, wire.ErrTooLarge, or
// wire.ErrVersion when a newer program wrote the bytes.

// MaxEntities is the most entities that one list of poses or frame may hold.
const MaxEntities = 1 << 17

// MaxRecords is the most records of one journal slot.
const MaxRecords = 1 << 16

// open checks the first byte and returns a Reader of the others.
func open(b []byte, format byte) (wire.Reader, error) {
	switch {
	case len(b) == 0 || b[0]>>4 != format>>4:
		return wire.Reader{}, wire.ErrMalformed
	case b[0] != format:
		return wire.Reader{}, wire.ErrVersion
	}
	return wire.NewReader(b[1:]), nil
}

// EncodePoses appends poses to dst, in their order, for a pose record or Freshen.
func EncodePoses(dst []byte, poses []mesh.Pose) []byte {
	w := wire.Writer{B: append(dst, formatPoses)}
	writePoses(&w, poses)
	return w.B
}

// DecodePoses returns what EncodePoses wrote. No bytes at all are no poses.
func DecodePoses(b []byte) ([]mesh.Pose, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r, err := open(b, formatPoses)
	if err != nil {
		return nil, err
	}
	poses := make([]mesh.Pose, r.Count(MaxEntities, wire.MinPoseBytes))
	var last mesh.Vec
	for i := range poses {
		r.Pose(last, &poses[i])
		last = poses[i].Pos
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return poses, nil
}

// writePoses writes each place as a difference from the one before.
func writePoses(w *wire.Writer, poses []mesh.Pose) {
	w.Uvarint(uint64(len(poses)))
	var last mesh.Vec
	for i := range poses {
		w.Pose(last, &poses[i])
		last = poses[i].Pos
	}
}

func writeEntities(w *wire.Writer, es []mesh.Entity) {
	w.Uvarint(uint64(len(es)))
	var last mesh.Vec
	for i := range es {
		w.Entity(last, &es[i])
		last = es[i].Pos
	}
}

func readEntities(r *wire.Reader, limit int) []mesh.Entity {
	n := r.Count(limit, wire.MinEntityBytes)
	if n == 0 {
		return nil
	}
	es := make([]mesh.Entity, n)
	var last mesh.Vec
	for i := range es {
		r.Entity(last, &es[i])
		last = es[i].Pos
	}
	return es
}

func writePick(w *wire.Writer, p mesh.Pick) {
	w.Uvarint(uint64(p.Player))
	w.Uvarint(uint64(p.Event))
}

func readPick(r *wire.Reader) mesh.Pick {
	return mesh.Pick{Player: mesh.PlayerID(r.Uint(math.MaxUint32)), Event: uint32(r.Uint(math.MaxUint32))}
}

// Which fields of a record are not zero, and therefore written.
const (
	hasN = 1 << iota
	hasZone
	hasBirth
	hasPick
	hasEntities
	hasIDs
)

func recordMask(r *Record) (mask uint8) {
	for i, set := range [...]bool{r.N != 0, r.Zone != 0, r.Birth, r.Pick != mesh.Pick{}, len(r.Entities) > 0, len(r.IDs) > 0} {
		if set {
			mask |= 1 << i
		}
	}
	return mask
}

// EncodeRecords appends records to dst, for a journal slot.
func EncodeRecords(dst []byte, records []Record) []byte {
	w := wire.Writer{B: append(dst, formatRecords)}
	w.Uvarint(uint64(len(records)))
	for i := range records {
		writeRecord(&w, &records[i])
	}
	return w.B
}

func writeRecord(w *wire.Writer, r *Record) {
	mask := recordMask(r)
	w.U8(uint8(r.Kind))
	w.U8(mask)
	if mask&hasN != 0 {
		w.Uvarint(r.N)
	}
	if mask&hasZone != 0 {
		w.Uvarint(uint64(r.Zone))
	}
	if mask&hasPick != 0 {
		writePick(w, r.Pick)
	}
	if mask&hasEntities != 0 {
		writeEntities(w, r.Entities)
	}
	if mask&hasIDs != 0 {
		w.Uvarint(uint64(len(r.IDs)))
		for _, id := range r.IDs {
			w.ID(id)
		}
	}
}

// DecodeRecords returns what EncodeRecords wrote. No bytes at all, as in a
// seal, are no records.
func DecodeRecords(b []byte) ([]Record, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r, err := open(b, formatRecords)
	if err != nil {
		return nil, err
	}
	records := make([]Record, r.Count(MaxRecords, 2))
	for i := range records {
		readRecord(&r, &records[i])
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return records, nil
}

func readRecord(r *wire.Reader, rec *Record) {
	rec.Kind = RecordKind(r.U8())
	mask := r.U8()
	rec.Birth = mask&hasBirth != 0
	if mask&hasN != 0 {
		rec.N = r.Uvarint()
	}
	if mask&hasZone != 0 {
		rec.Zone = mesh.ZoneID(r.Uint(math.MaxUint32))
	}
	if mask&hasPick != 0 {
		rec.Pick = readPick(r)
	}
	if mask&hasEntities != 0 {
		rec.Entities = readEntities(r, MaxEntities)
	}
	if mask&hasIDs != 0 {
		rec.IDs = make([]mesh.EntityID, r.Count(MaxEntities, 2))
		for i := range rec.IDs {
			rec.IDs[i] = r.ID()
		}
	}
	if mask != recordMask(rec) || rec.Kind < RecordPut || rec.Kind > RecordDropSource {
		r.Fail(wire.ErrMalformed)
	}
}

func sortedKeys[K ~uint32 | ~uint64, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Encode appends s to dst, for a snapshot. Equal states give equal bytes.
func (s *State) Encode(dst []byte) []byte {
	w := wire.Writer{B: append(dst, formatState)}
	w.Uvarint(s.NextMark)
	es := make([]mesh.Entity, 0, len(s.Entities))
	for _, id := range sortedKeys(s.Entities) {
		es = append(es, s.Entities[id])
	}
	writeEntities(&w, es)

	w.Uvarint(uint64(len(s.Outbound)))
	for _, n := range sortedKeys(s.Outbound) {
		o := s.Outbound[n]
		w.Uvarint(n)
		w.Uvarint(uint64(o.To))
		writePick(&w, o.Pick)
		writeEntities(&w, o.Members)
	}

	w.Uvarint(uint64(len(s.Low)))
	for _, z := range sortedKeys(s.Low) {
		w.Uvarint(uint64(z))
		w.Uvarint(s.Low[z])
	}

	w.Uvarint(uint64(len(s.Received)))
	for _, z := range sortedKeys(s.Received) {
		w.Uvarint(uint64(z))
		w.Uvarint(uint64(len(s.Received[z])))
		for _, n := range sortedKeys(s.Received[z]) {
			w.Uvarint(n)
		}
	}
	s.writeBorn(&w)
	return w.B
}

// DecodeState returns what Encode wrote. No bytes at all are the empty state.
func DecodeState(b []byte) (*State, error) {
	if len(b) == 0 {
		return NewState(), nil
	}
	r, err := open(b, formatState)
	if err != nil {
		return nil, err
	}
	s := NewState()
	s.NextMark = r.Uvarint()
	es := readEntities(&r, math.MaxInt32) // sleepers too, of whom there is no end
	s.Entities = make(map[mesh.EntityID]mesh.Entity, len(es))
	for i, e := range es {
		if i > 0 && es[i-1].ID >= e.ID {
			r.Fail(wire.ErrMalformed)
		}
		s.Entities[e.ID] = e
	}

	var n ascending[uint64]
	for range r.Count(math.MaxInt32, minOutboundBytes) {
		o := Outbound{N: n.next(&r, math.MaxUint64), To: mesh.ZoneID(r.Uint(math.MaxUint32)), Pick: readPick(&r)}
		o.Members = readEntities(&r, MaxEntities)
		s.Outbound[o.N] = o
	}

	var z ascending[mesh.ZoneID]
	for range r.Count(math.MaxInt32, 2) {
		from := z.next(&r, math.MaxUint32)
		s.Low[from] = r.Uvarint()
	}

	z = ascending[mesh.ZoneID]{}
	for range r.Count(math.MaxInt32, 2) {
		from := z.next(&r, math.MaxUint32)
		count := r.Count(math.MaxInt32, 1)
		received := make(map[uint64]struct{}, count)
		var n ascending[uint64]
		for range count {
			received[n.next(&r, math.MaxUint64)] = struct{}{}
		}
		s.Received[from] = received
	}
	s.readBorn(&r)
	if err := r.Done(); err != nil {
		return nil, err
	}
	return s, nil
}

// ascending reads varints each of which must be greater than the last.
type ascending[T ~uint32 | ~uint64] struct {
	last T
	some bool
}

func (a *ascending[T]) next(r *wire.Reader, limit uint64) T {
	v := T(r.Uint(limit))
	if a.some && v <= a.last {
		r.Fail(wire.ErrMalformed)
	}
	a.last, a.some = v, true
	return v
}

// The fewest bytes of an outbound crossing, and of a word of the roster.
const (
	minOutboundBytes = 5
	minWordBytes     = 9
)

// writeBorn writes the roster 64 players at a time: how many words of a bit
// per player are empty since the last one that is not, and then that word.
// Players are numbered densely, so that this is close to a bit a player.
func (s *State) writeBorn(w *wire.Writer) {
	words := map[uint32]uint64{}
	for p := range s.Born {
		words[uint32(p)/64] |= 1 << (p % 64)
	}
	w.Uvarint(uint64(len(words)))
	next := uint32(0)
	for _, i := range sortedKeys(words) {
		w.Uvarint(uint64(i - next))
		w.U64(words[i])
		next = i + 1
	}
}

func (s *State) readBorn(r *wire.Reader) {
	const end = (1 << 32) / 64
	words := r.Count(end, minWordBytes)
	born := 0
	for ahead, i := *r, 0; i < words; i++ {
		ahead.Uvarint()
		born += bits.OnesCount64(ahead.U64())
	}
	s.Born = make(map[mesh.PlayerID]struct{}, born)
	next := uint64(0)
	for range words {
		i := next + r.Uint(end-1)
		word := r.U64()
		if i >= end || word == 0 {
			r.Fail(wire.ErrMalformed)
			return
		}
		for ; word != 0; word &= word - 1 {
			s.Born[mesh.PlayerID(i*64+uint64(bits.TrailingZeros64(word)))] = struct{}{}
		}
		next = i + 1
	}
}

// Chunks cuts b into pieces of at most max bytes, at least one, that alias b.
func Chunks(b []byte, max int) [][]byte {
	if len(b) == 0 {
		return [][]byte{b}
	}
	return slices.Collect(slices.Chunk(b, max))
}

// Join puts the pieces that Chunks made together again.
func Join(chunks [][]byte) []byte { return bytes.Join(chunks, nil) }
