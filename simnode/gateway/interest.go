package gateway

import (
	"slices"

	"weft/control/mesh"
)

// ranking is the memory that rankings share.
type ranking struct {
	stamp uint32
	marks []uint32 // by slot: the stamp of the last ranking whose client knows it
	keys  []uint64
	fresh []uint32 // slots in sight that the client does not know
	feeds []*feed  // zones in sight
}

// A key sorts by distance: squared distance, place in the list of what is
// known and then what is fresh, and whether an update is due.
const (
	keyPlaceBits = 20
	keyShift     = keyPlaceBits + 1
)

func key(dist2 int64, place int, due bool) uint64 {
	k := uint64(dist2)<<keyShift | uint64(place)<<1
	if due {
		k |= 1
	}
	return k
}

func keyPlace(k uint64) int { return int(k >> 1 & (1<<keyPlaceBits - 1)) }
func keyDue(k uint64) bool  { return k&1 != 0 }

// rankAround ranks what lies around c's body, which is in slot body: it lets
// go of what is out of sight, and sorts the rest into near, mid and far ones
// and newcomers.
func (g *Gateway) rankAround(c *client, body uint32) {
	r := &g.rank
	if n := len(g.entities) - len(r.marks); n > 0 {
		r.marks = append(r.marks, make([]uint32, n+n/4)...)
	}
	if r.stamp++; r.stamp == 0 {
		clear(r.marks)
		r.stamp = 1
	}
	center := g.hots[body].pos
	radius := g.sight(center)
	r.keys, r.fresh, r.feeds = r.keys[:0], r.fresh[:0], r.feeds[:0]
	r.marks[body] = r.stamp
	g.see(g.entities[body].best)
	g.rankKnown(c, center, radius+radius/8)
	g.gather(center, radius)
	g.sortBands(c)
	g.noteZones(c)
}

// sight returns how far a client at p sees, in units: Config.InterestM, or less
// where more than KnownMax entities would be in sight. It looks at whole cells only.
func (g *Gateway) sight(p mesh.Vec) int64 {
	radius := g.cfg.interest()
	for radius > g.grid.cell && g.grid.count(p, radius) > g.cfg.KnownMax*3/2 {
		radius -= radius / 8
	}
	return radius
}

func (g *Gateway) see(f *feed) {
	if f != nil && f.seen != g.rank.stamp && !f.dropped && len(g.rank.feeds) < maxZonesShown {
		f.seen = g.rank.stamp
		g.rank.feeds = append(g.rank.feeds, f)
	}
}

// rankKnown lets go of what c knows beyond radius and keys the rest. An update
// is due to those that changed and were last told of FarEveryTicks ago.
func (g *Gateway) rankKnown(c *client, center mesh.Vec, radius int64) {
	r := &g.rank
	limit := radius * radius
	kept := c.known[:0]
	for _, k := range c.known {
		h := &g.hots[k.slot]
		d := center.Dist2(h.pos)
		r.marks[k.slot] = r.stamp
		if d > limit || k.sent == evicted || g.entities[k.slot].dead {
			c.leaves = append(c.leaves, k.slot)
			continue
		}
		due := max(h.moved, h.altered) > k.sent && (k.sent == 0 || g.step-k.sent >= uint32(g.cfg.FarEveryTicks))
		r.keys = append(r.keys, key(d, len(kept), due))
		kept = append(kept, k)
		g.see(h.feed)
	}
	c.known = kept
}

// gather keys what is within radius and not known. The grid's row of cells is
// cut to the circle, so that corners cost nothing.
func (g *Gateway) gather(center mesh.Vec, radius int64) {
	r := &g.rank
	limit := radius * radius
	places := len(r.keys)
	x0, x1, y0, y1 := g.grid.block(center, radius)
	for y := y0; y <= y1; y++ {
		for _, e := range g.grid.stretch(x0, x1, y) {
			if r.marks[e.slot] == r.stamp || len(r.fresh) >= g.cfg.KnownMax*2 {
				continue
			}
			if d := center.Dist2(e.pos); d <= limit {
				r.keys = append(r.keys, key(d, places+len(r.fresh), false))
				r.fresh = append(r.fresh, e.slot)
			}
		}
	}
}

// sortBands makes c's lists anew from the keys.
func (g *Gateway) sortBands(c *client) {
	r := &g.rank
	knownCount := len(c.known)
	keys := r.keys
	if len(keys) > g.cfg.KnownMax {
		selectLowest(keys, g.cfg.KnownMax)
		for _, k := range keys[g.cfg.KnownMax:] {
			if p := keyPlace(k); p < knownCount {
				c.known[p].sent = evicted
			}
		}
		keys = keys[:g.cfg.KnownMax]
	}
	near := min(g.cfg.NearCount, len(keys))
	mid := min(near+g.cfg.MidCount, len(keys))
	selectLowest(keys, mid)
	selectLowest(keys[:mid], near)
	if len(r.fresh) > 0 {
		slices.Sort(keys[:near])
		slices.Sort(keys[near:mid])
	}
	c.near, c.mid, c.far = c.near[:0], c.mid[:0], c.far[:0]
	c.pending, c.pendingAt, c.farAt = c.pending[:0], 0, 0
	room := min(pendingMax, max(0, g.cfg.KnownMax-knownCount))
	enter := func(place int, b band) {
		if len(c.pending) < room {
			c.pending = append(c.pending, newcomer{r.fresh[place-knownCount], b})
		}
	}
	for _, k := range keys[:near] {
		if p := keyPlace(k); p < knownCount {
			c.near = append(c.near, uint32(p))
		} else {
			enter(p, bandNear)
		}
	}
	for _, k := range keys[near:mid] {
		if p := keyPlace(k); p < knownCount {
			c.mid = append(c.mid, uint32(p))
		} else {
			enter(p, bandMid)
		}
	}
	for _, k := range keys[mid:] {
		if p := keyPlace(k); p >= knownCount {
			enter(p, bandFar)
		} else if keyDue(k) {
			c.far = append(c.far, uint32(p))
		}
	}
}

// noteZones makes c's list of zones that of the ranking, and keeps what it was
// told of them.
func (g *Gateway) noteZones(c *client) {
	old := c.zones
	r := &g.rank
	same := len(old) == len(r.feeds)
	for i := 0; same && i < len(old); i++ {
		same = old[i].feed.seen == r.stamp
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
