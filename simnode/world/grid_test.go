package world

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// The grid finds what comparing all pairs finds, each once, whatever the
// spread: dense, sparse, in a line, across the origin.
func TestGridEqualsAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reach := rapid.Int32Range(2, 400).Draw(t, "reach")
		g := grid{shift: cellShift(rapid.Int32Range(2, 600).Draw(t, "cell"))}
		w := &World{}
		for range rapid.IntRange(1, 3).Draw(t, "rounds") { // buffers are used again
			wide := rapid.SampledFrom([]int32{1, 300, 5_000, 1 << 20, 1 << 30}).Draw(t, "wide")
			high := rapid.SampledFrom([]int32{1, 300, 5_000, 1 << 20, 1 << 30}).Draw(t, "high")
			place := func(label string) mesh.Vec {
				return mesh.Vec{X: rapid.Int32Range(-wide, wide).Draw(t, label), Y: rapid.Int32Range(-high, high).Draw(t, label)}
			}
			g.reset()
			var all []mesh.Vec
			for i := range rapid.IntRange(0, 60).Draw(t, "n") {
				all = append(all, place("spot"))
				g.add(spot{pos: all[i], ref: int32(i)})
			}
			g.build(nil)
			g.mark()
			for range 10 {
				p, q := place("p"), mesh.Vec{}
				if rapid.Bool().Draw(t, "short") {
					q = p.Add(mesh.Vec{X: rapid.Int32Range(-500, 500).Draw(t, "dx"), Y: rapid.Int32Range(-500, 500).Draw(t, "dy")})
				} else {
					q = place("q")
				}
				got := map[int32]int{}
				w.around(&g, p, q, reach, func(o *spot) { got[o.ref]++ })
				box := mesh.Box{Min: mesh.Vec{X: min(p.X, q.X), Y: min(p.Y, q.Y)}, Max: mesh.Vec{X: max(p.X, q.X) + 1, Y: max(p.Y, q.Y) + 1, Z: 1}}
				for i, v := range all {
					if n := got[int32(i)]; n > 1 || n == 0 && box.Outside(v) <= int64(reach) {
						t.Fatalf("%v is found %d times within %d of %v", v, n, reach, box)
					}
					if at := (mesh.Box{Min: p, Max: p.Add(mesh.Vec{X: 1, Y: 1, Z: 1})}); at.Outside(v) <= 2<<g.shift && g.clear(p) {
						t.Fatalf("%v is overlooked from %v", v, p)
					}
				}
			}
		}
	})
}

// The index is a map.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		dumb := map[mesh.EntityID]int32{}
		for range rapid.IntRange(0, 300).Draw(t, "n") {
			id := mesh.EntityID(rapid.Uint64Range(1, 40).Draw(t, "id"))
			if rapid.Bool().Draw(t, "put") {
				v := rapid.Int32().Draw(t, "v")
				x.put(id, v)
				dumb[id] = v
			} else {
				x.remove(id)
				delete(dumb, id)
			}
			got := map[mesh.EntityID]int32{}
			for id := range mesh.EntityID(41) {
				if v, ok := x.get(id); ok {
					got[id] = v
				}
			}
			if !maps.Equal(got, dumb) || x.n != len(dumb) {
				t.Fatalf("got %v (%d), want %v", got, x.n, dumb)
			}
		}
	})
}

