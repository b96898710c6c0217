package gateway

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// TestRatesHold lets a crowd walk and checks, pair by pair and by true
// distance, that whoever has been among the near, the middle ones or any at all
// for the period of that band is told of in it, also after the search for them
// began much too far out.
func TestRatesHold(t *testing.T) {
	const players, ticks = 240, 100
	cfg := testConfig()
	cfg.NearCount, cfg.MidCount, cfg.ViewBudgetBytes = 20, 60, headBytes+24*maxMoveBytes
	r := newRig(t, cfg, 1)
	rng := rand.New(rand.NewPCG(3, 1))
	z := &r.zones[0]
	heading := make([]float64, players)
	for i := range players {
		z.poses = append(z.poses, player(mesh.PlayerID(i+1), 100_000+rng.Int32N(10_000), 100_000+rng.Int32N(10_000)))
	}
	r.frames()
	for i := range players {
		r.join(process.ClientID(i+1), mesh.PlayerID(i+1))
	}
	walk := func() {
		for i := range z.poses {
			if rng.IntN(28) == 0 {
				heading[i] = rng.Float64() * 2 * math.Pi
			}
			p := &z.poses[i].Pos
			p.X = min(max(p.X+int32(30*math.Cos(heading[i])), 100_000), 110_000)
			p.Y = min(max(p.Y+int32(30*math.Sin(heading[i])), 100_000), 110_000)
		}
	}
	for range 40 {
		walk()
		r.run(1)
	}
	for _, c := range r.g.clients {
		c.midRadius2 = 1 << 31
	}
	for range 40 {
		walk()
		r.run(1)
	}
	period := [3]int{1, int(cfg.MidEveryTicks), int(cfg.FarEveryTicks)}
	type pair struct {
		told  wire.Move
		since [3]int // 1 + the tick since which it is due
	}
	pairs := map[[2]int]*pair{}
	var due, missed [3]int
	for tick := range ticks {
		walk()
		for _, e := range r.seen {
			clear(e.told)
		}
		r.run(1)
		for me := 0; me < players; me += 40 {
			eye := r.seen[process.ClientID(me+1)]
			var dist []int64
			for p := range z.poses {
				if p != me {
					dist = append(dist, z.poses[me].Pos.Dist2(z.poses[p].Pos))
				}
			}
			slices.Sort(dist)
			for p := range z.poses {
				if p == me {
					continue
				}
				q := pairs[[2]int{me, p}]
				now := wire.Quantise(z.poses[p], 0, false)
				if eye.told[z.poses[p].ID] {
					pairs[[2]int{me, p}] = &pair{told: now}
					continue
				}
				if q == nil {
					continue
				}
				band, d := 2, z.poses[me].Pos.Dist2(z.poses[p].Pos)
				if d <= dist[cfg.NearCount-1] {
					band = 0
				} else if d <= dist[cfg.NearCount+cfg.MidCount-1] {
					band = 1
				}
				for b := range q.since {
					if b < band || now == q.told {
						q.since[b] = 0
					} else if q.since[b] == 0 {
						q.since[b] = tick + 1
					}
				}
				if now != q.told {
					due[band]++
					if tick+1-q.since[band]+1 >= period[band] {
						missed[band]++
						q.since = [3]int{}
					}
				}
			}
		}
	}
	if missed != [3]int{} {
		t.Errorf("of %d near, middle and far ones that waited %d did for too long", due, missed)
	}
}
