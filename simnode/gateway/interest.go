package gateway

import (
	"slices"

	"weft/control/mesh"
)

// ranking is the memory that rankings share.
type ranking struct {
	keys  []uint64
	set   set
	feeds []*feed
	dense []mask   // by page: what is being gathered
	dirty []uint32 // pages of dense that are not empty
	stamp uint32
}

// A key sorts by distance: squared distance and a slot.
const keySlotBits = 20

func key(dist2 int64, slot uint32) uint64 { return uint64(dist2)<<keySlotBits | uint64(slot) }
func keySlot(k uint64) uint32             { return uint32(k & (1<<keySlotBits - 1)) }

// cellKey is a cube of the world with the edge of a cell of the grid.
type cellKey struct{ x, y, z int32 }

// group is what the clients whose bodies are in one cube have in common: what
// is in sight of all of them, and the bytes that tell of it.
type group struct {
	key     cellKey
	center  mesh.Vec
	radius  int64  // of sight
	version uint32 // of the grid that it was made from
	usedAt  uint32 // step
	count   int    // entities that are or may be in sight
	crowd   bool   // more than Config.KnownMax: each client is ranked by itself
	sure    set    // in sight of everyone
	edge    []uint32
	feeds   []*feed // zones in sight
	near    block   // what changed since the last views
	far     block   // this step's share of what changed since it was last told
}

// groupOf returns the group of a body at p, made from the newest grid.
func (g *Gateway) groupOf(p mesh.Vec) *group {
	k := cellKey{int32(int64(p.X) / g.grid.cell), int32(int64(p.Y) / g.grid.cell), int32(int64(p.Z) / g.grid.cell)}
	grp := g.groups[k]
	if grp == nil {
		grp = &group{key: k}
		g.groups[k] = grp
	}
	grp.usedAt = g.step
	if grp.version != g.grid.version {
		g.make(grp)
	}
	return grp
}

// forgetGroups drops those that nobody was ranked by for some time.
func (g *Gateway) forgetGroups() {
	if g.step%groupTicks == 0 {
		for k, grp := range g.groups {
			if g.step-grp.usedAt > groupTicks {
				delete(g.groups, k)
				*grp = group{crowd: grp.crowd} // clients at rest may keep it for long
			}
		}
	}
}

const groupTicks = 100

// make gathers what is in sight of grp.
func (g *Gateway) make(grp *group) {
	cell := int32(g.grid.cell)
	at := func(i int32) int32 { return i*cell + cell/2 }
	grp.version = g.grid.version
	grp.center = mesh.Vec{X: at(grp.key.x), Y: at(grp.key.y), Z: at(grp.key.z)}
	grp.radius = g.sight(grp.center)
	grp.sure, grp.edge, grp.feeds, grp.count = grp.sure[:0], grp.edge[:0], grp.feeds[:0], 0
	half := g.grid.cell * 7 / 8 // of a cube's diagonal, and a little more
	inner, outer := max(grp.radius-half, 0), grp.radius+grp.radius/8+half
	inner2, outer2, some2 := inner*inner, outer*outer, (grp.radius+half)*(grp.radius+half)
	if grp.radius <= half {
		inner2 = -1
	}
	r := &g.rank
	r.stamp++
	x0, x1, y0, y1 := g.grid.block(grp.center, outer)
	for y := y0; y <= y1; y++ {
		for _, e := range g.grid.stretch(x0, x1, y) {
			d := grp.center.Dist2(e.pos)
			if d > outer2 {
				continue
			}
			if f := g.hots[e.slot].feed; f != nil && f.seen != r.stamp && !f.dropped && len(grp.feeds) < maxZonesShown {
				f.seen = r.stamp
				grp.feeds = append(grp.feeds, f)
			}
			if d <= inner2 {
				g.gather(e.slot)
				grp.count++
			} else if d <= some2 {
				grp.edge = append(grp.edge, e.slot)
				grp.count++
			}
		}
	}
	grp.sure = g.gathered(grp.sure)
	grp.crowd = grp.count > g.cfg.KnownMax
}

// gather takes a slot in, gathered returns all of them, appended to dst.
func (g *Gateway) gather(slot uint32) {
	r, p := &g.rank, slot/pageSlots
	for int(p) >= len(r.dense) {
		r.dense = append(r.dense, mask{})
	}
	if r.dense[p].empty() {
		r.dirty = append(r.dirty, p)
	}
	r.dense[p].set(slot)
}

func (g *Gateway) gathered(dst set) set {
	r := &g.rank
	slices.Sort(r.dirty)
	for _, p := range r.dirty {
		dst = append(dst, numbered{p, r.dense[p]})
		r.dense[p] = mask{}
	}
	r.dirty = r.dirty[:0]
	return dst
}

// sight returns how far a client at p sees, in units: Config.InterestM, or less
// where many more than KnownMax entities would be in sight. It looks at whole cells only.
func (g *Gateway) sight(p mesh.Vec) int64 {
	radius := g.cfg.interest()
	for radius > g.grid.cell && g.grid.count(p, radius) > g.cfg.KnownMax*3/2 {
		radius -= radius / 8
	}
	return radius
}

