package mesh

// UnitsPerMeter is the resolution of world space: positions are int32 in
// 1/256 m from the world's origin, the same on every CPU.
const UnitsPerMeter = 256

// Vec is a place or a displacement in units of 1/256 m. X and Y span the
// ground, Z is height.
type Vec struct{ X, Y, Z int32 }

// Meters returns the Vec at (x, y, z) given in whole meters.
func Meters(x, y, z int32) Vec {
	return Vec{x * UnitsPerMeter, y * UnitsPerMeter, z * UnitsPerMeter}
}

// Add returns v + w.
func (v Vec) Add(w Vec) Vec { return Vec{v.X + w.X, v.Y + w.Y, v.Z + w.Z} }

// Sub returns v − w.
func (v Vec) Sub(w Vec) Vec { return Vec{v.X - w.X, v.Y - w.Y, v.Z - w.Z} }

// Dist2 returns the squared distance between v and w in square units. It
// cannot overflow: coordinates differ by less than 2³².
func (v Vec) Dist2(w Vec) int64 {
	dx, dy, dz := int64(v.X)-int64(w.X), int64(v.Y)-int64(w.Y), int64(v.Z)-int64(w.Z)
	return dx*dx + dy*dy + dz*dz
}

// Box is the half-open box Min ≤ p < Max.
type Box struct {
	Min Vec `json:"min"`
	Max Vec `json:"max"`
}

// Contains reports whether p lies in b.
func (b Box) Contains(p Vec) bool {
	return p.X >= b.Min.X && p.X < b.Max.X &&
		p.Y >= b.Min.Y && p.Y < b.Max.Y &&
		p.Z >= b.Min.Z && p.Z < b.Max.Z
}

// Outside returns how far p lies outside b along its worst axis, in units;
// zero or less when p is inside.
func (b Box) Outside(p Vec) int64 {
	worst := func(p, lo, hi int32) int64 { return max(int64(lo)-int64(p), int64(p)-int64(hi)+1) }
	return max(worst(p.X, b.Min.X, b.Max.X), worst(p.Y, b.Min.Y, b.Max.Y), worst(p.Z, b.Min.Z, b.Max.Z))
}

// Grow returns b widened by m units on every side, saturating at the ends of
// the coordinate range.
func (b Box) Grow(m int32) Box {
	lo := func(v int32) int32 { return int32(max(int64(v)-int64(m), -1<<31)) }
	hi := func(v int32) int32 { return int32(min(int64(v)+int64(m), 1<<31-1)) }
	return Box{
		Min: Vec{lo(b.Min.X), lo(b.Min.Y), lo(b.Min.Z)},
		Max: Vec{hi(b.Max.X), hi(b.Max.Y), hi(b.Max.Z)},
	}
}

// Overlaps reports whether b and c share a point.
func (b Box) Overlaps(c Box) bool {
	return b.Min.X < c.Max.X && c.Min.X < b.Max.X &&
		b.Min.Y < c.Max.Y && c.Min.Y < b.Max.Y &&
		b.Min.Z < c.Max.Z && c.Min.Z < b.Max.Z
}

// Clamp returns the point of b nearest to p.
func (b Box) Clamp(p Vec) Vec {
	c := func(v, lo, hi int32) int32 { return min(max(v, lo), hi-1) }
	return Vec{c(p.X, b.Min.X, b.Max.X), c(p.Y, b.Min.Y, b.Max.Y), c(p.Z, b.Min.Z, b.Max.Z)}
}

// Cut splits b at the plane axis = at (axis 0 is X, 1 is Y). Both halves are
// non-empty only if at lies strictly between b's faces.
func (b Box) Cut(axis int, at int32) (low, high Box) {
	low, high = b, b
	if axis == 0 {
		low.Max.X, high.Min.X = at, at
	} else {
		low.Max.Y, high.Min.Y = at, at
	}
	return low, high
}
