package world

import (
	"math"
	"math/bits"

	"weft/control/mesh"
)

// spot is an entity as others see it in this tick.
type spot struct {
	pos, vel mesh.Vec
	ref      int32 // a resident's slot; or, complemented, a place among the ghosts
	own      bool  // in slots.air: its state is no longer this, acts have changed it
	near     bool  // another may be within reach, see grid.pair
}

// grid finds spots by their cell on the ground: square columns of 1<<shift
// units, row by row along X where they cover few enough cells, else hashed so
// that neighbours along X stay neighbours in memory. Spots are sorted by
// counting, which costs least where they come nearly sorted. The buffers are
// used again each tick.
type grid struct {
	shift  uint
	mask   uint32
	stride uint32 // from a row to the next
	in     []spot
	start  []int32 // by bucket; one more than there are
	spots  []spot  // sorted by bucket
	marks  []uint64
}

// cellShift returns the shift of the smallest cell at least reach units wide.
func cellShift(reach int32) uint { return uint(bits.Len32(uint32(max(reach, 2) - 1))) }

func (g *grid) bucket(cx, cy int32) uint32 { return (uint32(cx) + uint32(cy)*g.stride) & g.mask }

func (g *grid) reset() { g.in = g.in[:0] }

func (g *grid) add(s spot) { g.in = append(g.in, s) }

// scatterStride is odd and has no pattern: rows fall anywhere.
const scatterStride = 0x9e3779b1

// shape chooses the number of buckets and the stride for what was added.
func (g *grid) shape(parts *[2][]spot) {
	total := len(parts[0]) + len(parts[1])
	n := uint64(max(total, 8))
	cells := 2 * n
	g.stride = scatterStride
	if total > 0 {
		lo, hi := mesh.Vec{X: math.MaxInt32, Y: math.MaxInt32}, mesh.Vec{X: math.MinInt32, Y: math.MinInt32}
		for _, in := range parts {
			for i := range in {
				p := &in[i].pos
				lo.X, lo.Y, hi.X, hi.Y = min(lo.X, p.X), min(lo.Y, p.Y), max(hi.X, p.X), max(hi.Y, p.Y)
			}
		}
		wide := uint64(int64(hi.X>>g.shift) - int64(lo.X>>g.shift) + 1)
		high := uint64(int64(hi.Y>>g.shift) - int64(lo.Y>>g.shift) + 1)
		if wide <= 8*n && wide*high <= 8*n {
			g.stride, cells = uint32(wide)+1, (wide+1)*high // a row ends in an empty cell
		}
	}
	buckets := 1 << bits.Len64(cells-1)
	if len(g.start) < buckets+1 || len(g.start) > 8*buckets+1 {
		g.start = make([]int32, buckets+1)
	}
	g.mask = uint32(len(g.start) - 2)
}

// build sorts what is kept and what was added since reset.
func (g *grid) build(kept []spot) {
	parts := [2][]spot{kept, g.in}
	g.shape(&parts)
	start, shift, stride, mask := g.start, g.shift&31, g.stride, g.mask
	clear(start)
	for _, in := range parts {
		for i := range in {
			p := &in[i].pos
			start[(uint32(p.X>>shift)+uint32(p.Y>>shift)*stride)&mask]++
		}
	}
	var sum int32
	for b, n := range start {
		sum += n
		start[b] = sum
	}
	total := len(kept) + len(g.in)
	if cap(g.spots) < total {
		g.spots = make([]spot, total+total/4)
	}
	g.spots = g.spots[:total]
	for k := len(parts) - 1; k >= 0; k-- {
		in := parts[k]
		for i := len(in) - 1; i >= 0; i-- {
			p := &in[i].pos
			b := (uint32(p.X>>shift) + uint32(p.Y>>shift)*stride) & mask
			start[b]--
			g.spots[start[b]] = in[i]
		}
	}
}

