package world

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

var bounds = mesh.Box{Max: mesh.Meters(4000, 4000, 200)}

func newTavern() *World {
	return New(Config{TickHz: 20, Bounds: bounds, Seed: 7, Spawn: mesh.Meters(2000, 2000, 0)}, Tavern{})
}

func player(n mesh.PlayerID, p mesh.Vec) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.PlayerEntity(n), Health: fullHealth, Pos: p}}
}

func item(n uint64, p mesh.Vec) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, n), Pos: p}}
}

// The order in which a world was filled, and what came and went before, leave
// no trace in what becomes of it.
func TestOrderLeavesNoTrace(t *testing.T) {
	run := func(order uint64) (map[mesh.EntityID]mesh.Entity, []mesh.EntityID) {
		w := newTavern()
		b, born := newBrawl(3, 60, 80, 20, 1)
		r := rand.New(rand.NewPCG(order, 9))
		if order > 0 {
			r.Shuffle(len(born), func(i, j int) { born[i], born[j] = born[j], born[i] })
		}
		for _, e := range born {
			w.Put(e)
			if order > 0 && r.IntN(3) == 0 { // away and back
				e, _ = w.Remove(e.ID)
				w.Put(e)
			}
		}
		var durable []mesh.EntityID
		for tick := mesh.Tick(1); tick <= 400; tick++ {
			b.acted = map[mesh.EntityID]bool{}
			for _, p := range b.players {
				if c, ok := b.command(w, p, tick); ok {
					w.Command(p, c)
				}
				if ev, ok := b.event(w, p); ok {
					w.Act(tick, p, ev)
				}
			}
			out := w.Step(tick, nil)
			durable = append(append(durable, out.Durable...), out.Ended...)
		}
		return states(w), durable
	}
	first, durable := run(0)
	for order := range uint64(3) {
		if again, d := run(order); !maps.Equal(first, again) || !slices.Equal(durable, d) {
			t.Fatal("another outcome in order ", order)
		}
	}
	if len(durable) < 100 {
		t.Error("too little happened")
	}
}

// Whatever is done, no item is lost, doubled or in two hands, and what a hand
// holds says so.
func TestItemsAreConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTavern()
		const players, items = 4, 5
		for i := range players {
			w.Put(player(mesh.PlayerID(i+1), mesh.Meters(int32(100+i), 100, 0)))
		}
		for i := range items {
			w.Put(item(uint64(i+1), mesh.Meters(int32(100+i), 101, 0)))
		}
		away := map[mesh.EntityID]mesh.Entity{}
		hops := map[mesh.EntityID]uint32{}
		tick := mesh.Tick(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			p := mesh.PlayerEntity(mesh.PlayerID(rapid.IntRange(1, players).Draw(t, "player")))
			it, _ := w.Get(mesh.MakeEntityID(mesh.KindItem, uint64(rapid.IntRange(1, items).Draw(t, "item"))))
			switch rapid.IntRange(0, 6).Draw(t, "do") {
			case 0:
				tick++
				w.Step(tick, nil)
			case 1:
				w.Act(tick+1, p, mesh.Event{Action: mesh.ActPickUp, Target: it.ID, Hop: it.Hop})
			case 2:
				w.Act(tick+1, p, mesh.Event{Action: mesh.ActDrop})
			case 3:
				aim := mesh.Vec{X: rapid.Int32Range(-9*m, 9*m).Draw(t, "x"), Z: rapid.Int32Range(-m, 9*m).Draw(t, "z")}
				w.Act(tick+1, p, mesh.Event{Action: mesh.ActThrow, Aim: aim})
			case 4: // to sleep, or awake
				e, ok := w.Get(p)
				if e.Flags ^= mesh.Asleep; ok {
					w.Put(e)
				}
			case 5: // gone for a while, with what is carried
				if e, ok := away[p]; ok {
					w.Put(e)
					delete(away, p)
					if h, ok := away[e.Held]; ok {
						w.Put(h)
						delete(away, h.ID)
					}
				} else {
					for _, id := range w.Group(p, nil) {
						away[id], _ = w.Remove(id)
					}
				}
			case 6:
				tick++
				w.Step(tick, []mesh.Impact{{Target: p, Damage: 100}, {Target: it.ID, Push: mesh.Meters(1, 2, 3)}})
			}
			all := states(w)
			maps.Copy(all, away)
			if len(all) != players+items {
				t.Fatalf("%d entities", len(all))
			}
			for _, e := range all {
				if h := all[e.Held]; e.Held != 0 && h.Carrier != e.ID {
					t.Fatalf("%v holds %v", e, h)
				}
				if c := all[e.Carrier]; e.Carrier != 0 && c.Held != e.ID {
					t.Fatalf("%v is not held by %v", e, c)
				}
				if e.Hop < hops[e.ID] || e.Placed > tick+1 {
					t.Fatalf("%v after hop %d", e, hops[e.ID])
				}
				hops[e.ID] = e.Hop
				_, asleep := w.at.get(e.ID)
				if p := all[e.Carrier]; asleep && e.Carrier != 0 && (p.Flags&mesh.Asleep != 0) != !slices.Contains(w.id, e.ID) {
					t.Fatalf("%v is shown, or not, unlike its carrier", e)
				}
			}
			checkLists(t, w)
		}
	})
}

