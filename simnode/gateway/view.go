package gateway

import (
	"math"
	"math/bits"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// viewer is what a client has been shown.
type viewer struct {
	pages     pages
	knows     int // entities in pages
	restless  bool
	group     *group   // of its last ranking
	pending   []uint32 // slots to enter, the nearest first
	pendingAt int
	leaves    []uint32 // slots that the client was told of and does not know any more
	// nearRadius2 and midRadius2 are about how far the near ones and the middle
	// ones lie, squared.
	nearRadius2, midRadius2 int64
	midAt, farAt            uint32 // steps at which the middle and the far ones were last told of
	zones                   []seenZone
	zoneAt                  int
	self                    wire.Self
	placed                  bool   // self is set
	rankedAt                uint32 // step
	rankedOf                uint32 // version of the grid
	toldAt                  mesh.Tick
	stride                  uint32 // it is shown every stride-th view
	calm                    uint32 // views since it was slow
}

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
	arena  []byte   // the entries encoded in this tick, each once
	out    []byte   // the views of this tick
	pageAt []uint32 // by number, 1 + where the page is of the client that is told; 0 again after
}

// block is moves of entities in sight of a group, encoded once for all.
type block struct {
	step    uint32
	of      *news
	count   int
	bytes   []byte
	moved   set
	altered set // what it tells of beside places; page by page as moved
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
	// maxStrays is how many moves of a block a client may get that are not for it.
	maxStrays = 8
	// firstRadiusM is where the search for the nearest begins, maxWiden how often
	// in one view it goes further.
	firstRadiusM, maxWiden = 4, 8
)

func (v *viewer) begin(phase uint64) {
	v.stride = 1
	v.nearRadius2 = (firstRadiusM * mesh.UnitsPerMeter) * (firstRadiusM * mesh.UnitsPerMeter)
	v.midRadius2 = 4 * v.nearRadius2
}

// slow takes note that a view was lost. Those that tell of an enter or a leave
// are not lost, so that it is enough to tell anew of what is known, and less often.
func (v *viewer) slow() {
	for i := range v.pages {
		p := &v.pages[i]
		p.stale, p.altered = p.known, p.known
	}
	v.restless = len(v.pages) > 0
	v.toldAt = 0
	for i := range v.zones {
		v.zones[i].epoch, v.zones[i].tick = 0, 0
	}
	v.stride, v.calm = min(v.stride*2, maxStride), 0
}

// show1 sends c its view, if there is anything to tell.
func (g *Gateway) show1(c *client) {
	slot, shown := g.bodyOf(c)
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
	if shown {
		g.rankIfDue(c, slot)
	}
	was := c.self
	was.Tick = self.Tick
	must := !c.placed || self != was || g.now >= g.aliveAt(c)
	for i := range c.zones {
		z := &c.zones[i]
		must = must || z.epoch != z.feed.shown
	}
	news := c.restless || len(c.leaves) > 0 || c.pendingAt < len(c.pending)
	if !must && !news {
		c.midAt, c.farAt = g.midStep(c, g.step), g.step
		return
	}
	w := &g.view.writer
	w.Begin(max(g.now, g.shownOf), self)
	budget := g.cfg.ViewBudgetBytes - clockReserve*min(len(c.zones), maxClocks)
	w.Limit(budget)
	var shared []byte
	if news {
		pos := self.Pos
		if shown {
			pos = g.hots[slot].pos
		}
		shared = g.tellDue(c, pos, budget)
	}
	c.midAt, c.farAt = g.midStep(c, g.step), g.step
	enters, moves, leaves := w.Entries()
	if !must && enters+moves+leaves == 0 {
		return
	}
	w.Limit(g.cfg.ViewBudgetBytes)
	g.tellClocks(c)
	c.self, c.placed, c.toldAt = self, true, g.now
	from := len(g.view.out)
	g.view.out = w.Append(g.view.out)
	g.effect(process.Effect{Kind: process.EffectClient, Client: c.id,
		Data: g.view.out[from:len(g.view.out):len(g.view.out)], Shared: shared, Droppable: enters+leaves == 0})
}

