package node

import (
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// effects are the impacts between a zone and others. They are volatile: each
// is applied once per incarnation of source and target, in order.
type effects struct {
	out     map[mesh.ZoneID]*impactQueue
	in      map[impactSource]uint64 // the number expected next
	pending []mesh.Impact           // for the next tick
	taken   []mesh.Impact
}

type impactSource struct {
	zone  mesh.ZoneID
	epoch mesh.Epoch
}

// impactQueue holds what a target zone has not yet acknowledged.
type impactQueue struct {
	base     uint64 // the number of queue[0]
	queue    []mesh.Impact
	told     uint64 // sent below this
	repeatAt mesh.Tick
}

func newEffects() effects {
	return effects{out: map[mesh.ZoneID]*impactQueue{}, in: map[impactSource]uint64{}}
}

// take returns the impacts for this tick; the slice holds until the next take.
func (f *effects) take() []mesh.Impact {
	f.pending, f.taken = f.taken[:0], f.pending
	return f.taken
}

// sendImpacts queues what z's world did to ghosts, each to the zone that shows
// it, and sends what is new or has waited long.
func (n *Node) sendImpacts(z *zone, impacts []mesh.Impact) {
	for _, i := range impacts {
		if g, ok := z.ghosts[i.Target]; ok {
			n.queueImpact(z, g.from, i)
		}
	}
	if len(z.effects.out) == 0 {
		return
	}
	for _, to := range slices.Sorted(maps.Keys(z.effects.out)) {
		q := z.effects.out[to]
		end := q.base + uint64(len(q.queue))
		if len(q.queue) == 0 || q.told == end && n.tick < q.repeatAt {
			continue
		}
		first := max(q.told, q.base)
		if n.tick >= q.repeatAt {
			first = q.base
		}
		q.told, q.repeatAt = end, n.tick+n.cfg.RepeatTicks
		n.sendZone(to, &wire.Impacts{
			From: z.id, Epoch: z.auth.Epoch(), To: to, Base: q.base, First: first,
			Impacts: slices.Clone(q.queue[first-q.base:]),
		})
	}
}

func (n *Node) queueImpact(z *zone, to mesh.ZoneID, i mesh.Impact) {
	if to == z.id {
		if number, ok := z.sentNumber(i.Target); ok {
			to = z.auth.Target(number)
		}
	}
	if to == z.id || to == 0 {
		return
	}
	q := z.effects.out[to]
	if q == nil {
		q = &impactQueue{base: 1, told: 1}
		z.effects.out[to] = q
	}
	if len(q.queue) < n.cfg.MaxImpacts {
		q.queue = append(q.queue, i)
	}
}

// sentNumber returns the crossing that took id out of z and is not landed.
func (z *zone) sentNumber(id mesh.EntityID) (uint64, bool) {
	for number, poses := range z.sent {
		for _, p := range poses {
			if p.ID == id {
				return number, true
			}
		}
	}
	return 0, false
}

// onImpacts takes impacts in order, once, and acknowledges them. What has
// left meanwhile is told on to where it went.
func (n *Node) onImpacts(m *wire.Impacts) {
	z := n.openZoneByID(m.To)
	if z == nil {
		return
	}
	source := impactSource{m.From, m.Epoch}
	next, known := z.effects.in[source]
	if !known {
		n.forgetOldSources(z, source)
		next = m.Base
	}
	if m.First <= next {
		for k, i := range m.Impacts {
			number := m.First + uint64(k)
			if number < next {
				continue
			}
			next = number + 1
			if z.world.Has(i.Target) {
				z.effects.pending = append(z.effects.pending, i)
			} else if g, ok := z.ghosts[i.Target]; ok && i.Target.Kind() != mesh.KindRocket {
				n.queueImpact(z, g.from, i)
			}
		}
	}
	z.effects.in[source] = next
	n.sendZone(m.From, &wire.ImpactAck{From: m.From, Epoch: m.Epoch, To: m.To, Next: next})
}

// forgetOldSources drops what is known of earlier epochs of the same zone.
func (n *Node) forgetOldSources(z *zone, s impactSource) {
	maps.DeleteFunc(z.effects.in, func(old impactSource, _ uint64) bool { return old.zone == s.zone && old.epoch < s.epoch })
}

func (n *Node) onImpactAck(m *wire.ImpactAck) {
	z := n.openZoneByID(m.From)
	if z == nil || z.auth.Epoch() != m.Epoch {
		return
	}
	q := z.effects.out[m.To]
	if q == nil || m.Next <= q.base || m.Next > q.base+uint64(len(q.queue)) {
		return
	}
	q.queue = slices.Delete(q.queue, 0, int(m.Next-q.base))
	q.base = m.Next
}
