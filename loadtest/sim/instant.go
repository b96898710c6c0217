package sim

import (
	"fmt"
	"math/rand/v2"

	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/store/memstore"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// instant is a mesh of real node cores between which nothing takes time. What
// goes from one to another comes in order; of different ways any may be first.
type instant struct {
	rng      *rand.Rand
	store    *memstore.Store
	nodes    []*node.Node // and after them, as a peer, the gateway
	selves   []mesh.Process
	layout   mesh.Layout
	tick     mesh.Tick
	players  int
	changing int // ticks from one change of the layout to the next, on average; 0: never
	ways     [][]process.Event
	busy     []int // ways with something on them
	states   map[mesh.EntityID]placed
	before   map[mesh.EntityID]placed // as they were a tick ago
	crossed  map[mesh.EntityID]bool   // in the last tick
	clear    map[mesh.ZoneID]uint64   // report of a retiring zone's owner when nobody named it any more
	fault    string
	stats    LockstepStats

	sent    *wire.Frame // the last one encoded in this step of a node
	decoded wire.PeerMessage
}

// placed is an entity and where it is simulated.
type placed struct {
	mesh.Entity
	node int
	zone mesh.ZoneID
}

const instantHz = 20

func newInstant(seed uint64, nodes int, cfg LockstepConfig, p *play) *instant {
	m := &instant{
		rng: rand.New(rand.NewPCG(seed, 0x6d657368)), store: memstore.New(),
		states: map[mesh.EntityID]placed{}, before: map[mesh.EntityID]placed{}, crossed: map[mesh.EntityID]bool{}, clear: map[mesh.ZoneID]uint64{},
		ways: make([][]process.Event, (nodes+1)*(nodes+1)),
	}
	m.layout = mesh.Layout{Version: 1, NextZone: 2, Shard: p.shard}
	cfgNode := node.DefaultConfig()
	cfgNode.World = world.Config{TickHz: instantHz, Bounds: p.shard.Bounds, Seed: p.shard.Seed, Spawn: p.shard.Spawn}
	for i := range nodes {
		self := mesh.Process{ID: mesh.NodeID(fmt.Sprintf("node-%d", i)), Incarnation: mesh.Incarnation(i + 1), Role: mesh.RoleNode}
		m.selves = append(m.selves, self)
		m.nodes = append(m.nodes, node.New(cfgNode, self, p.rules))
	}
	m.selves = append(m.selves, mesh.Process{ID: "gateway", Incarnation: 1, Role: mesh.RoleGateway})
	for i := range m.nodes {
		for k, q := range m.selves {
			if i != k {
				m.put(k, i, process.Event{Kind: process.EventPeerUp, Peer: q.ID, Incarnation: q.Incarnation, Role: q.Role})
			}
		}
	}
	state := replication.NewState()
	for _, e := range p.genesis {
		state.Entities[e.ID] = e
	}
	must(m.store.PutChunk(ctx, "genesis", state.Encode(nil)))
	cradle := mesh.Zone{ID: mesh.Cradle, Box: p.shard.Bounds, Owner: m.selves[0].Owner(), Epoch: 1}
	must(m.store.CreateZone(ctx, mesh.ZoneRecord{
		Zone: cradle.ID, Owner: cradle.Owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1, Chunks: []string{"genesis"}},
	}))
	m.layout.Zones = []mesh.Zone{cradle}
	m.publish(m.layout)
	m.players = len(p.players)
	for _, player := range p.players {
		m.say(0, &wire.Login{Player: player, Session: 1})
	}
	return m
}

// put sends an event on its way.
func (m *instant) put(from, to int, ev process.Event) {
	way := from*len(m.selves) + to
	if len(m.ways[way]) == 0 {
		m.busy = append(m.busy, way)
	}
	m.ways[way] = append(m.ways[way], ev)
}

// settle delivers until nothing is on its way.
func (m *instant) settle() {
	for len(m.busy) > 0 {
		k := m.rng.IntN(len(m.busy))
		way := m.busy[k]
		ev := m.ways[way][0]
		m.ways[way] = m.ways[way][1:]
		if len(m.ways[way]) == 0 {
			m.ways[way] = nil
			m.busy[k] = m.busy[len(m.busy)-1]
			m.busy = m.busy[:len(m.busy)-1]
		}
		if to := way % len(m.selves); to < len(m.nodes) {
			m.feed(to, ev)
		}
	}
}

