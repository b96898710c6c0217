package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/ticket"
	"weft/simnode/wire"
)

// narrow is an outlet that takes as many bytes as the test lets it.
type narrow struct {
	taken     []byte
	free      int
	wanted    bool
	shutAfter int // bytes; -1 is not
	gone      atomic.Bool
}

func (n *narrow) write(b []byte) int {
	k := min(n.free, len(b))
	n.free -= k
	n.taken = append(n.taken, b[:k]...)
	return k
}

func (n *narrow) room(wanted bool) { n.wanted = wanted }
func (n *narrow) shut()            { n.shutAfter = len(n.taken) }
func (n *narrow) cut()             { n.gone.Store(true) }

func newNarrow(free int) (*narrow, *client) {
	n := &narrow{free: free, shutAfter: -1}
	return n, &client{id: 1, outlet: n}
}

// messages returns the payloads of whole frames of a server.
func messages(t *testing.T, b []byte) (all [][]byte) {
	t.Helper()
	for len(b) > 0 {
		h, err := ws.ReadHeader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		at := ws.HeaderSize(h)
		all, b = append(all, b[at:at+int(h.Length)]), b[at+int(h.Length):]
	}
	return all
}

func view(tick mesh.Tick) []byte { return wire.AppendServer(nil, &wire.View{Tick: tick}) }

func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // for the time until it is cut off
		n, c := newNarrow(len(view(0)) + 4)
		a := newAudience(nil)
		a.admits(input{client: c, ev: process.Event{Kind: process.EventClientUp, Client: 1}})
		now := time.Now()
		send := func(tick mesh.Tick) process.EventKind {
			ev, ok := a.send(&process.Effect{Kind: process.EffectClient, Client: 1, Data: view(tick)[:2], Shared: view(tick)[2:], Droppable: true}, now)
			if !ok {
				return 0
			}
			return ev.Kind
		}
		// One and a piece of another are taken, two wait, and the next is dropped.
		for tick, want := range []process.EventKind{0, 0, 0, 0, process.EventClientSlow, process.EventClientSlow} {
			if got := send(mesh.Tick(tick)); got != want {
				t.Errorf("view %d: event %d, want %d", tick, got, want)
			}
		}
		// An acknowledgement is not, and comes in order.
		a.send(&process.Effect{Client: 1, ServerMessage: &wire.EventAck{Event: 9}}, now)
		if !n.wanted {
			t.Error("nobody waits for room")
		}
		n.free = 1000
		c.flush()
		got := messages(t, n.taken)
		want := [][]byte{view(0), view(1), view(2), view(3), wire.AppendServer(nil, &wire.EventAck{Event: 9})}
		if !slices.EqualFunc(got, want, bytes.Equal) || n.wanted {
			t.Errorf("taken % x, want % x", got, want)
		}
		// It has caught up: patience begins anew.
		now = now.Add(time.Hour)
		n.free, n.taken = 3, nil
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
		n.free = 1000
		c.flush() // the rest of what it has a piece of; the views that waited are left out
		got = messages(t, n.taken)
		if len(got) != 3 || !bytes.Equal(got[0], view(0)) {
			t.Fatalf("taken at last % x", got)
		}
		m, err := wire.DecodeServer(got[1])
		if bye, ok := m.(*wire.Bye); err != nil || !ok || bye.Reason != wire.ByeSlow || !bye.Resume {
			t.Errorf("the last word is %+v, %v", m, err)
		}
		if n.shutAfter != len(n.taken) || n.gone.Load() {
			t.Error("it was not ended in good order")
		}
		<-time.After(lingerTimeout)
		synctest.Wait()
		if !n.gone.Load() {
			t.Error("it is waited for without end")
		}
	})
}

func TestClientQueueIsBounded(t *testing.T) {
	a := newAudience(nil)
	_, c := newNarrow(0)
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
	if _, ok := a.send(e, time.Now()); ok || len(c.queue) > maxClientQueue+2 {
		t.Errorf("%d wait", len(c.queue))
	}
	c.linger.Stop()
}

