package node

import (
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/authority"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// onLogin lets a session control its player's body, if the body is here. The
// cradle bears who was never born.
func (n *Node) onLogin(from mesh.NodeID, m *wire.Login) {
	if z := n.home(m.Player); z != nil {
		n.login(z, from, m)
		return
	}
	cradle := n.openZoneByID(mesh.Cradle)
	if cradle == nil || cradle.auth.Born(m.Player) || cradle.auth.Full() {
		return
	}
	e := n.rules.Born(m.Player, n.layout.Shard.Spawn, n.layout.Shard.Seed)
	e.Session, e.Placed = m.Session, n.nextTick(cradle)
	n.install(cradle, e)
	n.commitLogin(cradle, from, e, true)
}

func (n *Node) login(z *zone, from mesh.NodeID, m *wire.Login) {
	id := mesh.PlayerEntity(m.Player)
	e, ok := z.world.Get(id)
	if _, marked := z.marked[id]; marked || !ok || z.auth.Full() {
		return // the gateway repeats it, here or where the body goes
	}
	switch {
	case m.Session < e.Session:
		if d, ok := z.auth.Durable(id); ok && d.Session > m.Session {
			n.send(from, n.loggedIn(z, d)) // somebody newer has the body
		}
	case m.Session == e.Session && e.Flags&mesh.Asleep == 0:
		n.wake(z, e, from)
		if d, ok := z.auth.Durable(id); ok && d.Session == e.Session && d.Flags&mesh.Asleep == 0 {
			n.send(from, n.loggedIn(z, d))
		}
	case m.Session == e.Session:
		// An old copy of a login whose session has logged out.
	default:
		e.Session = m.Session
		e.Flags &^= mesh.Asleep | mesh.Idle
		e.Placed = n.nextTick(z)
		z.world.Put(e)
		delete(z.picks, m.Player) // the new session knows nothing of the old one's event
		n.commitLogin(z, from, e, false)
	}
}

func (n *Node) commitLogin(z *zone, from mesh.NodeID, e mesh.Entity, birth bool) {
	z.attended[e.ID.Player()] = attendance{gateway: from, at: n.tick}
	token := n.token(ack{peer: from, message: n.loggedIn(z, e), zone: z})
	n.step(z, authority.Event{Kind: authority.Journal, Token: token, Records: []replication.Record{
		{Kind: replication.RecordPut, Birth: birth, Entities: n.withHeld(z, e)},
	}})
}

// withHeld returns e and what it holds, as they are.
func (n *Node) withHeld(z *zone, e mesh.Entity) []mesh.Entity {
	all := []mesh.Entity{e}
	if item, ok := z.world.Get(e.Held); ok {
		item.Placed = n.nextTick(z)
		all = append(all, item)
	}
	return all
}

func (n *Node) loggedIn(z *zone, e mesh.Entity) *wire.LoggedIn {
	return &wire.LoggedIn{Zone: z.id, Epoch: z.auth.Epoch(), Player: e.ID.Player(), Session: e.Session, LastEvent: e.LastEvent}
}

// wake notes that somebody speaks for a body.
func (n *Node) wake(z *zone, e mesh.Entity, gateway mesh.NodeID) {
	z.attended[e.ID.Player()] = attendance{gateway: gateway, at: n.tick}
	if e.Flags&mesh.Idle != 0 {
		e.Flags &^= mesh.Idle
		z.world.Put(e)
	}
}

// onLogout lets a body stand for a while, or logs it out at once.
func (n *Node) onLogout(m *wire.Logout) {
	z := n.home(m.Player)
	if z == nil {
		return
	}
	id := mesh.PlayerEntity(m.Player)
	e, ok := z.world.Get(id)
	if _, marked := z.marked[id]; marked || !ok || e.Session != m.Session || e.Flags&mesh.Asleep != 0 {
		return // a body that nobody speaks for becomes idle by itself
	}
	if m.Now {
		n.logout(z, e)
		return
	}
	n.idle(z, e)
}

func (n *Node) idle(z *zone, e mesh.Entity) {
	a := z.attended[e.ID.Player()]
	a.idleAt = n.tick
	z.attended[e.ID.Player()] = a
	e.Flags |= mesh.Idle
	z.world.Put(e)
}

// logout puts a body to sleep where it stands, durably, with what it holds.
func (n *Node) logout(z *zone, e mesh.Entity) {
	if z.auth.Full() {
		return
	}
	p := e.ID.Player()
	delete(z.attended, p)
	delete(z.picks, p)
	e.Flags = e.Flags&^mesh.Idle | mesh.Asleep
	e.Vel, e.Placed = mesh.Vec{}, n.nextTick(z)
	z.world.Put(e)
	n.step(z, authority.Event{Kind: authority.Journal, Records: []replication.Record{
		{Kind: replication.RecordPut, Entities: n.withHeld(z, e)},
	}})
}

// minders looks after bodies whose client is gone.
func (n *Node) minders(z *zone) {
	z.players = slices.AppendSeq(z.players[:0], maps.Keys(z.attended))
	slices.Sort(z.players)
	for _, p := range z.players {
		a := z.attended[p]
		id := mesh.PlayerEntity(p)
		e, ok := z.world.Get(id)
		if _, marked := z.marked[id]; marked || !ok || e.Flags&mesh.Asleep != 0 {
			continue
		}
		switch {
		case e.Flags&mesh.Idle != 0 && a.idleAt == 0:
			a.idleAt = n.tick // it came idle from elsewhere
			z.attended[p] = a
		case e.Flags&mesh.Idle != 0 && n.tick >= a.idleAt+n.cfg.IdleTicks:
			n.logout(z, e)
		case e.Flags&mesh.Idle == 0 && n.tick >= a.at+n.cfg.AttendTicks:
			n.idle(z, e)
		}
	}
}

// onInputs hands each command to its body. The edge of the world, speeds and
// ranges were checked where the client came in; the rules bound them again.
func (n *Node) onInputs(m *wire.Inputs) {
	for _, in := range m.Inputs {
		z := n.home(in.Player)
		if z == nil {
			continue // it has crossed: the gateway will see, and say it there
		}
		id := mesh.PlayerEntity(in.Player)
		a, ok := z.attended[in.Player]
		if !ok {
			continue
		}
		e, ok := z.world.Get(id)
		if !ok || e.Session != in.Session || e.Flags&mesh.Asleep != 0 {
			continue
		}
		a.at, a.idleAt = n.tick, 0
		z.attended[in.Player] = a
		if e.Flags&mesh.Idle != 0 {
			e.Flags &^= mesh.Idle
			z.world.Put(e)
		}
		z.world.Command(id, in.Command)
	}
}

// onAct decides a durable event once, journals it and acknowledges when that
// is safe. Whatever cannot be decided now is left to the client's repeating.
func (n *Node) onAct(from mesh.NodeID, m *wire.Act) {
	if m.Gateway == "" {
		m.Gateway = from
	}
	z := n.home(m.Player)
	if z == nil {
		if f, ok := n.left[m.Player]; ok {
			n.forward(f.to, m)
		}
		return
	}
	id := mesh.PlayerEntity(m.Player)
	if number, ok := z.marked[id]; ok {
		z.hold(number, m)
		return
	}
	e, ok := z.world.Get(id)
	if !ok || e.Session != m.Session || e.Flags&mesh.Asleep != 0 || z.auth.Full() {
		return
	}
	switch number := m.Event.Number; {
	case number <= e.LastEvent:
		n.answerAgain(z, m, e)
	case number > e.LastEvent+1 || z.picks[m.Player] != nil:
		return // in order, each after the one before is decided
	default:
		n.act(z, m)
	}
}

// answerAgain repeats the answer to a repeated event, once it is durable.
func (n *Node) answerAgain(z *zone, m *wire.Act, e mesh.Entity) {
	d, ok := z.auth.Durable(e.ID)
	if !ok || d.LastEvent < m.Event.Number {
		return // the append that carries it will answer
	}
	outcome := d.Outcome(m.Event.Number)
	if outcome == mesh.OutcomeNone {
		n.counters.RefusedInputs++
		return
	}
	n.send(m.Gateway, &wire.Ack{Player: m.Player, Session: m.Session, Event: m.Event.Number, Outcome: outcome})
}

func (n *Node) act(z *zone, m *wire.Act) {
	id := mesh.PlayerEntity(m.Player)
	if number, marked := z.marked[m.Event.Target]; marked {
		z.hold(number, m) // it is on its way elsewhere
		return
	}
	if z.widened { // the player has just come
		n.showNear(z)
	}
	result := z.world.Act(n.nextTick(z), id, m.Event)
	if result.Elsewhere {
		n.beginPick(z, m)
		return
	}
	n.decide(z, m.Gateway, id, m.Event.Number, result.Outcome, result.Changed, result.Moved)
}

// decide records the outcome of a player's next event with all that it
// changed, in one record.
func (n *Node) decide(z *zone, gateway mesh.NodeID, id mesh.EntityID, number uint32, outcome mesh.Outcome, changed []mesh.EntityID, moved mesh.EntityID) {
	e, _ := z.world.Get(id)
	e.Decide(number, outcome)
	z.world.Put(e)
	put := []mesh.Entity{e}
	reply := &wire.Ack{Player: id.Player(), Session: e.Session, Event: number, Outcome: outcome}
	for _, c := range changed {
		x, ok := z.world.Get(c)
		if !ok || c == id {
			continue
		}
		put = append(put, x)
		if c == moved {
			reply.Entity, reply.Hop = c, x.Hop
		}
	}
	token := n.token(ack{peer: gateway, message: reply, event: true, zone: z})
	n.step(z, authority.Event{Kind: authority.Journal, Token: token, Records: []replication.Record{
		{Kind: replication.RecordPut, Entities: put},
	}})
}
