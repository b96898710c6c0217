package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/simnode/edge"
	"weft/simnode/gateway"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// border is two nodes, a zone each, and a gateway between them: the real cores
// with every message encoded and decoded, and a store in memory.
type border struct {
	ctx   context.Context
	store *memstore.Store
	cores []interface { // two nodes and the gateway
		Step(process.Event) []process.Effect
	}
	selves  []mesh.Process
	tick    mesh.Tick
	queue   []parcel
	players int
	joined  map[process.ClientID]bool
	steered uint32
	views   int
	fault   error
	spent   *[2]time.Duration // by nodes and gateway, encoding included; nil: not counted
	wire    []byte
}

type parcel struct {
	to int
	ev process.Event
}

const (
	borderWatchers = 100
	borderRunners  = 40
	borderM        = 50
	// turnTicks is after how many ticks runners turn: they cross once in each.
	turnTicks = 20
)

// handOver returns the work of a crossing in microseconds: that of some time in
// which runners cross a border again and again, less that of as long in which
// they run along it.
func handOver(ctx context.Context, o Options) (float64, error) {
	ticks, blocks := mesh.Tick(1200), 7
	if o.Small {
		ticks, blocks = 2*turnTicks, 1
	}
	b, err := newBorder(ctx)
	if err != nil {
		return 0, err
	}
	var costs []float64
	for range blocks {
		var cpu [2]time.Duration
		var crossed [2]uint64
		for along := range 2 {
			b.run(4*turnTicks, along == 1) // all of it is one or the other
			before := b.crossings()
			u, err := UseOf(os.Getpid())
			if err != nil {
				return 0, err
			}
			b.run(ticks, along == 1)
			v, err := UseOf(os.Getpid())
			if err != nil {
				return 0, err
			}
			cpu[along], crossed[along] = v.CPU-u.CPU, b.crossings()-before
		}
		if b.fault != nil {
			return 0, b.fault
		}
		if n := uint64(ticks) / turnTicks * borderRunners; crossed[0] < n*9/10 || crossed[1] > n/20 {
			return 0, fmt.Errorf("%d crossings over the border and %d along it, where %d and hardly any should be", crossed[0], crossed[1], n)
		}
		costs = append(costs, float64((cpu[0]-cpu[1]).Microseconds())/float64(crossed[0]-crossed[1]))
	}
	if b.views == 0 {
		return 0, fmt.Errorf("nobody watched")
	}
	return Median(costs), nil
}

