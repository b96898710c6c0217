package world

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"weft/control/mesh"
)

// slowShips is the Tavern with ships that stay near.
type slowShips struct{ Tavern }

func (slowShips) Limits() Limits {
	l := Tavern{}.Limits()
	l.ShipSpeed = m / 2
	return l
}

func (r slowShips) Hit(h Hit) (mesh.Vec, int16) {
	push, damage := r.Tavern.Hit(h)
	return push, damage / 4
}

// zones is a world cut by hand among several Worlds, which show each other
// their poses and hand over strays as nodes in step would.
type zones struct {
	worlds  []*World
	boxes   []mesh.Box
	inboxes [][]mesh.Impact
	margin  int32
	durable []mesh.EntityID
	ended   []mesh.EntityID
	crossed int
	struck  int // impacts that crossed a border
}

func newZones(cfg Config, rules Rules, boxes []mesh.Box) *zones {
	z := &zones{boxes: boxes, inboxes: make([][]mesh.Impact, len(boxes)), margin: mesh.UnitsPerMeter}
	for range boxes {
		z.worlds = append(z.worlds, New(cfg, rules))
	}
	return z
}

func (z *zones) locate(p mesh.Vec) int {
	for i := range z.boxes {
		if z.boxes[i].Contains(p) {
			return i
		}
	}
	return 0
}

func (z *zones) owner(id mesh.EntityID) int {
	return slices.IndexFunc(z.worlds, func(w *World) bool { return w.Has(id) })
}

func (z *zones) move(root mesh.EntityID, to int, r *rand.Rand) {
	from := z.worlds[z.owner(root)]
	group := from.Group(root, nil)
	var members []mesh.Entity
	for _, id := range group {
		e, _ := from.Remove(id)
		members = append(members, e)
	}
	if r.IntN(2) == 0 {
		slices.Reverse(members)
	}
	for _, e := range members {
		z.worlds[to].Put(e)
	}
	z.crossed++
}

func (z *zones) deliver(impacts []mesh.Impact) {
	for _, i := range impacts {
		if o := z.owner(i.Target); o >= 0 {
			z.inboxes[o] = append(z.inboxes[o], i)
		}
	}
}

func (z *zones) step(tick mesh.Tick, r *rand.Rand) {
	z.durable, z.ended = z.durable[:0], z.ended[:0]
	var impacts []mesh.Impact
	for i, w := range z.worlds { // acts have moved items since the last tick
		impacts = w.Owed(append(impacts, z.inboxes[i]...))
		z.inboxes[i] = nil
	}
	r.Shuffle(len(impacts), func(i, j int) { impacts[i], impacts[j] = impacts[j], impacts[i] })
	z.deliver(impacts)
	inboxes := z.inboxes
	z.inboxes, impacts = make([][]mesh.Impact, len(z.worlds)), nil
	for i, w := range z.worlds {
		out := w.Step(tick, inboxes[i])
		z.durable, z.ended = append(z.durable, out.Durable...), append(z.ended, out.Ended...)
		impacts = append(impacts, out.Impacts...)
	}
	z.struck += len(impacts)
	slices.Sort(z.durable)
	slices.Sort(z.ended)
	for i, w := range z.worlds {
		for _, id := range w.Strays(z.boxes[i], z.margin, nil) {
			e, _ := w.Get(id)
			if to := z.locate(bounds.Clamp(e.Pos)); to != i {
				z.move(id, to, r)
			}
		}
	}
	z.deliver(impacts)
	z.show()
}

// show gives each World as ghosts exactly what it needs of the others.
func (z *zones) show() {
	for i, w := range z.worlds {
		near := z.boxes[i].Grow(z.margin + w.InteractionRadius())
		for len(w.ghosts) > 0 {
			w.RemoveGhost(w.ghosts[0].ID)
		}
		for j, v := range z.worlds {
			if i == j {
				continue
			}
			for _, p := range v.Poses(nil) {
				if near.Contains(p.Pos) {
					w.PutGhost(p)
				}
			}
		}
	}
}

