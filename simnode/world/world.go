// Package world is the deterministic tick: one World simulates one zone's
// share of a shard, its residents, against read-only copies of its
// neighbours' entities, the ghosts. It is a state machine without a clock,
// network or goroutine; a World is used by one goroutine at a time.
//
// # Mesh equals monolith
//
// What a tick makes of an entity depends only on its own last state, the
// command and impacts addressed to it, and the states that entities within
// World.InteractionRadius had at the end of the last tick. So worlds that show
// each other their Poses of tick t as ghosts, before each steps to t+1, compute
// what a single world would: each computes its half of an encounter from the
// same inputs. Numbers are fixed point, sums are of integers, and whatever has
// an order is ordered by entity id, so it is the same on every CPU and for every
// cut. What Act changes is seen by others only from the end of the next Step.
//
// # Writing a game
//
// New and Step are all that a driver needs; a studio supplies Rules. Begin by
// embedding Tavern and overriding what differs:
//
//	type arena struct{ world.Tavern }
//
//	func (a arena) Limits() world.Limits {
//		l := a.Tavern.Limits()
//		l.WalkSpeed = 9 * mesh.UnitsPerMeter // units a second
//		return l
//	}
//
//	// Hit: thrown things only shove, rockets kill.
//	func (a arena) Hit(h world.Hit) (mesh.Vec, int16) {
//		push, _ := a.Tavern.Hit(h)
//		if h.Blast {
//			return push, 100
//		}
//		return push, 0
//	}
//
// A method of Rules must be a pure function of its arguments and of values
// that never change, in integers, or the promise above is gone.
package world

import (
	"slices"

	"weft/control/mesh"
)

// Config is what a World needs to know of its shard.
type Config struct {
	TickHz uint32
	Bounds mesh.Box // the shard's: no entity leaves it. The ground is at height 0
	Seed   uint64
	Spawn  mesh.Vec // where the dead stand up again, if the rules will have it
}

// World is one zone's share of a shard. The zero World is not usable: see New.
type World struct {
	slots
	cfg    Config
	rules  Rules
	worker Worker // rules, if they ask for work
	lim    limits
	tick   mesh.Tick // of the last Step

	asleep  []mesh.Entity // residents not simulated: bodies and what they hold
	bodies  int           // of asleep: with the flag
	astray  astray
	ghosts  []ghost
	ghostAt index

	pending []mesh.Impact // by own props on own residents, for the next Step
	impacts []mesh.Impact // those being applied
	touched []mesh.EntityID
	ships   []spot // seen, resident and ghost: too large for the grid
	actors  grid
	props   grid
	fallen  []int32 // slots that come to rest in this Step
	burnt   []mesh.EntityID
	out     Output
	scratch mesh.Entity
	sink    uint64

	samples [2][]int32 // of Density
}

type ghost struct {
	mesh.Pose
	class class
}

// New returns an empty World. It takes rules' Limits once and holds them to
// what the tick can honour: no step of more than 32 m a tick, bodies of at
// most 1 m in radius.
func New(cfg Config, rules Rules) *World {
	cfg.TickHz = max(cfg.TickHz, 1)
	lo, hi := &cfg.Bounds.Min, &cfg.Bounds.Max
	for _, v := range []*int32{&lo.X, &lo.Y, &lo.Z, &hi.X, &hi.Y, &hi.Z} {
		*v = min(max(*v, -1<<30), 1<<30) // so that no sum of places overflows
	}
	w := &World{cfg: cfg, rules: rules, lim: newLimits(rules.Limits(), cfg)}
	w.worker, _ = rules.(Worker)
	w.actors.shift = cellShift(2 * w.lim.BodyRadius)
	w.props.shift = cellShift(4 * w.lim.PropRadius)
	return w
}

// Rules returns what New was given.
func (w *World) Rules() Rules { return w.rules }

// InteractionRadius is how far, in units, a tick can reach: a World needs as
// ghosts whatever is this near to any of its residents, wherever these are.
func (w *World) InteractionRadius() int32 { return w.lim.radius }

