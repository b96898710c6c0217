// Package budget measures what a world costs in writes of the store, counted
// by DynamoDB's rules, in virtual time: real node and gateway cores, on the
// reference store, under a load of so many players, items, durable events and
// crossings. [Run] is the measurement; [Command] prints it.
package budget

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/control/store/metered"
	"weft/simnode/edge"
	"weft/simnode/gateway"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// Load is what is measured. Rates are of virtual time.
type Load struct {
	Players, Items    int
	ZonesPerSide      int // of a square
	ZoneM             int32
	Nodes, Gateways   int
	EventsPerPlayerHz float64       // durable ones
	CrossingsHz       float64       // of all players together
	Age               time.Duration // of the world, in which every item was moved
	Warmup, Measure   time.Duration
	Seed              uint64
	Crowd             bool          // all players in one zone, and none crosses
	AtOnce            bool          // every player acts in the same tick
	StoreLatency      time.Duration // of each call, there and back
}

// Design is the load that the design's budget of write units names.
func Design() Load {
	return Load{
		Players: 800, Items: 20_000, ZonesPerSide: 8, ZoneM: 64, Nodes: 6, Gateways: 2,
		EventsPerPlayerHz: 0.1, CrossingsHz: 5, Age: 30 * 24 * time.Hour,
		Warmup: 40 * time.Second, Measure: 120 * time.Second, Seed: 1, StoreLatency: 5 * time.Millisecond,
	}
}

// LimitUnits is the design's budget, in write units a second.
const LimitUnits = 200

// Kind is what a write was for.
type Kind uint8

const (
	Poses Kind = iota
	Snapshots
	Journal   // slots with durable events and what follows from them
	Crossings // slots with nothing but crossings
	Reports
	Others
	Kinds
)

func (k Kind) String() string {
	return [...]string{"poses", "snapshots", "journal", "crossings", "reports", "others"}[k]
}

// Spent is what one kind of write came to.
type Spent struct {
	Writes, Units, Refused uint64
	LargestBytes           int // of the data of one item
}

// Result is what was measured.
type Result struct {
	Load      Load
	Spent     [Kinds]Spent
	Events    uint64 // acknowledged
	Picked    uint64 // of them, pick-ups that succeeded
	Crossed   uint64 // crossings made durable at their target
	Snapshots uint64
}

// Units returns the write units a second of all kinds.
func (r *Result) Units() (total float64) {
	for k := range Kinds {
		total += r.PerSecond(k)
	}
	return total
}

// PerSecond returns the write units a second of kind k.
func (r *Result) PerSecond(k Kind) float64 {
	return float64(r.Spent[k].Units) / r.Load.Measure.Seconds()
}

const tickHz = 20

var ctx = context.Background()

// bench is one measurement under way.
type bench struct {
	load    Load
	shard   mesh.Shard
	layout  mesh.Layout
	rand    *rand.Rand
	store   *metered.Store
	now     time.Duration
	serial  uint64
	events  eventHeap
	procs   map[mesh.NodeID]*proc
	order   []*proc
	worlds  map[mesh.ZoneID]*world.World
	players []*player
	result  Result
	base    uint64 // crossings before the measurement
	fault   error
}

// proc is a node or a gateway core.
type proc struct {
	self mesh.Process
	step func(process.Event) []process.Effect
	node *node.Node
}

type event struct {
	at     time.Duration
	serial uint64
	do     func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].serial < h[j].serial
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// Run measures l. It fails if the world does not come to be, or a write is
// refused for its size.
func Run(l Load) (Result, error) {
	side := int32(l.ZonesPerSide) * l.ZoneM
	b := &bench{
		load: l, rand: rand.New(rand.NewPCG(l.Seed, 0x62756467)), store: metered.New(memstore.New()),
		procs: map[mesh.NodeID]*proc{}, worlds: map[mesh.ZoneID]*world.World{},
		shard: mesh.Shard{
			Name: "budget", OriginUnixMilli: 1_700_000_000_000, TickHz: tickHz, Seed: l.Seed,
			Bounds: mesh.Box{Max: mesh.Meters(side, side, 40)}, Spawn: mesh.Meters(side/2, side/2, 0),
		},
	}
	b.result.Load = l
	b.start()
	if err := b.genesis(); err != nil {
		return b.result, err
	}
	b.connect()
	b.every(time.Second/tickHz, b.tick)
	b.runUntil(l.Warmup)
	b.result, b.base = Result{Load: l}, b.crossings()
	b.runUntil(l.Warmup + l.Measure)
	b.result.Crossed = b.crossings() - b.base
	if b.fault == nil && (len(b.worlds) != len(b.layout.Zones) || b.result.Events == 0) {
		b.fault = fmt.Errorf("%d of %d zones opened, %d events done", len(b.worlds), len(b.layout.Zones), b.result.Events)
	}
	return b.result, b.fault
}

