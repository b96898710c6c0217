package replication

import (
	"errors"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// A frame tells who listens of one tick of one zone. It is encoded once,
// whoever listens, as the difference from the zone's frame before it; a
// newcomer gets a key frame, which is the whole, and then the same deltas as
// everyone. Entities are compared by slot, their place in the zone's arrays,
// so that nothing is searched for; places are exact.
//
//	key:   format, zone, epoch, tick, count, count poses
//	delta: format, zone, epoch, tick, ticks since the frame before, count, changes to the end
//	change: unchanged slots skipped since the last change, mask, fields that the mask names
//
// A slot with another entity than before, or beyond the slots there were, is
// sent whole; a lower count than before drops the slots above it.

// Which fields of a slot changed.
const (
	changedX      = 1 << iota
	changedY      // places and velocities are told as differences
	changedZ      //
	changedVelXY  //
	changedVelZ   //
	changedYaw    // the new yaw
	changedState  // the new hop, flags, health and carrier
	changedEntity // a whole pose; alone
)

// The errors of FrameDecoder.Apply, which leave the decoder as it was.
var (
	// ErrNeedKey: the frame does not continue what the decoder has. Subscribe
	// again; until the key frame comes, what the decoder has goes stale.
	ErrNeedKey = errors.New("frame does not follow: key frame needed")
	// ErrStaleFrame: the frame is of a lower epoch or not newer. Drop and count it.
	ErrStaleFrame = errors.New("stale frame")
)

// FrameEncoder encodes the frames of one zone. It keeps a copy of the poses of
// the last frame, and its memory from tick to tick.
type FrameEncoder struct {
	zone  mesh.ZoneID
	epoch mesh.Epoch
	tick  mesh.Tick
	last  []mesh.Pose
	begun bool // a frame was encoded since Begin
}

// Begin makes the encoder that of a zone under an epoch. The next frame is a key frame.
func (e *FrameEncoder) Begin(zone mesh.ZoneID, epoch mesh.Epoch) {
	*e = FrameEncoder{zone: zone, epoch: epoch, last: e.last[:0]}
}

// Encode appends the frame of a tick to dst: the difference from the last
// Encode, or a key frame if it is the first. Poses are in slot order, each
// entity in one slot, at most MaxEntities; the encoder copies what changed.
// Ticks must grow: for any other, nothing is appended.
func (e *FrameEncoder) Encode(dst []byte, tick mesh.Tick, poses []mesh.Pose) []byte {
	if !e.begun {
		e.begun, e.tick = true, tick
		e.last = append(e.last[:0], poses...)
		return e.Key(dst)
	}
	if tick <= e.tick {
		return dst
	}
	w := e.header(dst, formatDelta, tick)
	w.Uvarint(uint64(tick - e.tick))
	w.Uvarint(uint64(len(poses)))
	e.tick = tick
	kept := min(len(poses), len(e.last))
	next := 0 // the slot after the last change
	for i := range poses[:kept] {
		if p, q := &e.last[i], &poses[i]; *p != *q {
			w.Uvarint(uint64(i - next))
			writeChange(&w, p, q)
			*p = *q
			next = i + 1
		}
	}
	e.last = append(e.last[:kept], poses[kept:]...)
	for i := kept; i < len(poses); i++ {
		w.Uvarint(uint64(i - next))
		w.U8(changedEntity)
		w.Pose(mesh.Vec{}, &poses[i])
		next = i + 1
	}
	return w.B
}

// Key appends a key frame of the last Encode to dst: a subscriber that gets it
// follows with the frames of later ticks. Before the first Encode it appends nothing.
func (e *FrameEncoder) Key(dst []byte) []byte {
	if !e.begun {
		return dst
	}
	w := e.header(dst, formatKey, e.tick)
	writePoses(&w, e.last)
	return w.B
}

func (e *FrameEncoder) header(dst []byte, format byte, tick mesh.Tick) wire.Writer {
	w := wire.Writer{B: append(dst, format)}
	w.Uvarint(uint64(e.zone))
	w.Uvarint(uint64(e.epoch))
	w.Uvarint(uint64(tick))
	return w
}

// changeMask says which fields differ between p and q, which are unequal.
func changeMask(p, q *mesh.Pose) (mask uint8) {
	if p.ID != q.ID {
		return changedEntity
	}
	if p.Pos.X != q.Pos.X {
		mask |= changedX
	}
	if p.Pos.Y != q.Pos.Y {
		mask |= changedY
	}
	if p.Pos.Z != q.Pos.Z {
		mask |= changedZ
	}
	if p.Vel.X != q.Vel.X || p.Vel.Y != q.Vel.Y {
		mask |= changedVelXY
	}
	if p.Vel.Z != q.Vel.Z {
		mask |= changedVelZ
	}
	if p.Yaw != q.Yaw {
		mask |= changedYaw
	}
	if p.Hop != q.Hop || p.Flags != q.Flags || p.Health != q.Health || p.Carrier != q.Carrier {
		mask |= changedState
	}
	return mask
}

// writeChange writes how p became q. Differences wrap modulo 2³².
func writeChange(w *wire.Writer, p, q *mesh.Pose) {
	mask := changeMask(p, q)
	w.U8(mask)
	if mask == changedEntity {
		w.Pose(mesh.Vec{}, q)
		return
	}
	if mask&changedX != 0 {
		w.Varint(int64(q.Pos.X - p.Pos.X))
	}
	if mask&changedY != 0 {
		w.Varint(int64(q.Pos.Y - p.Pos.Y))
	}
	if mask&changedZ != 0 {
		w.Varint(int64(q.Pos.Z - p.Pos.Z))
	}
	if mask&changedVelXY != 0 {
		w.Varint(int64(q.Vel.X - p.Vel.X))
		w.Varint(int64(q.Vel.Y - p.Vel.Y))
	}
	if mask&changedVelZ != 0 {
		w.Varint(int64(q.Vel.Z - p.Vel.Z))
	}
	if mask&changedYaw != 0 {
		w.U16(q.Yaw)
	}
	if mask&changedState != 0 {
		w.Uvarint(uint64(q.Hop))
		w.U8(uint8(q.Flags))
		w.Varint(int64(q.Health))
		w.ID(q.Carrier)
	}
}

// readChange returns what p becomes; blank if there was nothing in its slot.
func readChange(r *wire.Reader, p *mesh.Pose, blank bool) (q mesh.Pose) {
	mask := r.U8()
	if mask == changedEntity {
		if r.Pose(mesh.Vec{}, &q); !blank && q.ID == p.ID {
			r.Fail(wire.ErrMalformed)
		}
		return q
	}
	q = *p
	if mask&changedX != 0 {
		q.Pos.X += r.Int32()
	}
	if mask&changedY != 0 {
		q.Pos.Y += r.Int32()
	}
	if mask&changedZ != 0 {
		q.Pos.Z += r.Int32()
	}
	if mask&changedVelXY != 0 {
		q.Vel.X += r.Int32()
		q.Vel.Y += r.Int32()
	}
	if mask&changedVelZ != 0 {
		q.Vel.Z += r.Int32()
	}
	if mask&changedYaw != 0 {
		q.Yaw = r.U16()
	}
	if mask&changedState != 0 {
		q.Hop = uint32(r.Uint(1<<32 - 1))
		q.Flags = mesh.Flags(r.U8())
		q.Health = r.Int16()
		q.Carrier = r.ID()
	}
	if mask == 0 || blank || mask != changeMask(p, &q) {
		r.Fail(wire.ErrMalformed)
	}
	return q
}
