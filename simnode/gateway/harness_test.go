package gateway

import (
	"slices"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// rig drives a gateway by hand. Its zones have the poses that tests put there.
type rig struct {
	t     testing.TB
	g     *Gateway
	now   mesh.Tick
	zones []rigZone
	seen  map[process.ClientID]*eyes
	log   []process.Effect // of the last call, messages not to be kept
	fresh uint64
}

type rigZone struct {
	id    mesh.ZoneID
	epoch mesh.Epoch
	owner mesh.Owner
	enc   replication.FrameEncoder
	poses []mesh.Pose
}

// eyes is a client that believes its views.
type eyes struct {
	t        testing.TB
	budget   int
	entities map[uint32]mesh.Pose
	byID     map[mesh.EntityID]uint32
	told     map[mesh.EntityID]bool // in the last view
	self     wire.Self
	clocks   map[mesh.ZoneID]wire.Clock
	views    int
	bytes    int
	welcome  *wire.Welcome
	bye      *wire.Bye
	acks     []wire.EventAck
	view     wire.View
}

func (e *eyes) look(data []byte, droppable bool) {
	e.t.Helper()
	if len(data) > e.budget {
		e.t.Fatalf("a view of %d bytes, the budget is %d", len(data), e.budget)
	}
	v := &e.view
	if err := wire.DecodeView(data, v); err != nil {
		e.t.Fatalf("a view does not decode: %v", err)
	}
	if droppable != (len(v.Enters)+len(v.Leaves) == 0) {
		e.t.Fatalf("droppable is %v with %d enters and %d leaves", droppable, len(v.Enters), len(v.Leaves))
	}
	e.views++
	e.bytes += len(data)
	e.self = v.Self
	clear(e.told)
	for _, h := range v.Leaves {
		p, ok := e.entities[h]
		if !ok {
			e.t.Fatalf("handle %d leaves and was not there", h)
		}
		delete(e.entities, h)
		delete(e.byID, p.ID)
	}
	for _, n := range v.Enters {
		if _, ok := e.entities[n.Handle]; ok {
			e.t.Fatalf("handle %d enters twice", n.Handle)
		}
		if _, ok := e.byID[n.ID]; ok {
			e.t.Fatalf("%x enters twice", n.ID)
		}
		e.entities[n.Handle] = mesh.Pose{ID: n.ID, Hop: n.Hop, Flags: n.Flags, Health: n.Health, Carrier: n.Carrier, Pos: n.Pos, Yaw: n.Yaw}
		e.byID[n.ID] = n.Handle
		e.told[n.ID] = true
	}
	strays := 0
	for _, m := range v.Moves {
		p, ok := e.entities[m.Handle]
		if !ok {
			if strays++; strays > maxStrays {
				e.t.Fatalf("%d moves are of handles that were not entered", strays)
			}
			continue
		}
		p.Pos, p.Yaw = wire.Resolve(p.Pos, m), uint16(m.Yaw)<<8
		if m.Changed {
			p.Hop, p.Flags, p.Health, p.Carrier = m.Hop, m.Flags, m.Health, m.Carrier
		}
		e.entities[m.Handle] = p
		e.told[p.ID] = true
	}
	for _, c := range v.Clocks {
		e.clocks[c.Zone] = c
	}
}

var (
	owner1 = mesh.Owner{Node: "n1", Incarnation: 1, Address: "n1:1"}
	owner2 = mesh.Owner{Node: "n2", Incarnation: 1, Address: "n2:1"}
	world  = mesh.Box{Min: mesh.Meters(0, 0, 0), Max: mesh.Meters(1000, 1000, 100)}
)

func testConfig() Config {
	c := DefaultConfig(4096)
	c.MaxPending = 4096
	return c
}

// newRig returns a gateway connected to the owners of zones halves of the
// world: zone 1 is n1's, zone 2 n2's.
func newRig(t testing.TB, cfg Config, zones int) *rig {
	g := New(cfg, mesh.Process{ID: "g1", Incarnation: 1, Address: "g1:1", ClientURL: "ws://g1"})
	r := &rig{t: t, g: g, now: 100, seen: map[process.ClientID]*eyes{}, fresh: 1000}
	for i := range zones {
		r.zones = append(r.zones, rigZone{id: mesh.ZoneID(i + 1), epoch: 1, owner: []mesh.Owner{owner1, owner2}[i]})
		r.zones[i].enc.Begin(r.zones[i].id, 1)
	}
	r.tick()
	for _, z := range r.zones {
		r.step(process.Event{Kind: process.EventPeerUp, Peer: z.owner.Node, Incarnation: z.owner.Incarnation, Role: mesh.RoleNode})
	}
	r.layout(1)
	return r
}

func (r *rig) layout(version uint64) {
	l := mesh.Layout{Version: version, NextZone: 9, Shard: mesh.Shard{Name: "s", TickHz: 20, Bounds: world}}
	low, high := world.Cut(0, world.Max.X/2)
	for i, z := range r.zones {
		box := world
		if len(r.zones) == 2 {
			box = []mesh.Box{low, high}[i]
		}
		l.Zones = append(l.Zones, mesh.Zone{ID: z.id, Box: box, Owner: z.owner, Epoch: z.epoch})
	}
	if err := l.Validate(); err != nil {
		r.t.Fatal(err)
	}
	r.step(process.Event{Kind: process.EventLayout, Layout: &l})
}

// step feeds an event and hands effects for clients to their eyes.
func (r *rig) step(ev process.Event) []process.Effect {
	r.t.Helper()
	effects := r.g.Step(ev)
	for _, e := range effects {
		switch e.Kind {
		case process.EffectClient, process.EffectClientClose:
			eye := r.seen[e.Client]
			if eye == nil {
				r.t.Fatalf("an effect for client %d, which is not there", e.Client)
			}
			if e.Data != nil {
				eye.look(append(e.Data, e.Shared...), e.Droppable)
				continue
			}
			switch m := e.ServerMessage.(type) {
			case *wire.Welcome:
				w := *m
				eye.welcome = &w
			case *wire.Bye:
				b := *m
				eye.bye = &b
			case *wire.EventAck:
				eye.acks = append(eye.acks, *m)
			}
		case process.EffectRequest:
			r.log = append(r.log, e)
		}
	}
	return effects
}

// frames sends every zone's frame of this tick.
func (r *rig) frames() {
	for i := range r.zones {
		r.frame(i)
	}
}

func (r *rig) frame(i int) {
	z := &r.zones[i]
	data := z.enc.Encode(nil, r.now, z.poses)
	if len(data) == 0 {
		return
	}
	r.step(process.Event{Kind: process.EventPeer, Peer: z.owner.Node,
		Message: &wire.Frame{Zone: z.id, Epoch: z.epoch, Tick: r.now, Data: data}})
}

// tick is one tick, with every request answered at once.
func (r *rig) tick() []process.Effect {
	r.now++
	r.log = r.log[:0]
	effects := slices.Clone(r.step(process.Event{Kind: process.EventTick, Tick: r.now}))
	for _, e := range slices.Clone(r.log) {
		r.step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: e.Request.ID, Op: e.Request.Op}})
	}
	return effects
}