// checkLists checks that slots, lists and counts agree.
func checkLists(t interface{ Fatalf(string, ...any) }, w *World) {
	n := 0
	for c, l := range w.lists {
		n += len(l)
		for i, s := range l {
			if w.class[s] != class(c) || w.place[s] != int32(i) || classOf(w.id[s], w.flags[s], w.carrier[s]) != class(c) {
				t.Fatalf("slot %d in list %d is of class %d", s, c, w.class[s])
			}
		}
	}
	bodies := 0
	for i := range w.asleep {
		if w.asleep[i].Flags&mesh.Asleep != 0 {
			bodies++
		}
	}
	if n != len(w.id) || w.at.n != n+len(w.asleep) || bodies != w.bodies {
		t.Fatalf("%d in lists, %d slots, %d indexed, %d and %d bodies", n, len(w.id), w.at.n, bodies, w.bodies)
	}
}

func TestSteadyTickAllocatesNothing(t *testing.T) {
	w := gather(200, 6*m)
	for _, e := range Cast(1, 20, bounds, mesh.Meters(2000, 2000, 0), 9*m) {
		w.Put(e)
	}
	fillAir(w, 2000, 40)
	var ghosts []mesh.Pose
	for i := range 100 {
		ghosts = append(ghosts, player(mesh.PlayerID(1000+i), disc(mesh.Meters(2000, 2000, 0), 9*m, mix(uint64(i)))).Pose)
	}
	tick, events := mesh.Tick(0), uint32(0)
	var poses []mesh.Pose
	var ids []mesh.EntityID
	var owed []mesh.Impact
	throw := func() {
		for _, s := range w.lists[flying] { // all up again, so that it never ends
			if w.pos[s].Z < m {
				w.vel[s].Z, w.air[w.airAt[s]].vel.Z = 9*m, 9*m
			}
		}
		tick++
		for _, g := range ghosts {
			g.Pos.X += int32(tick) % 64
			w.PutGhost(g)
		}
		if events++; tick%20 == 0 {
			w.Act(tick, mesh.PlayerEntity(1), mesh.Event{Number: events, Action: mesh.ActFire, Aim: mesh.Meters(3, 1, 1)})
		}
		steer(w, tick)
		w.Step(tick, []mesh.Impact{{Target: mesh.PlayerEntity(2), Push: mesh.Meters(1, 1, 1)}})
		poses, ids = w.Poses(poses[:0]), w.Strays(bounds, m, ids[:0])
		owed = w.Owed(owed[:0])
	}
	for range 400 {
		throw()
	}
	if n := testing.AllocsPerRun(100, throw); n > 0 {
		t.Errorf("a tick allocates %v times", n)
	}
	if len(w.lists[flying]) < 1000 {
		t.Error("the air is empty")
	}
}

