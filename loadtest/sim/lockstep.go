package sim

import (
	"fmt"

	"weft/control/mesh"
	"weft/simnode/world"
)

// LockstepConfig sizes a run of Lockstep.
type LockstepConfig struct {
	Players, Items, NPCs, Ships int
	Ticks                       mesh.Tick
	WidthM                      int32 // of the square world
	ChangeEvery                 int   // ticks from one change of the layout to the next, on average
}

// DefaultLockstepConfig is a brawl about four places of a small world.
func DefaultLockstepConfig() LockstepConfig {
	return LockstepConfig{Players: 24, Items: 40, NPCs: 10, Ships: 3, Ticks: 200, WidthM: 120, ChangeEvery: 5}
}

// lockstepNodes are the sizes of the meshes that are held against one node.
var lockstepNodes = []int{1, 2, 5, 16}

// Outcome is what Lockstep found.
type Outcome struct {
	Seed       uint64
	Difference string    // empty: every mesh made of every tick what one zone made of it
	Nodes      int       // of the mesh that differed first
	Tick       mesh.Tick // when it did; else the last one
	Stats      LockstepStats
}

// LockstepStats count what a run did, over all its meshes but the first, so
// that a run that proves little is noticed.
type LockstepStats struct {
	Crossings, Aboard                int // of entities; of players among them who went with a ship
	Impacts, Picks                   int // from node to node; from zone to zone
	Layouts, Splits, Merges, Removed int
	Acts, Deaths, TicksAboard        int                    // of the one-zone run
	Done                             [mesh.ActBoard + 1]int // acts that were not refused, by action
}

// Add adds o to s.
func (s *LockstepStats) Add(o LockstepStats) {
	s.Crossings, s.Aboard, s.Impacts, s.Picks = s.Crossings+o.Crossings, s.Aboard+o.Aboard, s.Impacts+o.Impacts, s.Picks+o.Picks
	s.Layouts, s.Splits, s.Merges, s.Removed = s.Layouts+o.Layouts, s.Splits+o.Splits, s.Merges+o.Merges, s.Removed+o.Removed
	s.Acts, s.Deaths, s.TicksAboard = s.Acts+o.Acts, s.Deaths+o.Deaths, s.TicksAboard+o.TicksAboard
	for i := range s.Done {
		s.Done[i] += o.Done[i]
	}
}

// Lockstep plays one scenario, drawn from seed, on a node with a single zone,
// and beside it on meshes of the given sizes whose layouts change at random.
// Messages and store calls take no time: all that follows from a tick, its
// frames, impacts and crossings, has come to an end before anyone ticks again,
// and so has what follows from a player's act before the next one acts. Then
// every entity of every tick must be the same in all of them, to the bit, but
// for the history of its crossings: Hop, and Placed (of a rocket, whose fuse
// it is, that too). docs/design.md says what the promise leaves out, and why;
// the players of the scenario keep off that, and off nothing else.
func Lockstep(seed uint64, nodes []int, cfg LockstepConfig) Outcome {
	out := Outcome{Seed: seed}
	p := newPlay(seed, cfg)
	one := newInstant(seed, 1, cfg, p)
	meshes := []*instant{one}
	for i, n := range nodes {
		m := newInstant(seed+uint64(i+1)<<32, n, cfg, p)
		m.changing = cfg.ChangeEvery
		meshes = append(meshes, m)
	}
	fail := func(m *instant, difference string) Outcome {
		out.Difference, out.Nodes = difference, len(m.nodes)
		return out
	}
	for out.Tick = 1; out.Tick <= cfg.Ticks; out.Tick++ {
		for _, m := range meshes {
			m.rearrange()
			m.step(out.Tick)
		}
		for _, m := range meshes {
			if m.fault != "" {
				return fail(m, m.fault)
			}
			if d := difference(m.states, one.states); d != "" {
				return fail(m, d)
			}
		}
		p.count(one)
		p.play(meshes, out.Tick)
	}
	out.Tick--
	out.Stats = p.stats
	for _, m := range meshes[1:] {
		out.Stats.Add(m.stats)
	}
	return out
}

// difference names the first entity, by id, that is not the same in both.
func difference(got, want map[mesh.EntityID]placed) string {
	first := mesh.EntityID(0)
	note := func(id mesh.EntityID) {
		if first == 0 || id < first {
			first = id
		}
	}
	for id, w := range want {
		if g, ok := got[id]; !ok || plain(g.Entity) != plain(w.Entity) {
			note(id)
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok {
			note(id)
		}
	}
	if first == 0 {
		return ""
	}
	say := func(m map[mesh.EntityID]placed) string {
		if e, ok := m[first]; ok {
			return fmt.Sprintf("%+v in zone %d", e.Entity, e.zone)
		}
		return "not there"
	}
	return fmt.Sprintf("entity %x is\n%s, want\n%s", uint64(first), say(got), say(want))
}

// plain is e without the history of its crossings.
func plain(e mesh.Entity) mesh.Entity {
	e.Hop = 0
	if e.ID.Kind() != mesh.KindRocket {
		e.Placed = 0
	}
	return e
}

// brawl is the Tavern with bodies that come to life and stand up again where
// the fight is, and ships that sail from place to place.
type brawl struct {
	world.Tavern
	places []mesh.Vec
}

// Limits: slower ships, so that people get aboard.
func (b brawl) Limits() world.Limits {
	l := b.Tavern.Limits()
	l.ShipSpeed = 3 * mesh.UnitsPerMeter
	return l
}

// Born puts every player near one of the places.
func (b brawl) Born(player mesh.PlayerID, _ mesh.Vec, seed uint64) mesh.Entity {
	return b.Tavern.Born(player, b.places[int(player)%len(b.places)], seed)
}

// Drive: a ship's Data is the place it sails to, and it turns when it is there.
func (b brawl) Drive(e *mesh.Entity, tick mesh.Tick, random uint64) mesh.Command {
	if e.ID.Kind() != mesh.KindShip {
		return b.Tavern.Drive(e, tick, random)
	}
	to := b.places[e.Data%uint64(len(b.places))].Sub(e.Pos)
	const near = 3 * mesh.UnitsPerMeter
	if max(to.X, -to.X) < near && max(to.Y, -to.Y) < near {
		e.Data = random % uint64(len(b.places))
	}
	x, y := heading(to, 120)
	return mesh.Command{MoveX: x, MoveY: y, Yaw: e.Yaw}
}

// Respawn: a step from where it died.
func (b brawl) Respawn(e *mesh.Entity, _ mesh.Vec, random uint64) {
	b.Tavern.Respawn(e, e.Pos, random)
}

// heading returns the direction of v with the longer side of that length.
func heading(v mesh.Vec, length int32) (x, y int8) {
	n := max(v.X, -v.X, v.Y, -v.Y, 1)
	scale := func(c int32) int8 { return int8(int64(c) * int64(length*7/10) / int64(n)) }
	return scale(v.X), scale(v.Y)
}
