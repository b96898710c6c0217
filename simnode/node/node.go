// Package node is the pure core of a simulation node: it holds zones, ticks
// their worlds, journals what must last, hands entities over to other zones
// and tells everyone who wants to know. Node.Step takes one event and returns
// the effects; sockets, clocks and stores are the edge's.
package node

import (
	"cmp"
	"slices"

	"weft/control/mesh"
	"weft/simnode/authority"
	"weft/simnode/process"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// Config is the pace and the limits of a node. Ticks unless said otherwise.
type Config struct {
	World            world.Config
	Authority        authority.Config
	ReportEveryTicks mesh.Tick
	PoseEveryTicks   mesh.Tick
	MarginUnits      int32 // past a border before a crossing begins
	GhostSlackUnits  int32 // beyond the world's interaction radius
	MaxMarksPerTick  int   // per zone: a moved border is crossed at this rate
	MaxActors        int   // declared capacity
	SilentTicks      mesh.Tick
	BrokenTicks      mesh.Tick // a connection that is not made again for so long is broken
	LateTicks        mesh.Tick // own lateness above which evidence of silence is discarded
	RelayTicks       mesh.Tick // a peer unreachable for so long is reached through a gateway
	IdleTicks        mesh.Tick // a body without a client stands this long
	AttendTicks      mesh.Tick // a body nobody speaks for is idle after this long
	PickGiveUpTicks  mesh.Tick
	PickRepeatTicks  mesh.Tick
	RepeatTicks      mesh.Tick
	MaxImpacts       int // waiting for one zone's acknowledgement
}

// DefaultConfig fits 20 ticks a second.
func DefaultConfig() Config {
	return Config{
		Authority:        authority.DefaultConfig(),
		ReportEveryTicks: 20, PoseEveryTicks: 20,
		MarginUnits: mesh.UnitsPerMeter / 2, GhostSlackUnits: 24 * mesh.UnitsPerMeter,
		MaxMarksPerTick: 64, MaxActors: 250,
		SilentTicks: 10, BrokenTicks: 40, LateTicks: 5, RelayTicks: 5,
		IdleTicks: 600, AttendTicks: 200, PickGiveUpTicks: 100, PickRepeatTicks: 4, RepeatTicks: 10,
		MaxImpacts: wire.MaxImpacts,
	}
}

// Node is the state of a simulation node. It is not safe for concurrent use.
type Node struct {
	cfg   Config
	self  mesh.Process
	rules world.Rules
	ids   process.RequestIDs

	tick    mesh.Tick
	layout  *mesh.Layout
	zones   []*zone   // by id
	sources []*source // by zone
	former  map[mesh.ZoneID]former
	peers   []*peer                       // by id
	bodies  map[mesh.PlayerID]mesh.ZoneID // without pointers: millions sleep, and collections pass them by
	left    map[mesh.PlayerID]forwarding
	early   []early

	out   []process.Effect
	work  []work // effects of zones still to be carried out
	local []wire.PeerMessage
	ackID uint64
	acks  map[uint64]ack

	observed   mesh.Report
	counters   mesh.Counters
	sequence   uint64
	suspicions uint64
	announced  mesh.ProcessState // as the store has it
	announcing mesh.ProcessState // as the outstanding call has it, or 0
	reporting  bool              // a report has no answer yet
	reportAt   mesh.Tick
	forgetAt   mesh.Tick
	lost       map[mesh.ZoneID]mesh.Epoch // holds that ended while the layout names this node
	admitAt    mesh.Tick
	stopped    bool
	watch      func(Taken)
}

type peer struct {
	id          mesh.NodeID
	incarnation mesh.Incarnation
	role        mesh.Role
	up          bool
	downSince   mesh.Tick
	heard       mesh.Tick // last frame or word, for silence
	accused     mesh.Tick
}

// forwardTicks is how long events for a body that left are sent after it.
const forwardTicks = 100

// forwarding remembers where a body went, for events on their way here.
type forwarding struct {
	to    mesh.ZoneID
	until mesh.Tick
}

// work is an effect of a zone's protocol, waiting its turn.
type work struct {
	zone   *zone
	effect authority.Effect
}

// ack is what to tell once a token is durable.
type ack struct {
	peer    mesh.NodeID
	message wire.PeerMessage
	event   bool
	zone    *zone
	volley  volley // if message is nil
}

// New returns a node that owns nothing yet.
func New(cfg Config, self mesh.Process, rules world.Rules) *Node {
	self.State = mesh.Ready
	return &Node{
		cfg: cfg, self: self, rules: rules,
		bodies: map[mesh.PlayerID]mesh.ZoneID{},
		left:   map[mesh.PlayerID]forwarding{},
		former: map[mesh.ZoneID]former{},
		acks:   map[uint64]ack{},
		lost:   map[mesh.ZoneID]mesh.Epoch{},
	}
}

// Observe takes what only the edge can measure, for the next report: the
// fields about ticks, and the counters of bytes and of the store.
func (n *Node) Observe(r mesh.Report) { n.observed = r }

// Step takes one event and returns what to do, in order. The slice and frame
// bytes in it are reused by the next Step.
func (n *Node) Step(ev process.Event) []process.Effect {
	n.out = n.out[:0]
	if n.stopped {
		return nil
	}
	switch ev.Kind {
	case process.EventTick:
		n.onTick(ev)
	case process.EventPeerUp:
		n.peerUp(ev)
	case process.EventPeerDown:
		n.peerDown(ev)
	case process.EventPeer:
		if n.self.State != mesh.Stopped { // what it took in now would not be stored; it is sent again to the next owner
			n.receive(ev.Peer, ev.Message)
		}
	case process.EventLayout:
		n.onLayout(ev.Layout)
	case process.EventAnswer:
		n.onAnswer(ev.Answer)
	case process.EventDrain:
		if n.self.State != mesh.Stopped {
			n.self.State = mesh.Draining
			n.announce()
		}
	}
	n.settle()
	return n.out
}

// settle carries out what zones asked for and delivers messages between zones
// of this node until nothing is left.
func (n *Node) settle() {
	for len(n.work) > 0 || len(n.local) > 0 {
		for len(n.work) > 0 {
			w := n.work[0]
			n.work = slices.Delete(n.work, 0, 1)
			n.carryOut(w.zone, w.effect)
		}
		if len(n.local) > 0 {
			m := n.local[0]
			n.local = slices.Delete(n.local, 0, 1)
			n.receive(n.self.ID, m)
		}
	}
}

// step feeds a zone's protocol and queues its effects.
func (n *Node) step(z *zone, ev authority.Event) {
	for _, e := range z.auth.Step(ev) {
		n.work = append(n.work, work{z, e})
	}
}

func (n *Node) carryOut(z *zone, e authority.Effect) {
	switch e.Kind {
	case authority.Request:
		n.request(e.Request)
	case authority.Message:
		n.sendZone(e.To, e.Message)
	case authority.Opened:
		n.openZone(z, e.State, e.Poses)
	case authority.Durable:
		n.durable(e.Token)
	case authority.MarkDurable:
		n.markDurable(z, e.N)
	case authority.Landed:
		n.dropOutbound(z, e.N)
	case authority.Forgotten:
		n.dropOutbound(z, e.N)
		n.sendVolley(z, z.volleys[e.N])
		delete(z.volleys, e.N)
	case authority.Stopped:
		n.loseZone(z, e.Reason)
	}
}

func (n *Node) emit(e process.Effect) { n.out = append(n.out, e) }

func (n *Node) log(reason string) { n.emit(process.Effect{Kind: process.EffectLog, Reason: reason}) }

func (n *Node) request(r *process.Request) {
	n.emit(process.Effect{Kind: process.EffectRequest, Request: r})
}

func (n *Node) send(to mesh.NodeID, m wire.PeerMessage) {
	n.emit(process.Effect{Kind: process.EffectSend, Peer: to, Message: m})
}

// sendZone sends m to the owner of zone to as the newest layout has it: to
// itself, directly, or through a gateway when the owner is out of reach.
func (n *Node) sendZone(to mesh.ZoneID, m wire.PeerMessage) {
	if n.layout == nil {
		return
	}
	z, ok := n.layout.Zone(to)
	if !ok || z.Owner.IsZero() {
		return
	}
	if z.Owner.Node == n.self.ID {
		n.local = append(n.local, m)
		return
	}
	p := n.peer(z.Owner.Node)
	switch {
	case p != nil && p.up:
		n.send(p.id, m)
	case p == nil || n.tick >= p.downSince+n.cfg.RelayTicks:
		if g := n.relay(); g != nil {
			n.send(g.id, &wire.Relay{To: z.Owner.Node, Message: wire.AppendPeer(nil, m)})
		}
	}
}

func (n *Node) relay() *peer {
	for _, p := range n.peers {
		if p.up && p.role == mesh.RoleGateway {
			return p
		}
	}
	return nil
}

func (n *Node) peer(id mesh.NodeID) *peer {
	i, ok := n.peerAt(id)
	if !ok {
		return nil
	}
	return n.peers[i]
}

func (n *Node) zone(id mesh.ZoneID) *zone {
	i, ok := slices.BinarySearchFunc(n.zones, id, func(z *zone, id mesh.ZoneID) int { return cmp.Compare(z.id, id) })
	if !ok {
		return nil
	}
	return n.zones[i]
}

// home returns the zone that has the player's body, or nil.
func (n *Node) home(p mesh.PlayerID) *zone { return n.zone(n.bodies[p]) }

func (n *Node) openZoneByID(id mesh.ZoneID) *zone {
	if z := n.zone(id); z != nil && z.auth.Open() {
		return z
	}
	return nil
}

// meet returns the peer of that id, known or not.
func (n *Node) meet(id mesh.NodeID) *peer {
	i, ok := n.peerAt(id)
	if !ok {
		n.peers = slices.Insert(n.peers, i, &peer{id: id})
	}
	return n.peers[i]
}

func (n *Node) peerAt(id mesh.NodeID) (int, bool) {
	return slices.BinarySearchFunc(n.peers, id, func(p *peer, id mesh.NodeID) int { return cmp.Compare(p.id, id) })
}

// forgetPeers drops those that are gone and own nothing.
func (n *Node) forgetPeers() {
	n.peers = slices.DeleteFunc(n.peers, func(p *peer) bool {
		return !p.up && !slices.ContainsFunc(n.layout.Zones, func(z mesh.Zone) bool { return z.Owner.Node == p.id })
	})
}

func (n *Node) peerUp(ev process.Event) {
	p := n.meet(ev.Peer)
	p.incarnation, p.role, p.up, p.heard = ev.Incarnation, ev.Role, true, n.tick
	if n.layout != nil {
		n.send(p.id, &wire.News{Version: n.layout.Version})
	}
	for _, s := range n.sources {
		if z, ok := n.layout.Zone(s.zone); ok && z.Owner.Node == p.id {
			n.subscribe(s)
			n.freshen(s)
		}
	}
}

func (n *Node) peerDown(ev process.Event) {
	p := n.peer(ev.Peer)
	if ev.Gone && (p == nil || p.incarnation < ev.Incarnation) { // it died before it was ever connected
		p = n.meet(ev.Peer)
		p.incarnation, p.role, p.up, p.downSince = ev.Incarnation, mesh.RoleNode, false, n.tick
	}
	if p == nil || ev.Incarnation != p.incarnation {
		return
	}
	if p.up { // and not told again that it stays away
		p.up, p.downSince = false, n.tick
	}
	for _, z := range n.zones {
		z.unsubscribe(p.id)
	}
	if ev.Gone {
		n.accuse(p, mesh.Broken)
	}
}

// receive dispatches a message of a peer, or of a zone of this very node.
func (n *Node) receive(from mesh.NodeID, m wire.PeerMessage) {
	if p := n.peer(from); p != nil {
		p.heard = n.tick
	}
	switch m := m.(type) {
	case *wire.Subscribe:
		n.onSubscribe(from, m)
	case *wire.Frame:
		n.onFrame(from, m)
	case *wire.Freshen:
		n.onFreshen(m)
	case *wire.News:
		if n.layout == nil || m.Version > n.layout.Version {
			n.emit(process.Effect{Kind: process.EffectFetchLayout})
		}
	case *wire.Relay:
		// Only gateways pass messages on.
	case *wire.Late:
	case *wire.Login:
		n.onLogin(from, m)
	case *wire.Logout:
		n.onLogout(m)
	case *wire.Inputs:
		n.onInputs(m)
	case *wire.Act:
		n.onAct(from, m)
	case *wire.Transfer:
		n.onTransfer(m)
	case *wire.Installed:
		n.toZone(m.From, authority.Event{Kind: authority.InstalledEvent, N: m.N, From: m.To})
	case *wire.DurableAck:
		n.toZone(m.From, authority.Event{Kind: authority.DurableEvent, N: m.N, From: m.To})
	case *wire.Low:
		n.toZone(m.To, authority.Event{Kind: authority.LowEvent, N: m.N, From: m.From})
	case *wire.PickRequest:
		n.onPickRequest(m)
	case *wire.PickRefusal:
		n.onPickRefusal(m)
	case *wire.Impacts:
		n.onImpacts(m)
	case *wire.ImpactAck:
		n.onImpactAck(m)
	}
}

func (n *Node) toZone(id mesh.ZoneID, ev authority.Event) {
	if z := n.openZoneByID(id); z != nil {
		n.step(z, ev)
	}
}

// token remembers what to tell when the journal answers.
func (n *Node) token(a ack) uint64 {
	n.ackID++
	n.acks[n.ackID] = a
	return n.ackID
}

func (n *Node) durable(token uint64) {
	a, ok := n.acks[token]
	if !ok {
		return
	}
	delete(n.acks, token)
	if a.message == nil {
		n.sendVolley(a.zone, a.volley)
		return
	}
	if a.event {
		n.counters.DurableEvents++
	}
	n.send(a.peer, a.message)
}
