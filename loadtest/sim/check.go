package sim

import (
	"cmp"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
)

// checker holds what must be true, at every tick and in the end.
type checker struct {
	s          *Sim
	books      books
	events     events
	items      []mesh.EntityID
	opened     map[mesh.ZoneID]mesh.Epoch // the highest epoch that was ever open
	owner      map[mesh.EntityID]string
	lastClient process.ClientID
}

func (c *checker) init(s *Sim) {
	c.s, c.books, c.events = s, newBooks(s), newEvents(s)
	c.opened = map[mesh.ZoneID]mesh.Epoch{}
	c.owner = map[mesh.EntityID]string{}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// step: no entity has two unfenced authorities.
func (c *checker) step() {
	clear(c.owner)
	for _, p := range c.s.procs {
		if !p.alive || p.node == nil {
			continue
		}
		p.node.Inspect(func(z node.ZoneView) {
			if !z.Open {
				return
			}
			rec, err := c.s.store.Zone(ctx, z.ID)
			if err != nil || rec.Epoch != z.Epoch {
				return // fenced: whatever it thinks, nothing of it counts
			}
			c.opened[z.ID] = max(c.opened[z.ID], z.Epoch)
			z.World.Each(func(e *mesh.Entity) bool {
				where := string(p.self.ID)
				if other, ok := c.owner[e.ID]; ok {
					c.s.fail("entity %x has two authorities: %s and %s (zone %d)", e.ID, other, where, z.ID)
					return false
				}
				c.owner[e.ID] = where
				if b := c.books.zones[z.ID]; b != nil {
					d, ok := b.state.Entities[e.ID]
					switch {
					case ok && e.Hop < d.Hop:
						c.s.fail("entity %x is simulated at hop %d in zone %d and stored at hop %d", e.ID, e.Hop, z.ID, d.Hop)
						return false
					case z.Waiting+z.Noted == 0 && (!ok || e.Hop != d.Hop):
						c.s.fail("entity %x is simulated at hop %d in zone %d and stored at hop %d, and nothing is on its way", e.ID, e.Hop, z.ID, d.Hop)
						return false
					}
				}
				return true
			})
		})
	}
}

// performed: once an epoch was open, no lower one gets a write through.
func (c *checker) performed(r *process.Request, a *process.Answer) {
	if a.Verdict != process.OK {
		return
	}
	c.books.performed(r)
	var e mesh.Epoch
	switch r.Op {
	case process.OpAppend:
		e = r.Slot.Epoch
		if e < c.opened[r.Zone] {
			return // it may be the repeat of a write that counted; the journal check judges
		}
	case process.OpMovePointer:
		e = r.Epoch
	case process.OpPutPoses:
		e = r.Poses.Epoch
	default:
		return
	}
	if e < c.opened[r.Zone] {
		c.s.fail("a write of epoch %d of zone %d went through after epoch %d was open", e, r.Zone, c.opened[r.Zone])
	}
}

// end: the mesh has come to order and nothing is missing.
func (c *checker) end() {
	s := c.s
	l, err := s.store.Layout(ctx)
	if err != nil {
		s.fail("no layout: %v", err)
		return
	}
	c.books.end(&l)
	homes := map[mesh.EntityID][]mesh.ZoneID{}
	state := map[mesh.EntityID]mesh.Entity{}
	for _, z := range l.Zones {
		p := s.find(z.Owner.Node)
		open := false
		if p != nil {
			p.node.Inspect(func(v node.ZoneView) {
				open = open || v.ID == z.ID && v.Open && v.Epoch == z.Epoch
				if v.Noted > 0 {
					s.fail("zone %d has not journaled %d entities, and has room", v.ID, v.Noted)
				}
			})
		}
		if !open {
			s.fail("zone %d is not open at %s (epoch %d)", z.ID, z.Owner.Node, z.Epoch)
			return
		}
		c.books.moved(z.ID)
		d, err := c.durable(z.ID)
		if err != nil {
			s.fail("zone %d does not load: %v", z.ID, err)
			return
		}
		if len(d.Outbound) > 0 {
			s.fail("zone %d still has %d crossings outbound", z.ID, len(d.Outbound))
		}
		for from, set := range d.Received {
			if len(set) > 64 {
				s.fail("zone %d remembers %d crossings from zone %d", z.ID, len(set), from)
			}
		}
		for id, e := range d.Entities {
			homes[id] = append(homes[id], z.ID)
			state[id] = e
		}
	}
	for _, id := range sorted(homes) {
		if len(homes[id]) > 1 {
			s.fail("entity %x has durable homes %v", id, homes[id])
		}
	}
	for _, id := range c.items {
		if len(homes[id]) == 0 {
			s.fail("item %x is lost", id)
		}
	}
	for _, cl := range s.clients {
		c.ledger(cl, state)
	}
	c.lastOps(state)
	c.views()
	for id, where := range c.owner {
		if len(homes[id]) == 0 && id.Kind() != mesh.KindRocket {
			s.fail("entity %x is simulated at %s and not durable anywhere", id, where)
		}
	}
}

// ledger: every acknowledged event is in the player's durable state.
func (c *checker) ledger(cl *client, state map[mesh.EntityID]mesh.Entity) {
	e, ok := state[mesh.PlayerEntity(cl.player)]
	if !ok {
		if cl.ever {
			c.s.fail("player %d is lost", cl.player)
		}
		return
	}
	for n, en := range cl.ledger {
		if n > e.LastEvent {
			c.s.fail("player %d: acknowledged event %d is lost (last is %d)", cl.player, n, e.LastEvent)
		} else if o := e.Outcome(n); o != mesh.OutcomeNone && o != en.outcome {
			c.s.fail("player %d: event %d acknowledged %d, recorded %d", cl.player, n, en.outcome, o)
		}
	}
	if len(cl.open) > 0 && c.s.cfg.SettleFor > 0 {
		c.s.fail("player %d: event %d was never answered (last is %d)", cl.player, cl.open[0].Number, e.LastEvent)
	}
}

// lastOps: each item is where the last acknowledged act on it left it.
func (c *checker) lastOps(state map[mesh.EntityID]mesh.Entity) {
	type op struct {
		player mesh.PlayerID
		entry
	}
	last := map[mesh.EntityID]op{}
	for _, cl := range c.s.clients {
		for _, n := range sorted(cl.ledger) {
			en := cl.ledger[n]
			if en.outcome == mesh.OutcomeOK && en.entity.Kind() == mesh.KindItem && en.hop > last[en.entity].hop {
				last[en.entity] = op{cl.player, en}
			}
		}
	}
	for _, id := range sorted(last) {
		o, e := last[id], state[id]
		switch {
		case e.Hop < o.hop:
			c.s.fail("item %x: acknowledged at hop %d, stored at hop %d", id, o.hop, e.Hop)
		case e.Hop == o.hop && o.event.Action == mesh.ActPickUp && e.Carrier != mesh.PlayerEntity(o.player):
			c.s.fail("item %x: player %d was told it holds it, but %x does", id, o.player, e.Carrier)
		case e.Hop == o.hop && o.event.Action != mesh.ActPickUp && e.Carrier != 0 && e.Carrier.Kind() != mesh.KindShip:
			c.s.fail("item %x: let go, but carried by %x", id, e.Carrier)
		}
	}
	for id, e := range state {
		if e.Carrier == 0 || id.Kind() != mesh.KindItem {
			continue
		}
		if h, ok := state[e.Carrier]; !ok || h.Held != id && e.Carrier.Kind() != mesh.KindShip {
			c.s.fail("item %x is carried by %x, who holds %x", id, e.Carrier, h.Held)
		}
	}
}

// durable reads a zone's state as a takeover would.
func (c *checker) durable(id mesh.ZoneID) (*replication.State, error) {
	st := c.s.store
	rec, err := st.Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	state := replication.NewState()
	if len(rec.Pointer.Chunks) > 0 {
		var all []byte
		for _, key := range rec.Pointer.Chunks {
			b, err := st.Chunk(ctx, key)
			if err != nil {
				return nil, err
			}
			all = append(all, b...)
		}
		if state, err = replication.DecodeState(all); err != nil {
			return nil, err
		}
	}
	from := rec.Pointer.Position + 1
	slots, err := st.ReadSlots(ctx, id, from, mesh.RingSlots)
	if err != nil {
		return nil, err
	}
	for i, slot := range slots {
		if slot.Position != from+int64(i) {
			break
		}
		if slot.Seal {
			continue
		}
		records, err := replication.DecodeRecords(slot.Data)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			state.Apply(r)
		}
	}
	return state, nil
}
