package edge

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/simnode/pin"
	"weft/simnode/replication"
	"weft/simnode/ticket"
	"weft/simnode/wire"
)

var testKey = options.Key{1, 2, 3}

const patience = 20 * time.Second

// fleet is a store, and processes that run on it, with a test as reconcile.
type fleet struct {
	t       *testing.T
	store   *memstore.Store
	layout  mesh.Layout
	changes chan store.Change
	ended   sync.WaitGroup
}

// running is one process of a fleet.
type running struct {
	mesh.Process
	kill  context.CancelFunc // as SIGKILL would
	drain chan struct{}
	done  chan error
}

// newFleet lays out a world of 200 m, cut at X = 100 m, whose players are born
// 2 to 10 m before the cut, among items.
func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, store: memstore.New(), changes: make(chan store.Change, 1024)}
	bounds := mesh.Box{Max: mesh.Meters(200, 200, 50)}
	low, high := bounds.Cut(0, 100*mesh.UnitsPerMeter)
	f.layout = mesh.Layout{
		Version: 1, NextZone: 3,
		Shard: mesh.Shard{Name: "test", OriginUnixMilli: time.Now().Add(-time.Hour).UnixMilli(), TickHz: 20, Bounds: bounds, Spawn: mesh.Meters(94, 100, 0)},
		Zones: []mesh.Zone{{ID: 1, Box: low}, {ID: 2, Box: high}},
	}
	f.must(f.layout.Validate())
	var items []mesh.Entity
	for i := range int32(121) { // wherever a player is born, one is in reach
		items = append(items, mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, uint64(i)+1), Pos: mesh.Meters(89+i%11, 95+i/11, 0)}})
	}
	for _, z := range f.layout.Zones {
		f.must(f.store.CreateZone(t.Context(), mesh.ZoneRecord{Zone: z.ID, Pointer: mesh.Pointer{Position: -1}}))
	}
	f.must(f.store.Append(t.Context(), 1, mesh.Slot{Data: replication.EncodeRecords(nil, []replication.Record{
		{Kind: replication.RecordPut, Entities: items},
	})}))
	f.must(f.store.PutLayout(t.Context(), f.layout))
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	f.ended.Go(func() {
		_ = f.store.Watch(ctx, func() { close(ready) }, func(c store.Change) {
			select {
			case f.changes <- c:
			default:
			}
		})
	})
	<-ready
	t.Cleanup(func() {
		cancel()
		f.ended.Wait()
	})
	return f
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) start(run func(*host) error) *running {
	f.t.Helper()
	ctx, kill := context.WithCancel(context.Background())
	r := &running{kill: kill, drain: make(chan struct{}), done: make(chan error, 1)}
	h := newHost(ctx, f.store, r.drain, slog.New(slog.NewTextHandler(testWriter{f.t}, nil)))
	ready := make(chan mesh.Process, 1)
	h.ready = func(p mesh.Process) { ready <- p }
	f.ended.Go(func() { r.done <- run(h) })
	f.t.Cleanup(kill)
	select {
	case r.Process = <-ready:
	case err := <-r.done:
		f.t.Fatalf("the process ended: %v", err)
	case <-time.After(patience):
		f.t.Fatal("the process does not start")
	}
	f.await("the process's record", store.ProcessChanged, func() bool {
		all, err := f.store.Processes(f.t.Context())
		f.must(err)
		return slices.ContainsFunc(all, func(p mesh.Process) bool { return p.ID == r.ID && p.State == mesh.Ready })
	})
	return r
}

func (f *fleet) node(id mesh.NodeID) *running {
	o := options.Node{Process: testOptions(id), Listen: "127.0.0.1:0", Actors: 100, Rules: "tavern"}
	return f.start(func(h *host) error { return h.runNode(o) })
}

func (f *fleet) gateway(id mesh.NodeID) *running {
	o := options.Gateway{Process: testOptions(id), ClientListen: "127.0.0.1:0", ClientTLS: options.TLSPinned, Clients: 10}
	return f.start(func(h *host) error { return h.runGateway(o) })
}

func testOptions(id mesh.NodeID) options.Process {
	return options.Process{Store: "mem:", ShardKey: testKey, NodeID: id, DrainTimeout: 10 * time.Second}
}

// await returns once done holds, looking again whenever a record of that kind changes.
func (f *fleet) await(what string, kind store.ChangeKind, done func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for !done() {
		for seen := false; !seen; {
			select {
			case c := <-f.changes:
				seen = c.Kind == kind
			case <-deadline:
				f.t.Fatalf("%s did not come", what)
			}
		}
	}
}

