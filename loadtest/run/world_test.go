package run

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/loadtest/scenario"
	"weft/simnode/client"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// fakeWorld answers clients in memory, for the plumbing of a run only: one
// zone of actors, one of props, gateways "g0" and "g1", and no simulation.
type fakeWorld struct {
	t     *testing.T
	db    *memstore.Store
	shard mesh.Shard
	spoil func(*replication.State) // what it loses when it is put to sleep

	mu       sync.Mutex
	layout   mesh.Layout
	entities map[mesh.EntityID]mesh.Entity
	missed   uint64
	silent   time.Time // until then nobody owns the actors
	conns    map[*fakeConn]string
	down     map[string]bool
	paused   map[mesh.NodeID]bool
	resumed  int
	stopped  chan struct{}
	works    sync.WaitGroup
	faulty   bool // misses half its ticks
}

func newFakeWorld(t *testing.T, s *scenario.Scenario) *fakeWorld {
	w := &fakeWorld{
		t: t, db: memstore.New(), shard: s.Shard(time.Now()), entities: map[mesh.EntityID]mesh.Entity{},
		conns: map[*fakeConn]string{}, down: map[string]bool{}, paused: map[mesh.NodeID]bool{}, stopped: make(chan struct{}),
	}
	for _, e := range s.Genesis() {
		w.entities[e.ID] = e
	}
	w.layout = mesh.Layout{Version: 1, Shard: w.shard, NextZone: 3, Zones: []mesh.Zone{
		{ID: 1, Box: w.shard.Bounds, Owner: owner("a"), Epoch: 1},
		{ID: 2, Layer: mesh.Props, Box: w.shard.Bounds, Owner: owner("b"), Epoch: 1},
	}}
	if err := w.db.PutLayout(t.Context(), w.layout); err != nil {
		t.Fatal(err)
	}
	for _, id := range []mesh.NodeID{"a", "b", "c"} {
		w.put(mesh.Process{ID: id, Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready, Address: "x"})
	}
	for _, id := range []mesh.NodeID{"g0", "g1"} {
		w.put(mesh.Process{ID: id, Incarnation: 1, Role: mesh.RoleGateway, State: mesh.Ready, Address: "x"})
	}
	w.works.Go(w.reports)
	return w
}

func owner(id mesh.NodeID) mesh.Owner { return mesh.Owner{Node: id, Incarnation: 1, Address: "x"} }

func (w *fakeWorld) put(p mesh.Process) {
	if err := w.db.PutProcess(w.t.Context(), p); err != nil {
		w.t.Error(err)
	}
}

// reports writes the nodes' heartbeats.
func (w *fakeWorld) reports() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := uint64(1); ; n++ {
		w.mu.Lock()
		if w.faulty {
			w.missed += 10
		}
		layout, missed, players := w.layout, w.missed, len(w.conns)
		w.mu.Unlock()
		for _, z := range layout.Zones {
			err := w.db.PutReport(w.t.Context(), mesh.Report{
				Process:  mesh.Process{ID: z.Owner.Node, Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready, Address: "x"},
				Sequence: n, Tick: w.shard.TickAt(time.Now()), Ticks: 20 * n, TicksMissed: missed,
				TickP50US: 2000, TickP99US: 9000, TickMaxUS: 12000,
				Counters: mesh.Counters{Crossings: n, StoreWrites: 2 * n, StoreWriteUnits: 3 * n},
				Zones:    []mesh.ZoneLoad{{Zone: z.ID, Actors: players * int(2-z.ID)}},
			})
			if err != nil && !errors.Is(err, store.ErrStaleEpoch) {
				w.t.Error(err)
			}
		}
		select {
		case <-w.stopped:
			return
		case <-ticker.C:
		}
	}
}

func (w *fakeWorld) Store() store.Store { return w.db }

func (w *fakeWorld) Join(mesh.PlayerID) ([]string, string, error) {
	return []string{"g0", "g1"}, "ticket", nil
}

