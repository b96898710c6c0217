package partition

import (
	"cmp"
	"slices"

	"weft/control/mesh"
)

// tree is a layout's Actors zones as the leaves of a k-d tree: every inner
// node is a plane that no box below it crosses. Merging or shifting the border
// of two sibling leaves leaves a tree, so everything that was split can always
// be merged again; merging any two neighbours could lock five boxes in a
// pinwheel for ever.
type tree struct {
	zone      int // index into the layout's zones; −1 for an inner node
	low, high *tree
}

// decompose returns the tree of zones (indices into all), which it reorders.
// Where no plane divides a group, it becomes an inner node without children.
func decompose(all []mesh.Zone, zones []int) *tree {
	if len(zones) == 1 {
		return &tree{zone: zones[0]}
	}
	for axis := range 2 {
		slices.SortFunc(zones, func(a, b int) int { return cmp.Compare(floor(all[a].Box, axis), floor(all[b].Box, axis)) })
		if i := middleCut(all, zones, axis); i > 0 {
			return &tree{-1, decompose(all, zones[:i]), decompose(all, zones[i:])}
		}
	}
	return &tree{zone: -1}
}

// middleCut returns the index nearest the middle before which every box of
// zones, sorted by its lower face, ends before every later one begins; 0 if none.
func middleCut(all []mesh.Zone, zones []int, axis int) int {
	best := 0
	_, reach := extent(all[zones[0]].Box, axis)
	for i := 1; i < len(zones); i++ {
		lo, hi := extent(all[zones[i]].Box, axis)
		if reach <= lo && (best == 0 || abs(2*i-len(zones)) < abs(2*best-len(zones))) {
			best = i
		}
		reach = max(reach, hi)
	}
	return best
}

func abs(n int) int { return max(n, -n) }
