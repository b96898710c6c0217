// Package gateway holds the connections of clients and the live replica of
// what they see. It is pure: Step takes one event and returns what is to be
// done about it; an edge or the simulator carries that out. Begin with New and
// Gateway.Step.
//
// A gateway subscribes to the frames of every zone at its owner and believes,
// of all claims to an entity, the one with the highest hop (replica.go). It
// finds each client's body, steers it and delivers its durable events wherever
// the body's authority is (session.go), and shows each client what is near it
// within a budget of bytes (view.go). It is a witness of nodes that die
// (liveness.go).
package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// Gateway is the state of one gateway process. It is not safe for concurrent
// use. Step changes it in place.
type Gateway struct {
	cfg    Config
	self   mesh.Process
	layout *mesh.Layout // nil until the first
	wanted uint64       // the highest layout version heard of
	now    mesh.Tick
	step   uint32 // counts ticks as they were shown; from 1 on
	showing

	feeds  []*feed // ordered by zone
	peers  []*peer // ordered by id
	owners []mesh.Owner
	replica
	grid   grid
	groups map[cellKey]*group

	clients    []*client // in no particular, but a determined order
	byID       map[process.ClientID]*client
	byPlayer   map[mesh.PlayerID]*client
	pending    int // clients without a body yet
	joined     uint32
	leaving    []leaving
	gateways   []string // URLs of the other gateways that are ready
	draining   bool
	drainShare int // clients a tick
	resting
	rank ranking
	view viewing

	record record
	messages
	effects []process.Effect
	peak    peak
}

// messages is the memory of the messages in effects. A slice that grows leaves
// the pointers into its old array good.
type messages struct {
	logins     []wire.Login
	logouts    []wire.Logout
	inputs     []wire.Inputs
	acts       []wire.Act
	acks       []wire.EventAck
	subscribes []wire.Subscribe
	welcomes   []wire.Welcome
	byes       []wire.Bye
}

// feed is what the gateway has of one zone of the layout.
type feed struct {
	zone    mesh.ZoneID
	layer   mesh.Layer
	owner   mesh.Owner
	epoch   mesh.Epoch // the highest of the layout and the frames
	frames  replication.FrameDecoder
	slots   []uint32   // by slot of frames: where the replica has it, or had
	shown   mesh.Epoch // of the last frame taken in
	tick    mesh.Tick  // of the last frame taken in
	heardAt mesh.Tick  // when it came
	askedAt mesh.Tick  // when frames were last asked for
	asked   bool

	freshened mesh.Epoch // whose owner was offered our poses
	inputs    []wire.Input
	seen      uint32 // stamp of the ranking that met it last
	dropped   bool   // no zone of the layout any more
	kept      bool   // while a layout is taken in
}

// New returns a gateway that has no layout, peers or clients yet. Self is its
// record in the fleet; Step asks for it to be written, as Ready, at the first
// tick. It panics if cfg is not valid: Validate tells.
func New(cfg Config, self mesh.Process) *Gateway {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	self.Role, self.State, self.Capacity = mesh.RoleGateway, mesh.Ready, cfg.MaxClients
	g := &Gateway{
		cfg: cfg, self: self,
		byID:     make(map[process.ClientID]*client, cfg.MaxClients),
		byPlayer: make(map[mesh.PlayerID]*client, cfg.MaxClients),
	}
	g.turnAt = make([]uint32, cfg.ViewEveryTicks)
	if cfg.ViewEveryTicks > 1 {
		g.owed = make([]news, cfg.ViewEveryTicks)
	}
	g.groups = map[cellKey]*group{}
	g.replica.slots = map[mesh.EntityID]uint32{}
	g.replica.held = map[mesh.EntityID][]mesh.EntityID{}
	return g
}