// row returns the spots in cells x0 to x1 of row y, in two parts, with
// strangers among them: the caller tests the row of each, and its distance.
func (g *grid) row(x0, x1, y int32) (a, b []spot) {
	n := uint32(x1 - x0)
	if n >= g.mask {
		return g.spots, nil
	}
	first := g.bucket(x0, y)
	last := first + n
	if last <= g.mask {
		return g.spots[g.start[first]:g.start[last+1]], nil
	}
	return g.spots[g.start[first]:], g.spots[:g.start[last&g.mask+1]]
}

// pair sets near of all spots that have another within reach, which is at most
// a cell, along each axis, and of few others. Each looks only at those behind it
// in the order of the grid, in its own row and the next. Call it after build.
func (g *grid) pair(reach int32) {
	shift, mask, spots, start := g.shift&31, g.mask, g.spots, g.start
	half := int32(1) << bits.Len32(uint32(reach-1)) // at least reach
	for i := range spots {
		s := &spots[i]
		p := s.pos
		x, y := p.X>>shift, p.Y>>shift
		x0, x1, y1 := (p.X-reach)>>shift, (p.X+reach)>>shift, (p.Y+reach)>>shift
		to, first := g.bucket(x1, y), g.bucket(x0, y1)
		last := first + uint32(x1-x0)
		if to < uint32(x1-x) || last > mask { // the last bucket, and the first again
			g.pairAround(s, reach)
			continue
		}
		p = p.Add(mesh.Vec{X: half, Y: half, Z: half})
		near := false
		after := spots[i+1 : max(start[to+1], int32(i+1))]
		for j := range after {
			o := &after[j]
			if uint32(p.X-o.pos.X)|uint32(p.Y-o.pos.Y)|uint32(p.Z-o.pos.Z) < uint32(2*half) {
				o.near, near = true, true
			}
		}
		from, end := start[first], start[last+1]
		if y1 == y {
			end = from
		}
		after = spots[from:end]
		for j := range after {
			o := &after[j]
			if uint32(p.X-o.pos.X)|uint32(p.Y-o.pos.Y)|uint32(p.Z-o.pos.Z) < uint32(2*half) {
				o.near, near = true, true
			}
		}
		if near {
			s.near = true
		}
	}
}

// pairAround sets near of s and of all that are near it.
func (g *grid) pairAround(s *spot, reach int32) {
	p := s.pos
	s.near = true
	for y := p.Y >> g.shift; y <= (p.Y+reach)>>g.shift; y++ {
		a, b := g.row((p.X-reach)>>g.shift, (p.X+reach)>>g.shift, y)
		for i := range a {
			a[i].near = true
		}
		for i := range b {
			b[i].near = true
		}
	}
}

// mark sets a bit for every cell within two of a spot's, so that clear can
// rule out at once most places that have no spot near. Call it after build.
func (g *grid) mark() {
	if words := 1 << bits.Len(uint(2*len(g.spots))|63); len(g.marks) < words || len(g.marks) > 8*words {
		g.marks = make([]uint64, words)
	}
	clear(g.marks)
	mask := uint32(len(g.marks)*64 - 1)
	for i := range g.spots {
		p := &g.spots[i].pos
		x, y := p.X>>g.shift, p.Y>>g.shift
		for dy := int32(-2); dy <= 2; dy++ {
			at := uint32(x-2) + uint32(y+dy)*scatterStride
			for b := at; b != at+5; b++ {
				g.marks[b&mask>>6] |= 1 << (b & 63)
			}
		}
	}
}

// clear reports that no spot is within one whole cell of p's cell and the
// cells around it. It may be wrong the other way.
func (g *grid) clear(p mesh.Vec) bool {
	b := (uint32(p.X>>g.shift) + uint32(p.Y>>g.shift)*scatterStride) & uint32(len(g.marks)*64-1)
	return g.marks[b>>6]>>(b&63)&1 == 0
}