// What flies takes a push and a Put from outside, and what lies takes off.
func TestPushedItems(t *testing.T) {
	for _, flags := range []mesh.Flags{0, mesh.Flying} {
		w := newTavern()
		e := item(1, mesh.Meters(100, 100, 0))
		e.Flags = flags
		w.Put(e)
		w.Step(1, []mesh.Impact{{Target: e.ID, Source: 9, Push: mesh.Meters(2, 0, 3)}, {Target: e.ID, Push: mesh.Meters(2, 0, 3)}})
		if e, _ = w.Get(e.ID); e.Vel.X < 3*m || e.Vel.Z < 5*m || e.Flags != mesh.Flying {
			t.Error("not pushed:", e)
		}
		e.Vel = mesh.Meters(0, 7, 7)
		w.Put(e)
		w.Step(2, nil)
		if e, _ = w.Get(e.ID); e.Vel.X != 0 || e.Vel.Y < 6*m {
			t.Error("not as put:", e)
		}
		e.Flags, e.Vel = 0, mesh.Vec{}
		w.Put(e)
		w.Step(3, nil)
		if f, _ := w.Get(e.ID); f != e {
			t.Error("not at rest:", f)
		}
		checkLists(t, w)
	}
}

// An item that is touched, leaves, comes back and is touched again between two
// ticks moves once.
func TestBackAgainMovesOnce(t *testing.T) {
	w := newTavern()
	e, id := item(1, mesh.Meters(100, 100, 1)), mesh.PlayerEntity(1)
	e.Flags = mesh.Flying
	w.Put(player(1, mesh.Meters(100, 100, 0)))
	w.Put(e)
	take := mesh.Event{Action: mesh.ActPickUp, Target: e.ID}
	w.Act(1, id, take)
	w.Act(1, id, mesh.Event{Action: mesh.ActThrow, Aim: mesh.Meters(1, 0, 0)})
	e, _ = w.Remove(e.ID)
	w.Put(e)
	take.Hop = e.Hop
	w.Act(1, id, take)
	w.Act(1, id, mesh.Event{Action: mesh.ActThrow, Aim: mesh.Meters(10, 0, 0)})
	w.Step(1, nil)
	if e, _ = w.Get(e.ID); e.Pos.X != 100*m+m/2 || e.Hop != 4 {
		t.Error(e)
	}
}

func TestStraysAndWithin(t *testing.T) {
	w := newTavern()
	box := mesh.Box{Min: mesh.Meters(100, 100, 0), Max: mesh.Meters(200, 200, 200)}
	for i, x := range []int32{98, 99, 100, 199, 200, 201} {
		w.Put(player(mesh.PlayerID(10-i), mesh.Meters(x, 150, 0)))
	}
	sleeper := player(20, mesh.Meters(300, 150, 0))
	sleeper.Flags, sleeper.Held = mesh.Asleep, item(1, mesh.Vec{}).ID
	w.Put(sleeper)
	held := item(1, sleeper.Pos)
	held.Carrier = sleeper.ID
	w.Put(held)
	w.Put(item(2, mesh.Meters(150, 150, 0)))
	w.Put(item(3, mesh.Meters(50, 150, 0)))
	p := mesh.PlayerEntity
	for _, c := range []struct {
		margin int32
		want   []mesh.EntityID
	}{
		{0, []mesh.EntityID{p(5), p(6), p(9), p(10), p(20), item(3, mesh.Vec{}).ID}},
		{m, []mesh.EntityID{p(5), p(10), p(20), item(3, mesh.Vec{}).ID}},
		{3 * m, []mesh.EntityID{p(20), item(3, mesh.Vec{}).ID}},
		{math.MaxInt32, nil},
	} {
		if got := w.Strays(box, c.margin, nil); !slices.Equal(got, c.want) {
			t.Errorf("margin %d: %s, want %s", c.margin, names(got), names(c.want))
		}
	}
	if got := w.Within(mesh.Props, box, nil); !slices.Equal(got, []mesh.EntityID{item(2, mesh.Vec{}).ID}) {
		t.Error(names(got))
	}
	if got := w.Within(mesh.Actors, box, nil); !slices.Equal(got, []mesh.EntityID{p(7), p(8)}) {
		t.Error(names(got))
	}
}

