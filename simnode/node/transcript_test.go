package node_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/simnode/edge"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
	"weft/simnode/world"
)

var ctx = context.Background()

// TestTranscripts runs the scripts in testdata: a few nodes in a corridor that
// is cut into zones of 40 m, zone 1 in the west; messages and store calls take
// no time. What follows ---- is what was said, frames and the like left out.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		m := newTown(t)
		datadriven.RunTest(t, path, m.run)
	})
}

const gatewayID = mesh.NodeID("gw")

// town is a mesh driven by hand.
type town struct {
	t        testing.TB
	cfg      node.Config
	store    *memstore.Store
	down     bool // the store is out of reach
	nodes    map[mesh.NodeID]*node.Node
	ids      []mesh.NodeID
	selves   map[mesh.NodeID]mesh.Process
	layout   mesh.Layout
	tick     mesh.Tick
	queue    []delivery
	held     []delivery
	hold     string      // messages of this kind, or answers to appends, are held back
	holdZone mesh.ZoneID // whose answers; 0: all
	commands map[mesh.PlayerID]mesh.Command
	sessions map[mesh.PlayerID]uint64
	appends  map[mesh.ZoneID]int // tried
	out      strings.Builder
}

type delivery struct {
	to mesh.NodeID
	ev process.Event
}

func newTown(t testing.TB) *town {
	m := &town{
		t: t, cfg: node.DefaultConfig(), store: memstore.New(), tick: 100,
		nodes: map[mesh.NodeID]*node.Node{}, selves: map[mesh.NodeID]mesh.Process{},
		commands: map[mesh.PlayerID]mesh.Command{}, sessions: map[mesh.PlayerID]uint64{},
		appends: map[mesh.ZoneID]int{},
	}
	m.layout.NextZone = 1
	m.cfg.IdleTicks, m.cfg.AttendTicks, m.cfg.PickGiveUpTicks = 40, 60, 60
	m.cfg.Authority.LazyTicks = 10
	return m
}

// build lays the corridor out, zone i+1 owned by owners[i], and puts the items down.
func (m *town) build(owners []string, spawn mesh.Vec, items []mesh.Entity) {
	bounds := mesh.Box{Max: mesh.Meters(int32(40*len(owners)), 40, 20)}
	m.layout = mesh.Layout{Version: 1, NextZone: mesh.ZoneID(len(owners) + 1), Shard: mesh.Shard{
		Name: "corridor", TickHz: 20, Seed: 7, Bounds: bounds, Spawn: spawn,
	}}
	m.cfg.World = world.Config{TickHz: 20, Bounds: bounds, Seed: 7, Spawn: spawn}
	for i, name := range owners {
		m.start(mesh.NodeID(name))
		z := mesh.Zone{ID: mesh.ZoneID(i + 1), Box: mesh.Box{Min: mesh.Meters(int32(40*i), 0, 0), Max: mesh.Meters(int32(40*i+40), 40, 20)}}
		z.Owner, z.Epoch = m.selves[mesh.NodeID(name)].Owner(), 1
		m.layout.Zones = append(m.layout.Zones, z)
		m.create(z, items)
	}
	m.publish()
}

// create writes the records of a new zone with the items that lie in it.
func (m *town) create(z mesh.Zone, items []mesh.Entity) {
	state := replication.NewState()
	for _, e := range items {
		if z.Box.Contains(e.Pos) {
			state.Entities[e.ID] = e
		}
	}
	key := fmt.Sprintf("z%d/genesis", z.ID)
	m.must(m.store.PutChunk(ctx, key, state.Encode(nil)))
	m.must(m.store.CreateZone(ctx, mesh.ZoneRecord{
		Zone: z.ID, Owner: z.Owner, Epoch: z.Epoch, Pointer: mesh.Pointer{Position: -1, Chunks: []string{key}},
	}))
}

