package world

import (
	"cmp"
	"math"
	"slices"

	"weft/control/mesh"
)

// Output is what a Step wants of its caller. It belongs to the World and is
// good until the next Step.
type Output struct {
	// Impacts are effects on ghosts, for their authorities, ordered by target.
	Impacts []mesh.Impact
	// Durable are the residents whose durable state the simulation changed, by
	// id, each once: their present states must be journaled.
	Durable []mesh.EntityID
	// Ended are rockets that burst or burnt out, by id: no longer residents.
	Ended []mesh.EntityID
}

// Step simulates tick, which must be later than the last one: it applies
// impacts to residents, in an order of their content, and moves everything on
// from the end of the last tick. Impacts on others than residents are ignored.
func (w *World) Step(tick mesh.Tick, impacts []mesh.Impact) *Output {
	w.tick = tick
	w.out.Impacts, w.out.Durable, w.out.Ended = w.out.Impacts[:0], w.out.Durable[:0], w.out.Ended[:0]
	w.fallen, w.burnt = w.fallen[:0], w.burnt[:0]
	w.applyImpacts(impacts)
	w.look()
	w.moveActors()
	w.moveProps()
	w.settle()
	w.follow()
	w.show()
	slices.SortFunc(w.out.Impacts, compareImpacts)
	slices.Sort(w.out.Durable)
	w.out.Durable = slices.Compact(w.out.Durable)
	slices.Sort(w.out.Ended)
	return &w.out
}

// Owed appends the impacts of the last Step on residents that have left since,
// and forgets them: they must reach the new authority for the next tick. What
// is not asked for comes with the next Output, a tick late.
func (w *World) Owed(dst []mesh.Impact) []mesh.Impact {
	kept := w.pending[:0]
	for _, i := range w.pending {
		if w.Has(i.Target) {
			kept = append(kept, i)
		} else {
			dst = append(dst, i)
		}
	}
	w.pending = kept
	return dst
}

func compareImpacts(a, b mesh.Impact) int {
	return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Damage, b.Damage),
		cmp.Compare(a.Push.X, b.Push.X), cmp.Compare(a.Push.Y, b.Push.Y), cmp.Compare(a.Push.Z, b.Push.Z))
}

// applyImpacts applies those given and the own ones of the last tick.
func (w *World) applyImpacts(impacts []mesh.Impact) {
	w.impacts = append(w.impacts[:0], impacts...)
	for _, i := range w.pending {
		if w.Has(i.Target) {
			w.impacts = append(w.impacts, i)
		} else {
			w.out.Impacts = append(w.out.Impacts, i)
		}
	}
	w.pending = w.pending[:0]
	slices.SortFunc(w.impacts, compareImpacts)
	for from := 0; from < len(w.impacts); {
		id := w.impacts[from].Target
		var x, y, z, damage int64
		to := from
		for ; to < len(w.impacts) && w.impacts[to].Target == id; to++ {
			i := &w.impacts[to]
			x, y, z, damage = x+int64(i.Push.X), y+int64(i.Push.Y), z+int64(i.Push.Z), damage+int64(i.Damage)
		}
		from = to
		if s, ok := w.at.get(id); ok && s >= 0 {
			w.strike(s, mesh.Vec{X: clamp32(x), Y: clamp32(y), Z: clamp32(z)}, damage)
		}
	}
}

// strike applies the sum of a tick's impacts to the resident in slot s.
func (w *World) strike(s int32, push mesh.Vec, damage int64) {
	switch w.class[s] {
	case held:
		return
	case resting:
		if push == (mesh.Vec{}) {
			return
		}
		w.flags[s] |= mesh.Flying
		w.reclass(s)
	case riding:
		push = mesh.Vec{}
	}
	w.touch(s) // to others it is what it was until the end of the tick
	v := w.vel[s]
	w.vel[s] = capped(mesh.Vec{
		X: clamp32(int64(v.X) + int64(push.X)), Y: clamp32(int64(v.Y) + int64(push.Y)), Z: clamp32(int64(v.Z) + int64(push.Z)),
	}, w.lim.MaxSpeed)
	if damage == 0 || w.id[s].Layer() != mesh.Actors {
		return
	}
	w.health[s] = int16(min(max(int64(w.health[s])-damage, math.MinInt16), math.MaxInt16))
	if w.health[s] <= 0 {
		w.die(s)
	}
}

// die lets fall what the actor in slot s holds and stands it up again by the rules.
func (w *World) die(s int32) {
	w.scratch = w.load(s)
	e := &w.scratch
	if i, ok := w.at.get(e.Held); ok && i >= 0 && w.carrier[i] == e.ID {
		w.release(i, e.Pos, mesh.Vec{}, w.tick)
		w.out.Durable = append(w.out.Durable, e.Held)
	}
	e.Held, e.Carrier, e.Vel, e.Placed = 0, 0, mesh.Vec{}, w.tick
	keep := *e
	w.rules.Respawn(e, w.cfg.Spawn, hash(w.cfg.Seed, w.tick, e.ID))
	keep.Health, keep.Pos, keep.Vel, keep.Yaw = max(e.Health, 1), moved(e.Pos, mesh.Vec{}, &w.cfg.Bounds), capped(e.Vel, w.lim.MaxSpeed), e.Yaw
	if keep.ID.Kind() != mesh.KindPlayer {
		keep.Data = e.Data
	}
	w.store(s, &keep)
	w.touch(s)
	w.out.Durable = append(w.out.Durable, keep.ID)
}