func newBorder(ctx context.Context) (*border, error) {
	b := &border{ctx: ctx, store: memstore.New(), tick: 100, joined: map[process.ClientID]bool{}}
	shard := mesh.Shard{Name: "border", TickHz: 20, Seed: 7, Bounds: mesh.Box{Max: mesh.Meters(2*borderM, 2*borderM, 20)}, Spawn: mesh.Meters(borderM, borderM, 0)}
	cfg := node.DefaultConfig()
	cfg.World = world.Config{TickHz: shard.TickHz, Bounds: shard.Bounds, Seed: shard.Seed, Spawn: shard.Spawn}
	for i, id := range []mesh.NodeID{"west", "east", gatewayName} {
		self := mesh.Process{ID: id, Incarnation: mesh.Incarnation(i + 1), Role: mesh.RoleNode, Address: string(id)}
		if id == gatewayName {
			self.Role = mesh.RoleGateway
			b.cores = append(b.cores, gateway.New(gateway.DefaultConfig(borderWatchers+borderRunners), self))
		} else {
			b.cores = append(b.cores, node.New(cfg, self, world.Tavern{}))
		}
		b.selves = append(b.selves, self)
	}
	west, east := shard.Bounds.Cut(0, shard.Spawn.X)
	layout := &mesh.Layout{Version: 1, NextZone: 3, Shard: shard, Zones: []mesh.Zone{
		{ID: 1, Box: west, Owner: b.selves[0].Owner(), Epoch: 1}, {ID: 2, Box: east, Owner: b.selves[1].Owner(), Epoch: 1}}}
	if err := b.store.PutLayout(ctx, *layout); err != nil {
		return nil, err
	}
	for _, z := range layout.Zones {
		if err := b.store.CreateZone(ctx, mesh.ZoneRecord{Zone: z.ID, Owner: z.Owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}); err != nil {
			return nil, err
		}
	}
	b.open(layout)
	for b.players < borderWatchers+borderRunners {
		b.players++
		b.put(2, process.Event{Kind: process.EventClientUp, Client: process.ClientID(b.players),
			Hello: wire.Hello{Player: mesh.PlayerID(b.players)}, Fresh: uint64(b.players)})
	}
	for range 200 {
		if b.run(1, true); len(b.joined) == b.players && b.fault == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%d of %d players are in: %w", len(b.joined), b.players, b.fault)
}

// open has everybody know everybody, and the layout.
func (b *border) open(layout *mesh.Layout) {
	for i := range b.cores {
		b.put(i, process.Event{Kind: process.EventTick, Tick: b.tick})
		for k, p := range b.selves {
			if i != k {
				b.put(i, process.Event{Kind: process.EventPeerUp, Peer: p.ID, Incarnation: p.Incarnation, Role: p.Role})
			}
		}
		b.put(i, process.Event{Kind: process.EventLayout, Layout: layout})
	}
	b.settle()
}

func (b *border) put(to int, ev process.Event) { b.queue = append(b.queue, parcel{to, ev}) }

// run is n ticks. Runners run over the border and back, or along it.
func (b *border) run(n mesh.Tick, along bool) {
	for range n {
		b.tick++
		if b.tick%turnTicks == 0 && b.players > 0 {
			b.steer(along)
		}
		for i := range b.cores {
			b.put(i, process.Event{Kind: process.EventTick, Tick: b.tick})
			b.settle()
		}
	}
}

// steer turns every runner round: each is to get beyond the line through the
// middle, across the border or along it.
func (b *border) steer(along bool) {
	b.steered++
	at := b.places()
	pace := func(v int32) int8 {
		const middle, beyond = borderM * mesh.UnitsPerMeter, 5 * mesh.UnitsPerMeter / 2
		way := int32(middle + beyond)
		if v > middle {
			way = middle - beyond
		}
		perTurn := world.Tavern{}.Limits().WalkSpeed * turnTicks / 20
		return int8(min(max((way-v)*127/perTurn, -126), 126))
	}
	for i := range min(borderRunners, len(b.joined)) {
		p, c := at[mesh.PlayerEntity(mesh.PlayerID(i+1))], mesh.Command{Sequence: b.steered}
		if along {
			c.MoveY = pace(p.Y)
		} else {
			c.MoveX = pace(p.X)
		}
		b.put(2, process.Event{Kind: process.EventClient, Client: process.ClientID(i + 1), ClientMessage: &wire.Steer{Command: c}})
	}
}

// places are those of all who are awake.
func (b *border) places() map[mesh.EntityID]mesh.Vec {
	at := map[mesh.EntityID]mesh.Vec{}
	for _, c := range b.cores[:len(b.cores)-1] {
		c.(*node.Node).Inspect(func(z node.ZoneView) {
			if z.World == nil {
				return
			}
			z.World.Each(func(e *mesh.Entity) bool {
				if e.Flags&mesh.Asleep == 0 {
					at[e.ID] = e.Pos
				}
				return true
			})
		})
	}
	return at
}

// settle delivers until nothing is on its way.
func (b *border) settle() {
	for len(b.queue) > 0 && b.fault == nil {
		p := b.queue[0]
		b.queue = b.queue[1:]
		began := time.Now()
		for _, e := range b.cores[p.to].Step(p.ev) {
			b.effect(p.to, &e)
		}
		if b.spent != nil {
			b.spent[p.to/(len(b.cores)-1)] += time.Since(began)
		}
	}
	b.queue = nil
}

func (b *border) effect(from int, e *process.Effect) {
	switch e.Kind {
	case process.EffectSend:
		for to := range b.selves {
			if b.selves[to].ID == e.Peer {
				m, err := wire.DecodePeer(wire.AppendPeer(nil, e.Message))
				if err != nil {
					b.fault = err
				}
				b.put(to, process.Event{Kind: process.EventPeer, Peer: b.selves[from].ID, Message: m})
			}
		}
	case process.EffectRequest:
		a := edge.Perform(b.ctx, b.store, *e.Request)
		b.put(from, process.Event{Kind: process.EventAnswer, Answer: &a})
	case process.EffectStop, process.EffectLog:
		b.fault = fmt.Errorf("%s says: %s", b.selves[from].ID, e.Reason)
	case process.EffectClientClose:
		b.fault = fmt.Errorf("client %d was sent away: %+v", e.Client, e.ServerMessage)
	case process.EffectClient:
		b.views++
		switch m := e.ServerMessage.(type) {
		case nil:
			b.wire = append(append(b.wire[:0], e.Data...), e.Shared...)
		case *wire.Welcome:
			b.joined[e.Client] = true
		default:
			b.wire = wire.AppendServer(b.wire[:0], m)
		}
	}
}

// crossings are those that have arrived.
func (b *border) crossings() (n uint64) {
	reports, err := b.store.Reports(b.ctx)
	if err != nil {
		b.fault = err
	}
	for _, r := range reports {
		n += r.Counters.Crossings
	}
	return n
}
