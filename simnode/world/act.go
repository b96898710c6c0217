package world

import "weft/control/mesh"

// Result is what an act came to.
type Result struct {
	Outcome mesh.Outcome
	// Changed are the residents whose durable state the act changed, the
	// player first. It is empty if the act was refused.
	Changed []mesh.EntityID
	// Moved is the item or rocket that the act moved, zero if none.
	Moved mesh.EntityID
	// Elsewhere: the target is not a resident, nothing was changed or decided,
	// and the outcome takes its owner.
	Elsewhere bool
}

var refused = Result{Outcome: mesh.OutcomeRefused}

// Act decides a durable event of a resident player between two Steps and
// changes the world at once; what the player remembers of events is the
// caller's to record. tick is the tick of the next Step.
func (w *World) Act(tick mesh.Tick, player mesh.EntityID, ev mesh.Event) Result {
	s, ok := w.at.get(player)
	if !ok || s < 0 || player.Kind() != mesh.KindPlayer {
		return refused
	}
	switch ev.Action {
	case mesh.ActDrop, mesh.ActThrow:
		return w.letGo(tick, s, ev)
	case mesh.ActPickUp:
		return w.pickUp(tick, s, ev)
	case mesh.ActFire:
		return w.fire(tick, s, ev)
	case mesh.ActBoard:
		if ev.Target == 0 {
			return w.stepOff(tick, s)
		}
		return w.board(tick, s, ev)
	}
	return refused
}

// Hand puts the free resident item into the empty hand of the resident awake
// player, if it is within reach of from, where the player stood when it asked:
// so ends a pick-up across owners. It reports false, with nothing changed, if
// that cannot be.
func (w *World) Hand(player, item mesh.EntityID, from mesh.Vec, tick mesh.Tick) bool {
	s, ok := w.at.get(player)
	i, ok2 := w.at.get(item)
	if !ok || !ok2 || s < 0 || i < 0 || player.Kind() != mesh.KindPlayer || item.Kind() != mesh.KindItem ||
		w.cold[s].held != 0 || w.carrier[i] != 0 || !within(from, w.pos[i], w.lim.Reach) {
		return false
	}
	w.grasp(tick, s, i)
	return true
}

// grasp puts the item in slot i into the hand of the player in slot s.
func (w *World) grasp(tick mesh.Tick, s, i int32) {
	w.carrier[i] = w.id[s]
	w.hop[i]++
	w.flags[i] &^= mesh.Flying
	w.pos[i], w.vel[i] = w.pos[s], w.vel[s]
	w.data[i], w.cold[i].placed = 0, tick
	w.cold[s].held = w.id[i]
	w.reclass(i)
	w.touch(i)
	w.settleAt(tick, s)
}

// settleAt notes that the durable place of slot s is that of tick.
func (w *World) settleAt(tick mesh.Tick, s int32) { w.cold[s].placed = tick }

func done(moved mesh.EntityID, changed ...mesh.EntityID) Result {
	return Result{Outcome: mesh.OutcomeOK, Changed: changed, Moved: moved}
}

func (w *World) letGo(tick mesh.Tick, s int32, ev mesh.Event) Result {
	player, item := w.id[s], w.cold[s].held
	i, ok := w.at.get(item)
	if !ok || i < 0 || w.carrier[i] != player || ev.Action == mesh.ActThrow && !short(ev.Aim, w.lim.ThrowSpeed) {
		return refused
	}
	from := w.pos[s]
	if ev.Action == mesh.ActThrow {
		from.Z += w.lim.HandHeight
		w.release(i, from, ev.Aim, tick)
		w.data[i] = uint64(w.Root(player))
	} else {
		w.release(i, from, mesh.Vec{}, tick)
		w.data[i] = uint64(w.Root(player))
		if deck := w.carrier[s]; deck != 0 { // laid down on deck: cargo
			w.carrier[i], w.flags[i] = deck, w.flags[i]&^mesh.Flying
			w.reclass(i)
		}
	}
	w.cold[s].held = 0
	w.settleAt(tick, s)
	return done(item, player, item)
}