// bodyOf returns the slot of c's body, and whether it is shown.
func (g *Gateway) bodyOf(c *client) (uint32, bool) {
	if int(c.slot) < len(g.entities) && g.entities[c.slot].id == c.body && !g.entities[c.slot].dead {
		return c.slot, true
	}
	slot, ok := g.slots[c.body]
	c.slot = slot
	return slot, ok
}

// rankIfDue ranks what lies around c's body every RankEveryTicks, and where
// each client of a crowd is ranked by itself a quarter as often. Where nothing
// moved there is nothing to rank.
func (g *Gateway) rankIfDue(c *client, slot uint32) {
	every := uint32(g.cfg.RankEveryTicks)
	if c.group != nil && c.group.crowd && c.pendingAt >= len(c.pending) {
		every *= 4
	}
	if c.rankedAt != 0 && (g.step-c.rankedAt < every || c.rankedOf == g.grid.version && c.pendingAt == 0) {
		return
	}
	stagger := uint32(0)
	if c.rankedAt == 0 { // those that joined together are not ranked together for ever
		stagger = min(uint32(c.phase)%every, g.step-1)
	}
	c.rankedAt, c.rankedOf = g.step-stagger, g.grid.version
	g.rankAround(c, slot)
}

func (g *Gateway) selfOf(e *entity) wire.Self {
	return wire.Self{Zone: e.best.zone, Epoch: e.best.shown, Hop: e.pose.Hop, Tick: e.best.tick,
		Pos: e.pose.Pos, Held: g.inHand(e.id), Health: e.pose.Health}
}

// midStep is the step at which c's middle ones were last due, as of step.
func (g *Gateway) midStep(c *client, step uint32) uint32 {
	return step - uint32((uint64(step)+c.phase)%g.cfg.MidEveryTicks)
}

// tellDue puts into the view what c at pos is due, as far as the budget goes, and
// returns what of it is shared: the near ones that changed; every
// MidEveryTicks the middle ones, too; in FarEveryTicks all; who leaves, and who
// enters, for whom half of what the near ones leave is kept.
func (g *Gateway) tellDue(c *client, pos mesh.Vec, budget int) (shared []byte) {
	w := &g.view.writer
	mid := g.cfg.NearCount + g.cfg.MidCount
	few := c.knows <= g.cfg.NearCount
	switch {
	case few && c.group != nil && c.group.count <= 2*g.cfg.NearCount:
		shared = g.share(c, g.nearBlock(c.group))
	case !few:
		g.tellNearest(c, pos, &c.nearRadius2, g.cfg.NearCount)
	}
	g.tellLeaves(c)
	w.Limit(w.Len() + (budget-w.Len())/2)
	g.tellEnters(c)
	w.Limit(budget)
	switch midDue := g.midStep(c, g.step) > c.midAt; {
	case few, midDue && c.knows <= mid:
		g.tellStale(c)
	case midDue:
		g.tellNearest(c, pos, &c.midRadius2, mid)
	}
	if c.knows > mid {
		for step := max(c.farAt+1, g.step-min(uint32(g.cfg.FarEveryTicks), g.step)); step < g.step; step++ {
			g.tellFar(c, step)
		}
		if c.group != nil {
			shared = g.share(c, g.farBlock(c.group))
		}
		g.tellFar(c, g.step) // all of it, or what only c missed
	}
	g.tellEnters(c)
	return shared
}

// tell1 tells of the slot, which is stale in p, unless it does not fit.
func (g *Gateway) tell1(p *page, slot uint32) bool {
	w := &g.view.writer
	if p.altered.has(slot) {
		if !w.Move(g.alteredEntry(slot)) {
			return false
		}
		p.altered.clear(slot)
	} else if !w.Short(&g.shorts[slot]) {
		return false
	}
	p.stale.clear(slot)
	return true
}

// tellNearest tells of at least the want entities nearest to pos that are stale,
// within a radius that holds about so many. If not all fit, the radius is
// nearer to that the next time.
func (g *Gateway) tellNearest(c *client, pos mesh.Vec, radius2 *int64, want int) {
	most := g.cfg.interest() * 5 / 4
	for range maxWiden {
		n, fits := g.tellWithin(c, pos, *radius2)
		if n >= want && n <= want+want/8 || *radius2 >= most*most && n < want {
			return
		}
		aim := *radius2 * int64(want+want/16+1) / int64(n+1)
		*radius2 = min(max(aim, *radius2/4, 1), *radius2*4+1, most*most)
		if n >= want || !fits {
			return
		}
	}
}

