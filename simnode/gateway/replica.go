package gateway

import (
	"weft/control/mesh"
	"weft/simnode/wire"
)

// replica is every entity that some frame shows. Entities live in slots, whose
// numbers are the handles that clients know them by; a slot is used again only
// when no client knows it any more.
type replica struct {
	slots    map[mesh.EntityID]uint32
	entities []entity
	hots     []hot // parallel to entities: what views touch
	free     []uint32
	// lingering are the entities that vanished, in the order in which they did.
	lingering []lingerer
	lingerAt  int
	held      map[mesh.EntityID]mesh.EntityID // player's body → what is in its hands
	gridStale bool
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
	moved   uint32 // step at which its quantised place or yaw last changed
	altered uint32 // step at which hop, flags, health or carrier last changed
	moveAt  uint32 // step of plain
	alterAt uint32 // step of changed
	plain   span   // its Move, in the arena
	changed span   // its Move with the Changed fields
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

// claim takes in what f says of an entity. Step is the one whose views show it.
func (r *replica) claim(f *feed, pose mesh.Pose, step uint32) {
	slot, ok := r.slots[pose.ID]
	if !ok {
		if slot, ok = r.allocate(pose.ID, step); !ok {
			return
		}
	}
	e := &r.entities[slot]
	for i := range e.claims {
		if e.claims[i].feed == f {
			e.claims[i].pose = pose
			r.show(slot, step)
			return
		}
	}
	e.claims = append(e.claims, claim{f, pose})
	r.show(slot, step)
}

func (r *replica) allocate(id mesh.EntityID, step uint32) (uint32, bool) {
	var slot uint32
	if n := len(r.free); n > 0 {
		slot, r.free = r.free[n-1], r.free[:n-1]
	} else if slot = uint32(len(r.entities)); slot < maxEntities {
		r.entities, r.hots = append(r.entities, entity{}), append(r.hots, hot{})
	} else {
		return 0, false
	}
	e := &r.entities[slot]
	*e = entity{id: id, claims: e.claims[:0]}
	r.hots[slot] = hot{moved: step, altered: step}
	r.slots[id] = slot
	r.gridStale = true
	return slot, true
}

// drop takes back what f said of an entity, if anything. Its last state is
// shown on until it has lingered.
func (r *replica) drop(slot uint32, f *feed, now mesh.Tick) {
	e := &r.entities[slot]
	for i := range e.claims {
		if e.claims[i].feed != f {
			continue
		}
		last := len(e.claims) - 1
		e.claims[i] = e.claims[last]
		e.claims[last] = claim{}
		e.claims = e.claims[:last]
		if last > 0 {
			r.show(slot, r.hots[slot].moved)
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
	e.best = best.feed
	p := best.pose
	p.Flags &^= mesh.Outbound // where an entity is simulated is not for clients
	h, old := &r.hots[slot], &e.pose
	h.feed = best.feed
	if p.Hop != old.Hop || p.Flags != old.Flags || p.Health != old.Health || p.Carrier != old.Carrier {
		h.altered = step
	}
	if p.Carrier != old.Carrier {
		r.hold(p.ID, old.Carrier, p.Carrier)
	}
	if p.Pos != h.pos || p.Yaw != old.Yaw {
		if !sameMove(p, *old) {
			h.moved = step
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

func (r *replica) hold(item, from, to mesh.EntityID) {
	if from.Kind() == mesh.KindPlayer && r.held[from] == item {
		delete(r.held, from)
	}
	if to.Kind() == mesh.KindPlayer {
		r.held[to] = item
	}
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

// find returns the entity of id, and whether it is shown.
func (r *replica) find(id mesh.EntityID) (*entity, bool) {
	slot, ok := r.slots[id]
	if !ok {
		return nil, false
	}
	return &r.entities[slot], true
}

// grid sorts the shown entities into square cells of the ground, row by row,
// so that the entities of neighbouring cells of a row lie side by side.
type grid struct {
	min           mesh.Vec
	cell          int64 // edge, in units
	width, height int
	starts        []uint32 // per cell, where its entries begin; one more at the end
	entries       []gridEntry
	fill          []uint32
}

type gridEntry struct {
	slot uint32
	pos  mesh.Vec
}

// maxCells bounds the grid; in a larger world the cells are larger.
const maxCells = 1 << 16

func newGrid(b mesh.Box, cellM int) grid {
	w, h := int64(b.Max.X)-int64(b.Min.X), int64(b.Max.Y)-int64(b.Min.Y)
	cell := int64(cellM) * mesh.UnitsPerMeter
	for (w/cell+1)*(h/cell+1) > maxCells {
		cell *= 2
	}
	gr := grid{min: b.Min, cell: cell, width: int(w/cell) + 1, height: int(h/cell) + 1}
	gr.starts = make([]uint32, gr.width*gr.height+1)
	gr.fill = make([]uint32, gr.width*gr.height)
	return gr
}

func (gr *grid) column(x int64) int {
	return int(min(max((x-int64(gr.min.X))/gr.cell, 0), int64(gr.width-1)))
}

func (gr *grid) row(y int64) int {
	return int(min(max((y-int64(gr.min.Y))/gr.cell, 0), int64(gr.height-1)))
}

// sort puts the shown entities of r into the grid.
func (gr *grid) sort(r *replica) {
	clear(gr.starts)
	n := 0
	for i := range r.entities {
		if e := &r.entities[i]; !e.dead {
			p := r.hots[i].pos
			gr.starts[gr.row(int64(p.Y))*gr.width+gr.column(int64(p.X))+1]++
			n++
		}
	}
	for i := 1; i < len(gr.starts); i++ {
		gr.starts[i] += gr.starts[i-1]
	}
	if cap(gr.entries) < n {
		gr.entries = make([]gridEntry, n, n+n/4+64)
	}
	gr.entries = gr.entries[:n]
	copy(gr.fill, gr.starts)
	for i := range r.entities {
		if e := &r.entities[i]; !e.dead {
			p := r.hots[i].pos
			cell := gr.row(int64(p.Y))*gr.width + gr.column(int64(p.X))
			gr.entries[gr.fill[cell]] = gridEntry{uint32(i), p}
			gr.fill[cell]++
		}
	}
}

// block returns the block of cells that a square of half-edge
// r units around p touches.
func (gr *grid) block(p mesh.Vec, r int64) (x0, x1, y0, y1 int) {
	x, y := int64(p.X), int64(p.Y)
	return gr.column(x - r), gr.column(x + r), gr.row(y - r), gr.row(y + r)
}

// stretch returns the entries of the cells x0 to x1 of row y.
func (gr *grid) stretch(x0, x1, y int) []gridEntry {
	return gr.entries[gr.starts[y*gr.width+x0]:gr.starts[y*gr.width+x1+1]]
}

// count returns how many entities the cells of a block hold.
func (gr *grid) count(p mesh.Vec, r int64) int {
	x0, x1, y0, y1 := gr.block(p, r)
	n := 0
	for y := y0; y <= y1; y++ {
		n += int(gr.starts[y*gr.width+x1+1] - gr.starts[y*gr.width+x0])
	}
	return n
}
