package sim

import (
	"time"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// client is a player: it walks about, picks things up, drops and throws them,
// and keeps its own ledger of what was acknowledged.
type client struct {
	player    mesh.PlayerID
	at        *proc // its gateway; nil while between two
	id        process.ClientID
	session   uint64
	welcome   bool
	welcomeAt time.Duration
	next      uint32
	open      []mesh.Event // not acknowledged
	self      wire.Self
	seen      map[uint32]wire.Enter
	aboard    bool // as far as it was told
	target    mesh.Vec
	command   mesh.Command
	view      wire.View
	saidAt    time.Duration // when the last message arrives: they come in order
	ever      bool          // it was welcomed once: its body must exist
	slow      bool          // it does not read all

	ledger map[uint32]entry
}

// entry is an acknowledged event.
type entry struct {
	event   mesh.Event
	outcome mesh.Outcome
	entity  mesh.EntityID
	hop     uint32
}

func (s *Sim) addClient(p mesh.PlayerID) {
	c := &client{player: p, seen: map[uint32]wire.Enter{}, ledger: map[uint32]entry{}, next: 1}
	s.clients = append(s.clients, c)
	s.after(s.between(0, 5*time.Second), func() { s.dial(c) })
	s.every(100*time.Millisecond, s.between(0, 100*time.Millisecond), func() { s.play(c) })
}

func (s *Sim) dial(c *client) {
	gateways := s.live(mesh.RoleGateway)
	if c.at != nil {
		return
	}
	if s.absent {
		s.after(200*time.Millisecond, func() { s.dial(c) })
		return
	}
	s.ring()
	if len(gateways) == 0 {
		s.after(200*time.Millisecond, func() { s.dial(c) })
		return
	}
	p := gateways[s.rng.IntN(len(gateways))]
	s.check.lastClient++
	c.at, c.id, c.welcome = p, s.check.lastClient, false
	p.clients[c.id] = c
	hello := wire.Hello{Player: c.player, Session: c.session, Ticket: "t", LastEvent: c.next - 1}
	if len(c.open) > 0 {
		hello.LastEvent = c.open[0].Number - 1
	}
	fresh := uint64(s.wall().UnixMilli())<<20 | s.rng.Uint64N(1<<20)
	s.deliver(p, process.Event{Kind: process.EventClientUp, Client: c.id, Hello: hello, Fresh: fresh})
}

// dropClient is how the client sees its connection end; it goes to another gateway.
func (s *Sim) dropClient(c *client) {
	if c.at == nil {
		return
	}
	s.stats.Disconnects++
	delete(c.at.clients, c.id)
	c.at = nil
	clear(c.seen)
	s.after(s.between(100*time.Millisecond, 600*time.Millisecond), func() { s.dial(c) })
}

func (s *Sim) toClient(p *proc, e *process.Effect) {
	c := p.clients[e.Client]
	if c == nil || c.at != p || c.id != e.Client {
		return
	}
	if e.Kind == process.EffectClientClose {
		s.note("client %d: %+v", c.player, e.ServerMessage)
		s.dropClient(c)
		return
	}
	if c.slow && e.Droppable {
		id := e.Client // the effect is its gateway's again after this
		s.after(0, func() { s.deliver(p, process.Event{Kind: process.EventClientSlow, Client: id}) })
		return
	}
	m := e.ServerMessage
	if m == nil {
		b := append(e.Data[:len(e.Data):len(e.Data)], e.Shared...)
		s.spoken.Write(b)
		if wire.IsView(b) {
			if err := wire.DecodeView(b, &c.view); err != nil {
				s.fail("a view does not decode: %v", err)
			}
			s.look(c, &c.view)
			return
		}
		var err error
		if m, err = wire.DecodeServer(b); err != nil {
			s.fail("a server message does not decode: %v", err)
			return
		}
	}
	switch m := m.(type) {
	case *wire.Welcome:
		c.session, c.welcome, c.ever, c.welcomeAt = m.Session, true, true, s.now
		if m.LastEvent+1 > c.next {
			s.fail("player %d is told event %d, it has sent %d", c.player, m.LastEvent, c.next-1)
		}
		for _, ev := range c.open {
			s.tell(c, &wire.Do{Event: ev})
		}
	case *wire.EventAck:
		s.acked(c, m)
	case *wire.View:
		s.look(c, m)
	}
}

func (s *Sim) acked(c *client, m *wire.EventAck) {
	if old, ok := c.ledger[m.Event]; ok {
		if old.outcome != m.Outcome {
			s.fail("player %d event %d acknowledged %d, then %d", c.player, m.Event, old.outcome, m.Outcome)
		}
		return
	}
	for i, ev := range c.open {
		if ev.Number == m.Event {
			c.open = append(c.open[:i], c.open[i+1:]...)
			c.ledger[m.Event] = entry{ev, m.Outcome, m.Entity, m.Hop}
			s.stats.Acked++
			if ev.Action == mesh.ActBoard {
				c.aboard = m.Outcome == mesh.OutcomeOK && ev.Target != 0
			}
			if c.aboard && ev.Action == mesh.ActBoard {
				s.stats.Boarded++
			}
			if ev.Action == mesh.ActPickUp && m.Outcome == mesh.OutcomeOK {
				s.stats.Picks++
				// Into the hand, and over a border before that at most.
				if by := m.Hop - ev.Hop; m.Entity == ev.Target && (by < 1 || by > 2) {
					s.fail("player %d asked for item %x of hop %d and has it at hop %d: another's act came first", c.player, uint64(ev.Target), ev.Hop, m.Hop)
				}
			}
			return
		}
	}
	s.fail("player %d event %d acknowledged but never sent", c.player, m.Event)
}

func (s *Sim) look(c *client, v *wire.View) {
	c.self = v.Self
	s.stats.Views++
	for _, h := range v.Leaves {
		delete(c.seen, h)
	}
	for _, e := range v.Enters {
		c.seen[e.Handle] = e
	}
	for _, m := range v.Moves {
		e, ok := c.seen[m.Handle]
		if !ok {
			continue // its own body, or one that is yet to enter
		}
		e.Pos = wire.Resolve(e.Pos, m)
		if m.Changed {
			e.Hop, e.Flags, e.Carrier = m.Hop, m.Flags, m.Carrier
		}
		c.seen[m.Handle] = e
	}
}

func (s *Sim) tell(c *client, m wire.ClientMessage) {
	p, id := c.at, c.id
	c.saidAt = max(c.saidAt, s.now+s.between(200*time.Microsecond, 2*time.Millisecond))
	s.after(c.saidAt-s.now, func() {
		if c.at == p && c.id == id && p.alive {
			s.deliver(p, process.Event{Kind: process.EventClient, Client: id, ClientMessage: m})
		}
	})
}

// play is what the player does ten times a second.
func (s *Sim) play(c *client) {
	if s.absent && c.at != nil {
		s.tell(c, &wire.Goodbye{})
		return
	}
	if c.at == nil || !c.welcome {
		return
	}
	if s.chance(0.05) || c.target == (mesh.Vec{}) {
		w := s.cfg.WidthM
		c.target = mesh.Meters(1+s.rng.Int32N(w-2), 1+s.rng.Int32N(w-2), 0)
	}
	c.command.Sequence++
	c.command.MoveX, c.command.MoveY = toward(c.self.Pos, c.target)
	if s.now > s.peace() {
		c.command.MoveX, c.command.MoveY = 0, 0
	}
	s.tell(c, &wire.Steer{Command: c.command})
	if len(c.open) < s.cfg.MaxOpen && s.chance(0.15) && s.faulting {
		s.act(c)
	}
	if s.faulting && s.chance(s.cfg.Leaving) {
		s.tell(c, &wire.Goodbye{})
	}
}

func toward(from, to mesh.Vec) (x, y int8) {
	d := to.Sub(from)
	m := max(abs(d.X), abs(d.Y), 1)
	return int8(int64(d.X) * 85 / int64(m)), int8(int64(d.Y) * 85 / int64(m))
}

func abs(v int32) int32 { return max(v, -v) }

func (s *Sim) act(c *client) {
	ev := mesh.Event{Number: c.next}
	ship, sails := s.shipBeside(c)
	switch {
	case sails && s.chance(0.2):
		ev.Action, ev.Target = mesh.ActBoard, ship
	case s.chance(0.05):
		ev.Action, ev.Aim = mesh.ActFire, s.aim()
	case c.self.Held != 0 && s.chance(0.5):
		ev.Action = mesh.ActDrop
	case c.self.Held != 0:
		ev.Action, ev.Aim = mesh.ActThrow, s.aim()
	default:
		best, dist := wire.Enter{}, int64(1)<<62
		for h, e := range c.seen { // in no order: of two as near the lower handle
			d := e.Pos.Dist2(c.self.Pos)
			if e.ID.Kind() == mesh.KindItem && e.Carrier == 0 && e.Flags&mesh.Flying == 0 && (d < dist || d == dist && h < best.Handle) {
				best, dist = e, d
			}
		}
		if best.ID == 0 {
			return
		}
		ev.Action, ev.Target, ev.Hop = mesh.ActPickUp, best.ID, best.Hop
	}
	c.next++
	c.open = append(c.open, ev)
	s.tell(c, &wire.Do{Event: ev})
}

// shipBeside returns the ship to board, or none for who is aboard: to step off.
func (s *Sim) shipBeside(c *client) (mesh.EntityID, bool) {
	if c.aboard {
		return 0, true
	}
	const near = 6 * mesh.UnitsPerMeter
	best := wire.Enter{}
	for h, e := range c.seen {
		if e.ID.Kind() == mesh.KindShip && (best.ID == 0 || h < best.Handle) && e.Pos.Dist2(c.self.Pos) < near*near {
			best = e
		}
	}
	return best.ID, best.ID != 0
}

func (s *Sim) aim() mesh.Vec {
	v := func() int32 { return (s.rng.Int32N(21) - 10) * mesh.UnitsPerMeter }
	return mesh.Vec{X: v(), Y: v(), Z: s.rng.Int32N(6) * mesh.UnitsPerMeter}
}