func TestCommand(t *testing.T) {
	w := newTavern()
	id := mesh.PlayerEntity(1)
	w.Put(player(1, mesh.Meters(100, 100, 0)))
	for _, c := range []struct {
		c  mesh.Command
		ok bool
	}{
		{mesh.Command{Sequence: 5, MoveX: 127}, true},
		{mesh.Command{Sequence: 5, MoveX: 127}, true},
		{mesh.Command{Sequence: 4, MoveX: 1}, false},
		{mesh.Command{Sequence: 6, MoveX: 127, MoveY: 1}, false},
		{mesh.Command{Sequence: 6, MoveX: -128}, false},
		{mesh.Command{Sequence: 6, MoveX: 90, MoveY: -89, Yaw: 9}, true},
	} {
		if ok := w.Command(id, c.c); ok != c.ok {
			t.Errorf("%+v: %v", c.c, ok)
		}
	}
	for tick := mesh.Tick(1); tick <= 20; tick++ {
		w.Step(tick, nil)
	}
	e, _ := w.Get(id)
	if e.Vel.X < 4*m || e.Vel.Y > -4*m || e.Yaw != 9 {
		t.Error("not on its way:", e)
	}
	for tick := mesh.Tick(21); tick <= 40; tick++ {
		w.Step(tick, nil)
	}
	if e, _ := w.Get(id); e.Vel != (mesh.Vec{}) {
		t.Error("the command has not lapsed:", e)
	}
	for tick := mesh.Tick(41); tick <= 100; tick++ { // repeated, it lasts
		if tick%10 == 1 && !w.Command(id, mesh.Command{Sequence: 6, MoveX: 90}) {
			t.Error("a command that is repeated is refused")
		}
		w.Step(tick, nil)
	}
	if e, _ := w.Get(id); e.Vel.X < 4*m {
		t.Error("a command that is repeated has lapsed:", e)
	}
	w.Command(id, mesh.Command{Sequence: 1000, MoveX: 1})
	e, _ = w.Get(id)
	if e.Session = 2; w.Command(id, mesh.Command{Sequence: 1}) {
		t.Error("an old command is taken")
	}
	if w.Put(e); !w.Command(id, mesh.Command{Sequence: 1}) {
		t.Error("the first command of a new session is refused")
	}
}

// Bodies that stand in one place part, and a crowd comes to rest without
// overlaps that anyone would see.
func TestCrowdParts(t *testing.T) {
	w := newTavern()
	for i := range 60 {
		w.Put(player(mesh.PlayerID(i+1), mesh.Meters(100, 100, 0)))
	}
	for tick := mesh.Tick(1); tick <= 200; tick++ {
		w.Step(tick, nil)
	}
	var closest int64 = math.MaxInt64
	for i, p := range w.pos {
		for _, q := range w.pos[:i] {
			closest = min(closest, p.Dist2(q))
		}
		if p.Dist2(mesh.Meters(100, 100, 0)) > 36*m*m {
			t.Errorf("%v is flung away", p)
		}
	}
	if d := isqrt(closest); d < m/2 {
		t.Errorf("two stand %d units apart", d)
	}
}

