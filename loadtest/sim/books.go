package sim

import (
	"bytes"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// books follow every append as the store takes it, so that at any moment they
// have each zone's durable state: what a takeover would load. What processes
// say of durability is held against them when it is said, not in the end.
type books struct {
	s     *Sim
	zones map[mesh.ZoneID]*book
	homes map[mesh.EntityID]int // how many zones have it as a resident
	outs  map[mesh.EntityID]int // how many outbound records name it
}

type book struct {
	next  int64
	epoch mesh.Epoch // of the last slot
	state *replication.State
}

func newBooks(s *Sim) books {
	return books{s, map[mesh.ZoneID]*book{}, map[mesh.EntityID]int{}, map[mesh.EntityID]int{}}
}

// open begins the book of a zone at its first append, which is a seal.
func (b *books) open(id mesh.ZoneID, slot mesh.Slot) {
	state, err := b.s.check.durable(id)
	if err != nil || !slot.Seal {
		b.s.fail("zone %d begins with no seal (%v)", id, err)
		return
	}
	b.zones[id] = &book{slot.Position + 1, slot.Epoch, state}
	for e := range state.Entities {
		b.homes[e]++
	}
}

// append takes a slot in that the store has taken.
func (b *books) append(id mesh.ZoneID, slot mesh.Slot) {
	k := b.zones[id]
	if k == nil {
		b.open(id, slot)
		return
	}
	if slot.Position < k.next {
		return // a repeat
	}
	if slot.Position > k.next {
		b.s.fail("zone %d: position %d is stored after %d", id, slot.Position, k.next-1)
		return
	}
	if slot.Epoch < k.epoch {
		b.s.fail("zone %d: position %d of epoch %d is stored behind epoch %d", id, slot.Position, slot.Epoch, k.epoch)
	}
	k.next, k.epoch = k.next+1, slot.Epoch
	if slot.Seal {
		return
	}
	records, err := replication.DecodeRecords(slot.Data)
	if err != nil {
		b.s.fail("zone %d: position %d does not decode: %v", id, slot.Position, err)
		return
	}
	touched := map[mesh.EntityID]bool{}
	for _, r := range records {
		members := members(k.state, &r)
		for _, e := range members {
			b.count(k.state, e, -1)
			touched[e] = true
		}
		if r.Kind == replication.RecordArrive && k.state.Has(r.Zone, r.N) {
			b.s.fail("zone %d takes crossing %d of zone %d in twice", id, r.N, r.Zone)
		}
		if r.Kind == replication.RecordArrive {
			b.s.stats.Crossings++
		}
		k.state.Apply(r)
		for i := range r.Entities {
			b.s.check.events.put(&r.Entities[i])
		}
		for _, e := range members {
			b.count(k.state, e, 1)
		}
	}
	for _, e := range sorted(touched) {
		b.judge(id, k.state, e)
	}
}

// members are the entities whose durable records r changes.
func members(s *replication.State, r *replication.Record) (ids []mesh.EntityID) {
	ids = append(ids, r.IDs...)
	for _, e := range r.Entities {
		ids = append(ids, e.ID)
	}
	if r.Kind == replication.RecordCancel || r.Kind == replication.RecordForget {
		for _, e := range s.Outbound[r.N].Members {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// count adds what s has of e to the books, or takes it out.
func (b *books) count(s *replication.State, e mesh.EntityID, by int) {
	if _, ok := s.Entities[e]; ok {
		b.homes[e] += by
	}
	for _, o := range s.Outbound {
		for i := range o.Members {
			if o.Members[i].ID == e {
				b.outs[e] += by
			}
		}
	}
}

// judge looks at an entity after an append of zone id: it must have one
// durable home at most, and a durable record somewhere.
func (b *books) judge(id mesh.ZoneID, s *replication.State, e mesh.EntityID) {
	if b.homes[e] > 1 {
		b.s.fail("entity %x has %d durable homes after an append of zone %d", e, b.homes[e], id)
	}
	if b.homes[e]+b.outs[e] == 0 && e.Kind() != mesh.KindRocket {
		b.s.fail("entity %x has no durable record after an append of zone %d", e, id)
	}
	item, ok := s.Entities[e]
	if carrier, here := s.Entities[item.Carrier]; ok && item.Carrier != 0 && (!here || item.Carrier.Kind() != mesh.KindShip && carrier.Held != e) {
		b.s.fail("entity %x is durably carried by %x, who is not here or does not hold it", e, item.Carrier)
	}
}

// moved checks what a takeover would load after a snapshot's pointer moved.
func (b *books) moved(id mesh.ZoneID) {
	k := b.zones[id]
	if k == nil {
		return
	}
	d, err := b.s.check.durable(id)
	switch {
	case err != nil:
		b.s.fail("zone %d does not load: %v", id, err)
	case !bytes.Equal(d.Encode(nil), k.state.Encode(nil)):
		b.s.fail("zone %d: the snapshot and what follows are not what was journaled", id)
	}
}

// end checks that zones which the layout has removed were empty.
func (b *books) end(l *mesh.Layout) {
	for id, k := range b.zones {
		if l.Index(id) < 0 && len(k.state.Entities)+len(k.state.Outbound) > 0 {
			b.s.fail("zone %d was removed with %d entities and %d crossings", id, len(k.state.Entities), len(k.state.Outbound))
		}
	}
}

// player returns the durable body of p, wherever it is.
func (b *books) player(p mesh.PlayerID) (best mesh.Entity) {
	id := mesh.PlayerEntity(p)
	for _, k := range b.zones {
		if e, ok := k.state.Entities[id]; ok && e.LastEvent >= best.LastEvent && e.Session >= best.Session {
			best = e
		}
		for _, o := range k.state.Outbound {
			for _, e := range o.Members {
				if e.ID == id && e.LastEvent >= best.LastEvent && e.Session >= best.Session {
					best = e
				}
			}
		}
	}
	return best
}

// said holds a message of a process against the books.
func (b *books) said(p *proc, m wire.PeerMessage) {
	if p.node == nil {
		return
	}
	switch m := m.(type) {
	case *wire.Relay:
		if inner, err := wire.DecodePeer(m.Message); err == nil {
			b.said(p, inner)
		}
	case *wire.Ack:
		if e := b.player(m.Player); e.LastEvent < m.Event {
			b.s.fail("%s acknowledges event %d of player %d, durable is %d", p.self.ID, m.Event, m.Player, e.LastEvent)
		}
	case *wire.LoggedIn:
		if e := b.player(m.Player); e.LastEvent < m.LastEvent {
			b.s.fail("%s tells player %d of event %d, durable is %d", p.self.ID, m.Player, m.LastEvent, e.LastEvent)
		}
	case *wire.Impacts:
		b.s.check.events.told(m)
	case *wire.Transfer:
		if k := b.zones[m.From]; k != nil && m.N >= k.state.NextMark {
			b.s.fail("%s sends crossing %d of zone %d before its mark is durable", p.self.ID, m.N, m.From)
		}
	case *wire.DurableAck:
		if k := b.zones[m.To]; k != nil && !k.state.Has(m.From, m.N) {
			if l, err := b.s.store.Layout(ctx); err == nil && l.Index(m.From) >= 0 { // else forgotten with its source
				b.s.fail("%s calls crossing %d of zone %d durable in zone %d, and it is not", p.self.ID, m.N, m.From, m.To)
			}
		}
	case *wire.Low:
		k := b.zones[m.From]
		if k == nil {
			return
		}
		for n, o := range k.state.Outbound {
			if o.To == m.To && n < m.N || m.N > k.state.NextMark {
				b.s.fail("%s tells zone %d watermark %d of zone %d, and crossing %d is durably out", p.self.ID, m.To, m.N, m.From, n)
			}
		}
	}
}

// performed takes a write of the store in.
func (b *books) performed(r *process.Request) {
	switch r.Op {
	case process.OpAppend:
		b.append(r.Zone, r.Slot)
	case process.OpMovePointer:
		b.moved(r.Zone)
	}
}