// tellWithin tells of what is stale within a radius, as far as it fits, and
// returns how many entities there are. It looks into the grid, or at all that
// the client knows if that is less work.
func (g *Gateway) tellWithin(c *client, pos mesh.Vec, radius2 int64) (n int, fits bool) {
	radius := int64(math.Sqrt(float64(radius2))) + 1
	if across := int(2*radius/g.grid.cell) + 2; across*across > c.knows {
		return g.tellKnown(c, pos, radius2)
	}
	for len(g.view.pageAt) < len(g.news.moved) {
		g.view.pageAt = append(g.view.pageAt, 0)
	}
	pageAt := g.view.pageAt
	for i := range c.pages {
		pageAt[c.pages[i].number] = uint32(i) + 1
	}
	fits = true
	for _, s := range g.grid.cover(pos, radius) {
		entries := g.grid.entries[s.from:s.to]
		for i := range entries {
			e := &entries[i]
			if pos.Dist2(e.pos) > radius2 {
				continue
			}
			n++
			at := pageAt[e.slot/pageSlots]
			if at == 0 || !fits {
				continue
			}
			if p := &c.pages[at-1]; p.stale.has(e.slot) {
				fits = g.tell1(p, e.slot)
			}
		}
	}
	for i := range c.pages {
		pageAt[c.pages[i].number] = 0
	}
	return max(n-1, 0), fits // its own body is among them, unless it has just gone elsewhere
}

func (g *Gateway) tellKnown(c *client, pos mesh.Vec, radius2 int64) (n int, fits bool) {
	fits = true
	for i := range c.pages {
		p := &c.pages[i]
		for word, w := range p.known {
			for ; w != 0; w &= w - 1 {
				slot := p.number*pageSlots + uint32(word*64+bits.TrailingZeros64(w))
				if pos.Dist2(g.hots[slot].pos) > radius2 {
					continue
				}
				n++
				if fits && p.stale.has(slot) {
					fits = g.tell1(p, slot)
				}
			}
		}
	}
	return n, fits
}

