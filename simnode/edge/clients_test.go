package edge

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/ticket"
	"weft/simnode/wire"
)

// slowSocket is a client that takes a message whenever the test lets it.
type slowSocket struct {
	take   chan []byte
	closed chan string
	once   sync.Once
}

func newSlowSocket() *slowSocket {
	return &slowSocket{take: make(chan []byte), closed: make(chan string, 1)}
}

func (s *slowSocket) Read([]byte) (int, error) { select {} }
func (s *slowSocket) Write(b []byte) error     { s.take <- bytes.Clone(b); return nil }
func (s *slowSocket) Close(reason string)      { s.once.Do(func() { s.closed <- reason }) }

func view(tick mesh.Tick) []byte { return wire.AppendServer(nil, &wire.View{Tick: tick}) }

func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newIntake(t.Context(), newLog(slog.New(slog.DiscardHandler)))
		s := newSlowSocket()
		c := newClient(1, s)
		ended := make(chan struct{})
		go c.write(k, ended)
		a := newAudience(nil)
		a.admits(input{client: c, ev: process.Event{Kind: process.EventClientUp, Client: 1}})
		now := time.Now()
		send := func(tick mesh.Tick) process.EventKind {
			ev, ok := a.send(&process.Effect{Kind: process.EffectClient, Client: 1, Data: view(tick), Droppable: true}, now)
			synctest.Wait()
			if !ok {
				return 0
			}
			return ev.Kind
		}
		// One is being written, two wait, and the fourth is dropped.
		for tick, want := range []process.EventKind{0, 0, 0, process.EventClientSlow, process.EventClientSlow} {
			if got := send(mesh.Tick(tick)); got != want {
				t.Errorf("view %d: event %d, want %d", tick, got, want)
			}
		}
		// An acknowledgement is not, and comes in order.
		a.send(&process.Effect{Client: 1, ServerMessage: &wire.EventAck{Event: 9}}, now)
		for tick := range mesh.Tick(3) {
			if b := <-s.take; !bytes.Equal(b, view(tick)) {
				t.Errorf("instead of view %d: %x", tick, b)
			}
		}
		if b := <-s.take; !bytes.Equal(b, wire.AppendServer(nil, &wire.EventAck{Event: 9})) {
			t.Errorf("instead of the acknowledgement: %x", b)
		}
		// It has caught up: patience begins anew.
		now = now.Add(time.Hour)
		for tick := range mesh.Tick(3) {
			if got := send(tick); got != 0 {
				t.Errorf("view %d: event %d", tick, got)
			}
		}
		if got := send(3); got != process.EventClientSlow {
			t.Errorf("event %d", got)
		}
		now = now.Add(slowTimeout)
		if got := send(4); got != process.EventClientDown || a.clients[1] != nil {
			t.Errorf("event %d after %v", got, slowTimeout)
		}
		<-s.take // what was being written; the views that waited are left out
		m, err := wire.DecodeServer(<-s.take)
		if bye, ok := m.(*wire.Bye); err != nil || !ok || bye.Reason != wire.ByeSlow || !bye.Resume {
			t.Errorf("the last word is %+v, %v", m, err)
		}
		if reason := <-s.closed; reason == "" {
			t.Error("closed at once")
		}
	})
}

func TestClientQueueIsBounded(t *testing.T) {
	a := newAudience(nil)
	c := newClient(1, newSlowSocket()) // nobody writes
	a.admits(input{client: c, ev: process.Event{Kind: process.EventClientUp, Client: 1}})
	e := &process.Effect{Client: 1, ServerMessage: &wire.EventAck{}}
	for i := range maxClientQueue {
		if _, ok := a.send(e, time.Now()); ok {
			t.Fatalf("message %d is too many", i)
		}
	}
	if ev, ok := a.send(e, time.Now()); !ok || ev.Kind != process.EventClientDown {
		t.Errorf("event %+v", ev)
	}
	if _, ok := a.send(e, time.Now()); ok || len(c.queue) > maxClientQueue+1 {
		t.Errorf("%d wait", len(c.queue))
	}
}

func TestFreshSessions(t *testing.T) {
	now := time.UnixMilli(1_790_000_000_000)
	first := freshSession(now, 0)
	if first>>20 != 1_790_000_000_000 {
		t.Errorf("session %d", first)
	}
	if next := freshSession(now.Add(time.Millisecond), first); next <= first {
		t.Errorf("%d after %d", next, first)
	}
	if next := freshSession(now.Add(-time.Hour), first); next != first+1 { // another gateway's clock
		t.Errorf("%d after %d", next, first)
	}
}

// newDoor is a reception whose test stands for the loop.
func newDoor(t *testing.T) (r *reception, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	booth, err := ticket.NewBooth(testKey, "tavern")
	if err != nil {
		t.Fatal(err)
	}
	r = newReception(newIntake(ctx, newLog(slog.New(slog.DiscardHandler))), booth, mesh.Process{ID: "g1", ClientURL: "wss://play.example/"})
	l, err := listen(ctx, "WEFT_CLIENT_LISTEN", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { r.run(l) })
	t.Cleanup(func() {
		r.leave()
		cancel()
		r.wait()
		serving.Wait()
	})
	return r, "ws://" + l.Addr().String() + "/"
}

func knock(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws
}

