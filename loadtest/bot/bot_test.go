package bot

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/simnode/client"
	"weft/simnode/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	bounds = mesh.Box{Max: mesh.Meters(4000, 4000, 200)}
	figure = body{walkUnits: 6 * mesh.UnitsPerMeter, reachUnits: 2 * mesh.UnitsPerMeter, bounds: bounds}
	spot   = mesh.Meters(2000, 2000, 0)
)

// walk lets m think for so long; its body obeys at once and keeps inside bounds.
func walk(m *mind, pos *mesh.Vec, from, to time.Duration, each func(in intent)) {
	s := sense{now: from, eachItem: func(func(*client.Entity)) {}}
	for s.now < to {
		s.pos = *pos
		in := m.think(s)
		if each != nil {
			each(in)
		}
		if in.leave {
			return
		}
		step := (in.next - s.now).Seconds() * float64(figure.walkUnits) / 127
		*pos = bounds.Clamp(pos.Add(mesh.Vec{X: int32(step * float64(in.moveX)), Y: int32(step * float64(in.moveY))}))
		s.now = in.next
	}
}

func TestWander(t *testing.T) {
	for player := mesh.PlayerID(1); player <= 20; player++ {
		m, pos := newMind(7, Spec{Player: player}, figure), spot
		far, moved := 0.0, 0
		walk(&m, &pos, 0, time.Minute, func(in intent) {
			far = max(far, distM(pos, spot))
			if in.moveX != 0 || in.moveY != 0 {
				moved++
			}
			if x, y := int(in.moveX), int(in.moveY); x*x+y*y > 127*127 {
				t.Fatalf("a command of length² %d", x*x+y*y)
			}
		})
		if far > strollM+1 || far < 3 || moved < 100 {
			t.Errorf("player %d: %.1f m away, moved %d of 300 times", player, far, moved)
		}
	}
	m, pos := newMind(7, Spec{Player: 1, Still: true}, figure), spot
	if walk(&m, &pos, 0, time.Minute, nil); pos != spot {
		t.Errorf("it did not stand still: %v", pos)
	}
}

func TestSameSeedSameActs(t *testing.T) {
	play := func(seed uint64) (all []intent) {
		m, pos := newMind(seed, Spec{Player: 3}, figure), spot
		walk(&m, &pos, 0, 20*time.Second, func(in intent) { all = append(all, in) })
		return all
	}
	if !slices.Equal(play(1), play(1)) || slices.Equal(play(1), play(2)) {
		t.Error("acts do not follow from the seed")
	}
}

func TestGather(t *testing.T) {
	for _, from := range []mesh.Vec{spot, mesh.Meters(1950, 2000, 0), mesh.Meters(2060, 2060, 0)} {
		m, pos := newMind(7, Spec{Player: 5}, figure), from
		walk(&m, &pos, 0, time.Second, nil)
		m.gather(spot, 12*mesh.UnitsPerMeter, 21*time.Second)
		walk(&m, &pos, time.Second, 21*time.Second, nil)
		if d := distM(pos, spot); d > 12.5 {
			t.Errorf("from %v: %.1f m away in time", from, d)
		}
		walk(&m, &pos, 21*time.Second, time.Minute, func(intent) {
			if d := distM(pos, spot); d > 12.5 {
				t.Fatalf("from %v: it strayed to %.1f m", from, d)
			}
		})
	}
}

func TestDisperse(t *testing.T) {
	m, pos := newMind(7, Spec{Player: 5}, figure), spot
	m.gather(spot, 12*mesh.UnitsPerMeter, time.Second)
	walk(&m, &pos, 0, 5*time.Second, nil)
	m.disperse(5 * time.Second)
	var last intent
	walk(&m, &pos, 5*time.Second, time.Minute, func(in intent) { last = in })
	if !last.leave || !last.gone || distM(pos, spot) < 5 || m.present(time.Minute) {
		t.Errorf("%+v, %.1f m away", last, distM(pos, spot))
	}
}

func TestPath(t *testing.T) {
	along := func(at time.Duration) (mesh.Vec, bool) {
		return mesh.Vec{X: spot.X + int32(at.Seconds()*1.3*mesh.UnitsPerMeter), Y: spot.Y}, at >= 2*time.Second && at < 30*time.Second
	}
	m, pos := newMind(7, Spec{Player: 5, Path: along}, figure), spot
	if m.present(time.Second) || !m.present(3*time.Second) || m.present(30*time.Second) {
		t.Error("present at the wrong time")
	}
	for _, call := range []func(m *mind){func(m *mind) { m.gather(spot, 100, time.Minute) }, func(m *mind) { m.disperse(40 * time.Second) }} {
		called := newMind(7, Spec{Player: 5, Path: along}, figure)
		if call(&called); called.present(40 * time.Second) {
			t.Error("it came back because it was called")
		}
	}
	left := false
	walk(&m, &pos, 2*time.Second, time.Minute, func(in intent) {
		left = in.leave && !in.gone
	})
	if want, _ := along(30 * time.Second); !left || distM(pos, want) > 1.5 {
		t.Errorf("left %v, at %v, should be near %v", left, pos, want)
	}
}

