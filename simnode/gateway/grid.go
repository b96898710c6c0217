package gateway

import (
	"math"

	"weft/control/mesh"
)

// grid sorts the shown entities into square cells of the ground, row by row,
// so that the entities of neighbouring cells of a row lie side by side. A cell
// that holds a crowd is sorted again, into cells of its own, so that who is
// nearest is found among few.
type grid struct {
	version       uint32 // grows with each sort
	min           mesh.Vec
	cell          int64 // edge, in units
	width, height int
	starts        []uint32 // per cell, where its entries begin; one more at the end
	entries       []gridEntry
	fill          []uint32

	subOf   []uint32 // per cell, 1 + where in subs its crowd is sorted, or 0
	crowded []int    // the cells that are not 0 in subOf
	subs    []sub
	inner   []uint32 // starts of the cells of all subs
	moving  []gridEntry
	spans   []stretch // of the last cover
}

type gridEntry struct {
	slot uint32
	pos  mesh.Vec
}

// sub is a crowded cell, cut into side by side cells.
type sub struct {
	at   int // where in inner its starts begin; one more than cells
	side int
	edge int64
}

// stretch is some entries that lie side by side.
type stretch struct{ from, to uint32 }

const (
	maxCells = 1 << 16 // in a larger world the cells are larger
	// crowdedCell is how many entities make a cell crowded, cellShare how many
	// lie in each of the cells it is cut into then, of which there are at most maxSide².
	crowdedCell = 24
	cellShare   = 4
	maxSide     = 32
)

func newGrid(b mesh.Box, cellM int) grid {
	w, h := int64(b.Max.X)-int64(b.Min.X), int64(b.Max.Y)-int64(b.Min.Y)
	cell := int64(cellM) * mesh.UnitsPerMeter
	for (w/cell+1)*(h/cell+1) > maxCells {
		cell *= 2
	}
	gr := grid{min: b.Min, cell: cell, width: int(w/cell) + 1, height: int(h/cell) + 1}
	n := gr.width * gr.height
	gr.starts, gr.fill, gr.subOf = make([]uint32, n+1), make([]uint32, n), make([]uint32, n)
	return gr
}

func (gr *grid) column(x int64) int {
	return int(min(max((x-int64(gr.min.X))/gr.cell, 0), int64(gr.width-1)))
}

func (gr *grid) row(y int64) int {
	return int(min(max((y-int64(gr.min.Y))/gr.cell, 0), int64(gr.height-1)))
}

// sort puts the shown entities of r into the grid.
func (gr *grid) sort(r *replica) {
	gr.version++
	clear(gr.starts)
	for _, cell := range gr.crowded {
		gr.subOf[cell] = 0
	}
	gr.crowded, gr.subs, gr.inner = gr.crowded[:0], gr.subs[:0], gr.inner[:0]
	n := 0
	for i := range r.entities {
		if e := &r.entities[i]; !e.dead {
			p := r.hots[i].pos
			gr.starts[gr.row(int64(p.Y))*gr.width+gr.column(int64(p.X))+1]++
			n++
		}
	}
	for i := 1; i < len(gr.starts); i++ {
		if gr.starts[i] > crowdedCell {
			gr.crowded = append(gr.crowded, i-1)
		}
		gr.starts[i] += gr.starts[i-1]
	}
	if cap(gr.entries) < n {
		gr.entries = make([]gridEntry, n, n+n/4+64)
	}
	gr.entries = gr.entries[:n]
	copy(gr.fill, gr.starts)
	for i := range r.entities {
		if e := &r.entities[i]; !e.dead {
			p := r.hots[i].pos
			cell := gr.row(int64(p.Y))*gr.width + gr.column(int64(p.X))
			gr.entries[gr.fill[cell]] = gridEntry{uint32(i), p}
			gr.fill[cell]++
		}
	}
	for _, cell := range gr.crowded {
		gr.cut(cell)
	}
}