// Put inserts or replaces a resident. An Asleep one, and what it holds, is
// kept apart: not simulated, not shown. A body under a new session has no
// command. A ghost of the same id goes.
func (w *World) Put(e mesh.Entity) {
	if e.ID == 0 {
		return
	}
	w.RemoveGhost(e.ID)
	old, known := w.Get(e.ID)
	if known && old.Session != e.Session {
		e.Data = clearCommand(e.ID, e.Data)
	}
	hidden := e.Flags&mesh.Asleep != 0
	if r, ok := w.at.get(e.Carrier); ok && r < 0 {
		hidden = true // in the hand of a sleeper
	}
	if r, ok := w.at.get(e.ID); ok && (r < 0) == hidden {
		if hidden {
			w.countBody(w.asleep[^r], -1)
			w.asleep[^r] = e
			w.countBody(e, 1)
			w.watchSleeper(&e)
			return
		}
		w.store(r, &e)
		w.touch(r)
		return
	}
	if known {
		w.take(e.ID)
	}
	if hidden {
		w.at.put(e.ID, ^int32(len(w.asleep)))
		w.asleep = append(w.asleep, e)
		w.countBody(e, 1)
		w.watchSleeper(&e)
	} else {
		if r, ok := w.at.get(e.Carrier); ok && e.ID.Layer() == mesh.Actors && e.Carrier.Kind() == mesh.KindShip && !w.nearShip(e.Pos, w.pos[r], w.lim.Reach) {
			e.Pos = w.pos[r] // it woke on a deck that has sailed on
		}
		w.insert(&e)
	}
	if it, ok := w.Get(e.Held); ok && it.Carrier == e.ID {
		if r, _ := w.at.get(e.Held); (r < 0) != hidden {
			if !hidden {
				it.Pos = e.Pos
			}
			w.take(it.ID)
			w.Put(it)
		}
	}
}

func (w *World) countBody(e mesh.Entity, n int) {
	if e.Flags&mesh.Asleep != 0 {
		w.bodies += n
	}
}

// Remove takes a resident out and returns its exact state. What it carries
// stays: take Group's members together.
func (w *World) Remove(id mesh.EntityID) (mesh.Entity, bool) {
	e, ok := w.Get(id)
	if ok {
		w.take(id)
	}
	return e, ok
}

// take removes a resident from wherever it is kept.
func (w *World) take(id mesh.EntityID) {
	r, ok := w.at.get(id)
	switch {
	case !ok:
	case r >= 0:
		w.drop(r)
	default:
		i, last := int(^r), len(w.asleep)-1
		w.countBody(w.asleep[i], -1)
		w.at.remove(id)
		if i != last {
			w.asleep[i] = w.asleep[last]
			w.at.put(w.asleep[i].ID, r)
		}
		w.asleep = w.asleep[:last]
	}
}

// Get returns the exact current state of a resident, asleep or not.
func (w *World) Get(id mesh.EntityID) (mesh.Entity, bool) {
	r, ok := w.at.get(id)
	if !ok {
		return mesh.Entity{}, false
	}
	if r < 0 {
		return w.asleep[^r], true
	}
	return w.load(r), true
}

// Has reports whether id is a resident, asleep or not.
func (w *World) Has(id mesh.EntityID) bool {
	_, ok := w.at.get(id)
	return ok
}

// Len counts the residents that are simulated and those kept apart.
func (w *World) Len() (awake, asleep int) { return len(w.id), len(w.asleep) }

// Load counts what a report tells of a zone: awake actors, props that nothing
// carries, the flying among them, and sleeping bodies.
func (w *World) Load() (actors, props, moving, asleep int) {
	moving = len(w.lists[flying]) + len(w.lists[burning])
	return len(w.lists[acting]) + len(w.lists[riding]), moving + len(w.lists[resting]), moving, w.bodies
}

// Each calls f with every resident until it returns false: the awake in slot
// order, then the sleepers. The pointer is good during the call only, and to a copy.
func (w *World) Each(f func(e *mesh.Entity) bool) {
	var e mesh.Entity
	for s := range w.id {
		e = w.load(int32(s))
		if !f(&e) {
			return
		}
	}
	for i := range w.asleep {
		e = w.asleep[i]
		if !f(&e) {
			return
		}
	}
}

// Group appends root and all that it carries, transitively, to dst: root
// first, then by id within each depth.
func (w *World) Group(root mesh.EntityID, dst []mesh.EntityID) []mesh.EntityID {
	if !w.Has(root) {
		return dst
	}
	dst = append(dst, root)
	for from, to := len(dst)-1, len(dst); from < to; from, to = to, len(dst) {
		for _, id := range dst[from:to] {
			dst = w.carriedBy(id, dst)
		}
		slices.Sort(dst[to:])
	}
	return dst
}