func TestExtremes(t *testing.T) {
	most := int32(math.MaxInt32)
	huge := Limits{WalkSpeed: most, ShipSpeed: most, WalkAccel: most, ShipAccel: most, BodyRadius: most, BodyHeight: most, ShipRadius: most,
		ShipHeight: most, PropRadius: most, Gravity: most, Restitution: most, GroundDrag: most, RestSpeed: most, MaxSpeed: most, ThrowSpeed: most,
		RocketSpeed: most, Reach: most, HandHeight: most, BlastRadius: most, FuseMillis: most, CooldownMillis: most, CommandMillis: most}
	whole := mesh.Box{Min: mesh.Vec{X: math.MinInt32, Y: math.MinInt32, Z: math.MinInt32}, Max: mesh.Vec{X: most, Y: most, Z: most}}
	for _, l := range []Limits{{}, huge, {WalkSpeed: -1, PropRadius: -1, MaxSpeed: -1, GroundDrag: -1}} {
		for _, hz := range []uint32{0, 1, 20, 1000} {
			w := New(Config{TickHz: hz, Bounds: whole}, figures{limits: l})
			w.Put(player(1, mesh.Vec{X: most, Y: math.MinInt32}))
			w.Put(player(2, mesh.Vec{X: most, Y: math.MinInt32}))
			w.Put(item(1, mesh.Vec{X: most, Y: math.MinInt32}))
			w.Act(1, mesh.PlayerEntity(1), mesh.Event{Action: mesh.ActPickUp, Target: item(1, mesh.Vec{}).ID})
			w.Act(1, mesh.PlayerEntity(1), mesh.Event{Action: mesh.ActThrow, Aim: mesh.Vec{X: most, Y: math.MinInt32, Z: most}})
			w.Act(1, mesh.PlayerEntity(2), mesh.Event{Action: mesh.ActFire, Aim: mesh.Vec{X: math.MinInt32}})
			for tick := mesh.Tick(1); tick < 50; tick++ {
				w.Command(mesh.PlayerEntity(2), mesh.Command{Sequence: uint32(tick), MoveX: 127})
				w.Step(tick, []mesh.Impact{{Target: mesh.PlayerEntity(1), Push: mesh.Vec{X: most, Y: math.MinInt32}, Damage: math.MaxInt16}})
			}
			w.Each(func(e *mesh.Entity) bool {
				if !w.cfg.Bounds.Contains(e.Pos) || !short(e.Vel, w.lim.MaxSpeed) {
					t.Errorf("hz %d: %v at %v", hz, e.Pos, e.Vel)
				}
				return true
			})
		}
	}
}

// figures is the Tavern with other limits, and dead who stay where they died.
type figures struct {
	Tavern
	limits Limits
}

func (f figures) Limits() Limits                       { return f.limits }
func (figures) Respawn(*mesh.Entity, mesh.Vec, uint64) {}

// A thing that flies at a body is never found behind it, at any speed, angle
// or pace of the body.
func TestNothingTunnels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTavern()
		w.Put(player(1, mesh.Meters(100, 100, 0)))
		e := item(1, mesh.Vec{})
		speed := rapid.Int32Range(10*m, 40*m).Draw(t, "speed")
		x, y := compass(uint8(rapid.IntRange(0, 255).Draw(t, "angle")))
		way := mesh.Vec{X: int32(x), Y: int32(y)}
		n := int32(isqrt(way.Dist2(mesh.Vec{})))
		e.Flags, e.Vel = mesh.Flying, mesh.Vec{X: way.X * speed / n, Y: way.Y * speed / n, Z: 2 * m}
		from := rapid.Int32Range(2*m, 4*m).Draw(t, "from")
		e.Pos = mesh.Meters(100, 100, 1).Sub(mesh.Vec{X: way.X * from / n, Y: way.Y * from / n})
		w.Put(e)
		w.Command(mesh.PlayerEntity(1), mesh.Command{Sequence: 1, MoveX: -x / 8, MoveY: -y / 8}) // towards it
		for tick := mesh.Tick(1); tick < 20; tick++ {
			if w.Step(tick, nil); len(w.pending) > 0 {
				return
			}
		}
		t.Fatalf("%v went through", e)
	})
}

func ExampleRules() {
	w := New(Config{TickHz: 20, Bounds: bounds}, arena{})
	w.Put(arena{}.Born(1, mesh.Meters(50, 50, 0), 1))
	w.Command(mesh.PlayerEntity(1), mesh.Command{Sequence: 1, MoveX: 127})
	for tick := mesh.Tick(1); tick <= 20; tick++ {
		w.Step(tick, nil)
	}
	e, _ := w.Get(mesh.PlayerEntity(1))
	fmt.Println(e.Vel.X/mesh.UnitsPerMeter, "m/s")
	// Output: 9 m/s
}

// arena is the game of the package's documentation.
type arena struct{ Tavern }

func (a arena) Limits() Limits {
	l := a.Tavern.Limits()
	l.WalkSpeed = 9 * mesh.UnitsPerMeter
	return l
}

func (a arena) Hit(h Hit) (mesh.Vec, int16) {
	push, _ := a.Tavern.Hit(h)
	if h.Blast {
		return push, 100
	}
	return push, 0
}