func (m *town) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// start brings a node to life that is connected with all others.
func (m *town) start(id mesh.NodeID) {
	if m.nodes[id] != nil {
		return
	}
	self := mesh.Process{ID: id, Incarnation: m.selves[id].Incarnation + 1, Role: mesh.RoleNode, Address: string(id)}
	m.selves[id] = self
	m.nodes[id] = node.New(m.cfg, self, world.Tavern{})
	up := func(at mesh.NodeID, p mesh.Process) {
		m.deliver(at, process.Event{Kind: process.EventPeerUp, Peer: p.ID, Incarnation: p.Incarnation, Role: p.Role})
	}
	up(id, mesh.Process{ID: gatewayID, Incarnation: 1, Role: mesh.RoleGateway})
	for _, other := range m.ids {
		up(id, m.selves[other])
		up(other, self)
	}
	m.ids = append(m.ids, id)
	slices.Sort(m.ids)
}

func (m *town) kill(id mesh.NodeID) {
	delete(m.nodes, id)
	m.ids = slices.DeleteFunc(m.ids, func(k mesh.NodeID) bool { return k == id })
	for _, other := range m.ids {
		m.deliver(other, process.Event{Kind: process.EventPeerDown, Peer: id, Incarnation: m.selves[id].Incarnation, Gone: true})
	}
	m.settle()
}

// publish makes the draft m.layout the layout, and tells everybody.
func (m *town) publish() {
	m.must(m.layout.Validate())
	m.must(m.store.PutLayout(ctx, m.layout))
	l := m.layout.Clone()
	m.layout.Version++
	for _, id := range m.ids {
		m.deliver(id, process.Event{Kind: process.EventLayout, Layout: &l})
	}
	m.settle()
}

func (m *town) deliver(to mesh.NodeID, ev process.Event) { m.queue = append(m.queue, delivery{to, ev}) }

// settle delivers until nothing is under way.
func (m *town) settle() {
	for len(m.queue) > 0 {
		d := m.queue[0]
		m.queue = m.queue[1:]
		n := m.nodes[d.to]
		if n == nil {
			continue
		}
		for _, e := range n.Step(d.ev) {
			m.carryOut(d.to, e)
		}
	}
}

func (m *town) carryOut(from mesh.NodeID, e process.Effect) {
	switch e.Kind {
	case process.EffectSend:
		message, err := wire.DecodePeer(wire.AppendPeer(nil, e.Message))
		m.must(err)
		m.say(string(from), string(e.Peer), message)
		d := delivery{e.Peer, process.Event{Kind: process.EventPeer, Peer: from, Message: message}}
		if m.hold != "" && kindOf(message) == m.hold {
			m.held = append(m.held, d)
			return
		}
		m.queue = append(m.queue, d)
	case process.EffectRequest:
		a := process.Answer{ID: e.Request.ID, Op: e.Request.Op, Zone: e.Request.Zone, Verdict: process.Unavailable}
		if !m.down {
			a = edge.Perform(ctx, m.store, *e.Request)
		}
		answer := delivery{from, process.Event{Kind: process.EventAnswer, Answer: &a}}
		if m.hold == "answer" && a.Op == process.OpAppend && (m.holdZone == 0 || m.holdZone == a.Zone) {
			m.held = append(m.held, answer)
		} else {
			m.queue = append(m.queue, answer)
		}
		if a.Op == process.OpAppend {
			m.appends[a.Zone]++
		}
		if s := e.Request; s.Op == process.OpPutSuspicion {
			fmt.Fprintf(&m.out, "%s suspects %s (%d)\n", from, s.Suspicion.Suspect, s.Suspicion.Kind)
		} else if s.Op == process.OpPutProcess && s.Process.State != mesh.Ready {
			fmt.Fprintf(&m.out, "%s is %s\n", from, s.Process.State)
		}
	case process.EffectLog:
		fmt.Fprintf(&m.out, "%s: %s\n", from, e.Reason)
	case process.EffectStop:
		fmt.Fprintf(&m.out, "%s stops: %s\n", from, e.Reason)
	}
}

// step lets every node tick once, and every player be steered.
func (m *town) step() {
	m.tick++
	for _, p := range slices.Sorted(maps.Keys(m.commands)) {
		c := m.commands[p]
		c.Sequence++
		m.commands[p] = c
		if at := m.home(mesh.PlayerEntity(p)); at != "" {
			m.fromGateway(at, &wire.Inputs{Inputs: []wire.Input{{Player: p, Session: m.sessions[p], Command: c}}})
		}
	}
	m.settle()
	for _, id := range m.ids {
		m.deliver(id, process.Event{Kind: process.EventTick, Tick: m.tick})
	}
	m.settle()
}

