package interest

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// Whatever comes, moves, jumps and goes: the events are the differences of the
// sets, which are those of all pairs.
func TestSetsAreThoseOfAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		radius := rapid.SampledFrom([]int32{1, 7, 100, 1000}).Draw(t, "radius")
		side := radius * rapid.SampledFrom([]int32{1, 5, 40, 3000}).Draw(t, "side")
		s := New(radius)
		here, told := map[int32]mesh.Vec{}, map[Pair]bool{}
		place := func(span int32, around mesh.Vec) mesh.Vec {
			c := rapid.Int32Range(-span, span)
			return around.Add(mesh.Vec{X: c.Draw(t, "x"), Y: c.Draw(t, "y"), Z: c.Draw(t, "z") / 4})
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			for slot := range int32(12) {
				p, ok := here[slot]
				switch rapid.IntRange(0, 9).Draw(t, "act") {
				case 0, 1:
					here[slot] = place(side, mesh.Vec{})
					s.Place(slot, here[slot])
				case 2:
					delete(here, slot)
					s.Remove(slot)
				case 3:
					s.Remove(slot)
					here[slot] = place(side, mesh.Vec{})
					s.Place(slot, here[slot])
				case 4: // stays
				default:
					if ok {
						here[slot] = place(radius/3+1, p)
						s.Place(slot, here[slot])
					}
				}
			}
			enters, leaves := s.Step()
			for _, p := range leaves {
				if !told[p] {
					t.Fatalf("%v leaves and was not there", p)
				}
				delete(told, p)
			}
			for _, p := range enters {
				if told[p] {
					t.Fatalf("%v enters twice", p)
				}
				told[p] = true
			}
			want := map[Pair]bool{}
			for a, p := range here {
				for b, q := range here {
					if a < b && p.Dist2(q) <= int64(radius)*int64(radius) {
						want[Pair{a, b}] = true
					}
				}
			}
			if !maps.Equal(told, want) {
				t.Fatalf("told of %v, but it is %v", told, want)
			}
			for slot := range int32(13) {
				for _, other := range s.Near(slot, nil) {
					if !want[Pair{min(slot, other), max(slot, other)}] {
						t.Fatalf("%d is not near %d", other, slot)
					}
				}
			}
		}
	})
}

func TestStepAllocatesNothing(t *testing.T) {
	s := New(25 * mesh.UnitsPerMeter)
	at := make([]mesh.Vec, 2000)
	step := func(tick int) {
		for i := range at {
			k := int32(i)
			if tick == 0 {
				at[i] = mesh.Meters(k%50*9, k/50*9, 0)
			}
			at[i] = at[i].Add(mesh.Vec{X: (k%7 - 3) * 20, Y: (k%5 - 2) * 25})
			if tick%40 == 20 {
				at[i] = mesh.Meters(k%50*9, k/50*9, 0)
			}
			s.Place(k, at[i])
		}
		s.Step()
	}
	for tick := range 80 {
		step(tick)
	}
	tick := 80
	if n := testing.AllocsPerRun(80, func() { step(tick); tick++ }); n > 0 {
		t.Errorf("a step allocates %v times", n)
	}
}
