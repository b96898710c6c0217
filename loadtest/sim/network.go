package sim

import (
	"time"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// network carries encoded messages between processes with delay, and with
// loss, repetition and reordering while faults last.
type network struct {
	cut map[[2]mesh.NodeID]bool // directed: from, to
}

// connect links a new process with all others, as soon as both live.
func (n *network) connect(s *Sim, p *proc) {
	for _, q := range s.procs {
		if q != p && q.alive && !(q.self.Role == mesh.RoleGateway && p.self.Role == mesh.RoleGateway) {
			s.after(s.between(time.Millisecond, 20*time.Millisecond), func() { n.link(s, p, q) })
		}
	}
}

// link links two that live. As at the edge, a process refuses an earlier life of
// one whose later it knows.
func (n *network) link(s *Sim, p, q *proc) {
	if !p.alive || !q.alive || p.up[q.self.ID] > q.self.Incarnation || q.up[p.self.ID] > p.self.Incarnation {
		return
	}
	n.up(s, p, q)
	n.up(s, q, p)
}

func (n *network) up(s *Sim, at, peer *proc) {
	at.up[peer.self.ID] = peer.self.Incarnation
	s.deliver(at, process.Event{
		Kind: process.EventPeerUp, Peer: peer.self.ID, Incarnation: peer.self.Incarnation, Role: peer.self.Role,
	})
}

func (n *network) downAt(s *Sim, at *proc, peer mesh.Process, gone bool) {
	if at.up[peer.ID] != peer.Incarnation {
		return
	}
	delete(at.up, peer.ID)
	s.deliver(at, process.Event{Kind: process.EventPeerDown, Peer: peer.ID, Incarnation: peer.Incarnation, Gone: gone})
}

// lost tells everyone that a process is gone.
func (n *network) lost(s *Sim, p *proc) {
	for _, q := range s.procs {
		if q.alive {
			s.after(s.between(time.Millisecond, 30*time.Millisecond), func() { n.downAt(s, q, p.self, true) })
		}
	}
}

// reset breaks the link of two processes and makes it again later.
func (n *network) reset(s *Sim, p, q *proc, away time.Duration) {
	n.downAt(s, p, q.self, false)
	n.downAt(s, q, p.self, false)
	s.after(away, func() { n.link(s, p, q) })
}

func (n *network) send(s *Sim, from *proc, to mesh.NodeID, m wire.PeerMessage) {
	s.stats.Messages++
	inc, ok := from.up[to]
	if !ok || n.cut[[2]mesh.NodeID{from.self.ID, to}] {
		return
	}
	data := wire.AppendPeer(nil, m)
	s.spoken.Write(data)
	f := &s.cfg.Faults
	copies := 1
	delay := s.between(200*time.Microsecond, 3*time.Millisecond)
	if s.faulting {
		switch {
		case s.chance(f.Loss):
			return
		case s.chance(f.Repeat):
			copies = 2
		}
		if s.chance(f.Delay) {
			delay += s.between(0, f.DelayUpTo)
		}
	}
	for i := range copies {
		if i > 0 {
			delay += s.between(0, f.DelayUpTo)
		}
		s.after(delay, func() { n.arrive(s, from.self, to, inc, data) })
	}
}

func (n *network) arrive(s *Sim, from mesh.Process, to mesh.NodeID, inc mesh.Incarnation, data []byte) {
	p := s.find(to)
	if p == nil || p.self.Incarnation != inc {
		return
	}
	m, err := wire.DecodePeer(data)
	if err != nil {
		s.fail("a message does not decode: %v", err)
		return
	}
	s.deliver(p, process.Event{Kind: process.EventPeer, Peer: from.ID, Incarnation: from.Incarnation, Role: from.Role, Message: m})
}
