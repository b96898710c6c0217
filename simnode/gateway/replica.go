package gateway

import (
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// replica is every entity that some frame shows. Entities live in slots, whose
// numbers are the handles that clients know them by; a slot is used again only
// when no client knows it any more.
type replica struct {
	slots    map[mesh.EntityID]uint32
	entities []entity
	hots     []hot        // parallel to entities: what views touch
	shorts   []wire.Short // likewise: the Move of each, as of the last views
	news     news
	free     []uint32
	// lingering are the entities that vanished, in the order in which they did.
	lingering []lingerer
	lingerAt  int
	held      map[mesh.EntityID][]mesh.EntityID // player's body → what it is shown to carry, the newest last
	gridStale bool
	// stirred and unplayed: anything changed that may concern a client, since the
	// last views and since the last tick.
	stirred, unplayed bool
}

// maxEntities bounds the replica; what comes on top is not shown.
const maxEntities = 1 << 20

// entity is one slot.
type entity struct {
	id     mesh.EntityID
	claims []claim // mostly one, two while it crosses
	best   *feed   // whose claim is shown, or was last
	pose   mesh.Pose
	goneAt mesh.Tick // when it lost its last claim
	refs   int32     // clients that know it
	dead   bool      // not shown any more, or never used
	// full is its Enter of step fullAt, in the arena.
	fullAt uint32
	full   span
}

// claim is a zone's word on an entity.
type claim struct {
	feed *feed
	pose mesh.Pose
}

// hot is what views read of a slot, dense so that it stays in the cache.
type hot struct {
	pos     mesh.Vec
	moved   uint32 // step whose views first show its quantised place and yaw
	altered uint32 // likewise hop, flags, health and carrier
	alterAt uint32 // step of changed
	changed span   // its Move with the Changed fields, in the arena
	feed    *feed  // whose claim is shown
}

// span is a stretch of the arena of encoded bytes.
type span struct {
	from uint32
	len  uint32
}

type lingerer struct {
	slot uint32
	at   mesh.Tick
}

func (r *replica) stir() { r.stirred, r.unplayed = true, true }

// claim takes in what f says of an entity, and returns its slot, if there is
// one. Hint is where it may be. Step is the one whose views show it.
func (r *replica) claim(f *feed, pose *mesh.Pose, hint, step uint32) (uint32, bool) {
	slot, ok := hint, int(hint) < len(r.entities) && r.entities[hint].id == pose.ID && !r.entities[hint].dead
	if !ok {
		if slot, ok = r.slots[pose.ID]; !ok {
			if slot, ok = r.allocate(pose.ID, step); !ok {
				return 0, false
			}
		}
	}
	e := &r.entities[slot]
	for i := range e.claims {
		if e.claims[i].feed == f {
			e.claims[i].pose = *pose
			r.show(slot, step)
			return slot, true
		}
	}
	e.claims = append(e.claims, claim{f, *pose})
	r.stir()
	r.show(slot, step)
	return slot, true
}

func (r *replica) allocate(id mesh.EntityID, step uint32) (uint32, bool) {
	var slot uint32
	if n := len(r.free); n > 0 {
		slot, r.free = r.free[n-1], r.free[:n-1]
	} else if slot = uint32(len(r.entities)); slot < maxEntities {
		r.entities, r.hots, r.shorts = append(r.entities, entity{}), append(r.hots, hot{}), append(r.shorts, wire.Short{})
		r.news.grow(len(r.entities))
	} else {
		return 0, false
	}
	e := &r.entities[slot]
	*e = entity{id: id, claims: e.claims[:0]}
	r.hots[slot] = hot{moved: step, altered: step}
	r.news.note(slot, true)
	r.slots[id] = slot
	r.gridStale = true
	return slot, true
}

// drop takes back what f said of an entity, if anything. Its last state is
// shown on until it has lingered.
func (r *replica) drop(slot uint32, f *feed, now mesh.Tick, step uint32) {
	e := &r.entities[slot]
	for i := range e.claims {
		if e.claims[i].feed != f {
			continue
		}
		r.stir()
		last := len(e.claims) - 1
		e.claims[i] = e.claims[last]
		e.claims[last] = claim{}
		e.claims = e.claims[:last]
		if last > 0 {
			r.show(slot, step)
			return
		}
		e.goneAt = now
		r.lingering = append(r.lingering, lingerer{slot, now})
		return
	}
}

// show makes the best claim the entity's state: the highest hop; then one that
// is simulated before a copy left behind; then the newest.
func (r *replica) show(slot uint32, step uint32) {
	e := &r.entities[slot]
	best := &e.claims[0]
	for i := 1; i < len(e.claims); i++ {
		if c := &e.claims[i]; better(c, best, e.best) {
			best = c
		}
	}
	p := best.pose
	p.Flags &^= mesh.Outbound // where an entity is simulated is not for clients
	if e.best != best.feed || p != e.pose {
		r.stir()
	}
	e.best = best.feed
	h, old := &r.hots[slot], &e.pose
	h.feed = best.feed
	if p.Hop != old.Hop || p.Flags != old.Flags || p.Health != old.Health || p.Carrier != old.Carrier {
		h.altered = step
		r.news.note(slot, true)
	}
	if p.Carrier != old.Carrier {
		r.hold(p.ID, old.Carrier, p.Carrier)
	}
	if p.Pos != h.pos || p.Yaw != old.Yaw {
		if !sameMove(p, *old) {
			h.moved = step
			r.news.note(slot, false)
		}
		h.pos = p.Pos
		r.gridStale = true
	}
	e.pose = p
}

// sameMove reports that a Move would say the same of both poses.
func sameMove(p, q mesh.Pose) bool {
	return wire.Quantise(p, 0, false) == wire.Quantise(q, 0, false)
}

func better(c, than *claim, current *feed) bool {
	if c.pose.Hop != than.pose.Hop {
		return c.pose.Hop > than.pose.Hop
	}
	if out := c.pose.Flags & mesh.Outbound; out != than.pose.Flags&mesh.Outbound {
		return out == 0
	}
	if c.feed.tick != than.feed.tick {
		return c.feed.tick > than.feed.tick
	}
	return c.feed == current
}

// hold notes that item went from one carrier to another. A body may be shown to
// carry two for a while: a zone that was taken over shows what one was before.
func (r *replica) hold(item, from, to mesh.EntityID) {
	if left := slices.DeleteFunc(r.held[from], func(id mesh.EntityID) bool { return id == item }); len(left) > 0 {
		r.held[from] = left
	} else {
		delete(r.held, from)
	}
	if to.Kind() == mesh.KindPlayer {
		r.held[to] = append(r.held[to], item)
	}
}

// inHand returns what body is shown to carry, the newest if it is several; 0 is nothing.
func (r *replica) inHand(body mesh.EntityID) mesh.EntityID {
	if items := r.held[body]; len(items) > 0 {
		return items[len(items)-1]
	}
	return 0
}

// expire stops showing what has lingered long enough.
func (r *replica) expireBefore(before mesh.Tick) {
	for r.lingerAt < len(r.lingering) {
		l := r.lingering[r.lingerAt]
		if l.at > before {
			break
		}
		r.lingerAt++
		e := &r.entities[l.slot]
		if e.dead || len(e.claims) > 0 || e.goneAt != l.at {
			continue
		}
		e.dead = true
		r.stir()
		delete(r.slots, e.id)
		r.hold(e.id, e.pose.Carrier, 0)
		r.gridStale = true
		if e.refs == 0 {
			r.free = append(r.free, l.slot)
		}
	}
	if r.lingerAt == len(r.lingering) {
		r.lingering, r.lingerAt = r.lingering[:0], 0
	} else if r.lingerAt > 1024 && r.lingerAt*2 > len(r.lingering) {
		r.lingering = r.lingering[:copy(r.lingering, r.lingering[r.lingerAt:])]
		r.lingerAt = 0
	}
}

// know and forget count the clients that know a slot.
func (r *replica) know(slot uint32) { r.entities[slot].refs++ }

func (r *replica) forget(slot uint32) {
	e := &r.entities[slot]
	if e.refs--; e.refs == 0 && e.dead {
		r.free = append(r.free, slot)
	}
}

func (g *Gateway) expire(now mesh.Tick) {
	if linger := mesh.Tick(g.cfg.LingerTicks); now >= linger {
		g.expireBefore(now - linger)
	}
}

// encode brings shorts up to date with the news.
func (r *replica) encode() {
	for _, number := range r.news.pages {
		r.news.moved[number].each(number, func(slot uint32) {
			r.shorts[slot] = wire.MakeShort(wire.Quantise(r.entities[slot].pose, slot, false))
		})
	}
}

// find returns the entity of id, and whether it is shown.
func (r *replica) find(id mesh.EntityID) (*entity, bool) {
	slot, ok := r.slots[id]
	if !ok {
		return nil, false
	}
	return &r.entities[slot], true
}