// rankAround decides what c, whose body is in slot body, is to know: what it
// should not know any more becomes its leaves, what it does not know yet its
// newcomers, the nearest first.
func (g *Gateway) rankAround(c *client, body uint32) {
	pos := g.hots[body].pos
	grp := g.groupOf(pos)
	c.group = grp
	r := &g.rank
	r.keys = r.keys[:0]
	limit, keep := grp.radius*grp.radius, (grp.radius+grp.radius/8)*(grp.radius+grp.radius/8)
	wanted := grp.sure
	if grp.crowd {
		wanted, keep = g.nearest(pos, grp.radius), -1
	}
	g.letGo(c, pos, wanted, keep)
	fresh := func(slot uint32) {
		if slot != body {
			r.keys = append(r.keys, key(pos.Dist2(g.hots[slot].pos), slot))
		}
	}
	for i := range wanted {
		news := wanted[i].mask
		if p := c.pages.find(wanted[i].number); p != nil {
			for w := range news {
				news[w] &^= p.known[w]
			}
		}
		if !news.empty() {
			news.each(wanted[i].number, fresh)
		}
	}
	if !grp.crowd {
		for _, slot := range grp.edge {
			if p := c.pages.find(slot / pageSlots); (p == nil || !p.known.has(slot)) && pos.Dist2(g.hots[slot].pos) <= limit {
				fresh(slot)
			}
		}
	}
	room := min(pendingMax, max(0, g.cfg.KnownMax-c.knows), len(r.keys))
	selectLowest(r.keys, room)
	slices.Sort(r.keys[:room])
	if c.pending, c.pendingAt = c.pending[:0], 0; room == 0 {
		c.pending = nil // until somebody comes, there may be thousands who need none
	}
	for _, k := range r.keys[:room] {
		c.pending = append(c.pending, keySlot(k))
	}
	g.noteZones(c, g.entities[body].best)
}

// nearest returns the KnownMax entities nearest to p, as far as radius.
func (g *Gateway) nearest(p mesh.Vec, radius int64) set {
	r := &g.rank
	for _, s := range g.grid.cover(p, radius) {
		for _, e := range g.grid.entries[s.from:s.to] {
			if d := p.Dist2(e.pos); d <= radius*radius {
				r.keys = append(r.keys, key(d, e.slot))
			}
		}
	}
	n := min(g.cfg.KnownMax, len(r.keys))
	selectLowest(r.keys, n)
	for _, k := range r.keys[:n] {
		g.gather(keySlot(k))
	}
	r.keys = r.keys[:0]
	r.set = g.gathered(r.set[:0])
	return r.set
}

// letGo makes leaves of what c knows and is not wanted, unless it is within
// the square root of keep.
func (g *Gateway) letGo(c *client, pos mesh.Vec, wanted set, keep int64) {
	at, kept := 0, c.pages[:0]
	for i := range c.pages {
		p := &c.pages[i]
		gone := p.known
		for at < len(wanted) && wanted[at].number < p.number {
			at++
		}
		if at < len(wanted) && wanted[at].number == p.number {
			for w := range gone {
				gone[w] &^= wanted[at].mask[w]
			}
		}
		if !gone.empty() {
			gone.each(p.number, func(slot uint32) {
				if g.entities[slot].dead || pos.Dist2(g.hots[slot].pos) > keep {
					p.known.clear(slot)
					p.stale.clear(slot)
					p.altered.clear(slot)
					c.leaves = append(c.leaves, slot)
					c.knows--
				}
			})
		}
		if !p.known.empty() {
			kept = append(kept, *p)
		}
	}
	c.pages = kept
}

// noteZones makes c's list of zones that of its group and its body, and keeps
// what it was told of them.
func (g *Gateway) noteZones(c *client, body *feed) {
	old, feeds := c.zones, c.group.feeds
	r := &g.rank
	r.feeds = append(r.feeds[:0], feeds...)
	if body != nil && !body.dropped && !slices.Contains(feeds, body) && len(feeds) < maxZonesShown {
		r.feeds = append(r.feeds, body)
	}
	same := len(old) == len(r.feeds)
	for i := 0; same && i < len(old); i++ {
		same = slices.Contains(r.feeds, old[i].feed)
	}
	if same {
		return
	}
	zones := make([]seenZone, len(r.feeds))
	for i, f := range r.feeds {
		zones[i] = seenZone{feed: f}
		if j := slices.IndexFunc(old, func(z seenZone) bool { return z.feed == f }); j >= 0 {
			zones[i] = old[j]
		}
	}
	c.zones = zones
}

// selectLowest puts the n lowest keys, which all differ, first, in no
// particular order (quickselect; Hoare 1961).
func selectLowest(keys []uint64, n int) {
	lo, hi := 0, len(keys)
	for n > lo && n < hi && hi-lo > 1 {
		a, b, c := keys[lo], keys[lo+(hi-lo)/2], keys[hi-1]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := lo, hi-1
		for {
			for keys[i] < pivot {
				i++
			}
			for keys[j] > pivot {
				j--
			}
			if i >= j {
				break
			}
			keys[i], keys[j] = keys[j], keys[i]
			i++
			j--
		}
		switch { // all before i are lower than all from i on; if i is j, it is the pivot
		case n <= i:
			hi = i
		case i == j:
			lo = i + 1
		default:
			lo = i
		}
	}
}