// A swept point enters a cylinder where walking along its way finds it inside.
func TestEnterEqualsWalking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := func(label string, n int32) int32 { return rapid.Int32Range(-n, n).Draw(t, label) }
		from, way := mesh.Vec{X: c("x", 600), Y: c("y", 600), Z: c("z", 900)}, mesh.Vec{X: c("dx", 900), Y: c("dy", 900), Z: c("dz", 900)}
		const radius, lo, hi = 108, -32, 492
		at, ok := enter(from, way, radius, lo, hi)
		inside := func(i int64, slack int64) bool {
			p := from.Add(scale(way, i, 1024))
			r := radius + slack
			return int64(p.X)*int64(p.X)+int64(p.Y)*int64(p.Y) <= r*r && int64(p.Z) >= lo-slack && int64(p.Z) <= hi+slack
		}
		if inside(0, 2) {
			return // decided by the direction, see TestSweep
		}
		first := int64(-1)
		for i := range int64(1025) {
			if inside(i, -2) {
				first = i
				break
			}
		}
		switch {
		case first >= 0 && !ok:
			t.Fatalf("from %v by %v goes through, unseen", from, way)
		case first >= 0 && at*1024/sweepUnit > first:
			t.Fatalf("from %v by %v enters at %d/1024, not %d", from, way, first, at*1024/sweepUnit)
		case ok && !inside(at*1024/sweepUnit, 3) && !inside(at*1024/sweepUnit+1, 3):
			t.Fatalf("from %v by %v is not inside at %d", from, way, at)
		}
	})
}

func TestISqrt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<62).Draw(t, "n")
		if r := isqrt(n); r*r > n || (r+1)*(r+1) <= n {
			t.Fatalf("√%d is not %d", n, r)
		}
	})
}

func TestCapped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := mesh.Vec{X: rapid.Int32().Draw(t, "x"), Y: rapid.Int32().Draw(t, "y"), Z: rapid.Int32().Draw(t, "z")}
		limit := rapid.Int32Range(0, 1<<24).Draw(t, "limit")
		if c := capped(v, limit); !short(c, limit) {
			t.Fatalf("%v capped to %d is %v", v, limit, c)
		}
	})
}

func TestCompass(t *testing.T) {
	for a := range 256 {
		x, y := compass(uint8(a))
		if n := int32(x)*int32(x) + int32(y)*int32(y); n > 127*127 || n < 105*105 {
			t.Errorf("angle %d: %d, %d", a, x, y)
		}
	}
}

func TestDensity(t *testing.T) {
	w := newTavern()
	if d := w.Density(); d.Counts != nil || d.XEdges != nil {
		t.Fatal("load of nobody", d)
	}
	corner := gather(900, 10*m) // a crowd in a corner of a large world
	for i := range 100 {
		corner.Put(player(mesh.PlayerID(1000+i), mesh.Meters(int32(i*39), int32(i*7%100*39), 0)))
	}
	d := corner.Density()
	if !slices.IsSorted(d.XEdges) || len(d.Counts) != (len(d.XEdges)-1)*(len(d.YEdges)-1) || len(d.XEdges) != mesh.DensityCells+1 {
		t.Fatal(d)
	}
	fine, total := 0, 0
	for i, e := range d.XEdges[1:] {
		if e-d.XEdges[i] < 5*m {
			fine++
		}
	}
	for _, c := range d.Counts {
		total += int(c)
	}
	if total != 1000 || fine < 12 {
		t.Fatalf("%d counted, %d fine columns: %v", total, fine, d)
	}
	one := newTavern()
	one.Put(player(1, mesh.Meters(5, 6, 0)))
	if d := one.Density(); !slices.Equal(d.XEdges, []int32{5 * m, 5*m + 1}) || !slices.Equal(d.Counts, []uint16{1}) {
		t.Fatal(d)
	}
}

// Velocities are divided by multiplying; it must be what dividing gives.
func TestPerTickIsExact(t *testing.T) {
	for _, hz := range []uint32{1, 2, 3, 7, 10, 20, 30, 60, 64, 100, 127, 128, 999, 1000, 1 << 20} {
		l := newLimits(Tavern{}.Limits(), Config{TickHz: hz})
		for i := range uint64(20_000) {
			v := int32(mix(i)) >> (i % 24)
			if i < 4000 {
				v = int32(i) - 2000
			}
			v = min(max(v, -1<<30), 1<<30)
			if got, want := l.divideHz(v), int32(divRound(int64(v), int64(hz))); got != want {
				t.Fatalf("%d at %d Hz: %d, want %d", v, hz, got, want)
			}
		}
	}
}
