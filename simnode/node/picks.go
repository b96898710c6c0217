package node

import (
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// pick is an open pick-up of an item that another zone owns. It is decided
// once, in the player's entity, here; until then later events wait.
type pick struct {
	event    uint32
	item     mesh.EntityID
	hop      uint32
	at       mesh.Vec // where the player stood
	gateway  mesh.NodeID
	began    mesh.Tick
	repeatAt mesh.Tick
}

// beginPick asks the item's zone to send the item here.
func (n *Node) beginPick(z *zone, m *wire.Act) {
	if m.Event.Action == mesh.ActBoard {
		n.boardAcross(z, m)
		return
	}
	e, _ := z.world.Get(mesh.PlayerEntity(m.Player))
	z.picks[m.Player] = &pick{
		event: m.Event.Number, item: m.Event.Target, hop: m.Event.Hop, at: e.Pos,
		gateway: m.Gateway, began: n.tick, repeatAt: n.tick + n.cfg.PickRepeatTicks,
	}
	n.askFor(z, m.Player)
}

func (n *Node) askFor(z *zone, p mesh.PlayerID) {
	k := z.picks[p]
	to, near, ok := n.whereIs(z, k.item)
	switch {
	case !ok:
		return // not seen just now: it may be crossing
	case !near:
		n.refusePick(z, p, k) // nobody here can reach it
		return
	}
	n.sendZone(to, &wire.PickRequest{From: z.id, To: to, Pick: mesh.Pick{Player: p, Event: k.event}, Item: k.item, Hop: k.hop})
}

// boardAcross sends a player to the zone of a ship, the event behind it: who is
// on deck goes where the ship goes. One who is refused there goes home like any
// stray. What cannot be now is left to the client's repeating.
func (n *Node) boardAcross(z *zone, m *wire.Act) {
	g, ok := z.ghosts[m.Event.Target]
	if !ok || z.auth.Stalled() || !n.reachable(g.from) {
		return
	}
	if to, ok := n.layout.Zone(g.from); !ok || to.State != mesh.Active {
		return // the ship leaves it, and nothing may enter
	}
	id := mesh.PlayerEntity(m.Player)
	n.mark(z, g.from, id, mesh.Pick{})
	if number, ok := z.marked[id]; ok {
		z.hold(number, m)
	}
}

// whereIs returns the zone that shows an item, and whether it is near z's residents.
func (n *Node) whereIs(z *zone, item mesh.EntityID) (zone mesh.ZoneID, near, ok bool) {
	if g, ok := z.ghosts[item]; ok && g.from != z.id {
		return g.from, true, true
	}
	for _, y := range n.zones {
		if y.world == nil || y == z {
			continue
		}
		if e, ok := y.world.Get(item); ok {
			return y.id, z.area.Contains(e.Pos), true
		}
	}
	for _, s := range n.sources {
		if i, ok := s.decoder.Slot(item); ok {
			return s.zone, z.area.Contains(s.decoder.Poses[i].Pos), true
		}
	}
	return 0, false, false
}

// retryPicks repeats requests, and refuses what takes too long: a zone may do
// so at any time.
func (n *Node) retryPicks(z *zone) {
	if len(z.picks) == 0 {
		return
	}
	for _, p := range slices.Sorted(maps.Keys(z.picks)) {
		k := z.picks[p]
		switch {
		case n.tick >= k.began+n.cfg.PickGiveUpTicks:
			n.refusePick(z, p, k)
		case n.tick >= k.repeatAt:
			k.repeatAt = n.tick + n.cfg.PickRepeatTicks
			n.askFor(z, p)
		}
	}
}

func (n *Node) refusePick(z *zone, p mesh.PlayerID, k *pick) {
	id := mesh.PlayerEntity(p)
	if _, marked := z.marked[id]; marked || z.auth.Full() {
		return
	}
	delete(z.picks, p)
	e, ok := z.world.Get(id)
	if !ok || e.Flags&mesh.Asleep != 0 || e.LastEvent+1 != k.event {
		return // a refusal for an absent player is dropped
	}
	n.decide(z, k.gateway, id, k.event, mesh.OutcomeRefused, nil, 0)
}

// onPickRequest sends an unheld item of the hop that the client saw to the
// player's zone, though it flies, and refuses otherwise. It is silent while its own mark names
// the same event.
func (n *Node) onPickRequest(m *wire.PickRequest) {
	z := n.openZoneByID(m.To)
	if z == nil {
		return
	}
	if z.auth.Picking(m.Pick) {
		return
	}
	e, ok := z.world.Get(m.Item)
	_, marked := z.marked[m.Item]
	asker, known := n.layout.Zone(m.From)
	// A retiring zone takes nothing in any more: it may be removed at any time.
	if !known || asker.State != mesh.Active || !ok || marked || e.Carrier != 0 || e.Hop != m.Hop {
		n.sendZone(m.From, &wire.PickRefusal{From: z.id, To: m.From, Pick: m.Pick, Item: m.Item})
		return
	}
	if z.auth.Stalled() || z.auth.Full() {
		return
	}
	n.mark(z, m.From, m.Item, m.Pick)
}

func (n *Node) onPickRefusal(m *wire.PickRefusal) {
	z := n.openZoneByID(m.To)
	if z == nil {
		return
	}
	k := z.picks[m.Pick.Player]
	if k == nil || k.event != m.Pick.Event || k.item != m.Item {
		return
	}
	n.refusePick(z, m.Pick.Player, k)
}

// handOver puts an arrived item in the hand of the player on whose behalf it
// came, if the player is here, awake and still waits for it. Otherwise the
// item stays where it lay and goes home like any stray.
func (n *Node) handOver(z *zone, p mesh.Pick, entities []mesh.Entity) ([]mesh.Entity, uint64) {
	id := mesh.PlayerEntity(p.Player)
	e, ok := z.world.Get(id)
	item := entities[0].ID
	k := z.picks[p.Player]
	if _, marked := z.marked[id]; marked || !ok || e.Flags&mesh.Asleep != 0 ||
		k == nil || k.event != p.Event || k.item != item || e.LastEvent+1 != p.Event {
		return entities, 0
	}
	delete(z.picks, p.Player)
	outcome := mesh.OutcomeRefused
	if z.world.Hand(id, item, k.at, n.nextTick(z)) {
		outcome = mesh.OutcomeOK
	}
	e, _ = z.world.Get(id)
	e.Decide(p.Event, outcome)
	z.world.Put(e)
	held, _ := z.world.Get(item)
	token := n.token(ack{peer: k.gateway, zone: z, event: true, message: &wire.Ack{
		Player: p.Player, Session: e.Session, Event: p.Event, Outcome: outcome, Entity: item, Hop: held.Hop,
	}})
	return []mesh.Entity{held, e}, token
}