// own makes owner the owner of zones, as reconcile would.
func (f *fleet) own(owner *running, zones ...mesh.ZoneID) {
	f.t.Helper()
	f.layout = f.layout.Clone()
	f.layout.Version++
	for _, id := range zones {
		z := &f.layout.Zones[f.layout.Index(id)]
		f.must(f.store.RaiseEpoch(f.t.Context(), id, z.Epoch, owner.Owner()))
		z.Owner = owner.Owner()
		z.Epoch++
	}
	f.must(f.store.PutLayout(f.t.Context(), f.layout))
}

// wait returns how the process ended.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		t.Fatal("the process does not end")
		return nil
	}
}

// player is a client by hand.
type player struct {
	t       *testing.T
	id      mesh.PlayerID
	ws      *websocket.Conn
	welcome wire.Welcome
	view    wire.View
	acks    map[uint32]wire.EventAck
	seen    map[mesh.EntityID]wire.Enter
	steps   uint32
}

func (f *fleet) dial(g *running) *websocket.Conn {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	url, pinned, err := pin.Split(g.ClientURL)
	f.must(err)
	transport := &http.Transport{TLSClientConfig: pinned}
	defer transport.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		f.t.Fatal(err)
	}
	ws.SetReadLimit(wire.MaxServerBytes)
	f.t.Cleanup(func() { ws.CloseNow() })
	return ws
}

func (f *fleet) ticket(c ticket.Claims) string {
	booth, err := ticket.NewBooth(testKey, f.layout.Shard.Name)
	f.must(err)
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(time.Minute)
	}
	return booth.Mint(c)
}

func (f *fleet) join(g *running, id mesh.PlayerID) *player {
	return f.hello(g, wire.Hello{Player: id, Ticket: f.ticket(ticket.Claims{Player: id, Gateways: []mesh.NodeID{g.ID}})})
}

func (f *fleet) hello(g *running, h wire.Hello) *player {
	f.t.Helper()
	p := &player{t: f.t, id: h.Player, ws: f.dial(g), acks: map[uint32]wire.EventAck{}, seen: map[mesh.EntityID]wire.Enter{}}
	p.send(&h)
	p.until("a welcome", func() bool { return p.welcome.Session != 0 })
	return p
}

func (p *player) send(m wire.ClientMessage) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.ws.Write(ctx, websocket.MessageBinary, wire.AppendClient(nil, m)); err != nil {
		p.t.Fatal(err)
	}
}

// until reads messages until done holds.
func (p *player) until(what string, done func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for !done() {
		_, b, err := p.ws.Read(ctx)
		if err != nil {
			p.t.Fatalf("no %s: %v (last at %+v)", what, err, p.view.Self)
		}
		m, err := wire.DecodeServer(b)
		if err != nil {
			p.t.Fatal(err)
		}
		switch m := m.(type) {
		case *wire.Welcome:
			p.welcome = *m
		case *wire.EventAck:
			p.acks[m.Event] = *m
		case *wire.View:
			p.view = *m
			for _, e := range m.Enters {
				p.seen[e.ID] = e
			}
		case *wire.Bye:
			p.t.Fatalf("no %s but a goodbye: %+v", what, m)
		}
	}
}

func (p *player) walk(x int8) {
	p.steps++
	p.send(&wire.Steer{Command: mesh.Command{Sequence: p.steps, MoveX: x}})
}

func (p *player) do(e mesh.Event) wire.EventAck {
	p.t.Helper()
	p.send(&wire.Do{Event: e})
	p.until("an answer", func() bool { return p.acks[e.Number].Event != 0 })
	return p.acks[e.Number]
}