// home returns the node that simulates e.
func (m *town) home(e mesh.EntityID) (at mesh.NodeID) {
	for _, id := range m.ids {
		m.nodes[id].Inspect(func(z node.ZoneView) {
			if z.World != nil && z.World.Has(e) {
				at = id
			}
		})
	}
	return at
}

func (m *town) fromGateway(to mesh.NodeID, message wire.PeerMessage) {
	m.deliver(to, process.Event{Kind: process.EventPeer, Peer: gatewayID, Message: message})
}

func (m *town) run(_ *testing.T, d *datadriven.TestData) string {
	m.out.Reset()
	m.do(d)
	if m.out.Len() == 0 {
		return "nothing\n"
	}
	return m.out.String()
}

func (m *town) do(d *datadriven.TestData) {
	switch d.Cmd {
	case "mesh":
		m.build(vals(d, "zones"), m.place(d, "spawn"), m.items(d))
		m.step()
		m.out.Reset()
		m.where()
	case "run":
		for range m.num(d, "") {
			m.step()
		}
	case "login":
		p := mesh.PlayerID(m.num(d, ""))
		m.sessions[p] = uint64(max(m.num(d, "session"), 1))
		for _, id := range m.ids {
			m.fromGateway(id, &wire.Login{Player: p, Session: m.sessions[p]})
		}
		m.settle()
	case "logout":
		p := mesh.PlayerID(m.num(d, ""))
		delete(m.commands, p)
		m.fromGateway(m.home(mesh.PlayerEntity(p)), &wire.Logout{Player: p, Session: m.sessions[p], Now: d.HasArg("now")})
		m.settle()
	case "steer":
		p := mesh.PlayerID(m.num(d, ""))
		m.commands[p] = mesh.Command{Sequence: m.commands[p].Sequence, MoveX: int8(m.num(d, "x")), MoveY: int8(m.num(d, "y"))}
	case "act":
		m.act(d)
	case "hold":
		m.hold, m.holdZone = d.CmdArgs[0].Key, 0
		if d.HasArg("zone") {
			var zone int
			d.ScanArgs(m.t.(*testing.T), "zone", &zone)
			m.holdZone = mesh.ZoneID(zone)
		}
	case "release":
		m.queue, m.held, m.hold = append(m.queue, m.held...), nil, ""
		m.settle()
	case "lose":
		m.held, m.hold = nil, ""
	case "kill":
		m.kill(mesh.NodeID(d.CmdArgs[0].Key))
	case "start":
		m.start(mesh.NodeID(d.CmdArgs[0].Key))
		m.settle()
	case "drain":
		m.deliver(mesh.NodeID(d.CmdArgs[0].Key), process.Event{Kind: process.EventDrain})
		m.settle()
	case "store":
		m.down = d.CmdArgs[0].Key == "down"
	case "condemn":
		p := m.selves[mesh.NodeID(d.CmdArgs[0].Key)]
		p.State = mesh.Stopped
		m.must(m.store.PutProcess(ctx, p))
	case "usurp": // somebody seals the zone's journal under the next epoch
		z, _ := m.layout.Zone(mesh.ZoneID(m.num(d, "")))
		slots, err := m.store.ReadSlots(ctx, z.ID, 0, mesh.RingSlots)
		m.must(err)
		m.must(m.store.Append(ctx, z.ID, mesh.Slot{Position: int64(len(slots)), Epoch: z.Epoch + 1, Seal: true}))
	case "poses": // written by an owner whose clock was ahead
		m.must(m.store.PutPoses(ctx, mesh.ZoneID(m.num(d, "")), mesh.PoseRecord{Epoch: 1, Tick: m.tick + mesh.Tick(m.num(d, "ahead"))}))
	case "takeover", "move", "remove", "merge":
		m.relayout(d)
	case "sleep", "wake": // the world
		m.layout.Asleep = d.Cmd == "sleep"
		m.publish()
	case "where":
		m.where()
	default:
		m.t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
}

func (m *town) act(d *datadriven.TestData) {
	p := mesh.PlayerID(m.num(d, ""))
	ev := mesh.Event{Number: uint32(m.num(d, "event")), Hop: uint32(m.num(d, "hop"))}
	ev.Action = map[string]mesh.Action{"drop": mesh.ActDrop, "pickup": mesh.ActPickUp, "throw": mesh.ActThrow, "fire": mesh.ActFire, "board": mesh.ActBoard}[d.CmdArgs[1].Key]
	switch {
	case ev.Action == mesh.ActPickUp:
		ev.Target = mesh.MakeEntityID(mesh.KindItem, uint64(m.num(d, "item")))
	case ev.Action == mesh.ActBoard && d.HasArg("ship"):
		ev.Target = mesh.MakeEntityID(mesh.KindShip, uint64(m.num(d, "ship")))
	}
	if aim := m.place(d, "aim"); aim != (mesh.Vec{}) {
		ev.Aim = aim
	}
	to := m.home(mesh.PlayerEntity(p))
	if d.HasArg("at") {
		to = mesh.NodeID(vals(d, "at")[0])
	}
	m.fromGateway(to, &wire.Act{Player: p, Session: m.sessions[p], Gateway: gatewayID, Event: ev})
	m.settle()
}

// relayout changes the layout: "takeover ZONE to=NODE", "move ZONE to=NODE"
// (retires it in favour of a new zone), "merge ZONE into=ZONE", "remove ZONE".
func (m *town) relayout(d *datadriven.TestData) {
	i := m.layout.Index(mesh.ZoneID(m.num(d, "")))
	z := &m.layout.Zones[i]
	var to mesh.Owner
	if d.HasArg("to") {
		to = m.selves[mesh.NodeID(vals(d, "to")[0])].Owner()
	}
	switch d.Cmd {
	case "takeover":
		m.must(m.store.RaiseEpoch(ctx, z.ID, z.Epoch, to))
		z.Owner, z.Epoch = to, z.Epoch+1
	case "move":
		z.State, z.RetiredAt = mesh.Retiring, m.layout.Version
		next := mesh.Zone{ID: m.layout.NextZone, Box: z.Box, Owner: to, Epoch: 1}
		m.create(next, nil)
		m.layout.NextZone++
		m.layout.Zones = append(m.layout.Zones, next)
	case "merge":
		o := &m.layout.Zones[m.layout.Index(mesh.ZoneID(m.num(d, "into")))]
		z.State, z.RetiredAt = mesh.Retiring, m.layout.Version
		o.Box = mesh.Box{
			Min: mesh.Vec{X: min(o.Box.Min.X, z.Box.Min.X)},
			Max: mesh.Vec{X: max(o.Box.Max.X, z.Box.Max.X), Y: o.Box.Max.Y, Z: o.Box.Max.Z},
		}
	case "remove":
		m.layout.Zones = slices.Delete(m.layout.Zones, i, i+1)
	}
	m.publish()
}

// where tells of each zone who holds it, what it simulates and what of it is durable.
func (m *town) where() {
	for _, id := range m.ids {
		m.nodes[id].Inspect(func(z node.ZoneView) {
			state := "loading"
			if z.Open {
				state = "open"
			}
			fmt.Fprintf(&m.out, "zone %d at %s epoch %d %s:", z.ID, id, z.Epoch, state)
			var es []mesh.Entity
			if z.World != nil {
				z.World.Each(func(e *mesh.Entity) bool { es = append(es, *e); return true })
			}
			slices.SortFunc(es, func(a, b mesh.Entity) int { return strings.Compare(name(a.ID), name(b.ID)) })
			for _, e := range es {
				fmt.Fprintf(&m.out, " %s", text(e))
			}
			m.out.WriteByte('\n')
		})
	}
}

func text(e mesh.Entity) string {
	s := fmt.Sprintf("%s@%d(%d,%d", name(e.ID), e.Hop, e.Pos.X/mesh.UnitsPerMeter, e.Pos.Y/mesh.UnitsPerMeter)
	for _, f := range []struct {
		flag mesh.Flags
		name string
	}{{mesh.Asleep, "asleep"}, {mesh.Idle, "idle"}, {mesh.Flying, "flying"}} {
		if e.Flags&f.flag != 0 {
			s += " " + f.name
		}
	}
	if e.Held != 0 {
		s += " holds " + name(e.Held)
	}
	if e.Carrier.Kind() == mesh.KindShip {
		s += " on " + name(e.Carrier)
	}
	if e.Health != 0 && e.Health != 100 {
		s += fmt.Sprintf(" health %d", e.Health)
	}
	return s + ")"
}

func name(id mesh.EntityID) string {
	switch id.Kind() {
	case mesh.KindPlayer:
		return fmt.Sprintf("p%d", id.Number())
	case mesh.KindRocket:
		return fmt.Sprintf("rocket%d.%d", id.Number()>>24, id.Number()&(1<<24-1))
	case mesh.KindShip:
		return fmt.Sprintf("s%d", id.Number())
	}
	return fmt.Sprintf("i%d", id.Number())
}

func names(es []mesh.Entity) string {
	var out []string
	for _, e := range es {
		out = append(out, text(e))
	}
	return strings.Join(out, " ")
}

func kindOf(message wire.PeerMessage) string {
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", message), "*wire."))
}

// say notes a message, if it is worth a line.
func (m *town) say(from, to string, message wire.PeerMessage) {
	what := ""
	switch w := message.(type) {
	case *wire.LoggedIn:
		what = fmt.Sprintf("player %d is in zone %d, session %d, event %d", w.Player, w.Zone, w.Session, w.LastEvent)
	case *wire.Ack:
		what = fmt.Sprintf("player %d event %d: %s", w.Player, w.Event, []string{"?", "ok", "refused"}[w.Outcome])
	case *wire.Act:
		what = fmt.Sprintf("act: player %d event %d", w.Player, w.Event.Number)
	case *wire.Transfer:
		what = fmt.Sprintf("transfer %d.%d to zone %d: %s", w.From, w.N, w.To, names(w.Members))
	case *wire.Installed:
		what = fmt.Sprintf("installed %d.%d", w.From, w.N)
	case *wire.DurableAck:
		what = fmt.Sprintf("durable %d.%d", w.From, w.N)
	case *wire.PickRequest:
		what = fmt.Sprintf("player %d event %d wants %s@%d", w.Pick.Player, w.Pick.Event, name(w.Item), w.Hop)
	case *wire.PickRefusal:
		what = fmt.Sprintf("player %d event %d: %s is not to be had", w.Pick.Player, w.Pick.Event, name(w.Item))
	case *wire.Impacts:
		what = fmt.Sprintf("impacts %d… of zone %d:", w.First, w.From)
		for _, i := range w.Impacts {
			what += fmt.Sprintf(" %s hurts %s by %d", name(i.Source), name(i.Target), i.Damage)
		}
	case *wire.ImpactAck:
		what = fmt.Sprintf("impacts of zone %d below %d taken", w.From, w.Next)
	case *wire.Freshen:
		what = fmt.Sprintf("poses of zone %d epoch %d", w.Zone, w.Epoch)
	default:
		return
	}
	fmt.Fprintf(&m.out, "%d %s to %s: %s\n", m.tick, from, to, what)
}

// num returns the argument of that name, or the first one for "".
func (m *town) num(d *datadriven.TestData, name string) int {
	text := d.CmdArgs[0].Key
	if name != "" {
		a, ok := d.Arg(name)
		if !ok {
			return 0
		}
		text = a.Vals[0]
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		d.Fatalf(m.t, "%v", err)
	}
	return n
}

func vals(d *datadriven.TestData, name string) []string {
	a, _ := d.Arg(name)
	return a.Vals
}

// place reads name=(x,y) or name=(x,y,z), in metres.
func (m *town) place(d *datadriven.TestData, name string) mesh.Vec {
	var xyz [3]int32
	for i, v := range vals(d, name) {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		m.must(err)
		xyz[i] = int32(n)
	}
	return mesh.Meters(xyz[0], xyz[1], xyz[2])
}

// items reads iN=(x,y), and ships of health 100 as sN=(x,y).
func (m *town) items(d *datadriven.TestData) (items []mesh.Entity) {
	for _, a := range d.CmdArgs {
		if n, err := strconv.Atoi(strings.TrimPrefix(a.Key, "i")); err == nil {
			items = append(items, mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, uint64(n)), Pos: m.place(d, a.Key)}})
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(a.Key, "s")); err == nil {
			items = append(items, mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindShip, uint64(n)), Pos: m.place(d, a.Key), Health: 100}})
		}
	}
	return items
}