func (b *bench) runUntil(t time.Duration) {
	for len(b.events) > 0 && b.events[0].at <= t && b.fault == nil {
		e := heap.Pop(&b.events).(event)
		b.now = e.at
		e.do()
	}
	b.now = t
}

func (b *bench) after(d time.Duration, do func()) {
	b.serial++
	heap.Push(&b.events, event{b.now + d, b.serial, do})
}

func (b *bench) every(d time.Duration, do func()) {
	b.after(d, func() {
		do()
		b.every(d, do)
	})
}

// start makes the cores.
func (b *bench) start() {
	cfg := node.DefaultConfig()
	cfg.World = world.Config{TickHz: tickHz, Bounds: b.shard.Bounds, Seed: b.shard.Seed, Spawn: b.shard.Spawn}
	for i := range b.load.Nodes + b.load.Gateways {
		p := &proc{self: mesh.Process{
			ID: mesh.NodeID(fmt.Sprintf("node-0a1b2c3d%02d", i)), Incarnation: mesh.Incarnation(1_700_000_000_000 + i),
			Role: mesh.RoleNode, Address: fmt.Sprintf("10.0.17.%d:7400", i+20), Capacity: cfg.MaxActors, OSProcess: 4000 + i,
		}}
		if i < b.load.Nodes {
			p.node = node.New(cfg, p.self, world.Tavern{})
			p.step = p.node.Step
		} else {
			p.self.ID, p.self.Role = mesh.NodeID(fmt.Sprintf("gateway-%d", i-b.load.Nodes)), mesh.RoleGateway
			p.self.ClientURL = "ws://" + p.self.Address + "/"
			p.step = gateway.New(gateway.DefaultConfig(1000), p.self).Step
		}
		b.procs[p.self.ID] = p
		b.order = append(b.order, p)
	}
}

// genesis writes the layout, and what lies and sleeps in each zone.
func (b *bench) genesis() error {
	n := b.load.ZonesPerSide
	b.layout = mesh.Layout{Version: 1, Shard: b.shard, NextZone: mesh.ZoneID(n*n) + 1}
	items := world.Scatter(b.shard.Seed, b.load.Items, b.shard.Bounds, b.shard.Spawn, 0)
	for i := range items {
		items[i].Hop, items[i].Placed = b.rand.Uint32N(300), mesh.Tick(b.rand.Uint64N(uint64(b.tickNow())+1))
	}
	b.populate()
	for i := range n * n {
		x, y := int32(i%n)*b.load.ZoneM, int32(i/n)*b.load.ZoneM
		box := mesh.Box{Min: mesh.Meters(x, y, 0), Max: mesh.Meters(x+b.load.ZoneM, y+b.load.ZoneM, 40)}
		z := mesh.Zone{ID: mesh.ZoneID(i + 1), Box: box, Epoch: 1, Owner: b.order[i*b.load.Nodes/(n*n)].self.Owner()}
		b.layout.Zones = append(b.layout.Zones, z)
		state := replication.NewState()
		for _, e := range items {
			if box.Contains(e.Pos) {
				state.Entities[e.ID] = e
			}
		}
		for _, p := range b.players {
			if box.Contains(p.born) {
				e := world.Tavern{}.Born(p.id, p.born, b.shard.Seed)
				e.Pos, e.Flags = p.born, mesh.Asleep
				state.Entities[e.ID] = e
				p.zone, p.home = z.ID, z.ID
			}
			if z.ID == mesh.Cradle {
				state.Born[p.id] = struct{}{}
			}
		}
		rec := mesh.ZoneRecord{Zone: z.ID, Owner: z.Owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}
		for i, part := range replication.Chunks(state.Encode(nil), store.MaxChunkBytes) {
			key := fmt.Sprintf("z%d/%020d-genesis-%d", z.ID, 0, i)
			if err := b.store.PutChunk(ctx, key, part); err != nil {
				return err
			}
			rec.Pointer.Chunks = append(rec.Pointer.Chunks, key)
		}
		if err := b.store.CreateZone(ctx, rec); err != nil {
			return err
		}
	}
	if err := b.layout.Validate(); err != nil {
		return err
	}
	return b.store.PutLayout(ctx, b.layout)
}

