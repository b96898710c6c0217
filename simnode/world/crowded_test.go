package world

import (
	"encoding/binary"
	"hash/fnv"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// What is made faster must not fly otherwise: nodes of two versions share a
// world while it is upgraded. The sums are of all entities over 60 ticks.
func TestFlightsAreAsTheyWere(t *testing.T) {
	for _, c := range []struct {
		name             string
		props, side      int32
		players, visible int
		sum              uint64
	}{
		{"alone", 1, 1, 0, 0, 0xd8a76e04b8ed6e51},
		{"crowded", 3000, 30, 60, 0, 0x36bc0059274227f5},
		{"beside ghosts", 1500, 20, 30, 1000, 0x6bcb29b34ee5d0fc},
		{"in a tower", 200, 1, 1, 20, 0x482dada69117766f},
		{"scattered", 300, 2500, 10, 10, 0x8de621d016bfb2a6},
	} {
		w := newTavern()
		fillAir(w, int(c.props), c.side)
		for i := range c.players {
			w.Put(player(mesh.PlayerID(i+1), disc(mesh.Meters(1000+c.side/2, 1000+c.side/2, 0), c.side*m/2, mix(uint64(i)))))
		}
		sum := fnv.New64a()
		for tick := range mesh.Tick(60) {
			for i := range c.visible { // a neighbour's, in some pattern
				r := mix(uint64(i)<<8 | uint64(tick/8))
				w.PutGhost(mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, uint64(1<<40+i)), Flags: mesh.Flying,
					Pos: mesh.Meters(1000, 1000, 0).Add(mesh.Vec{X: spread(0, c.side*m, r), Y: spread(0, c.side*m, mix(r)), Z: spread(0, 30*m, mix(r+1))}),
					Vel: mesh.Vec{X: spread(-m, m, mix(r+2)), Z: spread(-m, m, mix(r+3))}})
			}
			steer(w, tick)
			w.Step(tick+1, nil)
			for _, p := range w.Poses(nil) {
				if err := binary.Write(sum, binary.LittleEndian, p); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := sum.Sum64(); got != c.sum {
			t.Errorf("%s: %#x, was %#x", c.name, got, c.sum)
		}
	}
}

// Whatever the spread, whoever has another within reach is told so.
func TestPairsAreOfAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reach := rapid.Int32Range(2, 400).Draw(t, "reach")
		g := grid{shift: cellShift(reach + rapid.Int32Range(0, 600).Draw(t, "more"))}
		for range rapid.IntRange(1, 3).Draw(t, "rounds") { // buffers are used again
			span := func(label string) *rapid.Generator[int32] {
				n := rapid.SampledFrom([]int32{1, 300, 5_000, 1 << 20, 1 << 30}).Draw(t, label)
				return rapid.Int32Range(-n, n-1)
			}
			xs, ys, zs := span("wide"), span("high"), span("tall")
			g.reset()
			for i := range rapid.IntRange(0, 60).Draw(t, "n") {
				p := mesh.Vec{X: xs.Draw(t, "x"), Y: ys.Draw(t, "y"), Z: zs.Draw(t, "z")}
				if i > 0 && rapid.Bool().Draw(t, "close") {
					d := rapid.Int32Range(-reach, reach)
					p = g.in[i-1].pos.Add(mesh.Vec{X: d.Draw(t, "dx"), Y: d.Draw(t, "dy"), Z: d.Draw(t, "dz")})
				}
				g.add(spot{pos: p, ref: int32(i)})
			}
			g.build(nil)
			g.pair(reach)
			for i := range g.spots {
				for j := range g.spots {
					a, b := &g.spots[i], &g.spots[j]
					if d := a.pos.Sub(b.pos); i != j && !a.near && max(abs(d.X), abs(d.Y), abs(d.Z)) < int64(reach) {
						t.Fatalf("%v and %v are within %d", a.pos, b.pos, reach)
					}
				}
			}
		}
	})
}