func (w *World) pickUp(tick mesh.Tick, s int32, ev mesh.Event) Result {
	if w.cold[s].held != 0 || ev.Target.Kind() != mesh.KindItem {
		return refused
	}
	i, ok := w.at.get(ev.Target)
	if !ok {
		return w.elsewhere(s, ev.Target, ev.Hop, w.lim.Reach)
	}
	if i < 0 || w.hop[i] != ev.Hop || w.carrier[i] != 0 && w.carrier[i] != w.carrier[s] || !within(w.pos[s], w.pos[i], w.lim.Reach) {
		return refused
	}
	w.grasp(tick, s, i)
	return done(ev.Target, w.id[s], ev.Target)
}

// elsewhere refuses a target whose ghost, as new as what the client saw, shows
// it changed since, held, or out of reach; otherwise its owner must say.
func (w *World) elsewhere(s int32, target mesh.EntityID, hop uint32, reach int32) Result {
	i, ok := w.ghostAt.get(target)
	if !ok || w.ghosts[i].Hop < hop {
		return Result{Elsewhere: true}
	}
	g := &w.ghosts[i]
	if target.Kind() == mesh.KindItem && g.Hop != hop || g.Carrier != 0 || !within(w.pos[s], g.Pos, reach) {
		return refused
	}
	return Result{Elsewhere: true}
}

func within(p, q mesh.Vec, reach int32) bool { return p.Dist2(q) <= int64(reach)*int64(reach) }

func (w *World) fire(tick mesh.Tick, s int32, ev mesh.Event) Result {
	player := w.id[s]
	rocket := mesh.RocketEntity(player.Player(), ev.Number)
	if cooldownOf(w.data[s]) > 0 || ev.Aim == (mesh.Vec{}) || !short(ev.Aim, w.lim.RocketSpeed) || w.Has(rocket) {
		return refused
	}
	e := mesh.Entity{Pose: mesh.Pose{ID: rocket, Flags: mesh.Flying, Yaw: w.yaw[s], Vel: ev.Aim}, Placed: tick, Data: uint64(w.Root(player))}
	e.Pos = moved(w.pos[s], mesh.Vec{Z: w.lim.HandHeight}, &w.cfg.Bounds)
	w.Put(e)
	w.data[s] |= uint64(w.lim.cooldown) << cooldownShift
	w.settleAt(tick, s)
	return done(rocket, player, rocket)
}

func (w *World) board(tick mesh.Tick, s int32, ev mesh.Event) Result {
	if w.carrier[s] != 0 || ev.Target.Kind() != mesh.KindShip {
		return refused
	}
	c, ok := w.at.get(ev.Target)
	if !ok {
		if _, ok := w.ghostAt.get(ev.Target); !ok {
			return refused // a ship that is not seen is far
		}
		return w.elsewhere(s, ev.Target, 0, w.lim.ShipRadius+w.lim.Reach)
	}
	if c < 0 || !w.nearShip(w.pos[s], w.pos[c], w.lim.Reach) {
		return refused
	}
	w.carrier[s] = ev.Target
	return w.moveTo(tick, s)
}

func (w *World) stepOff(tick mesh.Tick, s int32) Result {
	if w.carrier[s] == 0 {
		return refused
	}
	w.carrier[s] = 0
	return w.moveTo(tick, s)
}

// moveTo settles the actor in slot s on the deck, or off the one, it has just stepped on or off.
func (w *World) moveTo(tick mesh.Tick, s int32) Result {
	w.vel[s] = mesh.Vec{}
	w.reclass(s)
	w.touch(s)
	w.settleAt(tick, s)
	return done(0, w.id[s])
}

// nearShip reports that p is on or within reach of the ship at c.
func (w *World) nearShip(p, c mesh.Vec, reach int32) bool {
	return within(p, c, w.lim.ShipRadius+reach)
}