// connect links every node with all others and gives them the layout.
func (b *bench) connect() {
	for _, p := range b.order {
		for _, q := range b.order {
			if p != q && (p.node != nil || q.node != nil) {
				b.deliver(p, process.Event{Kind: process.EventPeerUp, Peer: q.self.ID, Incarnation: q.self.Incarnation, Role: q.self.Role})
			}
		}
	}
	for _, p := range b.order {
		b.deliver(p, process.Event{Kind: process.EventTick, Tick: b.tickNow()})
		b.deliver(p, process.Event{Kind: process.EventLayout, Layout: &b.layout})
	}
}

func (b *bench) tickNow() mesh.Tick { return 1 + mesh.Tick((b.load.Age+b.now)/(time.Second/tickHz)) }

func (b *bench) tick() {
	for _, p := range b.order {
		b.deliver(p, process.Event{Kind: process.EventTick, Tick: b.tickNow()})
		if p.node != nil {
			p.node.Inspect(func(v node.ZoneView) {
				if v.Open {
					b.worlds[v.ID] = v.World
				}
			})
		}
	}
	b.play()
}

func (b *bench) deliver(p *proc, ev process.Event) {
	effects := p.step(ev)
	for i := range effects {
		switch e := &effects[i]; e.Kind {
		case process.EffectSend:
			b.send(p, e)
		case process.EffectRequest:
			b.request(p, e.Request)
		case process.EffectStop:
			b.fault = fmt.Errorf("%s stopped: %s", p.self.ID, e.Reason)
		case process.EffectLog:
			b.fault = fmt.Errorf("%s: %s", p.self.ID, e.Reason)
		}
	}
}

// send carries a message over, a millisecond later, as its bytes. What goes to
// gateways is for the players, who are here.
func (b *bench) send(from *proc, e *process.Effect) {
	to := b.procs[e.Peer]
	if to.node == nil {
		b.told(e.Message)
		return
	}
	data := wire.AppendPeer(nil, e.Message)
	b.after(time.Millisecond, func() { b.arrive(from, to, data) })
}

func (b *bench) arrive(from, to *proc, data []byte) {
	m, err := wire.DecodePeer(data)
	if err != nil {
		b.fault = err
		return
	}
	b.deliver(to, process.Event{
		Kind: process.EventPeer, Peer: from.self.ID, Incarnation: from.self.Incarnation, Role: from.self.Role, Message: m,
	})
}

// request carries a call of the store out and counts what it costs.
func (b *bench) request(p *proc, r *process.Request) {
	b.after(b.load.StoreLatency/2, func() {
		before := b.store.Counts()
		a := edge.Perform(ctx, b.store, *r)
		after := b.store.Counts()
		if a.Verdict == process.TooLarge {
			b.fault = fmt.Errorf("%s wrote what is too large: %s", p.self.ID, a.Err)
			return
		}
		kind, bytes := b.classify(r)
		s := &b.result.Spent[kind]
		s.Writes += after.Writes - before.Writes
		s.Units += after.Units - before.Units
		s.Refused += after.Refused - before.Refused
		s.LargestBytes = max(s.LargestBytes, bytes)
		b.after(b.load.StoreLatency/2, func() { b.deliver(p, process.Event{Kind: process.EventAnswer, Answer: &a}) })
	})
}

// classify says what a request is for and how many bytes it writes.
func (b *bench) classify(r *process.Request) (Kind, int) {
	switch r.Op {
	case process.OpPutPoses:
		return Poses, len(r.Poses.Data)
	case process.OpPutChunk, process.OpDeleteChunk:
		return Snapshots, len(r.Data)
	case process.OpMovePointer:
		b.result.Snapshots++
		return Snapshots, 0
	case process.OpPutReport:
		return Reports, 0
	case process.OpAppend:
		records, err := replication.DecodeRecords(r.Slot.Data)
		if err != nil {
			b.fault = err
		}
		for _, rec := range records {
			if rec.Kind == replication.RecordPut || rec.Kind == replication.RecordRemove {
				return Journal, len(r.Slot.Data)
			}
		}
		if len(records) > 0 {
			return Crossings, len(r.Slot.Data)
		}
	}
	return Others, 0
}

// crossings is how many the nodes have reported.
func (b *bench) crossings() (n uint64) {
	reports, err := b.store.Reports(ctx)
	if err != nil {
		b.fault = err
	}
	for _, r := range reports {
		n += r.Counters.Crossings
	}
	return n
}