// run is n ticks with frames.
func (r *rig) run(n int) {
	for range n {
		r.frames()
		r.tick()
	}
}

// join connects a player whose body is in the poses already.
func (r *rig) join(id process.ClientID, p mesh.PlayerID) *eyes {
	e := r.connect(id, p)
	r.step(process.Event{Kind: process.EventPeer, Peer: "n1", Message: &wire.LoggedIn{Zone: 1, Epoch: r.zones[0].epoch, Player: p, Session: r.fresh}})
	return e
}

func (r *rig) connect(id process.ClientID, p mesh.PlayerID) *eyes {
	e := &eyes{t: r.t, budget: r.g.cfg.ViewBudgetBytes, entities: map[uint32]mesh.Pose{}, byID: map[mesh.EntityID]uint32{},
		told: map[mesh.EntityID]bool{}, clocks: map[mesh.ZoneID]wire.Clock{}}
	r.seen[id] = e
	r.fresh++
	r.step(process.Event{Kind: process.EventClientUp, Client: id, Hello: wire.Hello{Player: p}, Fresh: r.fresh})
	return e
}

func player(p mesh.PlayerID, x, y int32) mesh.Pose {
	return mesh.Pose{ID: mesh.PlayerEntity(p), Health: 100, Pos: mesh.Vec{X: x, Y: y}}
}

// sent returns the messages of type M among effects.
func sent[M wire.PeerMessage](effects []process.Effect, to mesh.NodeID) []M {
	var out []M
	for _, e := range effects {
		if m, ok := e.Message.(M); ok && e.Kind == process.EffectSend && e.Peer == to {
			out = append(out, m)
		}
	}
	return out
}