// tellStale tells of all that is stale, as far as it fits.
func (g *Gateway) tellStale(c *client) {
	for i := range c.pages {
		p := &c.pages[i]
		for word := range p.stale {
			for w := p.stale[word]; w != 0; w &= w - 1 {
				if !g.tell1(p, p.number*pageSlots+uint32(word*64+bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// tellFar tells of what is stale of the share that was due at a step: every
// slot has its turn once in FarEveryTicks.
func (g *Gateway) tellFar(c *client, step uint32) {
	every := uint32(g.cfg.FarEveryTicks)
	for i := range c.pages {
		p := &c.pages[i]
		first := p.number * pageSlots
		for slot := first + (step%every+every-first%every)%every; slot < first+pageSlots; slot += every {
			if p.stale.has(slot) && !g.tell1(p, slot) {
				return
			}
		}
	}
}

// nearBlock returns the moves of all that is in sight of grp and in the news.
func (g *Gateway) nearBlock(grp *group) *block {
	b, told := &grp.near, g.telling
	if b.step == g.step && b.of == told {
		return b
	}
	if b.step == g.step { // views of another turn share its bytes
		b.bytes = nil
	}
	b.begin(g.step)
	b.of = told
	for i := range grp.sure {
		number := grp.sure[i].number
		moved := grp.sure[i].mask
		for w := range moved {
			moved[w] &= told.moved[number][w]
		}
		if moved.empty() {
			continue
		}
		moved.each(number, func(slot uint32) { g.add(b, slot, told.altered[number].has(slot)) })
	}
	return b
}

// farBlock returns the moves of all that is in sight of grp, has its turn, and
// changed since it had it last.
func (g *Gateway) farBlock(grp *group) *block {
	b := &grp.far
	if b.step == g.step {
		return b
	}
	b.begin(g.step)
	every := uint32(g.cfg.FarEveryTicks)
	before := g.step - min(every, g.step)
	for i := range grp.sure {
		p := &grp.sure[i]
		first := p.number * pageSlots
		for slot := first + (g.step%every+every-first%every)%every; slot < first+pageSlots; slot += every {
			if p.has(slot) && max(g.hots[slot].moved, g.hots[slot].altered) > before {
				g.add(b, slot, g.hots[slot].altered > before)
			}
		}
	}
	return b
}

func (b *block) begin(step uint32) {
	b.step, b.count = step, 0
	b.bytes, b.moved, b.altered = b.bytes[:0], b.moved[:0], b.altered[:0]
}

func (g *Gateway) add(b *block, slot uint32, altered bool) {
	if n := len(b.moved); n == 0 || b.moved[n-1].number != slot/pageSlots {
		b.moved, b.altered = append(b.moved, numbered{number: slot / pageSlots}), append(b.altered, numbered{number: slot / pageSlots})
	}
	n := len(b.moved) - 1
	b.moved[n].set(slot)
	if altered {
		b.altered[n].set(slot)
		b.bytes = append(b.bytes, g.alteredEntry(slot)...)
	} else {
		b.bytes = wire.AppendShort(b.bytes, &g.shorts[slot])
	}
	b.count++
}

// share tells c of all in the block by its bytes, if they fit and are for it but
// for maxStrays, and returns them, or nil.
func (g *Gateway) share(c *client, b *block) []byte {
	strays := 0
	for i := range b.moved {
		m := &b.moved[i]
		p := c.pages.find(m.number)
		for w := range m.mask {
			if p == nil {
				strays += bits.OnesCount64(m.mask[w])
			} else {
				strays += bits.OnesCount64(m.mask[w] &^ p.known[w])
			}
		}
	}
	if b.count == 0 || strays > maxStrays || strays >= b.count || !g.view.writer.Share(b.count, len(b.bytes)) {
		return nil
	}
	for i := range b.moved {
		if p := c.pages.find(b.moved[i].number); p != nil {
			m, a := &b.moved[i].mask, &b.altered[i].mask
			for w := range m {
				p.altered[w] &^= a[w]
				p.stale[w] = p.stale[w]&^m[w] | p.altered[w]
			}
		}
	}
	return b.bytes
}

// tellLeaves tells of all leaves that fit. What does not fit leaves no room for
// an enter either, so an entity that comes back never enters before it left.
func (g *Gateway) tellLeaves(c *client) {
	w := &g.view.writer
	n := 0
	for ; n < len(c.leaves) && w.Leave(c.leaves[n]); n++ {
		g.forget(c.leaves[n])
	}
	c.leaves = c.leaves[:copy(c.leaves, c.leaves[n:])]
}

func (g *Gateway) tellEnters(c *client) {
	if len(c.leaves) > 0 {
		return
	}
	w := &g.view.writer
	for ; c.pendingAt < len(c.pending); c.pendingAt++ {
		slot := c.pending[c.pendingAt]
		e := &g.entities[slot]
		if e.dead || e.id == c.body { // the slot was given away meanwhile
			continue
		}
		if !w.Enter(g.enterEntry(slot, e)) {
			return
		}
		p := c.pages.make(slot / pageSlots)
		if !p.known.has(slot) {
			p.known.set(slot)
			c.knows++
			g.know(slot)
		}
	}
}

func (g *Gateway) tellClocks(c *client) {
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
		if !g.view.writer.Clock(wire.Clock{Zone: z.feed.zone, Epoch: z.feed.shown, Tick: z.feed.tick}) {
			break
		}
		z.epoch, z.tick = z.feed.shown, z.feed.tick
		n++
	}
}

// alteredEntry returns the bytes of the entity's Move with all that may have
// changed, in this tick.
func (g *Gateway) alteredEntry(slot uint32) []byte {
	h := &g.hots[slot]
	a := &g.view.arena
	if h.alterAt != g.step {
		from := len(*a)
		*a = wire.AppendMove(*a, wire.Quantise(g.entities[slot].pose, slot, true))
		h.alterAt, h.changed = g.step, span{uint32(from), uint32(len(*a) - from)}
	}
	return (*a)[h.changed.from:][:h.changed.len]
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
