package partition

import (
	"slices"

	"weft/control/mesh"
)

// Cell is a part of the load on the ground: Weight, in millionths of a node,
// spread evenly over Min ≤ p < Max along X and Y. Where Min = Max it is all there.
type Cell struct {
	Min, Max [2]int32
	Weight   int64
}

// Center returns the middle of c on the ground.
func (c Cell) Center() mesh.Vec {
	mid := func(a int) int32 { return int32((int64(c.Min[a]) + int64(c.Max[a])) / 2) }
	return mesh.Vec{X: mid(0), Y: mid(1)}
}

// WellFormed reports whether d can be used: as many counts as cells, edges in
// ascending order, something in it, and no more cells than a node may report.
func WellFormed(d mesh.Density) bool {
	nx, ny := len(d.XEdges)-1, len(d.YEdges)-1
	if nx < 1 || ny < 1 || nx > mesh.DensityCells || ny > mesh.DensityCells || len(d.Counts) != nx*ny ||
		!slices.IsSorted(d.XEdges) || !slices.IsSorted(d.YEdges) {
		return false
	}
	return slices.ContainsFunc(d.Counts, func(n uint16) bool { return n > 0 })
}

// Cells spreads load over the cells of d, which must be well formed.
func Cells(d mesh.Density, load Load) []Cell {
	var total int64
	for _, n := range d.Counts {
		total += int64(n)
	}
	nx := len(d.XEdges) - 1
	out := make([]Cell, 0, len(d.Counts))
	for i, n := range d.Counts {
		if n == 0 {
			continue
		}
		x, y := i%nx, i/nx
		out = append(out, Cell{
			Min:    [2]int32{d.XEdges[x], d.YEdges[y]},
			Max:    [2]int32{d.XEdges[x+1], d.YEdges[y+1]},
			Weight: max(int64(load)*1000*int64(n)/total, 1),
		})
	}
	return out
}

// below returns how much of c lies at axis < at.
func (c Cell) below(axis int, at int32) int64 {
	lo, hi := c.Min[axis], c.Max[axis]
	switch {
	case at <= lo:
		return 0
	case at >= hi:
		return c.Weight
	}
	return c.Weight * (int64(at) - int64(lo)) / (int64(hi) - int64(lo))
}

func below(cells []Cell, axis int, at int32) (sum int64) {
	for _, c := range cells {
		sum += c.below(axis, at)
	}
	return sum
}

func weight(cells []Cell) (sum int64) {
	for _, c := range cells {
		sum += c.Weight
	}
	return sum
}

// plane returns the lowest at in lo..hi with at least want of cells below it.
func plane(cells []Cell, axis int, lo, hi int32, want int64) int32 {
	for lo < hi {
		mid := int32((int64(lo) + int64(hi)) >> 1)
		if below(cells, axis, mid) >= want {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// cutCells divides cells at the plane; a cell that it crosses is divided too.
func cutCells(cells []Cell, axis int, at int32) (low, high []Cell) {
	for _, c := range cells {
		w := c.below(axis, at)
		if w > 0 {
			l := c
			l.Weight, l.Max[axis] = w, min(c.Max[axis], at)
			low = append(low, l)
		}
		if w < c.Weight {
			h := c
			h.Weight, h.Min[axis] = c.Weight-w, max(c.Min[axis], at)
			high = append(high, h)
		}
	}
	return low, high
}

// bestCut returns the plane that halves cells within box, leaving both sides
// at least width units wide: across the axis along which the middle half of
// the load is spread widest, unless that leaves three quarters on one side and
// the other axis does better. It returns false if box is too narrow or nothing
// would be divided.
func bestCut(cells []Cell, box mesh.Box, width int32) (axis int, at int32, ok bool) {
	total := weight(cells)
	if total == 0 {
		return 0, 0, false
	}
	var spread, worse [2]int64 // worse: the weight of the heavier side
	var planes [2]int32
	for a := range 2 {
		lo, hi := extent(box, a)
		worse[a] = total
		if int64(hi)-int64(lo) < 2*int64(width) || int64(hi)-int64(lo) < 2 {
			continue
		}
		spread[a] = int64(plane(cells, a, lo, hi, total-total/4)) - int64(plane(cells, a, lo, hi, (total+3)/4))
		w := max(width, 1)
		at := plane(cells, a, lo+w, hi-w, (total+1)/2)
		side := func(at int32) int64 { b := below(cells, a, at); return max(b, total-b) }
		if at > lo+w && side(at-1) < side(at) {
			at--
		}
		planes[a], worse[a] = at, side(at)
	}
	axis = 0
	if spread[1] > spread[0] {
		axis = 1
	}
	if worse[axis] > total-total/4 && worse[1-axis] < worse[axis] || worse[axis] == total {
		axis = 1 - axis
	}
	return axis, planes[axis], worse[axis] < total
}

// Bulk returns the part of box that holds the middle seven eighths of z's load
// along each axis, or box itself if nothing is known of where the load is.
func Bulk(z Zone, box mesh.Box) mesh.Box {
	cells := z.cells(box)
	total := weight(cells)
	if total == 0 {
		return box
	}
	cut := func(axis int) (int32, int32) {
		lo, hi := extent(box, axis)
		return max(plane(cells, axis, lo, hi, total/16+1)-1, lo), plane(cells, axis, lo, hi, total-total/16)
	}
	box.Min.X, box.Max.X = cut(0)
	box.Min.Y, box.Max.Y = cut(1)
	return box
}

// cells returns the load of z, which has the given box, clipped to it.
func (z Zone) cells(box mesh.Box) []Cell {
	cells := slices.Clone(z.Strays)
	if WellFormed(z.Density) {
		cells = append(cells, Cells(z.Density, max(z.Load, 1))...)
	}
	for axis := range 2 {
		lo, hi := extent(box, axis)
		_, cells = cutCells(cells, axis, lo)
		in, out := cutCells(cells, axis, hi)
		cells = in
		for _, c := range out { // the last edge may lie on the face
			if c.Min[axis] == hi && c.Max[axis] == hi {
				c.Min[axis], c.Max[axis] = hi-1, hi-1
				cells = append(cells, c)
			}
		}
	}
	return cells
}