func TestWholeMesh(t *testing.T) {
	f := newFleet(t)
	a, b := f.node("a"), f.node("b")
	f.own(a, 1)
	f.own(b, 2)
	g := f.gateway("g")
	p := f.join(g, 7)
	p.until("a place in zone 1", func() bool { return p.view.Self.Zone == 1 })

	var item wire.Enter
	p.until("an item in reach", func() bool {
		for _, e := range p.seen {
			if e.ID.Kind() == mesh.KindItem && e.Pos.Dist2(p.view.Self.Pos) < mesh.UnitsPerMeter*mesh.UnitsPerMeter {
				item = e
			}
		}
		return item.ID != 0
	})
	if ack := p.do(mesh.Event{Number: 1, Action: mesh.ActPickUp, Target: item.ID, Hop: item.Hop}); ack.Outcome != mesh.OutcomeOK {
		t.Errorf("picked up: %+v", ack)
	}
	held := func() bool { return p.view.Self.Held == item.ID }
	p.until("the item in hand", held)

	p.walk(127)
	p.until("a place in zone 2", func() bool { return p.view.Self.Zone == 2 })
	p.walk(0)
	if p.view.Self.Hop == 0 || !held() {
		t.Errorf("after the crossing: %+v", p.view.Self)
	}
	if ack := p.do(mesh.Event{Number: 2, Action: mesh.ActDrop}); ack.Outcome != mesh.OutcomeOK || ack.Entity != item.ID {
		t.Errorf("dropped: %+v", ack)
	}

	b.kill()
	if err := b.wait(t); err != nil {
		t.Error(err)
	}
	f.await("suspicion of the dead node", store.SuspicionChanged, func() bool {
		all, err := f.store.Suspicions(t.Context())
		f.must(err)
		return slices.ContainsFunc(all, func(s mesh.Suspicion) bool {
			return s.Suspect == "b" && s.Incarnation == b.Incarnation && s.Kind == mesh.Broken
		})
	})
	f.own(a, 2)
	p.until("the zone under its new owner", func() bool { return p.view.Self.Zone == 2 && p.view.Self.Epoch == 2 })
	p.walk(-127)
	p.until("a place in zone 1 again", func() bool { return p.view.Self.Zone == 1 })

	// The node can be drained once it owns nothing, and the gateway any time.
	c := f.node("c")
	f.own(c, 1, 2)
	p.until("the zone of node c", func() bool { return p.view.Self.Epoch >= 2 && p.view.Self.Zone == 1 })
	close(a.drain)
	if err := a.wait(t); err != nil {
		t.Errorf("the drained node: %v", err)
	}
	f.await("the farewell of node a", store.ProcessChanged, func() bool {
		all, err := f.store.Processes(t.Context())
		f.must(err)
		return slices.ContainsFunc(all, func(q mesh.Process) bool { return q.ID == "a" && q.State == mesh.Stopped })
	})

	// The gateway is drained: the client is told to resume elsewhere, and does.
	g2 := f.gateway("g2")
	close(g.drain)
	bye := p.goodbye()
	if bye.Reason != wire.ByeDraining || !bye.Resume {
		t.Errorf("goodbye: %+v", bye)
	}
	if err := g.wait(t); err != nil {
		t.Errorf("the drained gateway: %v", err)
	}
	again := f.hello(g2, wire.Hello{Player: 7, Session: p.welcome.Session, Ticket: p.welcome.Resume})
	if again.welcome.Session <= p.welcome.Session || again.welcome.LastEvent != 2 {
		t.Errorf("resumed: %+v after %+v", again.welcome, p.welcome)
	}
	f.await("a full report of node c", store.ReportChanged, func() bool {
		reports, err := f.store.Reports(t.Context())
		f.must(err)
		return slices.ContainsFunc(reports, func(r mesh.Report) bool {
			n := r.Counters
			return r.Process.ID == "c" && r.Ticks > 0 && r.TickBudgetUS == 50_000 && r.BusyUS > 0 && n.BytesToPeers > 0 && n.StoreWrites > 0 && n.StoreWriteUnits > 0
		})
	})
	f.await("a full report of the gateway", store.ReportChanged, func() bool {
		reports, err := f.store.Reports(t.Context())
		f.must(err)
		return slices.ContainsFunc(reports, func(r mesh.Report) bool {
			return r.Process.ID == "g2" && r.Clients == 1 && r.Counters.BytesToClients > 0 && r.Counters.BytesToPeers > 0
		})
	})
}

// goodbye reads until the gateway ends the connection.
func (p *player) goodbye() wire.Bye {
	p.t.Helper()
	return readBye(p.t, p.ws)
}

func readBye(t *testing.T, ws *websocket.Conn) wire.Bye {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			t.Fatalf("no goodbye: %v", err)
		}
		if m, err := wire.DecodeServer(b); err != nil {
			t.Fatal(err)
		} else if bye, ok := m.(*wire.Bye); ok {
			if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("after the goodbye: %v", err)
			}
			return *bye
		}
	}
}

// testWriter writes a process's log to the test's.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