func TestActs(t *testing.T) {
	at := func(dx int32) mesh.Vec { return spot.Add(mesh.Vec{X: dx}) }
	const reach = mesh.UnitsPerMeter
	items := func(es ...client.Entity) func(func(*client.Entity)) {
		return func(f func(*client.Entity)) {
			for i := range es {
				f(&es[i])
			}
		}
	}
	thing := func(n uint64, pos mesh.Vec) client.Entity {
		return client.Entity{ID: mesh.MakeEntityID(mesh.KindItem, n), Hop: uint32(n) + 10, Pos: pos}
	}
	flying, carried, high := thing(1, at(0)), thing(2, at(0)), thing(3, at(0).Add(mesh.Vec{Z: 5 * reach}))
	flying.Flags, carried.Carrier = mesh.Flying, mesh.PlayerEntity(9)
	person := client.Entity{ID: mesh.PlayerEntity(4), Pos: at(0)}
	all := []mesh.Action{mesh.ActDrop, mesh.ActPickUp, mesh.ActThrow}
	for _, c := range []struct {
		name  string
		do    []mesh.Action
		held  mesh.EntityID
		busy  bool
		items func(func(*client.Entity))
		want  []mesh.Action // any of them; none: nothing
	}{
		{"picks up what is free and near", all, 0, false, items(flying, carried, high, person, thing(5, at(reach)), thing(6, at(9*reach))), []mesh.Action{mesh.ActPickUp}},
		{"leaves what is not", all, 0, false, items(flying, carried, high, person, thing(6, at(9*reach))), nil},
		{"sees nothing", all, 0, false, items(), nil},
		{"waits for its answer", all, 0, true, items(thing(5, at(0))), nil},
		{"lets go of what it holds", all, 77, false, items(thing(5, at(0))), []mesh.Action{mesh.ActDrop, mesh.ActThrow}},
		{"throws only", []mesh.Action{mesh.ActThrow, mesh.ActPickUp}, 77, false, items(), []mesh.Action{mesh.ActThrow}},
		{"may not pick up", []mesh.Action{mesh.ActThrow}, 0, false, items(thing(5, at(0))), nil},
		{"may not let go", []mesh.Action{mesh.ActPickUp}, 77, false, items(thing(5, at(0))), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for player := mesh.PlayerID(1); player < 30; player++ {
				m := newMind(7, Spec{Player: player}, figure)
				m.act(c.do, 0, time.Minute)
				in := m.think(sense{now: 10 * time.Second, pos: spot, held: c.held, free: !c.busy, eachItem: c.items})
				got := in.do
				if got.Action == 0 && len(c.want) > 0 || got.Action != 0 && !slices.Contains(c.want, got.Action) {
					t.Fatalf("%+v", got)
				}
				if got.Action == mesh.ActPickUp && (got.Target.Number() != 5 || got.Hop != 15) {
					t.Fatalf("%+v: not the item in reach with the hop it was seen with", got)
				}
				v := math.Sqrt(float64(got.Aim.Dist2(mesh.Vec{}))) / mesh.UnitsPerMeter
				if got.Action == mesh.ActThrow && (v < throwMin || v > 19.9) {
					t.Fatalf("a throw of %.1f m/s", v)
				}
				if got.Action != 0 {
					if again := m.think(sense{now: 10*time.Second + 200*time.Millisecond, pos: spot, held: c.held, free: true, eachItem: c.items}); again.do.Action != 0 {
						t.Fatal("it acts without a pause")
					}
				}
				if late := m.think(sense{now: time.Minute, pos: spot, held: c.held, free: true, eachItem: c.items}); late.do.Action != 0 {
					t.Fatal("it acts after its time")
				}
			}
		})
	}
	t.Run("walks to what is out of reach", func(t *testing.T) {
		m := newMind(7, Spec{Player: 1}, figure)
		m.act(all, 0, time.Minute)
		in := m.think(sense{now: 10 * time.Second, pos: spot, free: true, eachItem: items(thing(6, at(9*reach)))})
		if in.moveX <= 0 || abs(int32(in.moveY)) > 2 {
			t.Errorf("%+v", in)
		}
	})
}

// view is a view that tells of the own body only.
func view(zone mesh.ZoneID, epoch mesh.Epoch, hop uint32, tick mesh.Tick) *wire.View {
	return &wire.View{Tick: tick, Self: wire.Self{Zone: zone, Epoch: epoch, Hop: hop, Tick: tick, Pos: spot}}
}

