package world

import (
	"math/bits"

	"weft/control/mesh"
)

// spot is an entity as others see it in this tick.
type spot struct {
	pos, vel mesh.Vec
	ref      int32 // a resident's slot; or, complemented, a place among the ghosts
}

// grid finds spots by their cell on the ground: square columns of 1<<shift
// units, hashed so that neighbours along X are neighbours in memory, and sorted
// by counting. Its buffers are used again each tick.
type grid struct {
	shift uint
	mask  uint32
	in    []spot
	start []int32 // by bucket; one more than there are
	spots []spot  // sorted by bucket
}

// cellShift returns the shift of the smallest cell at least reach units wide.
func cellShift(reach int32) uint { return uint(bits.Len32(uint32(max(reach, 2) - 1))) }

func (g *grid) bucket(cx, cy int32) uint32 { return (uint32(cx) + uint32(cy)*0x9e3779b1) & g.mask }

func (g *grid) reset() { g.in = g.in[:0] }

func (g *grid) add(s spot) { g.in = append(g.in, s) }

// build sorts what was added since reset.
func (g *grid) build() {
	buckets := 1 << bits.Len(uint(max(len(g.in), 8)))
	if len(g.start) < buckets+1 || len(g.start) > 4*buckets+1 {
		g.start = make([]int32, buckets+1)
	}
	buckets = len(g.start) - 1
	g.mask = uint32(buckets - 1)
	clear(g.start)
	for i := range g.in {
		p := &g.in[i].pos
		g.start[g.bucket(p.X>>g.shift, p.Y>>g.shift)]++
	}
	var sum int32
	for b := range g.start {
		sum, g.start[b] = sum+g.start[b], sum+g.start[b]
	}
	if cap(g.spots) < len(g.in) {
		g.spots = make([]spot, cap(g.in))
	}
	g.spots = g.spots[:len(g.in)]
	for i := len(g.in) - 1; i >= 0; i-- {
		p := &g.in[i].pos
		b := g.bucket(p.X>>g.shift, p.Y>>g.shift)
		g.start[b]--
		g.spots[g.start[b]] = g.in[i]
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