// Kill leaves the zones of a node without an owner for 700 ms, and closes the
// connections of a gateway.
func (w *fakeWorld) Kill(id mesh.NodeID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[string(id)] = true; id[0] == 'g' {
		for c, gateway := range w.conns {
			if gateway == string(id) {
				c.Close()
			}
		}
		return nil
	}
	w.silent = time.Now().Add(700 * time.Millisecond)
	l := w.layout.Clone()
	l.Version++
	for i := range l.Zones {
		if l.Zones[i].Owner.Node == id {
			l.Zones[i].Owner = owner("c")
			l.Zones[i].Epoch++
		}
	}
	w.layout = l
	return w.db.PutLayout(w.t.Context(), l)
}

func (w *fakeWorld) Pause(id mesh.NodeID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused[id] = true
	return nil
}

func (w *fakeWorld) Resume(id mesh.NodeID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.paused[id] {
		return errors.New("not paused")
	}
	w.resumed++
	return nil
}

// Stop writes everything into the snapshot of the zone of actors.
func (w *fakeWorld) Stop(ctx context.Context) error {
	w.mu.Lock()
	conns := slices.Collect(maps.Keys(w.conns))
	w.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	close(w.stopped)
	w.works.Wait()
	state := replication.NewState()
	state.Entities = w.entities
	for id := range w.entities {
		if p := id.Player(); p != 0 {
			state.Born[p] = struct{}{}
		}
	}
	if w.spoil != nil {
		w.spoil(state)
	}
	for _, z := range w.layout.Zones {
		if err := w.db.CreateZone(ctx, mesh.ZoneRecord{Zone: z.ID, Owner: z.Owner, Epoch: z.Epoch, Pointer: mesh.Pointer{Position: -1}}); err != nil {
			return err
		}
	}
	if err := w.db.PutChunk(ctx, "all", state.Encode(nil)); err != nil {
		return err
	}
	return w.db.MovePointer(ctx, 1, w.layout.Zones[0].Epoch, mesh.Pointer{Position: 0, Chunks: []string{"all"}})
}

// fakeConn is one end of a connection.
type fakeConn struct {
	up, down chan []byte
	closed   chan struct{}
	once     sync.Once
}

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

var errHungUp = errors.New("hung up")

func move(ctx context.Context, c *fakeConn, send chan<- []byte, receive <-chan []byte, b []byte) ([]byte, error) {
	select {
	case send <- b:
		return nil, nil
	case got := <-receive:
		return got, nil
	case <-c.closed:
		return nil, errHungUp
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *fakeConn) Read(ctx context.Context) ([]byte, error) { return move(ctx, c, nil, c.down, nil) }

func (c *fakeConn) Write(ctx context.Context, b []byte) error {
	_, err := move(ctx, c, c.up, nil, slices.Clone(b))
	return err
}

func (w *fakeWorld) Dial(_ context.Context, url string) (client.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down[url] {
		return nil, errors.New("refused")
	}
	c := &fakeConn{up: make(chan []byte), down: make(chan []byte), closed: make(chan struct{})}
	w.conns[c] = url
	w.works.Go(func() {
		w.serve(c)
		c.Close()
		w.mu.Lock()
		delete(w.conns, c)
		w.mu.Unlock()
	})
	return c, nil
}

// serve is the gateway's side of a connection.
func (w *fakeWorld) serve(c *fakeConn) {
	var player mesh.PlayerID
	var command mesh.Command
	var shown map[mesh.EntityID]mesh.Entity
	say := func(m wire.ServerMessage) {
		_, _ = move(w.t.Context(), c, c.down, nil, wire.AppendServer(nil, m))
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-c.closed:
			return
		case b := <-c.up:
			m, err := wire.DecodeClient(b)
			if err != nil {
				w.t.Error(err)
				return
			}
			switch m := m.(type) {
			case *wire.Hello:
				player = m.Player
				say(w.login(player))
				shown = map[mesh.EntityID]mesh.Entity{}
			case *wire.Steer:
				command = m.Command
			case *wire.Do:
				if ack := w.decide(player, m.Event); ack != nil {
					say(ack)
				}
			case *wire.Goodbye:
				return
			}
		case <-ticker.C:
			if v := w.view(player, command, shown); v != nil {
				say(v)
			}
		}
	}
}