// Step takes one event and returns what is to be done, in this order. The
// slice and what its effects point to are the gateway's again at the next Step;
// the event's memory is not kept beyond this one, a layout excepted.
func (g *Gateway) Step(ev process.Event) []process.Effect {
	g.reset()
	switch ev.Kind {
	case process.EventTick:
		g.tick(ev)
	case process.EventPeerUp:
		g.stir()
		g.peerUp(ev)
	case process.EventPeerDown:
		g.stir()
		g.peerDown(ev)
	case process.EventPeer:
		g.fromPeer(ev.Peer, ev.Message)
	case process.EventLayout:
		g.stir()
		g.setLayout(ev.Layout)
	case process.EventAnswer:
		g.answer(ev.Answer)
	case process.EventDrain:
		g.beginDrain()
	case process.EventFleet:
		g.setFleet(ev.Fleet)
	case process.EventClientUp:
		g.clientUp(ev)
	case process.EventClient:
		g.fromClient(ev.Client, ev.ClientMessage)
	case process.EventClientDown:
		if c := g.byID[ev.Client]; c != nil {
			g.remove(c, false)
		}
	case process.EventClientSlow:
		if c := g.byID[ev.Client]; c != nil {
			g.rouse(c)
			g.wake(c)
			c.slow()
		}
	}
	return g.effects
}

// Clients returns how many clients are connected.
func (g *Gateway) Clients() int { return len(g.clients) }

// Layout returns the newest layout given, or nil. It must not be changed.
func (g *Gateway) Layout() *mesh.Layout { return g.layout }

func (g *Gateway) reset() {
	g.peak.out, g.peak.effects = max(g.peak.out, len(g.view.out)), max(g.peak.effects, len(g.effects))
	clear(g.effects)
	g.effects = g.effects[:0]
	g.logins, g.logouts, g.inputs, g.acts = g.logins[:0], g.logouts[:0], g.inputs[:0], g.acts[:0]
	g.acks, g.subscribes, g.welcomes, g.byes = g.acks[:0], g.subscribes[:0], g.welcomes[:0], g.byes[:0]
	g.view.out = g.view.out[:0]
	g.slim()
}

// push appends m to s and returns where it is.
func push[M any](s *[]M, m M) *M {
	*s = append(*s, m)
	return &(*s)[len(*s)-1]
}

func (g *Gateway) effect(e process.Effect) { g.effects = append(g.effects, e) }

func (g *Gateway) logf(format string, args ...any) {
	g.effect(process.Effect{Kind: process.EffectLog, Reason: fmt.Sprintf(format, args...)})
}

// tick runs what is due. Frames that came since the last one are in the
// replica already.
func (g *Gateway) tick(ev process.Event) {
	g.now = ev.Tick
	g.beginTick(ev)
	g.expire(g.now)
	for _, f := range g.feeds {
		if g.now >= f.heardAt+mesh.Tick(g.cfg.SubscribeEveryTicks) || f.shown < f.epoch {
			g.subscribe(f)
		}
		g.freshen(f)
	}
	for i := 0; i < len(g.clients); {
		if !g.unplayed && g.passes(i) {
			i++
			continue
		}
		c := g.clients[i]
		g.play(c)
		if i < len(g.clients) && g.clients[i] == c { // it may have been sent away
			i++
		}
	}
	g.unplayed = false
	g.sendInputs()
	g.repeatLogouts()
	g.showLate(ev)
	g.suspectAll()
	g.drain()
	g.recordTick()
}

// send sends m to the peer if it is connected.
func (g *Gateway) send(to mesh.NodeID, m wire.PeerMessage) {
	if p := g.peer(to); p != nil && p.up {
		g.effect(process.Effect{Kind: process.EffectSend, Peer: to, Message: m})
	}
}

// sendOwner sends m to that life of the owner, and reports whether it is connected.
func (g *Gateway) sendOwner(o mesh.Owner, m wire.PeerMessage) bool {
	if !g.connected(o) {
		return false
	}
	g.effect(process.Effect{Kind: process.EffectSend, Peer: o.Node, Message: m})
	return true
}

