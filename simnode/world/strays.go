package world

import (
	"slices"

	"weft/control/mesh"
)

// Strays appends the roots, sleepers included, whose place is outside box by
// more than margin units, ordered by id. It looks at everyone who is awake, and
// at the sleepers once for each new box.
func (w *World) Strays(box mesh.Box, margin int32, dst []mesh.EntityID) []mesh.EntityID {
	n := len(dst)
	if a := &w.astray; !a.known || a.box != box || a.margin != margin {
		*a = astray{known: true, box: box, grown: box.Grow(margin), margin: margin, ids: a.ids[:0]}
		for i := range w.asleep {
			w.watchSleeper(&w.asleep[i])
		}
	}
	for s, p := range w.pos {
		if w.astray.has(p) && (w.carrier[s] == 0 || !w.Has(w.carrier[s])) {
			dst = append(dst, w.id[s])
		}
	}
	kept := w.astray.ids[:0]
	for _, id := range w.astray.ids {
		r, ok := w.at.get(id)
		if !ok || r >= 0 || !w.astray.has(w.asleep[^r].Pos) {
			continue
		}
		kept = append(kept, id)
		if c := w.asleep[^r].Carrier; c == 0 || !w.Has(c) {
			dst = append(dst, id)
		}
	}
	slices.Sort(kept)
	w.astray.ids = slices.Compact(kept)
	slices.Sort(dst[n:])
	return dst[:n+len(slices.Compact(dst[n:]))]
}

// astray is what Strays remembers: the sleepers that are or were outside of the
// box it was asked for last. They do not move, so each is looked at as it lies down.
type astray struct {
	known      bool
	box, grown mesh.Box
	margin     int32
	ids        []mesh.EntityID
}

func (a *astray) has(p mesh.Vec) bool {
	return !a.grown.Contains(p) && a.box.Outside(p) > int64(a.margin)
}

func (w *World) watchSleeper(e *mesh.Entity) {
	if w.astray.known && w.astray.has(e.Pos) {
		w.astray.ids = append(w.astray.ids, e.ID)
	}
}