func (w *fakeWorld) login(p mesh.PlayerID) *wire.Welcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := mesh.PlayerEntity(p)
	e, ok := w.entities[id]
	if !ok {
		e = mesh.Entity{Pose: mesh.Pose{ID: id, Pos: w.shard.Spawn}}
		w.entities[id] = e
	}
	return &wire.Welcome{Session: 1, Entity: id, LastEvent: e.LastEvent, TickHz: w.shard.TickHz, OriginUnixMilli: w.shard.OriginUnixMilli,
		Tick: w.shard.TickAt(time.Now()), KeepAliveMilli: 5000, Resume: "again", Gateways: []string{"g0", "g1"}}
}

func (w *fakeWorld) decide(p mesh.PlayerID, ev mesh.Event) *wire.EventAck {
	w.mu.Lock()
	defer w.mu.Unlock()
	body := w.entities[mesh.PlayerEntity(p)]
	ack := &wire.EventAck{Event: ev.Number, Outcome: mesh.OutcomeRefused}
	if ev.Number <= body.LastEvent {
		ack.Outcome = body.Outcome(ev.Number)
		return ack
	}
	item := w.entities[ev.Target]
	if ev.Action != mesh.ActPickUp {
		item = w.entities[body.Held]
	}
	switch {
	case ev.Action == mesh.ActPickUp && item.Carrier == 0 && item.Hop == ev.Hop && body.Held == 0:
		item.Carrier, body.Held = body.ID, item.ID
		ack.Outcome = mesh.OutcomeOK
	case ev.Action != mesh.ActPickUp && body.Held != 0:
		item.Carrier, body.Held = 0, 0
		item.Pos = body.Pos.Add(mesh.Vec{X: ev.Aim.X, Y: ev.Aim.Y})
		ack.Outcome = mesh.OutcomeOK
	}
	if ack.Outcome == mesh.OutcomeOK {
		item.Hop++
		ack.Entity, ack.Hop = item.ID, item.Hop
		w.entities[item.ID] = item
	}
	body.Decide(ev.Number, ack.Outcome)
	w.entities[body.ID] = body
	return ack
}

// view moves the body by a step and tells of it, and of items that changed.
func (w *fakeWorld) view(p mesh.PlayerID, c mesh.Command, shown map[mesh.EntityID]mesh.Entity) *wire.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p == 0 || time.Now().Before(w.silent) {
		return nil
	}
	e := w.entities[mesh.PlayerEntity(p)]
	step := int32(6 * mesh.UnitsPerMeter / 20)
	e.Pos = w.shard.Bounds.Clamp(e.Pos.Add(mesh.Vec{X: int32(c.MoveX) * step / 127, Y: int32(c.MoveY) * step / 127}))
	w.entities[e.ID] = e
	tick := w.shard.TickAt(time.Now())
	z := w.layout.Zones[0]
	v := &wire.View{Tick: tick, Self: wire.Self{Zone: z.ID, Epoch: z.Epoch, Tick: tick, Pos: e.Pos, Held: e.Held},
		Clocks: []wire.Clock{{Zone: 2, Epoch: w.layout.Zones[1].Epoch, Tick: tick}}}
	for _, id := range slices.Sorted(maps.Keys(w.entities)) {
		x := w.entities[id]
		if id.Kind() == mesh.KindItem && shown[id] != x {
			shown[id] = x
			v.Enters = append(v.Enters, wire.Enter{Handle: uint32(id.Number()), ID: id, Hop: x.Hop, Carrier: x.Carrier, Pos: x.Pos})
		}
	}
	return v
}