func (g *Gateway) connected(o mesh.Owner) bool {
	p := g.peer(o.Node)
	return p != nil && p.up && p.incarnation == o.Incarnation
}

func (g *Gateway) feed(z mesh.ZoneID) *feed {
	i, ok := slices.BinarySearchFunc(g.feeds, z, func(f *feed, z mesh.ZoneID) int { return int(f.zone) - int(z) })
	if !ok {
		return nil
	}
	return g.feeds[i]
}

func (g *Gateway) setLayout(l *mesh.Layout) {
	if l == nil || g.layout != nil && l.Version <= g.layout.Version {
		return
	}
	if g.layout == nil || g.layout.Shard.Bounds != l.Shard.Bounds {
		g.grid = newGrid(l.Shard.Bounds, g.cfg.CellM)
		g.gridStale = true
	}
	g.layout, g.wanted = l, max(g.wanted, l.Version)
	old := g.feeds
	g.feeds = make([]*feed, 0, len(l.Zones))
	g.owners = g.owners[:0]
	for _, z := range l.Zones {
		var f *feed
		if i, ok := slices.BinarySearchFunc(old, z.ID, func(f *feed, z mesh.ZoneID) int { return int(f.zone) - int(z) }); ok {
			f = old[i]
			f.kept = true
		} else {
			f = &feed{zone: z.ID}
		}
		g.feeds = append(g.feeds, f)
		if z.Epoch > f.epoch || f.owner.IsZero() {
			f.epoch = max(f.epoch, z.Epoch)
			f.asked = false
		}
		f.layer, f.owner = z.Layer, z.Owner
		if z.Layer == mesh.Actors && !z.Owner.IsZero() && !slices.ContainsFunc(g.owners, z.Owner.Same) {
			g.owners = append(g.owners, z.Owner)
		}
	}
	for _, f := range old {
		if !f.kept {
			g.dropFeed(f)
		}
		f.kept = false
	}
	for _, f := range g.feeds {
		if !f.asked {
			g.subscribe(f)
		}
		g.freshen(f)
	}
	news := &wire.News{Version: l.Version}
	for _, p := range g.peers {
		g.send(p.id, news)
	}
}

// dropFeed takes back what a removed zone claimed.
func (g *Gateway) dropFeed(f *feed) {
	f.dropped = true
	for slot := range g.entities {
		g.drop(uint32(slot), f, g.now, g.step+1)
	}
}

// subscribe asks for f's frames, at most once in SubscribeEveryTicks unless
// there is a reason to ask anew (asked is false); four times as often while a
// new owner loads the zone and may not have listened yet.
func (g *Gateway) subscribe(f *feed) {
	every := mesh.Tick(g.cfg.SubscribeEveryTicks)
	if f.shown < f.epoch {
		every = max(1, every/4)
	}
	if f.asked && g.now < f.askedAt+every || !g.connected(f.owner) {
		return
	}
	g.sendOwner(f.owner, push(&g.subscribes, wire.Subscribe{Zone: f.zone}))
	f.asked, f.askedAt = true, g.now
}

// freshen offers a new owner, once, the poses that the last one showed.
func (g *Gateway) freshen(f *feed) {
	if f.shown == 0 || f.epoch <= f.shown || f.freshened >= f.epoch || len(f.frames.Poses) == 0 || !g.connected(f.owner) {
		return
	}
	f.freshened = f.epoch
	g.sendOwner(f.owner, &wire.Freshen{Zone: f.zone, Epoch: f.shown, Tick: f.tick,
		Poses: replication.EncodePoses(nil, f.frames.Poses)})
}