// masked returns frames of a client.
func masked(f ...ws.Frame) []byte {
	var b bytes.Buffer
	for i := range f {
		if err := ws.WriteFrame(&b, ws.MaskFrameWith(f[i], [4]byte{1, 2, 3, byte(i)})); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// Whatever the pieces in which bytes come, the messages are the same.
func TestFramesInPieces(t *testing.T) {
	long := bytes.Repeat([]byte{7}, wire.MaxClientBytes)
	all := masked(ws.NewBinaryFrame([]byte("one")), ws.NewPingFrame([]byte("are you there")),
		ws.NewFrame(ws.OpBinary, false, []byte("t")), ws.NewPongFrame(nil), ws.NewFrame(ws.OpContinuation, false, nil),
		ws.NewFrame(ws.OpContinuation, true, []byte("wo")), ws.NewBinaryFrame(nil), ws.NewBinaryFrame(long),
		ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
	want := "2 one,9 are you there,10 ,2 two,2 ,2 " + string(long) + ",8 \x03\xe8,"
	rapid.Check(t, func(rt *rapid.T) {
		var in inbound
		got := ""
		for b := bytes.Clone(all); len(b) > 0; {
			n := rapid.IntRange(1, len(b)).Draw(rt, "bytes")
			if err := in.take(b[:n], func(op byte, payload []byte) error {
				got += fmt.Sprintf("%d %s,", op, payload)
				return nil
			}); err != nil {
				rt.Fatal(err)
			}
			b = b[n:]
		}
		if got != want || in.kept != nil || in.message != nil {
			rt.Fatalf("%q, want %q; kept % x", got, want, in.kept)
		}
	})
}

func TestFramesThatAreNone(t *testing.T) {
	reserved := masked(ws.NewBinaryFrame([]byte("x")))
	reserved[0] |= 0x40
	unmasked, err := ws.CompileFrame(ws.NewBinaryFrame([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	part := ws.NewFrame(ws.OpBinary, false, make([]byte, wire.MaxClientBytes))
	for name, b := range map[string][]byte{
		"text": masked(ws.NewTextFrame([]byte("x"))), "reserved bits": reserved, "unmasked": unmasked,
		"too long":       masked(ws.NewBinaryFrame(make([]byte, wire.MaxClientBytes+1))),
		"far too long":   masked(ws.NewBinaryFrame(make([]byte, 1<<17)))[:10],
		"long in parts":  masked(part, ws.NewFrame(ws.OpContinuation, true, []byte("x"))),
		"no beginning":   masked(ws.NewFrame(ws.OpContinuation, true, nil)),
		"two beginnings": masked(part, part), "a ping in parts": masked(ws.NewFrame(ws.OpPing, false, nil)),
		"an unknown kind": masked(ws.NewFrame(5, true, nil)),
	} {
		var in inbound
		if err := in.take(b, func(byte, []byte) error { return nil }); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(masked(ws.NewBinaryFrame([]byte("one")), ws.NewFrame(ws.OpBinary, false, []byte("t"))), 3)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		at = min(max(at, 0), len(b))
		var whole, parts inbound
		var x, y []byte
		err := whole.take(bytes.Clone(b), func(op byte, p []byte) error { x = append(append(x, op), p...); return nil })
		other := parts.take(bytes.Clone(b[:at]), func(op byte, p []byte) error { y = append(append(y, op), p...); return nil })
		if other == nil {
			other = parts.take(bytes.Clone(b[at:]), func(op byte, p []byte) error { y = append(append(y, op), p...); return nil })
		}
		if (err == nil) != (other == nil) || !bytes.Equal(x, y) || len(whole.kept)+len(whole.message) > 2*wire.MaxClientBytes+maxFrameHead+4 {
			t.Fatalf("whole %x, %v; in two %x, %v", x, err, y, other)
		}
	})
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
	r, err = newReception(newIntake(ctx, newLog(slog.New(slog.DiscardHandler))), booth, mesh.Process{ID: "g1", ClientURL: "wss://play.example/"})
	if err != nil {
		t.Fatal(err)
	}
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

// TestSettled: a crowd that came is told of once, when nobody has come or gone for a while.
func TestSettled(t *testing.T) {
	a, now := newAudience(nil), time.Now()
	told := 0
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(50 * time.Millisecond) {
			if a.settled(now) {
				told++
			}
		}
	}
	join := func(n int) {
		for range n {
			id := process.ClientID(len(a.clients) + 1)
			a.admits(input{client: &client{id: id}, ev: process.Event{Kind: process.EventClientUp, Client: id}})
		}
	}
	join(crowd - 1)
	if pass(2 * settleTime); told != 0 {
		t.Error("told of a few")
	}
	join(1)
	if pass(settleTime - time.Second); told != 0 {
		t.Error("told too soon")
	}
	join(1)
	if pass(3 * settleTime); told != 1 {
		t.Errorf("told %d times of one crowd", told)
	}
}