// cut sorts the entries of a crowded cell into cells of its own.
func (gr *grid) cut(cell int) {
	entries := gr.entries[gr.starts[cell]:gr.starts[cell+1]]
	side := min(int(math.Sqrt(float64(len(entries)/cellShare)))+1, maxSide)
	s := sub{at: len(gr.inner), side: side, edge: gr.cell/int64(side) + 1}
	for range side*side + 1 {
		gr.inner = append(gr.inner, 0)
	}
	starts := gr.inner[s.at:]
	x0, y0 := gr.corner(cell)
	for i := range entries {
		starts[s.place(entries[i].pos, x0, y0)+1]++
	}
	starts[0] = gr.starts[cell]
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	gr.moving = append(gr.moving[:0], entries...)
	fill := append(gr.fill[:0], starts...) // done with for this sort
	for _, e := range gr.moving {
		at := s.place(e.pos, x0, y0)
		gr.entries[fill[at]] = e
		fill[at]++
	}
	gr.subs = append(gr.subs, s)
	gr.subOf[cell] = uint32(len(gr.subs))
}

func (gr *grid) corner(cell int) (x, y int64) {
	return int64(gr.min.X) + int64(cell%gr.width)*gr.cell, int64(gr.min.Y) + int64(cell/gr.width)*gr.cell
}

func (s *sub) place(p mesh.Vec, x0, y0 int64) int {
	return s.line(int64(p.Y)-y0)*s.side + s.line(int64(p.X)-x0)
}

func (s *sub) line(off int64) int { return int(min(max(off/s.edge, 0), int64(s.side-1))) }

// block returns the block of cells that a square of half-edge
// r units around p touches.
func (gr *grid) block(p mesh.Vec, r int64) (x0, x1, y0, y1 int) {
	x, y := int64(p.X), int64(p.Y)
	return gr.column(x - r), gr.column(x + r), gr.row(y - r), gr.row(y + r)
}

// stretch returns the entries of the cells x0 to x1 of row y.
func (gr *grid) stretch(x0, x1, y int) []gridEntry {
	return gr.entries[gr.starts[y*gr.width+x0]:gr.starts[y*gr.width+x1+1]]
}

// cover returns stretches that hold whatever is within r of p over the ground,
// and little more. They hold until the next cover or sort.
func (gr *grid) cover(p mesh.Vec, r int64) []stretch {
	spans := gr.spans[:0]
	x0, x1, y0, y1 := gr.block(p, r)
	for y := y0; y <= y1; y++ {
		open := stretch{}
		for x := x0; x <= x1; x++ {
			cell := y*gr.width + x
			from, to := gr.starts[cell], gr.starts[cell+1]
			if from == to {
				continue
			}
			if gr.subOf[cell] == 0 {
				if open.to != from {
					if open.to > open.from {
						spans = append(spans, open)
					}
					open.from = from
				}
				open.to = to
				continue
			}
			s := &gr.subs[gr.subOf[cell]-1]
			cx, cy := gr.corner(cell)
			dx, dy := int64(p.X)-cx, int64(p.Y)-cy
			a, b := s.line(dx-r), s.line(dx+r)
			for line, last := s.line(dy-r), s.line(dy+r); line <= last; line++ {
				if from, to := gr.inner[s.at+line*s.side+a], gr.inner[s.at+line*s.side+b+1]; from < to {
					spans = append(spans, stretch{from, to})
				}
			}
		}
		if open.to > open.from {
			spans = append(spans, open)
		}
	}
	gr.spans = spans
	return spans
}

// count returns how many entities the cells of a block hold.
func (gr *grid) count(p mesh.Vec, r int64) int {
	x0, x1, y0, y1 := gr.block(p, r)
	n := 0
	for y := y0; y <= y1; y++ {
		n += int(gr.starts[y*gr.width+x1+1] - gr.starts[y*gr.width+x0])
	}
	return n
}