// carriedBy appends what id carries itself.
func (w *World) carriedBy(id mesh.EntityID, dst []mesh.EntityID) []mesh.EntityID {
	switch id.Kind() {
	case mesh.KindPlayer, mesh.KindNPC:
		e, _ := w.Get(id)
		if it, ok := w.Get(e.Held); ok && it.Carrier == id {
			dst = append(dst, e.Held)
		}
	case mesh.KindShip:
		for _, c := range [...]class{riding, held} {
			for _, s := range w.lists[c] {
				if w.carrier[s] == id {
					dst = append(dst, w.id[s])
				}
			}
		}
		for i := range w.asleep {
			if w.asleep[i].Carrier == id {
				dst = append(dst, w.asleep[i].ID)
			}
		}
	}
	return dst
}

// Root returns the outermost resident that carries id, or id itself.
func (w *World) Root(id mesh.EntityID) mesh.EntityID {
	for range 4 { // item, hand, deck: deeper is a fault
		c := w.carrierOf(id)
		if c == 0 || !w.Has(c) {
			break
		}
		id = c
	}
	return id
}

func (w *World) carrierOf(id mesh.EntityID) mesh.EntityID {
	r, ok := w.at.get(id)
	switch {
	case !ok:
		return 0
	case r < 0:
		return w.asleep[^r].Carrier
	}
	return w.carrier[r]
}

// Poses appends the awake residents in slot order: an entity keeps its slot
// from tick to tick, except that the last one takes the place of one that left.
func (w *World) Poses(dst []mesh.Pose) []mesh.Pose {
	dst = slices.Grow(dst, len(w.id))
	for s := range w.id {
		dst = append(dst, w.pose(int32(s)))
	}
	return dst
}

// Within appends the roots of a layer, sleepers included, that are in box,
// ordered by id: what a zone must hand to one of another layer that covers box.
func (w *World) Within(layer mesh.Layer, box mesh.Box, dst []mesh.EntityID) []mesh.EntityID {
	n := len(dst)
	dst = w.roots(func(id mesh.EntityID, p mesh.Vec) bool { return id.Layer() == layer && box.Contains(p) }, dst)
	slices.Sort(dst[n:])
	return dst
}

func (w *World) roots(want func(mesh.EntityID, mesh.Vec) bool, dst []mesh.EntityID) []mesh.EntityID {
	for s, p := range w.pos {
		if want(w.id[s], p) && (w.carrier[s] == 0 || !w.Has(w.carrier[s])) {
			dst = append(dst, w.id[s])
		}
	}
	for i := range w.asleep {
		e := &w.asleep[i]
		if want(e.ID, e.Pos) && (e.Carrier == 0 || !w.Has(e.Carrier)) {
			dst = append(dst, e.ID)
		}
	}
	return dst
}

// PutGhost shows the World a neighbour's entity as of the end of the last
// tick. It is ignored for a resident, and where a copy of a higher hop is known.
func (w *World) PutGhost(p mesh.Pose) {
	if p.ID == 0 || w.Has(p.ID) {
		return
	}
	g := ghost{p, classOf(p.ID, p.Flags, p.Carrier)}
	if p.Flags&mesh.Asleep != 0 {
		g.class = resting
	}
	if i, ok := w.ghostAt.get(p.ID); ok {
		if w.ghosts[i].Hop <= p.Hop {
			w.ghosts[i] = g
		}
		return
	}
	w.ghostAt.put(p.ID, int32(len(w.ghosts)))
	w.ghosts = append(w.ghosts, g)
}

// RemoveGhost forgets a neighbour's entity; nothing if it is not known.
func (w *World) RemoveGhost(id mesh.EntityID) {
	i, ok := w.ghostAt.get(id)
	if !ok {
		return
	}
	w.ghostAt.remove(id)
	last := len(w.ghosts) - 1
	if int(i) != last {
		w.ghosts[i] = w.ghosts[last]
		w.ghostAt.put(w.ghosts[i].ID, i)
	}
	w.ghosts = w.ghosts[:last]
}

// Ghosts counts the neighbours' entities that are known.
func (w *World) Ghosts() int { return len(w.ghosts) }