// act decides ev in the zone of its player; where the item is elsewhere it is
// fetched if the monolith's item was taken, as the protocol would.
func (z *zones) act(tick mesh.Tick, player mesh.EntityID, ev mesh.Event, want Result, r *rand.Rand) Result {
	o := z.owner(player)
	got := z.worlds[o].Act(tick, player, ev)
	if !got.Elsewhere {
		return got
	}
	if want.Outcome == mesh.OutcomeOK {
		from := z.worlds[z.owner(ev.Target)]
		e, _ := from.Get(ev.Target)
		z.move(ev.Target, o, r)
		from.PutGhost(e.Pose)
		return z.worlds[o].Act(tick, player, ev)
	}
	return refused
}

func states(worlds ...*World) map[mesh.EntityID]mesh.Entity {
	all := map[mesh.EntityID]mesh.Entity{}
	for _, w := range worlds {
		w.Each(func(e *mesh.Entity) bool {
			if _, twice := all[e.ID]; twice {
				panic(fmt.Sprint("two of ", e.ID))
			}
			all[e.ID] = *e
			return true
		})
	}
	return all
}

// brawl is a script of commands and acts for a crowd around the corner of
// four zones. It looks at the monolith only.
type brawl struct {
	r       *rand.Rand
	middle  mesh.Vec
	players []mesh.EntityID
	items   []mesh.EntityID
	ships   []mesh.EntityID
	events  map[mesh.EntityID]uint32
	acted   map[mesh.EntityID]bool // items of this tick: between nodes a second act takes a tick more
}

func newBrawl(seed uint64, players, items, npcs, ships int) (*brawl, []mesh.Entity) {
	b := &brawl{r: rand.New(rand.NewPCG(seed, 1)), middle: mesh.Meters(2000, 2000, 0), events: map[mesh.EntityID]uint32{}}
	var all []mesh.Entity
	for i := range players {
		e := Tavern{}.Born(mesh.PlayerID(i+1), b.middle, seed)
		b.players = append(b.players, e.ID)
		all = append(all, e)
	}
	for _, e := range Scatter(seed, items, bounds, b.middle, 8*m) {
		b.items = append(b.items, e.ID)
		all = append(all, e)
	}
	all = append(all, Cast(seed, npcs, bounds, b.middle, 6*m)...)
	for i := range ships {
		id := mesh.MakeEntityID(mesh.KindShip, uint64(i+1))
		b.ships = append(b.ships, id)
		all = append(all, mesh.Entity{Pose: mesh.Pose{ID: id, Health: 1000, Pos: b.middle.Add(mesh.Meters(int32(15*i)-8, 9, 0))}})
	}
	return b, all
}

func (b *brawl) command(mono *World, p mesh.EntityID, tick mesh.Tick) (mesh.Command, bool) {
	if b.r.IntN(5) > 0 {
		return mesh.Command{}, false // the last one goes on
	}
	e, _ := mono.Get(p)
	c := mesh.Command{Sequence: uint32(tick), Yaw: uint16(b.r.Uint32())}
	x, y := compass(uint8(b.r.Uint32()))
	if d := b.middle.Sub(e.Pos); abs(d.X)+abs(d.Y) > 8*m {
		n := isqrt(d.Dist2(mesh.Vec{}))
		x, y = int8(int64(d.X)*90/n), int8(int64(d.Y)*90/n)
	}
	c.MoveX, c.MoveY = x, y
	return c, true
}

func (b *brawl) event(mono *World, p mesh.EntityID) (mesh.Event, bool) {
	if b.r.IntN(8) > 0 {
		return mesh.Event{}, false
	}
	e, _ := mono.Get(p)
	b.events[p]++
	ev := mesh.Event{Number: b.events[p]}
	aim := func(most int32) mesh.Vec {
		f := func() int32 { return b.r.Int32N(2*most) - most }
		return mesh.Vec{X: f(), Y: f(), Z: f() / 4}
	}
	switch n := b.r.IntN(12); {
	case e.Held != 0 && b.acted[e.Held]:
		return ev, false
	case n == 0:
		ev.Action, ev.Aim = mesh.ActFire, aim(24*m)
	case n == 1 && len(b.ships) > 0:
		ev.Action = mesh.ActBoard
		if e.Carrier == 0 {
			ev.Target = b.ships[b.r.IntN(len(b.ships))]
		}
	case e.Held != 0 && n < 4:
		ev.Action = mesh.ActDrop
	case e.Held != 0:
		ev.Action, ev.Aim = mesh.ActThrow, aim(11*m)
	default:
		ev.Action, ev.Target = mesh.ActPickUp, b.items[b.r.IntN(len(b.items))]
		for _, id := range b.items { // the first in reach, if any
			if it, _ := mono.Get(id); within(it.Pos, e.Pos, 2*m) && it.Carrier == 0 && !b.acted[id] {
				ev.Target = id
			}
		}
		it, _ := mono.Get(ev.Target)
		ev.Hop = it.Hop
		if b.acted[ev.Target] {
			return ev, false
		}
	}
	return ev, true
}

