package world

import (
	"math"
	"slices"

	"weft/control/mesh"
)

// densitySamples is how many places Density takes to find the edges, at most
// about: quantiles of a sixteenth need no more.
const densitySamples = 2048

// Density maps the load on the ground: awake actors and what flies. Edges are
// quantiles of a sample by id, counts are of all; it does not depend on slots.
// The result is the caller's.
func (w *World) Density() mesh.Density {
	n := len(w.lists[flying]) + len(w.lists[burning]) + len(w.lists[acting]) + len(w.lists[riding])
	if n == 0 {
		return mesh.Density{}
	}
	every := uint64((n + densitySamples - 1) / densitySamples)
	xs, ys := w.samples[0][:0], w.samples[1][:0]
	for ; len(xs) == 0; every = 1 { // a sample may be empty, all are not
		for _, c := range [...]class{flying, burning, acting, riding} {
			for _, s := range w.lists[c] {
				if mix(uint64(w.id[s]))%every == 0 {
					xs, ys = append(xs, w.pos[s].X), append(ys, w.pos[s].Y)
				}
			}
		}
	}
	w.samples = [2][]int32{xs, ys}
	d := mesh.Density{XEdges: edges(xs), YEdges: edges(ys)}
	nx, ny := len(d.XEdges)-1, len(d.YEdges)-1
	d.Counts = make([]uint16, nx*ny)
	for _, c := range [...]class{flying, burning, acting, riding} {
		for _, s := range w.lists[c] {
			i := cell(d.YEdges, w.pos[s].Y)*nx + cell(d.XEdges, w.pos[s].X)
			if d.Counts[i] < math.MaxUint16 {
				d.Counts[i]++
			}
		}
	}
	return d
}

// edges returns ascending edges that part v, which it sorts, in up to
// mesh.DensityCells cells of equally many, fewer where places coincide.
func edges(v []int32) []int32 {
	slices.Sort(v)
	k := min(mesh.DensityCells, len(v))
	e := make([]int32, 0, k+1)
	for i := range k {
		if at := v[i*len(v)/k]; len(e) == 0 || at > e[len(e)-1] {
			e = append(e, at)
		}
	}
	return append(e, v[len(v)-1]+1)
}

// cell returns the cell of p; the outermost reach to infinity.
func cell(edges []int32, p int32) int {
	i, found := slices.BinarySearch(edges, p)
	if !found {
		i--
	}
	return min(max(i, 0), len(edges)-2)
}