// feed steps a node and sends on what follows.
func (m *instant) feed(at int, ev process.Event) {
	m.sent = nil
	for _, e := range m.nodes[at].Step(ev) {
		switch e.Kind {
		case process.EffectSend:
			for to := range m.nodes {
				if m.selves[to].ID == e.Peer {
					m.put(at, to, process.Event{Kind: process.EventPeer, Peer: m.selves[at].ID, Message: m.travel(e.Message)})
				}
			}
		case process.EffectRequest:
			a := call(m.store, e.Request)
			m.put(at, at, process.Event{Kind: process.EventAnswer, Answer: &a})
		case process.EffectStop:
			m.fault = fmt.Sprintf("%s stops: %s", m.selves[at].ID, e.Reason)
		case process.EffectLog:
			m.fault = fmt.Sprintf("%s: %s", m.selves[at].ID, e.Reason)
		}
	}
}

// travel is what comes out at the other end.
func (m *instant) travel(message wire.PeerMessage) wire.PeerMessage {
	f, isFrame := message.(*wire.Frame)
	if isFrame && f == m.sent {
		return m.decoded // the same bytes for everyone
	}
	decoded, err := wire.DecodePeer(wire.AppendPeer(nil, message))
	must(err)
	switch w := decoded.(type) {
	case *wire.Frame:
		m.sent, m.decoded = f, decoded
	case *wire.Impacts:
		m.stats.Impacts += len(w.Impacts)
	}
	return decoded
}

// step lets every node tick, and everything come to an end that follows.
func (m *instant) step(tick mesh.Tick) {
	m.tick = tick
	for i := range m.nodes {
		m.feed(i, process.Event{Kind: process.EventTick, Tick: tick})
	}
	m.settle()
	before := m.states
	m.states, m.before = m.before, before
	m.look()
	clear(m.crossed)
	for id, e := range m.states {
		if b, ok := before[id]; ok && b.zone != e.zone {
			m.stats.Crossings++
			m.crossed[id] = true
		}
	}
	for id, e := range m.states {
		if e.ID.Kind() == mesh.KindPlayer && e.Carrier != 0 && m.crossed[id] {
			m.stats.Aboard++
		}
	}
}

// look reads the state of every entity.
func (m *instant) look() {
	clear(m.states)
	for i, n := range m.nodes {
		n.Inspect(func(z node.ZoneView) {
			if z.World == nil {
				m.fault = fmt.Sprintf("zone %d is not open", z.ID)
				return
			}
			z.World.Each(func(e *mesh.Entity) bool {
				if other, twice := m.states[e.ID]; twice {
					m.fault = fmt.Sprintf("entity %x is in zones %d and %d", uint64(e.ID), other.zone, z.ID)
				}
				m.states[e.ID] = placed{*e, i, z.ID}
				return true
			})
		})
	}
}

// say gives a node what the gateway has for it.
func (m *instant) say(to int, message wire.PeerMessage) {
	m.feed(to, process.Event{Kind: process.EventPeer, Peer: "gateway", Message: message})
	m.settle()
}

// publish makes l the layout of everyone.
func (m *instant) publish(l mesh.Layout) {
	must(l.Validate())
	must(m.store.PutLayout(ctx, l))
	m.layout = l
	given := l.Clone()
	for i := range m.nodes {
		m.put(i, i, process.Event{Kind: process.EventLayout, Layout: &given})
	}
	m.settle()
	m.stats.Layouts++
}

// rearrange removes what is retired and empty, and now and then changes the
// layout: until every node may have a zone it only splits.
func (m *instant) rearrange() {
	if m.changing == 0 || m.tick < 2 { // the newborn stand in one zone
		return
	}
	l := m.layout.Clone()
	l.Version++
	changed := m.remove(&l)
	active := 0
	for _, z := range l.Zones {
		if z.State == mesh.Active {
			active++
		}
	}
	switch {
	case active < len(m.nodes):
		changed = m.change(&l, partition.Split) || changed
	case m.rng.IntN(m.changing) == 0:
		kinds := []partition.Kind{
			partition.Split, partition.Split, partition.Split, partition.Merge, partition.Merge, partition.Merge,
			partition.Move, partition.Border, partition.Border, partition.AddProps, partition.RetireProps,
		}
		kind := kinds[m.rng.IntN(len(kinds))]
		if kind == partition.Split && active > len(m.nodes)+6 {
			kind = partition.Merge
		}
		for range 10 {
			if m.change(&l, kind) {
				changed = true
				break
			}
		}
	}
	if changed {
		m.publish(l)
	}
}

