package gateway

import (
	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// viewer is what a client has been shown.
type viewer struct {
	known []known
	// near and mid are places in known, of the last ranking; far those beyond
	// that are due an update until the next one.
	near, mid, far []uint32
	midAt, farAt   int
	farFrom        int        // where in known the next ranking begins to look for far ones
	pending        []newcomer // to enter, the nearest first
	pendingAt      int
	leaves         []uint32 // slots that the client knows and should not
	zones          []seenZone
	zoneAt         int
	self           wire.Self
	placed         bool   // self is set
	rankedAt       uint32 // step
	toldAt         mesh.Tick
	stride         uint32 // it is shown every stride-th view
	calm           uint32 // views since it was slow
}

// known is an entity that the client knows by its slot.
type known struct {
	slot uint32
	sent uint32 // step of the last word on it; 0: tell all of it again
}

// evicted in known.sent: there is no room for it, the next ranking lets it go.
const evicted = ^uint32(0)

type newcomer struct {
	slot uint32
	band band
}

type band uint8

const (
	bandNear band = iota
	bandMid
	bandFar
)

// seenZone is a zone of which the client knows entities, and what it was told
// of its clock.
type seenZone struct {
	feed  *feed
	epoch mesh.Epoch
	tick  mesh.Tick
}

// viewing is the memory that views of a tick share.
type viewing struct {
	writer wire.ViewWriter
	arena  []byte // the entries encoded in this tick, each once
	out    []byte // the views of this tick
}

const (
	maxMoveBytes  = 30 // of a Move with the Changed fields
	maxClocks     = 16 // of one view; the others follow in the next
	clockBytes    = 25 // at most
	clockReserve  = 10 // mostly
	headBytes     = 80 + maxClocks*clockBytes
	maxStride     = 8
	calmViews     = 40 // without a lost view until a slow client is shown more
	pendingMax    = 512
	maxZonesShown = wire.MaxClocks
)

func (v *viewer) begin() { v.stride = 1 }

// slow takes note that a view was lost. Those that tell of an enter or a leave
// are not lost, so that it is enough to tell anew of what is known, and less often.
func (v *viewer) slow() {
	for i := range v.known {
		if v.known[i].sent != evicted {
			v.known[i].sent = 0
		}
	}
	v.toldAt = 0
	for i := range v.zones {
		v.zones[i].epoch, v.zones[i].tick = 0, 0
	}
	v.stride, v.calm = min(v.stride*2, maxStride), 0
}

// maxUnseen bounds how many ticks in a row are not shown.
const maxUnseen = 4

// behind reports whether the next tick is due already: its views follow at
// once and tell all that those of this one would. Clients to whom the views of
// a burst were sent would seem not to take them.
func (g *Gateway) behind(ev process.Event) bool {
	if uint64(ev.LateUS)*uint64(g.tickHz()) < 1e6 || g.unseen >= maxUnseen {
		g.unseen = 0
		return false
	}
	g.unseen++
	return true
}

// showAll sends the views of this tick.
func (g *Gateway) showAll() {
	g.view.arena = g.view.arena[:0]
	if uint64(g.step)%g.cfg.ViewEveryTicks != 0 || len(g.clients) == 0 || g.layout == nil {
		return
	}
	if g.gridStale {
		g.grid.sort(&g.replica)
		g.gridStale = false
	}
	view := uint64(g.step) / g.cfg.ViewEveryTicks
	for _, c := range g.clients {
		if c.playing && (view+c.phase)%uint64(c.stride) == 0 {
			g.show1(c)
		}
	}
}

// show1 sends c its view, if there is anything to tell.
func (g *Gateway) show1(c *client) {
	slot, shown := g.slots[c.body]
	if !shown && !c.placed {
		return
	}
	if c.calm++; c.calm >= calmViews && c.stride > 1 {
		c.stride, c.calm = c.stride/2, 0
	}
	self := c.self
	if shown && len(g.entities[slot].claims) > 0 {
		self = g.selfOf(&g.entities[slot])
	}
	if every := uint32(g.cfg.RankEveryTicks); shown && (c.rankedAt == 0 || g.step-c.rankedAt >= every) {
		stagger := uint32(0)
		if c.rankedAt == 0 { // those that joined together are not ranked together for ever
			stagger = min(uint32(c.phase)%every, g.step-1)
		}
		c.rankedAt = g.step - stagger
		g.rankAround(c, slot)
	}
	was := c.self
	was.Tick = self.Tick
	must := !c.placed || self != was || g.now >= c.toldAt+mesh.Tick(g.cfg.KeepAliveTicks)
	for i := range c.zones {
		z := &c.zones[i]
		must = must || z.epoch != z.feed.shown
	}

	w := &g.view.writer
	w.Begin(g.now, self)
	full := g.cfg.ViewBudgetBytes
	budget := full - clockReserve*min(len(c.zones), maxClocks)
	g.tellMoves(c, c.near, 0, len(c.near), 0, budget)
	g.tellLeaves(c, budget)
	g.tellEnters(c, w.Len()+(budget-w.Len())/2)
	c.midAt = g.tellMoves(c, c.mid, c.midAt, len(c.mid), uint32(g.cfg.MidEveryTicks), budget)
	g.tellFar(c, budget)
	g.tellEnters(c, budget)
	enters, moves, leaves := w.Entries()
	if !must && enters+moves+leaves == 0 {
		return
	}
	g.tellClocks(c, full)
	c.self, c.placed, c.toldAt = self, true, g.now
	from := len(g.view.out)
	g.view.out = w.Append(g.view.out)
	g.effect(process.Effect{Kind: process.EffectClient, Client: c.id,
		Data: g.view.out[from:len(g.view.out):len(g.view.out)], Droppable: enters+leaves == 0})
}

func (g *Gateway) selfOf(e *entity) wire.Self {
	return wire.Self{Zone: e.best.zone, Epoch: e.best.shown, Hop: e.pose.Hop, Tick: e.best.tick,
		Pos: e.pose.Pos, Held: g.held[e.id], Health: e.pose.Health}
}

// tellMoves tells of the entities in list that changed since they were last
// told of, at least every steps ago, as far as the budget goes. It begins at
// place at, looks at n of them, and returns where to begin next time.
func (g *Gateway) tellMoves(c *client, list []uint32, at, n int, every uint32, budget int) int {
	w := &g.view.writer
	for i := range n {
		if at >= len(list) {
			at = 0
		}
		k := &c.known[list[at]]
		h := &g.hots[k.slot]
		if changed := h.altered > k.sent; (changed || h.moved > k.sent) && (k.sent == 0 || g.step-k.sent >= every) {
			entry := g.moveEntry(k.slot, h, changed)
			if w.Len()+len(entry) > budget || !w.Move(entry) {
				if i == 0 {
					at++ // never stuck at one that does not fit
				}
				return at
			}
			k.sent = g.step
		}
		at++
	}
	return at
}

// tellFar tells of an even share of the far ones, so that all are through by
// the next ranking.
func (g *Gateway) tellFar(c *client, budget int) {
	if left := len(c.far) - c.farAt; left > 0 {
		share := (len(c.far)*int(g.cfg.ViewEveryTicks) + int(g.cfg.RankEveryTicks) - 1) / int(g.cfg.RankEveryTicks)
		c.farAt = g.tellMoves(c, c.far, c.farAt, min(share, left), 0, budget)
	}
}

// tellLeaves tells of all leaves that fit. What does not fit leaves no room for
// an enter either, so an entity that comes back never enters before it left.
func (g *Gateway) tellLeaves(c *client, budget int) {
	w := &g.view.writer
	n := 0
	for ; n < len(c.leaves) && w.Len()+5 <= budget && w.Leave(c.leaves[n]); n++ {
		g.forget(c.leaves[n])
	}
	c.leaves = c.leaves[:copy(c.leaves, c.leaves[n:])]
}

func (g *Gateway) tellEnters(c *client, budget int) {
	w := &g.view.writer
	for ; c.pendingAt < len(c.pending); c.pendingAt++ {
		p := c.pending[c.pendingAt]
		e := &g.entities[p.slot]
		if e.dead || e.id == c.body { // the slot was given away meanwhile
			continue
		}
		entry := g.enterEntry(p.slot, e)
		if w.Len()+len(entry) > budget || !w.Enter(entry) {
			return
		}
		switch at := uint32(len(c.known)); p.band {
		case bandNear:
			c.near = append(c.near, at)
		case bandMid:
			c.mid = append(c.mid, at)
		}
		c.known = append(c.known, known{p.slot, g.step})
		g.know(p.slot)
	}
}

func (g *Gateway) tellClocks(c *client, budget int) {
	n := 0
	for range c.zones {
		if n == maxClocks {
			break
		}
		if c.zoneAt++; c.zoneAt >= len(c.zones) {
			c.zoneAt = 0
		}
		z := &c.zones[c.zoneAt]
		if z.epoch == z.feed.shown && z.tick == z.feed.tick {
			continue
		}
		if g.view.writer.Len()+clockBytes > budget {
			break
		}
		if !g.view.writer.Clock(wire.Clock{Zone: z.feed.zone, Epoch: z.feed.shown, Tick: z.feed.tick}) {
			break
		}
		z.epoch, z.tick = z.feed.shown, z.feed.tick
		n++
	}
}

// moveEntry returns the bytes of the entity's Move in this tick.
func (g *Gateway) moveEntry(slot uint32, h *hot, changed bool) []byte {
	at, s := &h.moveAt, &h.plain
	if changed {
		at, s = &h.alterAt, &h.changed
	}
	a := &g.view.arena
	if *at != g.step {
		from := len(*a)
		*a = wire.AppendMove(*a, wire.Quantise(g.entities[slot].pose, slot, changed))
		*at, *s = g.step, span{uint32(from), uint32(len(*a) - from)}
	}
	return (*a)[s.from:][:s.len]
}

// enterEntry returns the bytes of the entity's Enter in this tick.
func (g *Gateway) enterEntry(slot uint32, e *entity) []byte {
	a := &g.view.arena
	if e.fullAt != g.step {
		from := len(*a)
		*a = wire.AppendEnter(*a, wire.Enter{Handle: slot, ID: e.id, Hop: e.pose.Hop, Flags: e.pose.Flags,
			Health: e.pose.Health, Carrier: e.pose.Carrier, Pos: e.pose.Pos, Yaw: e.pose.Yaw})
		e.fullAt, e.full = g.step, span{uint32(from), uint32(len(*a) - from)}
	}
	return (*a)[e.full.from:][:e.full.len]
}