// TestStalls: what a client was without news of its body counts to whatever
// took it away.
func TestStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shard := mesh.Shard{TickHz: 20, OriginUnixMilli: time.Now().UnixMilli(), Bounds: bounds}
		c := New(Config{Shard: shard}, []Spec{{Player: 1}, {Player: 2}})
		b, other := c.bots[0], c.bots[1]
		sleep := func(d time.Duration) { <-time.After(d) }
		for _, x := range c.bots {
			x.state, x.moving = playing, time.Now().Add(-time.Second)
		}
		b.Viewed(view(1, 1, 0, 1))
		sleep(80 * time.Millisecond)
		b.Viewed(view(2, 1, 1, 2)) // a crossing: 80 ms
		sleep(300 * time.Millisecond)
		b.Viewed(view(2, 1, 1, 3)) // no news for a while, but no crossing
		if s := c.stalls.spread(1000); s.Count != 1 || s.Max < 80 || s.Max > 80.1 {
			t.Errorf("crossing: %+v", s)
		}
		b.resumed(time.Second)
		sleep(time.Second)
		b.Viewed(view(3, 1, 2, 4)) // another connection: not the crossing's fault
		other.Viewed(view(1, 1, 0, 4))
		if s := c.stalls.spread(1000); s.Count != 1 {
			t.Errorf("after a resume: %+v", s)
		}

		o := c.Struck(map[mesh.ZoneID]mesh.Epoch{3: 1, 9: 4})
		sleep(50 * time.Millisecond)
		b.Viewed(view(3, 1, 2, 5)) // the last frame of the dead
		sleep(700 * time.Millisecond)
		other.Viewed(&wire.View{Tick: 5, Self: view(1, 1, 0, 5).Self, Clocks: []wire.Clock{{Zone: 3, Epoch: 1, Tick: 5}, {Zone: 9, Epoch: 5, Tick: 6}}})
		sleep(100 * time.Millisecond)
		other.Viewed(&wire.View{Tick: 6, Self: view(1, 1, 0, 6).Self, Clocks: []wire.Clock{{Zone: 3, Epoch: 2, Tick: 6}}})
		sleep(100 * time.Millisecond)
		b.Viewed(view(3, 2, 2, 7))
		if got := o.FirstTick(time.Now()); got != 850*time.Millisecond {
			t.Errorf("first tick after %v", got)
		}
		if s := o.Stalls(); s.Count != 1 || s.Max < 900 || s.Max > 901 {
			t.Errorf("recovery: %+v", s)
		}
		if s := c.stalls.spread(1000); s.Count != 1 {
			t.Errorf("a recovery was counted as a crossing: %+v", s)
		}
		if s := c.Tally().Age; s.Count == 0 {
			t.Error("no ages")
		}

		o = c.Struck(map[mesh.ZoneID]mesh.Epoch{3: 2})
		sleep(4 * time.Second)
		if got := o.FirstTick(time.Now()); got != 4*time.Second {
			t.Errorf("a zone that does not come back: %v", got)
		}
	})
}

// TestViewedAllocates nothing.
func TestViewedAllocates(t *testing.T) {
	c := New(Config{Shard: mesh.Shard{TickHz: 20, OriginUnixMilli: time.Now().UnixMilli()}}, []Spec{{Player: 1}})
	v := view(1, 1, 0, 1)
	v.Clocks = []wire.Clock{{Zone: 1, Epoch: 1, Tick: 1}}
	c.Struck(map[mesh.ZoneID]mesh.Epoch{7: 1})
	if n := testing.AllocsPerRun(100, func() {
		v.Self.Tick++
		v.Self.Hop++
		c.bots[0].Viewed(v)
	}); n != 0 {
		t.Errorf("%.0f allocations a view", n)
	}
}

// TestRefused: a world that lets nobody in is asked again, not for ever, and
// each player counts once.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := New(Config{Shard: mesh.Shard{TickHz: 20}, MaxJoining: 1, Join: func(context.Context, mesh.PlayerID) ([]string, string, error) {
			asked++
			return nil, "", errors.New("full")
		}}, []Spec{{Player: 1}, {Player: 2}})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c.Run(ctx)
		if got := c.Tally(); got.Rejected != 2 || got.Joined != 0 || asked != 2*maxTries || len(got.Faults) != maxFaults {
			t.Errorf("%+v, asked %d times", got, asked)
		}
	})
}

func BenchmarkThink(b *testing.B) {
	m, pos := newMind(7, Spec{Player: 1}, figure), spot
	m.gather(spot, 12*mesh.UnitsPerMeter, time.Second)
	s := sense{pos: pos, eachItem: func(func(*client.Entity)) {}}
	b.ReportAllocs()
	for b.Loop() {
		s.now = m.think(s).next
	}
}

func BenchmarkViewed(b *testing.B) {
	c := New(Config{Shard: mesh.Shard{TickHz: 20, OriginUnixMilli: time.Now().UnixMilli()}}, []Spec{{Player: 1}})
	v := view(1, 1, 0, 1)
	b.ReportAllocs()
	for b.Loop() {
		v.Self.Tick++
		c.bots[0].Viewed(v)
	}
}
