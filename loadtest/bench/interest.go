package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"weft/control/mesh"
	"weft/simnode/interest"
)

var interest10k, interest100k = interestRow("interest-10k", 10_000, 3), interestRow("interest-100k", 100_000, 30)

func interestRow(name string, n int, limit float64) Row {
	return Row{
		Name: name,
		What: fmt.Sprintf("full update of the interest sets of %d moving entities, with enter and leave events", n),
		Bars: []Bar{
			{Figure: "update", Unit: "ms", Limit: limit},
			{Figure: "allocations", Unit: "an update"},
			{Figure: "members", Unit: "a set", Told: true},
			{Figure: "events", Unit: "an update", Told: true},
		},
		Measure: func(ctx context.Context, o Options) (Sample, error) {
			size := n
			if o.Small {
				size = 500
			}
			return measureInterest(ctx, size)
		},
	}
}

// interestRadius is how far beyond a border a node looks for ghosts.
const interestRadius = 24 * mesh.UnitsPerMeter

// measureInterest lets everyone wander at 6 m/s, as 100,000 on 4 × 4 km. Sets that
// are kept by the events alone must be those of all pairs: at the end all of
// them, or, of 100,000, each hundredth.
func measureInterest(ctx context.Context, n int) (Sample, error) {
	const warm, timed = 10, 40
	w := wanderersOf(n)
	sets := interest.New(interestRadius)
	members := make([]map[int32]bool, n)
	every := int32(max(n/1000, 1))
	for i := int32(0); i < int32(n); i += every {
		members[i] = map[int32]bool{}
	}
	apply := func(pairs []interest.Pair, in bool) {
		for _, p := range pairs {
			for _, side := range [2][2]int32{{p.A, p.B}, {p.B, p.A}} {
				if m := members[side[0]]; m != nil && in {
					m[side[1]] = true
				} else if m != nil {
					delete(m, side[1])
				}
			}
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cost time.Duration
	allocations, events := 0, 0
	for tick := range warm + timed {
		if err := ctx.Err(); err != nil {
			return Sample{}, err
		}
		w.walk(tick)
		before := allocated()
		used := threadCPU()
		for i := range w.at {
			sets.Place(int32(i), w.at[i])
		}
		enters, leaves := sets.Step()
		if tick >= warm {
			cost += threadCPU() - used
			allocations += allocated() - before
			events += len(enters) + len(leaves)
		}
		apply(enters, true)
		apply(leaves, false)
	}
	total, checked := 0, 0
	for i, m := range members {
		if m == nil {
			continue
		}
		want := 0
		for j := range w.at {
			if i != j && w.at[i].Dist2(w.at[j]) <= interestRadius*interestRadius {
				if want++; !m[int32(j)] {
					return Sample{}, fmt.Errorf("%d is near %d, and nobody said so", j, i)
				}
			}
		}
		if len(m) != want {
			return Sample{}, fmt.Errorf("%d has %d members, not %d", i, len(m), want)
		}
		total, checked = total+want, checked+1
	}
	if total == 0 || events == 0 {
		return Sample{}, fmt.Errorf("%d members, %d events: nothing happened", total, events)
	}
	return Sample{Figures: map[string]float64{
		"update": cost.Seconds() * 1000 / timed, "allocations": float64(allocations / timed),
		"members": float64(total) / float64(checked), "events": float64(2*events) / timed,
	}, Notes: []string{"6,250 entities a square kilometre, radius 24 m; each pair's event counts twice, once for each set"}}, nil
}

// wanderers walk straight on for a while, each its own way.
type wanderers struct {
	side    int32
	at, vel []mesh.Vec
	random  uint64
}

func wanderersOf(n int) *wanderers {
	w := &wanderers{side: mesh.UnitsPerMeter, at: make([]mesh.Vec, n), vel: make([]mesh.Vec, n), random: 1}
	for int64(w.side)*int64(w.side)*6250 < int64(n)*(1000*mesh.UnitsPerMeter)*(1000*mesh.UnitsPerMeter) {
		w.side += mesh.UnitsPerMeter
	}
	for i := range w.at {
		w.at[i] = mesh.Vec{X: w.below(w.side), Y: w.below(w.side)}
	}
	return w
}

func (w *wanderers) below(n int32) int32 {
	w.random = w.random*6364136223846793005 + 1442695040888963407
	return int32(w.random >> 33 % uint64(n))
}

func (w *wanderers) walk(tick int) {
	const step = 6 * mesh.UnitsPerMeter / 20
	for i := range w.at {
		p, v := &w.at[i], &w.vel[i]
		if (tick+i)%20 == 0 || *v == (mesh.Vec{}) {
			*v = mesh.Vec{X: w.below(2*step+1) - step, Y: w.below(2*step+1) - step}
		}
		if next := p.Add(*v); next.X >= 0 && next.Y >= 0 && next.X < w.side && next.Y < w.side {
			*p = next
		} else {
			*v = mesh.Vec{}
		}
	}
}