// TestMeshEqualsMonolith cuts a brawl among four zones, whose cut wanders
// through the crowd, and wants every entity of every tick to be what one World
// makes of it, to the bit.
func TestMeshEqualsMonolith(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { meshEqualsMonolith(t, seed, 1500) })
	}
}

func meshEqualsMonolith(t *testing.T, seed uint64, ticks mesh.Tick) {
	cfg := Config{TickHz: 20, Bounds: bounds, Seed: seed, Spawn: mesh.Meters(2000, 2000, 0)}
	mono := New(cfg, slowShips{})
	b, born := newBrawl(seed, 40, 60, 12, 2)
	cut := func(x, y int32) []mesh.Box {
		west, east := bounds.Cut(0, b.middle.X+x)
		a, c := west.Cut(1, b.middle.Y+y)
		d, e := east.Cut(1, b.middle.Y-y)
		return []mesh.Box{a, c, d, e}
	}
	z := newZones(cfg, slowShips{}, cut(0, 0))
	shuffle := rand.New(rand.NewPCG(seed, 2))
	for _, e := range born {
		mono.Put(e)
	}
	shuffle.Shuffle(len(born), func(i, j int) { born[i], born[j] = born[j], born[i] })
	for _, e := range born {
		z.worlds[z.locate(e.Pos)].Put(e)
	}
	z.show()
	done, deaths, boarded := map[mesh.Action]int{}, 0, 0
	for tick := mesh.Tick(1); tick <= ticks; tick++ {
		if tick%100 == 0 {
			z.boxes = cut(shuffle.Int32N(4*m)-2*m, shuffle.Int32N(4*m)-2*m)
			z.show() // what was near enough to the old boxes may not be to the new
		}
		b.acted = map[mesh.EntityID]bool{}
		for _, p := range b.players {
			if c, ok := b.command(mono, p, tick); ok {
				if mono.Command(p, c) != z.worlds[z.owner(p)].Command(p, c) {
					t.Fatalf("tick %d: command of %x", tick, p)
				}
			}
			if ev, ok := b.event(mono, p); ok {
				want := mono.Act(tick, p, ev)
				b.acted[want.Moved] = true
				if got := z.act(tick, p, ev, want, shuffle); got.Outcome != want.Outcome || !slices.Equal(got.Changed, want.Changed) || got.Moved != want.Moved {
					t.Fatalf("tick %d: %+v of %x: got %+v, want %+v", tick, ev, p, got, want)
				}
				if want.Outcome == mesh.OutcomeOK {
					done[ev.Action]++
				}
			}
		}
		out := mono.Step(tick, nil)
		z.step(tick, shuffle)
		if !slices.Equal(out.Durable, z.durable) || !slices.Equal(out.Ended, z.ended) {
			t.Fatalf("tick %d: durable %x and %x, ended %x and %x", tick, out.Durable, z.durable, out.Ended, z.ended)
		}
		for _, id := range out.Durable {
			if id.Layer() == mesh.Actors {
				deaths++
			}
		}
		boarded += len(mono.lists[riding])
		if got, want := states(z.worlds...), states(mono); !maps.Equal(got, want) {
			for id, e := range want {
				if got[id] != e {
					t.Errorf("tick %d: %x is\n%+v, want\n%+v", tick, id, got[id], e)
				}
			}
			t.FailNow()
		}
	}
	t.Logf("crossings %d, impacts across %d, acts %v, deaths %d, ticks aboard %d", z.crossed, z.struck, done, deaths, boarded)
	if z.crossed < 500 || z.struck < 50 || deaths < 5 || boarded == 0 || len(done) != 5 {
		t.Error("the brawl proves too little")
	}
}