// change tries one random change of that kind; a cut goes through a crowd.
func (m *instant) change(l *mesh.Layout, kind partition.Kind) bool {
	z, o := l.Zones[m.rng.IntN(len(l.Zones))], l.Zones[m.rng.IntN(len(l.Zones))]
	somebody := mesh.PlayerEntity(mesh.PlayerID(1 + m.rng.IntN(m.players)))
	if kind == partition.Split {
		z, _ = l.Zone(m.states[somebody].zone)
	}
	c := partition.Change{
		Kind: kind, Zone: z.ID, Other: o.ID, Axis: m.rng.IntN(2), Box: z.Box,
		Owner: m.selves[m.rng.IntN(len(m.nodes))].Owner(), KeepHigh: m.rng.IntN(2) == 0,
	}
	lo, hi := z.Box.Min.X, z.Box.Max.X
	if kind == partition.Border {
		lo, hi = min(lo, o.Box.Min.X), max(hi, o.Box.Max.X)
	}
	if c.Axis == 1 {
		lo, hi = z.Box.Min.Y, z.Box.Max.Y
		if kind == partition.Border {
			lo, hi = min(lo, o.Box.Min.Y), max(hi, o.Box.Max.Y)
		}
	}
	const least = 3 * mesh.UnitsPerMeter
	if hi-lo < 3*least {
		return false
	}
	c.At = lo + least + m.rng.Int32N(hi-lo-2*least)
	if at := m.states[somebody].Pos; kind == partition.Split {
		c.At = at.X + m.rng.Int32N(8*mesh.UnitsPerMeter) - 4*mesh.UnitsPerMeter
		if c.Axis == 1 {
			c.At += at.Y - at.X
		}
		if c.At < lo+least || c.At > hi-least {
			return false
		}
	}
	next := l.NextZone
	if c.Apply(l) != nil {
		return false
	}
	switch kind {
	case partition.Split:
		m.stats.Splits++
	case partition.Merge:
		m.stats.Merges++
	}
	if c.Makes() {
		must(m.store.CreateZone(ctx, mesh.ZoneRecord{Zone: next, Owner: c.Owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
	}
	return true
}

// remove takes a retired zone out once its owner reports it empty, in a report
// begun after nobody sent there any more: as the planner does.
func (m *instant) remove(l *mesh.Layout) bool {
	reports, err := m.store.Reports(ctx)
	must(err)
	named, seen := map[mesh.ZoneID]bool{}, map[mesh.ZoneID]uint64{}
	load, sequence := map[mesh.ZoneID]mesh.ZoneLoad{}, map[mesh.ZoneID]uint64{}
	for _, r := range reports {
		for _, zl := range r.Zones {
			load[zl.Zone], seen[zl.Zone], sequence[zl.Zone] = zl, r.LayoutVersion, r.Sequence
			for _, to := range zl.OutboundTo {
				named[to] = true
			}
		}
	}
	for _, z := range l.Zones {
		ready := z.State == mesh.Retiring && load[z.ID].Open && !named[z.ID]
		for _, y := range l.Zones {
			ready = ready && seen[y.ID] >= z.RetiredAt
		}
		if !ready {
			continue
		}
		if m.clear[z.ID] == 0 {
			m.clear[z.ID] = sequence[z.ID]
		}
		zl := load[z.ID]
		if sequence[z.ID] < m.clear[z.ID]+2 || zl.Actors+zl.Props+zl.Asleep+zl.Moving+zl.Outbound > 0 {
			continue
		}
		must((partition.Change{Kind: partition.Remove, Zone: z.ID}).Apply(l))
		m.stats.Removed++
		return true
	}
	return false
}
