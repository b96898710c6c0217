package wire

import (
	"math"

	"weft/control/mesh"
)

// The fewest bytes that a pose and an entity take.
const (
	MinPoseBytes   = 7
	MinEntityBytes = MinPoseBytes + 1
)

// ID writes the kind as a byte and the number as a varint.
func (w *Writer) ID(id mesh.EntityID) {
	w.U8(uint8(id.Kind()))
	w.Uvarint(id.Number())
}

func (r *Reader) ID() mesh.EntityID {
	k := mesh.Kind(r.U8())
	return mesh.MakeEntityID(k, r.Uint(1<<56-1))
}

// Vec writes v as a difference from base: zigzag varints of x, y and z,
// modulo 2³², so that every pair of places has exactly one encoding.
func (w *Writer) Vec(base, v mesh.Vec) {
	w.Varint(int64(v.X - base.X))
	w.Varint(int64(v.Y - base.Y))
	w.Varint(int64(v.Z - base.Z))
}

func (r *Reader) Vec(base mesh.Vec) mesh.Vec {
	x, y, z := r.Int32(), r.Int32(), r.Int32()
	return mesh.Vec{X: base.X + x, Y: base.Y + y, Z: base.Z + z}
}

// Which fields of a pose and an entity are not zero, and therefore written.
const (
	hasFlags = 1 << iota
	hasHealth
	hasYaw
	hasCarrier
	hasVel
)

const (
	hasPlaced = 1 << iota
	hasHeld
	hasData
	hasSession
	hasLastEvent
	hasOutcomes
)

func bit(set bool, b uint8) uint8 {
	if set {
		return b
	}
	return 0
}

// Pose writes p exactly, its place as a difference from base: mask, id, hop,
// place, then those of flags, health, yaw, carrier and velocity that the mask names.
func (w *Writer) Pose(base mesh.Vec, p *mesh.Pose) {
	mask := poseMask(p)
	w.U8(mask)
	w.ID(p.ID)
	w.Uvarint(uint64(p.Hop))
	w.Vec(base, p.Pos)
	if mask&hasFlags != 0 {
		w.U8(uint8(p.Flags))
	}
	if mask&hasHealth != 0 {
		w.Varint(int64(p.Health))
	}
	if mask&hasYaw != 0 {
		w.U16(p.Yaw)
	}
	if mask&hasCarrier != 0 {
		w.ID(p.Carrier)
	}
	if mask&hasVel != 0 {
		w.Vec(mesh.Vec{}, p.Vel)
	}
}

// Pose reads into p what Writer.Pose wrote with the same base.
func (r *Reader) Pose(base mesh.Vec, p *mesh.Pose) {
	mask := r.U8()
	*p = mesh.Pose{ID: r.ID(), Hop: uint32(r.Uint(math.MaxUint32)), Pos: r.Vec(base)}
	if mask&hasFlags != 0 {
		p.Flags = mesh.Flags(r.U8())
	}
	if mask&hasHealth != 0 {
		p.Health = r.Int16()
	}
	if mask&hasYaw != 0 {
		p.Yaw = r.U16()
	}
	if mask&hasCarrier != 0 {
		p.Carrier = r.ID()
	}
	if mask&hasVel != 0 {
		p.Vel = r.Vec(mesh.Vec{})
	}
	if mask != poseMask(p) {
		r.Fail(ErrMalformed)
	}
}

// Entity writes e exactly: its pose, a mask, and those of placed, held, data,
// session, last event and outcomes that the mask names.
func (w *Writer) Entity(base mesh.Vec, e *mesh.Entity) {
	w.Pose(base, &e.Pose)
	mask := entityMask(e)
	w.U8(mask)
	if mask&hasPlaced != 0 {
		w.Uvarint(uint64(e.Placed))
	}
	if mask&hasHeld != 0 {
		w.ID(e.Held)
	}
	if mask&hasData != 0 {
		w.Uvarint(e.Data)
	}
	if mask&hasSession != 0 {
		w.Uvarint(e.Session)
	}
	if mask&hasLastEvent != 0 {
		w.Uvarint(uint64(e.LastEvent))
	}
	if mask&hasOutcomes != 0 {
		w.U32(e.Outcomes)
	}
}

// Entity reads into e what Writer.Entity wrote with the same base.
func (r *Reader) Entity(base mesh.Vec, e *mesh.Entity) {
	*e = mesh.Entity{}
	r.Pose(base, &e.Pose)
	mask := r.U8()
	if mask&hasPlaced != 0 {
		e.Placed = mesh.Tick(r.Uvarint())
	}
	if mask&hasHeld != 0 {
		e.Held = r.ID()
	}
	if mask&hasData != 0 {
		e.Data = r.Uvarint()
	}
	if mask&hasSession != 0 {
		e.Session = r.Uvarint()
	}
	if mask&hasLastEvent != 0 {
		e.LastEvent = uint32(r.Uint(math.MaxUint32))
	}
	if mask&hasOutcomes != 0 {
		e.Outcomes = r.U32()
	}
	if mask != entityMask(e) {
		r.Fail(ErrMalformed)
	}
}

func entityMask(e *mesh.Entity) uint8 {
	return bit(e.Placed != 0, hasPlaced) | bit(e.Held != 0, hasHeld) | bit(e.Data != 0, hasData) |
		bit(e.Session != 0, hasSession) | bit(e.LastEvent != 0, hasLastEvent) | bit(e.Outcomes != 0, hasOutcomes)
}

func poseMask(p *mesh.Pose) uint8 {
	return bit(p.Flags != 0, hasFlags) | bit(p.Health != 0, hasHealth) | bit(p.Yaw != 0, hasYaw) |
		bit(p.Carrier != 0, hasCarrier) | bit(p.Vel != mesh.Vec{}, hasVel)
}