func TestHellos(t *testing.T) {
	r, url := newDoor(t)
	later := time.Now().Add(time.Minute)
	mint := func(c ticket.Claims) string {
		if c.Gateways == nil {
			c.Gateways = []mesh.NodeID{"g2", "g1"}
		}
		return r.booth.Mint(c)
	}
	elsewhere, err := ticket.NewBooth(testKey, "castle")
	if err != nil {
		t.Fatal(err)
	}
	hello := func(h wire.Hello) []byte { return wire.AppendClient(nil, &h) }
	good := hello(wire.Hello{Player: 1, Ticket: mint(ticket.Claims{Player: 1, Expires: later})})
	otherVersion := bytes.Clone(good)
	otherVersion[5]++
	for _, c := range []struct {
		name  string
		kind  websocket.MessageType
		bytes []byte
		bye   wire.ByeReason
	}{
		{"text", websocket.MessageText, good, wire.ByeMalformed},
		{"garbage", websocket.MessageBinary, []byte{0xee, 1, 2}, wire.ByeMalformed},
		{"empty", websocket.MessageBinary, nil, wire.ByeMalformed},
		{"oversized", websocket.MessageBinary, append(bytes.Clone(good), make([]byte, wire.MaxClientBytes)...), wire.ByeMalformed},
		{"no hello", websocket.MessageBinary, wire.AppendClient(nil, &wire.Steer{}), wire.ByeMalformed},
		{"another version", websocket.MessageBinary, otherVersion, wire.ByeVersion},
		{"no ticket", websocket.MessageBinary, hello(wire.Hello{Player: 1}), wire.ByeTicket},
		{"expired", websocket.MessageBinary, hello(wire.Hello{Player: 1, Ticket: mint(ticket.Claims{Player: 1, Expires: time.Now().Add(-time.Second)})}), wire.ByeTicket},
		{"another's ticket", websocket.MessageBinary, hello(wire.Hello{Player: 2, Ticket: mint(ticket.Claims{Player: 1, Expires: later})}), wire.ByeTicket},
		{"another session's", websocket.MessageBinary, hello(wire.Hello{Player: 1, Session: 8, Ticket: mint(ticket.Claims{Player: 1, Session: 9, Expires: later})}), wire.ByeTicket},
		{"another gateway's", websocket.MessageBinary, hello(wire.Hello{Player: 1, Ticket: mint(ticket.Claims{Player: 1, Gateways: []mesh.NodeID{"g2"}, Expires: later})}), wire.ByeTicket},
		{"another shard's", websocket.MessageBinary, hello(wire.Hello{Player: 1, Ticket: elsewhere.Mint(ticket.Claims{Player: 1, Gateways: []mesh.NodeID{"g1"}, Expires: later})}), wire.ByeTicket},
		{"another balancer's", websocket.MessageBinary, hello(wire.Hello{Player: 1, Ticket: mint(ticket.Claims{Player: 1, Gateways: []mesh.NodeID{"wss://other.example/"}, Expires: later})}), wire.ByeTicket},
	} {
		before := r.refused.Load()
		ws := knock(t, url)
		if err := ws.Write(t.Context(), c.kind, c.bytes); err != nil {
			t.Fatal(err)
		}
		if bye := readBye(t, ws); bye.Reason != c.bye || bye.Resume || bye.Text == "" {
			t.Errorf("%s: %+v", c.name, bye)
		}
		if r.refused.Load() != before+1 || len(r.inbox) != 0 {
			t.Errorf("%s: %d counted, %d told", c.name, r.refused.Load()-before, len(r.inbox))
		}
	}
}

func TestClientMessages(t *testing.T) {
	r, url := newDoor(t)
	for name, bad := range map[string][]byte{
		"garbage":   {0xee},
		"cut":       wire.AppendClient(nil, &wire.Steer{})[:3],
		"oversized": make([]byte, wire.MaxClientBytes+1),
		"enormous":  make([]byte, 64<<10),
	} {
		ws := knock(t, url)
		write := func(b []byte) {
			if err := ws.Write(t.Context(), websocket.MessageBinary, b); err != nil {
				t.Fatal(err)
			}
		}
		write(wire.AppendClient(nil, &wire.Hello{Player: 5, Session: 77, Ticket: r.booth.Mint(ticket.Claims{Player: 5, Session: 77, Expires: time.Now().Add(time.Minute)})}))
		up := <-r.inbox
		if up.ev.Kind != process.EventClientUp || up.ev.Hello.Player != 5 || up.ev.Fresh <= 77 {
			t.Fatalf("%s: first %+v", name, up.ev)
		}
		write(wire.AppendClient(nil, &wire.Steer{Command: mesh.Command{Sequence: 3, MoveX: 9}}))
		if in := <-r.inbox; in.ev.ClientMessage.(*wire.Steer).Command.MoveX != 9 || in.client != up.client {
			t.Errorf("%s: then %+v", name, in.ev)
		}
		before := r.refused.Load()
		write(bad)
		if down := <-r.inbox; down.ev.Kind != process.EventClientDown || down.client != up.client {
			t.Errorf("%s: at last %+v", name, down.ev)
		}
		if name == "enormous" { // the library itself ends it
			continue
		}
		if bye := readBye(t, ws); bye.Reason != wire.ByeMalformed {
			t.Errorf("%s: %+v", name, bye)
		}
		if r.refused.Load() != before+1 {
			t.Errorf("%s: counted %d times", name, r.refused.Load()-before)
		}
	}
}

func TestGuestsWithoutHello(t *testing.T) {
	r, url := newDoor(t)
	r.patience = 50 * time.Millisecond
	ws := knock(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := ws.Read(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest without a hello: %v", err)
	}
	if len(r.inbox) != 0 {
		t.Error("the loop was told of a guest without a hello")
	}
	for path, want := range map[string]int{"healthz": http.StatusNoContent, "": http.StatusUpgradeRequired} {
		res, err := http.Get("http" + url[2:] + path)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("/%s: %s", path, res.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
