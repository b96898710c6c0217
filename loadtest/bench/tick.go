package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"weft/control/mesh"
	"weft/simnode/world"
)

var tick100k = Row{
	Name: "tick-100k",
	What: "100,000 moving props with contacts on one node, one core",
	Bars: []Bar{
		{Figure: "tick", Unit: "ms", Limit: 8},
		{Figure: "allocations", Unit: "a tick"},
		{Figure: "moving", Unit: "props", Limit: 100_000, AtLeast: true},
		{Figure: "contacts", Unit: "a tick", Told: true},
		{Figure: "fastest", Unit: "ms", Told: true},
		{Figure: "slowest", Unit: "ms", Told: true},
	},
	Measure: measureTick,
}

// measureTick lets props fall on 200 × 200 m, where they bounce off each other
// and the ground, and throws them up again before any comes to rest. What a
// tick costs is what its thread used of a core; allocations are counted as Go's
// own benchmarks do, whole ones a tick. A second world, filled in the
// opposite order, must end in the same state.
func measureTick(ctx context.Context, o Options) (Sample, error) {
	n, side, rounds := 100_100, int32(200), 8 // a few come to rest
	if o.Small {
		n, side, rounds = 1000, 20, 2
	}
	const heat, timed = 2, 16 // ticks of a round
	w, twin := airWorld(), airWorld()
	props := scatterAir(n, side)
	cost, fastest, slowest := time.Duration(0), time.Hour, time.Duration(0)
	var moving, contacts, allocations int
	tick := mesh.Tick(0)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for round := range rounds + 1 { // the first grows the memory
		if err := ctx.Err(); err != nil {
			return Sample{}, err
		}
		for i := range props {
			w.Put(props[i])
			twin.Put(props[len(props)-1-i])
		}
		for i := range heat + timed {
			tick++
			before := allocated()
			began, used := time.Now(), threadCPU()
			w.Step(tick, nil)
			if round > 0 && i >= heat {
				this := threadCPU() - used
				cost, fastest = cost+this, min(fastest, this)
				slowest = max(slowest, time.Since(began))
				allocations += allocated() - before
				_, _, flying, _ := w.Load()
				moving += flying
			}
		}
		contacts += touching(w)
		for i := range heat + timed {
			twin.Step(tick-heat-timed+1+mesh.Tick(i), nil)
		}
		if err := sameWorld(w, twin); err != nil {
			return Sample{}, err
		}
	}
	if contacts == 0 {
		return Sample{}, errors.New("no prop touched another")
	}
	ticks := float64(rounds * timed)
	return Sample{Figures: map[string]float64{
		"tick": cost.Seconds() * 1000 / ticks, "slowest": slowest.Seconds() * 1000, "fastest": fastest.Seconds() * 1000, "allocations": float64(allocations / (rounds * timed)),
		"moving": float64(moving) / ticks, "contacts": float64(contacts) / float64(rounds+1),
	}}, nil
}

func airWorld() *world.World {
	return world.New(world.Config{TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(4000, 4000, 200)}, Seed: 7}, world.Tavern{})
}

// scatterAir returns n bottles up to 6 m over side by side meters, on their way.
func scatterAir(n int, side int32) []mesh.Entity {
	const m = mesh.UnitsPerMeter
	all := world.Scatter(3, n, mesh.Box{Min: mesh.Meters(1000, 1000, 0), Max: mesh.Meters(1000+side, 1000+side, 100)}, mesh.Vec{}, 0)
	for i := range all {
		e := &all[i]
		r := uint64(e.ID) * 0x9e3779b97f4a7c15
		spread := func(lo, hi int32) int32 {
			r = r*6364136223846793005 + 1442695040888963407
			return lo + int32(r>>33)%(hi-lo)
		}
		e.Flags = mesh.Flying
		e.Pos.Z = spread(0, 6*m)
		e.Vel = mesh.Vec{X: spread(-6*m, 6*m), Y: spread(-6*m, 6*m), Z: spread(2*m, 8*m)}
	}
	return all
}

// touching counts the pairs of w that touch each other.
func touching(w *world.World) (pairs int) {
	reach := 2 * world.Tavern{}.Limits().PropRadius
	poses := w.Poses(nil)
	slices.SortFunc(poses, func(a, b mesh.Pose) int { return int(a.Pos.X - b.Pos.X) })
	for i := range poses {
		for j := i + 1; j < len(poses) && poses[j].Pos.X-poses[i].Pos.X < reach; j++ {
			if poses[i].Pos.Dist2(poses[j].Pos) < int64(reach)*int64(reach) {
				pairs++
			}
		}
	}
	return pairs
}

func sameWorld(a, b *world.World) error {
	var diff error
	a.Each(func(e *mesh.Entity) bool {
		if other, ok := b.Get(e.ID); !ok || other != *e {
			diff = fmt.Errorf("the order of storage shows: entity %v is %+v and %+v", e.ID, *e, other)
		}
		return diff == nil
	})
	return diff
}

var counters runtime.MemStats

func allocated() int {
	runtime.ReadMemStats(&counters)
	return int(counters.Mallocs)
}
