package node

import (
	"slices"

	"weft/control/mesh"
	"weft/simnode/authority"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// mark is a crossing marked and not yet sent.
type mark struct {
	to      mesh.ZoneID
	members []mesh.EntityID // the root first
	waiting []*wire.Act     // durable events that came meanwhile
	volley  volley          // what the members struck meanwhile
}

// maxWaitingActs bounds the events that wait for one crossing; clients repeat.
const maxWaitingActs = 4 * mesh.EventWindow

// findStrays begins the crossings of what is in z but belongs elsewhere.
func (n *Node) findStrays(z *zone) {
	if z.auth.Stalled() || z.auth.Full() {
		return // the store is out of reach: keep what strays
	}
	z.strays = z.strays[:0]
	if z.state == mesh.Retiring {
		z.strays = z.world.Strays(mesh.Box{}, 0, z.strays)
	} else {
		z.strays = z.world.Strays(z.box, n.cfg.MarginUnits, z.strays)
		z.strays = n.otherLayer(z, z.strays)
	}
	begun := 0
	for _, root := range z.strays {
		if begun >= n.cfg.MaxMarksPerTick {
			return
		}
		if _, ok := z.marked[root]; ok {
			continue
		}
		e, ok := z.world.Get(root)
		if !ok {
			continue
		}
		to, ok := n.layout.Locate(root.Layer(), e.Pos)
		if ok && to != z.id && n.reachable(to) {
			n.mark(z, to, root, mesh.Pick{})
			begun++
		}
	}
}

// otherLayer finds what lies inside z's box but belongs to a zone of another
// layer: props under a zone of props, actors in a zone of props.
func (n *Node) otherLayer(z *zone, dst []mesh.EntityID) []mesh.EntityID {
	if z.layer == mesh.Props {
		return z.world.Within(mesh.Actors, z.box, dst)
	}
	for i := range n.layout.Zones {
		y := &n.layout.Zones[i]
		if y.Layer == mesh.Props && y.State == mesh.Active && y.Box.Overlaps(z.box) {
			dst = z.world.Within(mesh.Props, y.Box, dst)
		}
	}
	return dst
}

// reachable reports whether zone to is known to be open: its frames come, or,
// where it is too far to be followed, its owner is connected.
func (n *Node) reachable(to mesh.ZoneID) bool {
	entry, ok := n.layout.Zone(to)
	if !ok || entry.Owner.IsZero() {
		return false
	}
	if entry.Owner.Node == n.self.ID {
		return n.openZoneByID(to) != nil
	}
	if s := n.source(to); s != nil {
		return s.decoder.Zone != 0 && s.decoder.Epoch >= entry.Epoch && n.tick <= s.frameAt+n.cfg.SilentTicks
	}
	p := n.peer(entry.Owner.Node)
	return p != nil && p.up
}

// mark begins the crossing of root and all that it carries.
func (n *Node) mark(z *zone, to mesh.ZoneID, root mesh.EntityID, pick mesh.Pick) {
	z.group = z.world.Group(root, z.group[:0])
	if len(z.group) > wire.MaxMembers {
		n.log("a group is too large to cross")
		return
	}
	members := make([]mesh.Entity, 0, len(z.group))
	for _, id := range z.group {
		e, ok := z.world.Get(id)
		if _, marked := z.marked[id]; !ok || marked {
			return // a member is on its way already, by itself
		}
		members = append(members, e)
	}
	number := z.auth.NextMark()
	m := &mark{to: to, members: slices.Clone(z.group)}
	z.marks[number] = m
	for _, id := range m.members {
		z.marked[id] = number
	}
	n.step(z, authority.Event{Kind: authority.Mark, N: number, To: to, Members: members, Pick: pick})
}

// markDurable sends a crossing off: from here on its members are simulated at
// the target only. What exploded meanwhile ends instead.
func (n *Node) markDurable(z *zone, number uint64) {
	m := z.marks[number]
	if m == nil {
		return
	}
	delete(z.marks, number)
	for _, id := range m.members {
		delete(z.marked, id)
	}
	ended := !z.world.Has(m.members[0])
	if ended || !n.reachable(m.to) {
		n.cancel(z, number, m, ended)
		return
	}
	record := z.auth.Marked(number)
	members := make([]mesh.Entity, 0, len(m.members))
	var owed []mesh.Impact // effects on those that leave go after them
	for i, id := range m.members {
		e, ok := z.world.Remove(id)
		if !ok {
			continue
		}
		e.Hop = max(e.Hop+1, record[i].Hop)
		members = append(members, e)
		owed = z.effects.claim(id, owed)
		z.left(n, id, m.to)
	}
	for _, e := range z.auth.Step(authority.Event{Kind: authority.Sent, N: number, Tick: n.tick, Members: members}) {
		n.carryOut(z, e) // at once: impacts and waiting events go after the transfer
	}
	z.showSent(number, m.to, members)
	if len(m.volley.blows) > 0 {
		z.volleys[number] = m.volley // until what struck is durable there
	}
	for _, i := range owed {
		n.queueImpact(z, m.to, i)
	}
	n.tellImpacts(z)
	var blows []blow
	for _, i := range z.world.Owed(owed[:0]) {
		blows = append(blows, blow{m.to, i})
	}
	n.holdImpacts(z, blows)
	for _, a := range m.waiting {
		if n.bodies[a.Player] == z.id {
			n.onAct(a.Gateway, a) // its target has left, not its player
		} else {
			n.forward(m.to, a)
		}
	}
}

// hold keeps a durable event until crossing number is decided.
func (z *zone) hold(number uint64, a *wire.Act) {
	if m := z.marks[number]; len(m.waiting) < maxWaitingActs {
		m.waiting = append(m.waiting, a)
	}
}

// left forgets what the zone knew of a body that went to another.
func (z *zone) left(n *Node, id mesh.EntityID, to mesh.ZoneID) {
	p := id.Player()
	if p == 0 {
		return
	}
	delete(z.attended, p)
	delete(z.picks, p)
	if n.bodies[p] == z.id {
		delete(n.bodies, p)
	}
	n.left[p] = forwarding{to, n.tick + forwardTicks}
}

// cancel takes a mark back that was never sent: its members are residents
// again, with what has become of them meanwhile.
func (n *Node) cancel(z *zone, number uint64, m *mark, ended bool) {
	n.step(z, authority.Event{Kind: authority.Cancel, N: number})
	var put []mesh.Entity
	var gone []mesh.EntityID
	for _, id := range m.members {
		if e, ok := z.world.Get(id); ok {
			put = append(put, e)
		} else {
			gone = append(gone, id)
		}
	}
	var records []replication.Record
	if len(put) > 0 {
		records = append(records, replication.Record{Kind: replication.RecordPut, Entities: put})
	}
	if len(gone) > 0 {
		records = append(records, replication.Record{Kind: replication.RecordRemove, IDs: gone})
	}
	n.step(z, authority.Event{Kind: authority.Journal, Records: records})
	n.sendAfterJournal(z, m.volley)
	for _, a := range m.waiting {
		n.onAct(a.Gateway, a)
	}
}

// departure is a crossing that was sent: its members as they are shown to
// others until it has landed.
type departure struct {
	to    mesh.ZoneID
	poses []mesh.Pose
}

// landing is an entity that is simulated in zone to since tick.
type landing struct {
	id   mesh.EntityID
	to   mesh.ZoneID
	tick mesh.Tick
	seen bool // a frame of to was made since
}

// showSent keeps showing members where they were last until they are seen at
// the target: to the zone's own world as they went, to others standing still.
func (z *zone) showSent(number uint64, to mesh.ZoneID, members []mesh.Entity) {
	poses := make([]mesh.Pose, 0, len(members))
	for _, e := range members {
		if e.Flags&mesh.Asleep != 0 || z.world.Has(e.ID) {
			continue // not seen, or back already
		}
		p := e.Pose
		p.Flags |= mesh.Outbound
		z.unshow(p.ID)
		z.ghosts[p.ID] = ghost{z.id, p.Hop}
		z.world.PutGhost(p)
		p.Vel = mesh.Vec{}
		poses = append(poses, p)
	}
	z.sent[number] = departure{to, poses}
}

// showStill shows the zone's own world what left a tick ago and has not landed.
func (z *zone) showStill(poses []mesh.Pose) {
	for _, p := range poses {
		if z.ghosts[p.ID].from == z.id {
			z.world.PutGhost(p)
		}
	}
}

// unshow stops showing an entity where it left, since it came back.
func (z *zone) unshow(id mesh.EntityID) {
	for number, d := range z.sent {
		if i := slices.IndexFunc(d.poses, func(p mesh.Pose) bool { return p.ID == id }); i >= 0 {
			z.sent[number] = departure{d.to, slices.Delete(d.poses, i, i+1)}
			return
		}
	}
}

// dropOutbound stops showing the members of a crossing, since they are
// simulated at the target. The zone's own world sees them, as they went, until
// the target's next frame: else its next tick would be without them.
func (n *Node) dropOutbound(z *zone, number uint64) {
	d := z.sent[number]
	for _, p := range d.poses {
		if g := z.ghosts[p.ID]; g.from == z.id {
			z.ghosts[p.ID] = ghost{d.to, g.hop}
			z.landed = slices.DeleteFunc(z.landed, func(l landing) bool { return l.id == p.ID })
			z.landed = append(z.landed, landing{p.ID, d.to, n.tick, false})
		}
	}
	delete(z.sent, number)
}

// seeLanded drops the ghosts of what landed in a zone and is not in a frame
// that was made since: it has moved on, or is no more.
func (z *zone) seeLanded(s *source) {
	for i := range z.landed {
		l := &z.landed[i]
		if l.seen || l.to != s.zone || s.decoder.Tick <= l.tick {
			continue
		}
		l.seen = true
		if _, ok := s.decoder.Slot(l.id); !ok && z.ghosts[l.id].from == l.to {
			z.dropGhost(l.id)
		}
	}
}

// onTransfer takes a crossing in, once, and answers repeats.
func (n *Node) onTransfer(m *wire.Transfer) {
	z := n.openZoneByID(m.To)
	if z == nil || z.auth.Full() || n.self.State == mesh.Stopped {
		return // it will be repeated, if only to the next owner
	}
	if !z.auth.Wants(m) {
		n.step(z, authority.Event{Kind: authority.TransferEvent, Transfer: m})
		return
	}
	entities := slices.Clone(m.Members)
	for i := range entities {
		entities[i].Flags &^= mesh.Outbound
		if entities[i].ID.Kind() != mesh.KindRocket { // its fuse burns from its shot on
			entities[i].Placed = n.nextTick(z)
		}
		n.install(z, entities[i])
	}
	n.counters.Crossings++
	var token uint64
	if m.Pick.Player != 0 && len(entities) == 1 {
		entities, token = n.handOver(z, m.Pick, entities)
	}
	n.step(z, authority.Event{Kind: authority.TransferEvent, Transfer: m, Entities: entities, Token: token})
}

// forward passes a durable event on to where its body went.
func (n *Node) forward(to mesh.ZoneID, a *wire.Act) {
	if a.Hops >= 3 {
		return // the client repeats
	}
	on := *a
	on.Hops++
	n.sendZone(to, &on)
}
