package authority

import (
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// outbound is what this owner knows of a crossing beyond its record.
type outbound struct {
	to       mesh.ZoneID
	sent     *wire.Transfer // nil while only marked
	repeatAt mesh.Tick
	landed   bool
}

// mark journals the crossing and fixes its group. The entities stay the
// caller's to move until the mark is durable.
func (z *Zone) mark(ev Event) {
	if ev.N != z.memory.NextMark {
		return
	}
	for i := range ev.Members {
		ev.Members[i].Hop++
	}
	z.outbound[ev.N] = &outbound{to: ev.To}
	if _, ok := z.told[ev.To]; !ok {
		z.told[ev.To] = 0
	}
	z.queue(entry{record: replication.Record{
		Kind: replication.RecordMark, N: ev.N, Zone: ev.To, Pick: ev.Pick, Entities: ev.Members,
	}})
}

// cancel is allowed only to the epoch that wrote the mark and never sent it:
// another epoch cannot know whether it was sent.
func (z *Zone) cancel(n uint64) {
	o := z.outbound[n]
	if o == nil || o.sent != nil {
		return
	}
	delete(z.outbound, n)
	z.queue(entry{record: replication.Record{Kind: replication.RecordCancel, N: n}})
}

// recordDurable does what had to wait for r to be durable.
func (z *Zone) recordDurable(r replication.Record) {
	switch r.Kind {
	case replication.RecordMark:
		if o := z.outbound[r.N]; o != nil && o.sent == nil {
			z.emit(Effect{Kind: MarkDurable, N: r.N})
		}
	case replication.RecordArrive:
		z.emit(Effect{Kind: Message, To: r.Zone, Message: &wire.DurableAck{From: r.Zone, N: r.N, To: z.id}})
	}
}

func (z *Zone) transferOf(o replication.Outbound, tick mesh.Tick, members []mesh.Entity) *wire.Transfer {
	return &wire.Transfer{From: z.id, N: o.N, To: o.To, Tick: tick, Members: members, Pick: o.Pick}
}

// sent sends crossing N with its members as of the tick at which the caller
// stopped them. The mark must be durable and not cancelled.
func (z *Zone) sent(ev Event) {
	o := z.outbound[ev.N]
	record, durable := z.durable.Outbound[ev.N]
	if o == nil || o.sent != nil || !durable {
		return
	}
	o.sent = z.transferOf(record, ev.Tick, ev.Members)
	o.repeatAt = z.tick + z.cfg.RepeatTicks
	z.emit(Effect{Kind: Message, To: o.to, Message: o.sent})
}

func (z *Zone) repeatTransfers() {
	z.due = z.due[:0]
	for n, o := range z.outbound {
		if o.sent != nil && z.tick >= o.repeatAt {
			z.due = append(z.due, n)
		}
	}
	slices.Sort(z.due)
	for _, n := range z.due {
		o := z.outbound[n]
		o.repeatAt = z.tick + z.cfg.RepeatTicks
		z.emit(Effect{Kind: Message, To: o.to, Message: o.sent})
	}
}

// Wants reports whether t is new here, so that its members must be installed.
func (z *Zone) Wants(t *wire.Transfer) bool {
	return z.phase == phaseOpen && t.To == z.id && !z.removed(t.From) && !z.memory.Has(t.From, t.N)
}

// transfer takes a crossing in once. Repeats are answered; "durable" only from
// what is known durable.
func (z *Zone) transfer(ev Event) {
	t := ev.Transfer
	if t.To != z.id || z.removed(t.From) {
		return
	}
	if !z.memory.Has(t.From, t.N) {
		if ev.Entities == nil {
			return
		}
		z.queue(entry{token: ev.Token, record: replication.Record{
			Kind: replication.RecordArrive, Zone: t.From, N: t.N, Entities: ev.Entities,
		}})
	} else if t.N < z.memory.Low[t.From] {
		return // its source knows
	}
	z.emit(Effect{Kind: Message, To: t.From, Message: &wire.Installed{From: t.From, N: t.N, To: z.id}})
	if _, ok := z.durable.Received[t.From][t.N]; ok {
		z.emit(Effect{Kind: Message, To: t.From, Message: &wire.DurableAck{From: t.From, N: t.N, To: z.id}})
	}
}

// forget drops outbound N, and only that: a resident that came back is none
// of its business.
func (z *Zone) forget(ev Event) {
	o := z.outbound[ev.N]
	if o == nil || o.sent == nil || o.to != ev.From {
		return
	}
	delete(z.outbound, ev.N)
	z.queue(entry{lazy: true, record: replication.Record{Kind: replication.RecordForget, N: ev.N}})
	z.emit(Effect{Kind: Forgotten, N: ev.N})
}

func (z *Zone) low(from mesh.ZoneID, n uint64) {
	if n <= z.memory.Low[from] || z.removed(from) {
		return
	}
	z.queue(entry{lazy: true, record: replication.Record{Kind: replication.RecordLow, Zone: from, N: n}})
}

// tellLow tells targets the watermark of the durable state, the changed ones
// often and all of them now and then, since the telling may be lost.
func (z *Zone) tellLow() {
	if z.tick < z.lowAt {
		return
	}
	z.lowAt = z.tick + z.cfg.LowTicks
	if z.tick >= z.lowAllAt && z.durable.NextMark > 1 {
		z.lowAllAt = z.tick + z.cfg.LowAllTicks
		for _, to := range z.zones {
			if to != z.id {
				z.told[to] = 0
			}
		}
	}
	for _, to := range slices.Sorted(maps.Keys(z.told)) {
		if low := z.durable.LowFor(to); low > max(z.told[to], 1) {
			z.told[to] = low
			z.emit(Effect{Kind: Message, To: to, Message: &wire.Low{From: z.id, To: to, N: low}})
		}
	}
}

// removed reports that the layout had zone id and has it no more. What a
// removed zone sent was forgotten before, so a message of it is an old copy.
func (z *Zone) removed(id mesh.ZoneID) bool {
	if id >= z.nextZone {
		return false // younger than the layout we know
	}
	_, ok := slices.BinarySearch(z.zones, id)
	return !ok
}

// dropSources forgets watermarks of zones that the layout has removed: their
// ids are not used again.
func (z *Zone) dropSources() {
	if z.phase != phaseOpen {
		return
	}
	gone := map[mesh.ZoneID]bool{}
	for from := range z.memory.Low {
		gone[from] = true
	}
	for from := range z.memory.Received {
		gone[from] = true
	}
	for _, from := range slices.Sorted(maps.Keys(gone)) {
		if z.removed(from) {
			z.queue(entry{lazy: true, record: replication.Record{Kind: replication.RecordDropSource, Zone: from}})
		}
	}
	for to := range z.told {
		if z.removed(to) {
			delete(z.told, to)
		}
	}
}

// Marked returns the members of outbound crossing n as its durable record has
// them, hops raised. They belong to the Zone.
func (z *Zone) Marked(n uint64) []mesh.Entity { return z.durable.Outbound[n].Members }

// Picking reports whether a crossing under way carries an item on behalf of p.
func (z *Zone) Picking(p mesh.Pick) bool {
	for _, o := range z.memory.Outbound {
		if o.Pick == p {
			return true
		}
	}
	return false
}

// Target returns the zone that outbound crossing n goes to, or 0.
func (z *Zone) Target(n uint64) mesh.ZoneID { return z.memory.Outbound[n].To }
