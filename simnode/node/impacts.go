package node

import (
	"cmp"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// effects are the impacts between a zone and others. They are volatile: each
// is applied once per incarnation of source and target, in order.
type effects struct {
	out     []*impactQueue // by target
	in      map[mesh.ZoneID]impactSource
	pending []mesh.Impact // for the next tick
	taken   []mesh.Impact
	follows int // times in this tick that some were sent after their targets
}

// maxFollows bounds effects.follows: beyond, they wait for the next tick, so
// that none runs in a circle while a transfer is late.
const maxFollows = 16

// impactSource is how far the impacts of a zone were taken.
type impactSource struct {
	epoch mesh.Epoch
	next  uint64 // the number expected
}

// impactQueue holds what a target zone has not yet acknowledged.
type impactQueue struct {
	to       mesh.ZoneID
	base     uint64 // the number of queue[0]
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

// sendImpacts queues what z's world did to ghosts, each to the zone that shows
// it.
func (n *Node) sendImpacts(z *zone, impacts []mesh.Impact) {
	for _, i := range impacts {
		if g, ok := z.ghosts[i.Target]; ok {
			n.queueImpact(z, g.from, i)
		}
	}
	z.effects.follows = 0
	n.tellImpacts(z)
}

// tellImpacts sends what is new or has waited long.
func (n *Node) tellImpacts(z *zone) {
	for _, q := range z.effects.out {
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
			From: z.id, Epoch: z.auth.Epoch(), To: q.to, Base: q.base, First: first,
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
	if z == nil {
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
