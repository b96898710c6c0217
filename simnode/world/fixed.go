package world

import (
	"math/bits"

	"weft/control/mesh"
)

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection
// whose every output bit depends on every input bit.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is the only randomness of a world.
func hash(seed uint64, tick mesh.Tick, id mesh.EntityID) uint64 {
	return mix(mix(mix(seed+0x9e3779b97f4a7c15)+uint64(tick)) + uint64(id))
}

// isqrt returns ⌊√n⌋ of n ≥ 0 by Newton's method from above.
func isqrt(n int64) int64 {
	if n < 2 {
		return max(n, 0)
	}
	x := int64(1) << ((bits.Len64(uint64(n)) + 1) / 2)
	for {
		y := (x + n/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}

// divRound returns a/b to the nearest, halves away from zero; b > 0.
func divRound(a, b int64) int64 {
	if a < 0 {
		return (a - b/2) / b
	}
	return (a + b/2) / b
}

// scale returns v·num/den, each part to the nearest.
func scale(v mesh.Vec, num, den int64) mesh.Vec {
	f := func(c int32) int32 { return int32(divRound(int64(c)*num, den)) }
	return mesh.Vec{X: f(v.X), Y: f(v.Y), Z: f(v.Z)}
}

// perTick returns how far a velocity, of at most 2³⁰ a second, goes in a tick,
// each part to the nearest: by the inverse of hz, which is exact for numbers of
// 31 bits (Granlund, Montgomery 1994).
func (l *limits) perTick(v mesh.Vec) mesh.Vec {
	return mesh.Vec{X: l.divideHz(v.X), Y: l.divideHz(v.Y), Z: l.divideHz(v.Z)}
}

func (l *limits) divideHz(c int32) int32 {
	sign := c >> 31
	q := int32((int64(c^sign-sign) + int64(l.hz/2)) * l.inverse >> (l.places & 63))
	return q ^ sign - sign
}

// short reports that v is no longer than limit, whatever v's parts.
func short(v mesh.Vec, limit int32) bool {
	x, y, z := abs(v.X), abs(v.Y), abs(v.Z)
	return x+y+z <= int64(limit) || max(x, y, z) <= int64(limit) && v.Dist2(mesh.Vec{}) <= int64(limit)*int64(limit)
}

// capped returns v, shortened to limit if it is longer.
func capped(v mesh.Vec, limit int32) mesh.Vec {
	if short(v, limit) {
		return v
	}
	for max(abs(v.X), abs(v.Y), abs(v.Z)) >= 1<<30 { // so that the square fits
		v = mesh.Vec{X: v.X / 2, Y: v.Y / 2, Z: v.Z / 2}
	}
	n := isqrt(v.Dist2(mesh.Vec{})) + 1
	f := func(c int32) int32 { return int32(int64(c) * int64(limit) / n) }
	return mesh.Vec{X: f(v.X), Y: f(v.Y), Z: f(v.Z)}
}

func abs(v int32) int64 {
	if v < 0 {
		return -int64(v)
	}
	return int64(v)
}

func clamp32(v int64) int32 { return int32(min(max(v, -1<<31), 1<<31-1)) }

// moved returns p + d inside b.
func moved(p, d mesh.Vec, b *mesh.Box) mesh.Vec {
	f := func(p, d, lo, hi int32) int32 {
		return int32(min(max(int64(p)+int64(d), int64(lo)), int64(hi)-1))
	}
	return mesh.Vec{X: f(p.X, d.X, b.Min.X, b.Max.X), Y: f(p.Y, d.Y, b.Min.Y, b.Max.Y), Z: f(p.Z, d.Z, b.Min.Z, b.Max.Z)}
}