func (g *Gateway) fromPeer(from mesh.NodeID, m wire.PeerMessage) {
	p := g.peer(from)
	if p == nil || !p.up {
		return
	}
	switch m := m.(type) {
	case *wire.Frame:
		g.frame(p, m)
	case *wire.LoggedIn:
		g.loggedIn(m)
	case *wire.Ack:
		g.ack(m)
	case *wire.News:
		if g.layout != nil && m.Version > g.wanted || g.layout == nil {
			g.wanted = max(g.wanted, m.Version)
			g.effect(process.Effect{Kind: process.EffectFetchLayout})
		}
	case *wire.Late:
		p.heardAt = g.now
	case *wire.Relay:
		g.relay(m)
	}
}

// relay passes a node's message on to a node that it cannot reach.
func (g *Gateway) relay(r *wire.Relay) {
	m, err := wire.DecodePeer(r.Message)
	if _, nested := m.(*wire.Relay); err != nil || nested {
		g.record.counters.RefusedInputs++
		return
	}
	g.send(r.To, m)
}

// frame takes a zone's frame into the replica.
func (g *Gateway) frame(p *peer, m *wire.Frame) {
	f := g.feed(m.Zone)
	if f == nil || m.Epoch < f.epoch {
		g.record.counters.DroppedFrames++
		return
	}
	p.heardAt = g.now
	switch err := f.frames.Apply(m.Data); {
	case errors.Is(err, replication.ErrStaleFrame):
		return
	case errors.Is(err, replication.ErrNeedKey):
		if g.now >= f.askedAt+needKeyTicks {
			f.asked = false
			g.subscribe(f)
		}
		return
	case err != nil:
		g.record.counters.RefusedInputs++
		g.logf("a frame of zone %d from %s does not decode: %v", m.Zone, p.id, err)
		return
	}
	if f.shown != f.frames.Epoch {
		g.stir()
	}
	f.shown, f.tick, f.heardAt = f.frames.Epoch, f.frames.Tick, g.now
	f.epoch = max(f.epoch, f.shown)
	if n := len(f.frames.Poses) - len(f.slots); n > 0 {
		f.slots = append(f.slots, make([]uint32, n)...)
	}
	for _, i := range f.frames.Changed {
		if slot, ok := g.claim(f, &f.frames.Poses[i], f.slots[i], g.step+1); ok {
			f.slots[i] = slot
		}
	}
	for _, id := range f.frames.Gone {
		if slot, ok := g.slots[id]; ok {
			g.drop(slot, f, g.now, g.step+1)
		}
	}
	g.showWhole(f)
}

// needKeyTicks is how soon a key frame is asked for again.
const needKeyTicks = 3

// setFleet remembers the other gateways and tells the clients of them.
func (g *Gateway) setFleet(fleet []mesh.Process) {
	var urls []string
	for _, p := range fleet {
		ok := p.Role == mesh.RoleGateway && p.State == mesh.Ready && p.ID != g.self.ID
		if ok && p.ClientURL != "" && len(p.ClientURL) <= wire.MaxGatewayURLLen {
			urls = append(urls, p.ClientURL)
		}
	}
	slices.SortFunc(urls, strings.Compare)
	if urls = slices.Compact(urls); slices.Equal(urls, g.gateways) {
		return
	}
	g.gateways = urls
	for _, c := range g.clients {
		if c.playing {
			g.tell(c, &wire.Gateways{URLs: g.gatewaysFor(c.player)})
		}
	}
}

// gatewaysFor lists where a player may resume: other gateways, in turn so that
// the clients of a gateway that dies spread, and this one last.
func (g *Gateway) gatewaysFor(p mesh.PlayerID) []string {
	n := len(g.gateways)
	urls := make([]string, 0, wire.MaxGateways)
	for i := 0; i < min(n, wire.MaxGateways-1); i++ {
		urls = append(urls, g.gateways[(int(p)+i)%n])
	}
	if g.self.ClientURL != "" {
		urls = append(urls, g.self.ClientURL)
	}
	return urls
}

func (g *Gateway) tell(c *client, m wire.ServerMessage) {
	g.effect(process.Effect{Kind: process.EffectClient, Client: c.id, ServerMessage: m})
}
