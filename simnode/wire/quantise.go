package wire

import (
	"math"

	"weft/control/mesh"
)

// A move counts in steps of 1/16 m, of which 2¹⁶ make the 4,096 m after which
// its coordinates repeat.
const unitsPerStep = mesh.UnitsPerMeter / 16

// Quantise returns p as a move of the entity known by handle. Changed adds
// hop, flags, health and carrier: set it when any of them differs from what
// was last told. Resolve undoes it to within half a step, 8 units an axis.
func Quantise(p mesh.Pose, handle uint32, changed bool) Move {
	m := Move{
		Handle: handle,
		X:      uint16(steps(p.Pos.X)), Y: uint16(steps(p.Pos.Y)), Z: uint16(steps(p.Pos.Z)),
		Yaw:     uint8((uint32(p.Yaw) + 128) >> 8),
		Changed: changed,
	}
	if changed {
		m.Hop, m.Flags, m.Health, m.Carrier = p.Hop, p.Flags, p.Health, p.Carrier
	}
	return m
}

// Resolve returns the place that m means for an entity last known at last: of
// all places congruent to m's, the one nearest to last. It is right while the
// entity is less than 2,047 m from last along each axis.
func Resolve(last mesh.Vec, m Move) mesh.Vec {
	return mesh.Vec{X: resolve(last.X, m.X), Y: resolve(last.Y, m.Y), Z: resolve(last.Z, m.Z)}
}

// steps rounds v to the nearest step.
func steps(v int32) int64 { return (int64(v) + unitsPerStep/2) >> 4 }

func resolve(last int32, to uint16) int32 {
	at := steps(last)
	at += int64(int16(to - uint16(at)))
	return int32(min(max(at*unitsPerStep, math.MinInt32), math.MaxInt32))
}
