package node

import (
	"cmp"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/authority"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// effects are the impacts between a zone and others. They are volatile: each
// is taken once at most, in order; a takeover of its target loses those on their
// way. It leaves the zone when what caused it is durable, so that a takeover
// here does not cause it again.
type effects struct {
	out     []*impactQueue // by target
	in      map[mesh.ZoneID]impactSource
	pending []mesh.Impact // for the next tick
	taken   []mesh.Impact
	held    int // in volleys that wait for the journal
	follows int // times in this tick that some were sent after their targets
}

// maxFollows bounds effects.follows: beyond, they wait for the next tick, so
// that none runs in a circle while a transfer is late.
const maxFollows = 16

// volley is what a zone's props did to ghosts in a tick.
type volley struct {
	at    mesh.Tick
	blows []blow
}

// blow is an impact and the zone that it is for.
type blow struct {
	to     mesh.ZoneID
	impact mesh.Impact
}

// volleyTicks is how old a volley may get while it waits: a blow that is felt
// later than that is worse than none.
const volleyTicks = 40

// Taken is an impact of another zone that one of this node's has taken, or
// later, then without From, FromEpoch and Number, applied.
type Taken struct {
	Zone    mesh.ZoneID
	Epoch   mesh.Epoch
	Tick    mesh.Tick
	Impact  mesh.Impact
	Applied bool // to a resident, in this tick

	From      mesh.ZoneID
	FromEpoch mesh.Epoch
	Number    uint64 // within (From, FromEpoch, Zone)
}

// Watch has f called with every impact that is taken or applied from now on,
// for checks and drills.
func (n *Node) Watch(f func(Taken)) { n.watch = f }

// impactsNow returns what others did to z's residents, for this tick.
func (n *Node) impactsNow(z *zone) []mesh.Impact {
	impacts := z.effects.take()
	if n.watch != nil {
		for _, i := range impacts {
			if z.world.Has(i.Target) {
				n.watch(Taken{Zone: z.id, Epoch: z.auth.Epoch(), Tick: n.tick, Impact: i, Applied: true})
			}
		}
	}
	return impacts
}

// impactSource is how far the impacts of a zone were taken.
type impactSource struct {
	epoch mesh.Epoch
	next  uint64 // the number expected
}

// impactQueue holds what a target zone has not yet acknowledged.
type impactQueue struct {
	to       mesh.ZoneID
	epoch    mesh.Epoch // of the owner to whom those sent were sent
	base     uint64     // the number of queue[0]
	queue    []mesh.Impact
	told     uint64 // sent below this
	repeatAt mesh.Tick
}

func newEffects() effects { return effects{in: map[mesh.ZoneID]impactSource{}} }

// take returns the impacts for this tick; the slice holds until the next take.
func (f *effects) take() []mesh.Impact {
	f.pending, f.taken = f.taken[:0], f.pending
	return f.taken
}

// claim appends the impacts that wait for id to dst: they must follow it.
func (f *effects) claim(id mesh.EntityID, dst []mesh.Impact) []mesh.Impact {
	kept := f.pending[:0]
	for _, i := range f.pending {
		if i.Target == id {
			dst = append(dst, i)
		} else {
			kept = append(kept, i)
		}
	}
	f.pending = kept
	return dst
}

// forget drops what concerns zones that the layout has removed.
func (f *effects) forget(l *mesh.Layout) {
	f.out = slices.DeleteFunc(f.out, func(q *impactQueue) bool { return l.Index(q.to) < 0 })
	maps.DeleteFunc(f.in, func(from mesh.ZoneID, _ impactSource) bool { return l.Index(from) < 0 })
}

func (f *effects) at(to mesh.ZoneID) (int, bool) {
	return slices.BinarySearchFunc(f.out, to, func(q *impactQueue, to mesh.ZoneID) int { return cmp.Compare(q.to, to) })
}

// sendImpacts has what z's world did to ghosts sent, each to the zone that shows
// it.
func (n *Node) sendImpacts(z *zone, impacts []mesh.Impact) {
	var blows []blow
	for _, i := range impacts {
		if g, ok := z.ghosts[i.Target]; ok {
			blows = append(blows, blow{g.from, i})
		}
	}
	n.holdImpacts(z, blows)
	z.effects.follows = 0
	n.tellImpacts(z)
}

// holdImpacts lets blows wait until what struck them is durable as it is after
// the stroke: a rocket as ended, an item where it bounced off. What is marked
// is left to its crossing.
func (n *Node) holdImpacts(z *zone, blows []blow) {
	if len(z.unsaved) > 0 && !z.auth.Full() {
		n.journalUnsaved(z) // or what struck ends after the blow was told
	}
	var put []mesh.Entity
	v := volley{at: n.tick}
	for _, b := range blows {
		if b.to == z.id {
			b.to, _ = z.departed(b.impact.Target)
		}
		if b.to == z.id || b.to == 0 || z.effects.held >= n.cfg.MaxImpacts || z.auth.Full() {
			continue
		}
		z.effects.held++
		if number, ok := z.marked[b.impact.Source]; ok {
			m := z.marks[number]
			m.volley.at = n.tick
			m.volley.blows = append(m.volley.blows, b)
			continue
		}
		v.blows = append(v.blows, b)
		e, ok := z.world.Get(b.impact.Source)
		if ok && !slices.ContainsFunc(put, func(o mesh.Entity) bool { return o.ID == e.ID }) {
			e.Placed = n.tick // older poses are of before the stroke
			put = append(put, e)
		}
	}
	if len(put) > 0 {
		n.step(z, authority.Event{Kind: authority.Journal, Lazy: true, Records: []replication.Record{{Kind: replication.RecordPut, Entities: put}}})
	}
	n.sendAfterJournal(z, v)
}

// sendAfterJournal sends v once all that was journaled before is durable.
func (n *Node) sendAfterJournal(z *zone, v volley) {
	if len(v.blows) > 0 {
		n.step(z, authority.Event{Kind: authority.Barrier, Token: n.token(ack{zone: z, volley: v})})
	}
}

// sendVolley sends v, whose cause is durable, unless it has waited too long.
func (n *Node) sendVolley(z *zone, v volley) {
	z.effects.held -= len(v.blows)
	if len(v.blows) == 0 || n.tick > v.at+volleyTicks {
		return
	}
	for _, b := range v.blows {
		n.queueImpact(z, b.to, b.impact)
	}
	n.tellImpacts(z)
}

// tellImpacts sends what is new or has waited long.
func (n *Node) tellImpacts(z *zone) {
	for _, q := range z.effects.out {
		to, ok := n.layout.Zone(q.to)
		if !ok {
			continue
		}
		if to.Epoch != q.epoch { // what the owner before was sent it may have taken
			q.queue = slices.Delete(q.queue, 0, int(q.told-q.base))
			q.base, q.epoch = q.told, to.Epoch
		}
		end := q.base + uint64(len(q.queue))
		if len(q.queue) == 0 || q.told == end && n.tick < q.repeatAt {
			continue
		}
		first := max(q.told, q.base)
		if n.tick >= q.repeatAt {
			first = q.base
		}
		q.told, q.repeatAt = end, n.tick+n.cfg.RepeatTicks
		n.sendZone(q.to, &wire.Impacts{
			From: z.id, Epoch: z.auth.Epoch(), To: q.to, ToEpoch: q.epoch, Base: q.base, First: first,
			Impacts: slices.Clone(q.queue[first-q.base:]),
		})
	}
}

func (n *Node) queueImpact(z *zone, to mesh.ZoneID, i mesh.Impact) {
	if to == z.id {
		to, _ = z.departed(i.Target)
	}
	if to == z.id || to == 0 {
		return
	}
	k, ok := z.effects.at(to)
	if !ok {
		z.effects.out = slices.Insert(z.effects.out, k, &impactQueue{to: to, base: 1, told: 1})
	}
	if q := z.effects.out[k]; len(q.queue) < n.cfg.MaxImpacts {
		q.queue = append(q.queue, i)
	}
}

// departed returns where id went from z lately.
func (z *zone) departed(id mesh.EntityID) (mesh.ZoneID, bool) {
	for _, d := range z.sent {
		if slices.ContainsFunc(d.poses, func(p mesh.Pose) bool { return p.ID == id }) {
			return d.to, true
		}
	}
	i := slices.IndexFunc(z.landed, func(l landing) bool { return l.id == id })
	if i < 0 {
		return 0, false
	}
	return z.landed[i].to, true
}

// onImpacts takes impacts in order, once, and acknowledges them. What has
// left meanwhile is told on to where it went.
func (n *Node) onImpacts(m *wire.Impacts) {
	z := n.openZoneByID(m.To)
	if z == nil || m.ToEpoch != z.auth.Epoch() {
		return
	}
	source, known := z.effects.in[m.From]
	switch {
	case known && m.Epoch < source.epoch:
		return // of an owner that was replaced since
	case !known || m.Epoch > source.epoch:
		source = impactSource{m.Epoch, m.Base}
	}
	follow := false
	if m.First <= source.next {
		for k, i := range m.Impacts {
			number := m.First + uint64(k)
			if number < source.next {
				continue
			}
			source.next = number + 1
			if n.watch != nil {
				n.watch(Taken{Zone: z.id, Epoch: m.ToEpoch, Tick: n.tick, Impact: i, From: m.From, FromEpoch: m.Epoch, Number: number})
			}
			if z.world.Has(i.Target) {
				z.effects.pending = append(z.effects.pending, i)
			} else if to, ok := z.departed(i.Target); ok {
				n.queueImpact(z, to, i)
				follow = true // at once, to be in time for the next tick
			} else if g, ok := z.ghosts[i.Target]; ok && i.Target.Kind() != mesh.KindRocket {
				n.queueImpact(z, g.from, i)
			}
		}
	}
	z.effects.in[m.From] = source
	if follow && z.effects.follows < maxFollows {
		z.effects.follows++
		n.tellImpacts(z)
	}
	n.sendZone(m.From, &wire.ImpactAck{From: m.From, Epoch: m.Epoch, To: m.To, Next: source.next})
}

func (n *Node) onImpactAck(m *wire.ImpactAck) {
	z := n.openZoneByID(m.From)
	if z == nil || z.auth.Epoch() != m.Epoch {
		return
	}
	k, ok := z.effects.at(m.To)
	if !ok {
		return
	}
	q := z.effects.out[k]
	if m.Next <= q.base || m.Next > q.base+uint64(len(q.queue)) {
		return
	}
	q.queue = slices.Delete(q.queue, 0, int(m.Next-q.base))
	q.base = m.Next
}
