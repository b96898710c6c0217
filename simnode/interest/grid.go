package interest

import "weft/control/mesh"

// spread is how many cells wide a radius is: more cells cover a circle more
// tightly, and cost more to visit.
const spread = 2

// grid holds entries sorted by cell on the ground, row by row along X, so that
// neighbouring cells of a row lie side by side.
type grid struct {
	in      []entry
	entries []entry
	starts  []int32 // by cell; one more than there are
	cell    int64   // edge, in units
	min     mesh.Vec
	wide    int
	high    int
	parts   [spread + 1][]entry
}

// build sorts in by counting, which costs least where it is nearly sorted.
// A reach is covered by spread cells on each side.
func (g *grid) build(reach int32) {
	g.shape(reach)
	cells := g.wide * g.high
	if len(g.starts) != cells+1 {
		if cap(g.starts) <= cells {
			g.starts = make([]int32, cells+1+cells/4)
		}
		g.starts = g.starts[:cells+1]
	}
	clear(g.starts)
	for i := range g.in {
		g.starts[g.cellOf(g.in[i].pos)]++
	}
	var sum int32
	for c, n := range g.starts {
		sum += n
		g.starts[c] = sum
	}
	if cap(g.entries) < len(g.in) {
		g.entries = make([]entry, len(g.in)+len(g.in)/4)
	}
	g.entries = g.entries[:len(g.in)]
	for i := len(g.in) - 1; i >= 0; i-- {
		c := g.cellOf(g.in[i].pos)
		g.starts[c]--
		g.entries[g.starts[c]] = g.in[i]
	}
}

// shape chooses cells, larger ones where places are so far apart that most would be empty.
func (g *grid) shape(reach int32) {
	g.cell, g.min, g.wide, g.high = (int64(reach)+spread-1)/spread, mesh.Vec{}, 1, 1
	if len(g.in) == 0 {
		return
	}
	lo, hi := g.in[0].pos, g.in[0].pos
	for i := range g.in {
		p := &g.in[i].pos
		lo.X, lo.Y, hi.X, hi.Y = min(lo.X, p.X), min(lo.Y, p.Y), max(hi.X, p.X), max(hi.Y, p.Y)
	}
	w, h := int64(hi.X)-int64(lo.X), int64(hi.Y)-int64(lo.Y)
	for (w/g.cell+1)*(h/g.cell+1) > int64(4*len(g.in)+64) {
		g.cell *= 2
	}
	g.min, g.wide, g.high = lo, int(w/g.cell)+1, int(h/g.cell)+1
}

func (g *grid) cellOf(p mesh.Vec) int {
	return int((int64(p.Y)-int64(g.min.Y))/g.cell)*g.wide + int((int64(p.X)-int64(g.min.X))/g.cell)
}

// forward returns the stretches of entries behind a cell that are near it: the
// rest of its row, and the rows after.
func (g *grid) forward(cell int) [][]entry {
	x, y := cell%g.wide, cell/g.wide
	x0, x1 := max(x-spread, 0), min(x+spread, g.wide-1)
	row := y * g.wide
	g.parts[0] = g.entries[g.starts[cell+1]:g.starts[row+x1+1]]
	n := 1
	for row += g.wide; n <= spread && y+n < g.high; row += g.wide {
		g.parts[n] = g.entries[g.starts[row+x0]:g.starts[row+x1+1]]
		n++
	}
	return g.parts[:n]
}

// around calls f with every entry that is near p, and others.
func (g *grid) around(p mesh.Vec, f func(*entry)) {
	g.entriesAround(g.entries, p, int32(min(spread*g.cell, 1<<30)), f)
}

// entriesAround is around for entries that were sorted by this grid.
func (g *grid) entriesAround(entries []entry, p mesh.Vec, reach int32, f func(*entry)) {
	at := func(v, lo int32, d int64, n int) int {
		return int(min(max((int64(v)-int64(lo)+d)/g.cell, 0), int64(n-1)))
	}
	x0, x1 := at(p.X, g.min.X, -int64(reach), g.wide), at(p.X, g.min.X, int64(reach), g.wide)
	y0, y1 := at(p.Y, g.min.Y, -int64(reach), g.high), at(p.Y, g.min.Y, int64(reach), g.high)
	for y := y0; y <= y1; y++ {
		part := entries[g.starts[y*g.wide+x0]:g.starts[y*g.wide+x1+1]]
		for i := range part {
			f(&part[i])
		}
	}
}