// release frees the item in slot s from what carries it, at p with velocity v.
func (w *World) release(s int32, p, v mesh.Vec, tick mesh.Tick) {
	w.carrier[s] = 0
	w.hop[s]++
	w.cold[s].placed = tick
	w.pos[s], w.vel[s] = moved(p, mesh.Vec{}, &w.cfg.Bounds), v
	w.flags[s] &^= mesh.Flying
	if v != (mesh.Vec{}) || w.pos[s].Z > w.lim.floor {
		w.flags[s] |= mesh.Flying
	}
	w.reclass(s)
	w.touch(s)
}

// touch notes that slot s is no longer what others see of it in this tick.
func (w *World) touch(s int32) {
	if !w.dirty[s] {
		w.dirty[s] = true
		if i := w.airAt[s]; i >= 0 {
			w.air[i].own = true
		}
		w.touched = append(w.touched, w.id[s])
	}
}

// look sorts what everyone sees of everyone in this tick into the grids.
func (w *World) look() {
	w.actors.reset()
	w.props.reset()
	w.ships = w.ships[:0]
	for _, c := range [...]class{acting, riding} {
		for _, s := range w.lists[c] {
			if !w.dirty[s] {
				w.sees(c, w.id[s], spot{pos: w.seen[s].pos, vel: w.seen[s].vel, ref: s})
			}
		}
	}
	slices.Sort(w.touched)
	w.touched = slices.Compact(w.touched) // one may have left and come back
	for _, id := range w.touched {
		if s, ok := w.at.get(id); ok && s >= 0 && w.dirty[s] {
			w.sees(w.seenClass[s], id, spot{pos: w.seen[s].pos, vel: w.seen[s].vel, ref: s})
		}
	}
	for i := range w.ghosts {
		if g := &w.ghosts[i]; g.class == flying || g.class == acting || g.class == riding {
			w.sees(g.class, g.ID, spot{pos: g.Pos, vel: g.Vel, ref: ^int32(i)})
		}
	}
	w.actors.build(nil)
	w.air = slices.DeleteFunc(w.air, func(o spot) bool { return o.ref == vacant })
	w.props.build(w.air)
	w.props.pair(2 * w.lim.PropRadius)
	if len(w.lists[flying])+len(w.lists[burning]) > 0 {
		w.actors.mark()
	}
}

func (w *World) sees(c class, id mesh.EntityID, s spot) {
	switch {
	case c == flying && s.ref < 0:
		w.props.add(s)
	case c != acting && c != riding:
	case id.Kind() == mesh.KindShip:
		w.ships = append(w.ships, s)
	default:
		w.actors.add(s)
	}
}

// named returns the id of a spot and the carrier that others see it with.
func (w *World) named(ref int32) (id, carrier mesh.EntityID) {
	if ref < 0 {
		g := &w.ghosts[^ref]
		return g.ID, g.Carrier
	}
	return w.id[ref], w.seen[ref].carrier
}

// settle lays down what came to rest and takes out the rockets that burst.
func (w *World) settle() {
	for _, s := range w.fallen {
		w.flags[s] &^= mesh.Flying
		w.vel[s], w.data[s] = mesh.Vec{}, 0
		w.cold[s].placed = w.tick
		w.reclass(s)
		w.land(s)
		w.out.Durable = append(w.out.Durable, w.id[s])
	}
	for _, id := range w.burnt {
		w.take(id)
		w.out.Ended = append(w.out.Ended, id)
	}
}

// follow moves what is carried with its carrier: a rider and cargo keep their
// place on deck, what is in a hand is where its holder is.
func (w *World) follow() {
	for _, s := range w.lists[riding] {
		w.ride(s)
	}
	for _, s := range w.lists[held] {
		c, ok := w.at.get(w.carrier[s])
		switch {
		case !ok || c < 0:
		case w.carrier[s].Kind() == mesh.KindShip:
			w.ride(s)
		default:
			w.pos[s], w.vel[s] = w.pos[c], w.vel[c]
		}
	}
}

func (w *World) ride(s int32) {
	if c, ok := w.at.get(w.carrier[s]); ok && c >= 0 {
		w.pos[s] = moved(w.pos[s], w.pos[c].Sub(w.seen[c].pos), &w.cfg.Bounds)
		w.vel[s] = w.vel[c]
	}
}

// show lets the next tick see what this one has made.
func (w *World) show() {
	for _, c := range [...]class{acting, riding} {
		for _, s := range w.lists[c] {
			w.seen[s] = sight{w.pos[s], w.vel[s], w.carrier[s]}
		}
	}
	copy(w.seenClass, w.class)
	for _, id := range w.touched {
		if s, ok := w.at.get(id); ok && s >= 0 {
			w.dirty[s] = false
		}
	}
	w.touched = w.touched[:0]
}

// emit sends an impact to where its target is: here, or with its authority.
func (w *World) emit(ref int32, i mesh.Impact) {
	i.Push = capped(i.Push, w.lim.MaxSpeed)
	if ref >= 0 {
		w.pending = append(w.pending, i)
	} else {
		w.out.Impacts = append(w.out.Impacts, i)
	}
}
