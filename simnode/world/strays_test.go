package world

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// What Strays remembers of sleepers is what a look at all of them would find,
// whoever lies down, wakes, moves on or is carried, and however the box changes.
func TestStraysRemembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTavern()
		boxes := []mesh.Box{{Min: mesh.Meters(100, 0, 0), Max: mesh.Meters(200, 200, 200)}, {Min: mesh.Meters(0, 0, 0), Max: mesh.Meters(150, 200, 200)}}
		for range rapid.IntRange(1, 40).Draw(t, "acts") {
			n := rapid.IntRange(1, 6).Draw(t, "who")
			body := player(mesh.PlayerID(n), mesh.Meters(rapid.Int32Range(90, 210).Draw(t, "x"), 100, 0))
			it := item(uint64(n), body.Pos)
			switch rapid.IntRange(0, 4).Draw(t, "act") {
			case 0:
				w.Put(body)
			case 1:
				body.Flags, body.Held, it.Carrier = mesh.Asleep, it.ID, body.ID
				w.Put(body)
				w.Put(it)
			case 2:
				w.Remove(body.ID)
			case 3:
				w.Put(it)
			case 4:
				w.Remove(it.ID)
			}
			box := rapid.SampledFrom(boxes).Draw(t, "box")
			margin := rapid.SampledFrom([]int32{0, 10 * m}).Draw(t, "margin")
			want := w.roots(func(_ mesh.EntityID, p mesh.Vec) bool { return box.Outside(p) > int64(margin) }, nil)
			slices.Sort(want)
			if got := w.Strays(box, margin, nil); !slices.Equal(got, want) {
				t.Fatalf("%s, want %s", names(got), names(want))
			}
		}
	})
}
