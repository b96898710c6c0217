package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func enter(handle uint32, n mesh.PlayerID, x int32) wire.Enter {
	return wire.Enter{Handle: handle, ID: mesh.PlayerEntity(n), Health: 100, Pos: mesh.Meters(x, 0, 0)}
}

func ids(c *Client) []mesh.EntityID {
	var out []mesh.EntityID
	c.Each(func(e *Entity) bool { out = append(out, e.ID); return true })
	slices.Sort(out)
	return out
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := newNetwork("g1"), &diary{}
		var gw *far
		c, err := dial(t, n.options(d, "g1"), func() {
			var h *wire.Hello
			gw, h = n.accept(t, "g1", wire.Welcome{Session: 9, LastEvent: 4, Resume: "r"})
			if *h != (wire.Hello{Player: 7, Ticket: "join"}) {
				t.Errorf("hello %+v", *h)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		gw.send(t, &wire.View{Tick: 100, Self: wire.Self{Zone: 1, Pos: mesh.Meters(1, 2, 3)}, Enters: []wire.Enter{enter(0, 8, 10), enter(5, 9, 4000)}})
		gw.send(t, &wire.View{Tick: 101, Moves: []wire.Move{wire.Quantise(mesh.Pose{Pos: mesh.Meters(4100, 0, 0), Health: 3}, 5, true)}, Leaves: []uint32{0}})
		synctest.Wait()
		if got := ids(c); !slices.Equal(got, []mesh.EntityID{mesh.PlayerEntity(9)}) {
			t.Errorf("in sight: %v", got)
		}
		c.Each(func(e *Entity) bool {
			if e.Pos != mesh.Meters(4100, 0, 0) || e.Health != 3 || e.Tick != 101 {
				t.Errorf("moved to %+v", *e)
			}
			return true
		})
		if self, tick := c.Self(); tick != 101 || self != (wire.Self{}) {
			t.Errorf("self %+v at %d", self, tick)
		}
		if len(d.entered) != 2 || len(d.left) != 1 || d.left[0] != mesh.PlayerEntity(8) || d.views != 2 {
			t.Errorf("diary %+v", d)
		}

		c.Steer(10, -10, 77)
		if s := gw.next(t).(*wire.Steer); s.Command != (mesh.Command{Sequence: 1, MoveX: 10, MoveY: -10, Yaw: 77}) {
			t.Errorf("steer %+v", s)
		}
		number, err := c.Do(mesh.Event{Action: mesh.ActDrop})
		if err != nil || number != 5 || gw.next(t).(*wire.Do).Event.Number != 5 {
			t.Errorf("event %d, %v", number, err)
		}
		for range 2 { // an Ack may come twice and is told once
			gw.send(t, &wire.EventAck{Event: 5, Outcome: mesh.OutcomeOK})
		}
		synctest.Wait()
		if len(d.acks) != 1 || c.Unacked() != 0 {
			t.Errorf("acks %v, %d open", d.acks, c.Unacked())
		}
		for range mesh.EventWindow {
			if _, err := c.Do(mesh.Event{Action: mesh.ActDrop}); err != nil {
				t.Error(err)
			}
		}
		if _, err := c.Do(mesh.Event{Action: mesh.ActDrop}); !errors.Is(err, ErrWindow) {
			t.Errorf("beyond the window: %v", err)
		}
		c.Abort()
		if _, err := c.Do(mesh.Event{}); !errors.Is(err, ErrClosed) || !errors.Is(c.Err(), ErrClosed) {
			t.Errorf("after the end: %v, %v", err, c.Err())
		}
	})
}

// TestResume: the gateway dies; the session goes on at the next one.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := newNetwork("g1", "g2"), &diary{}
		n.gateways["hung"] = nil
		var gw *far
		var stalled time.Duration
		o := n.options(d, "g1")
		o.Resumed = func(s time.Duration) { stalled = s }
		c, err := dial(t, o, func() {
			gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9, Resume: "r9", Gateways: []string{"gone", "hung", "g2", "g1"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		gw.send(t, &wire.View{Tick: 100, Enters: []wire.Enter{enter(0, 8, 1), enter(1, 9, 2)}})
		c.Steer(1, 2, 3)
		for range 3 {
			if _, err := c.Do(mesh.Event{Action: mesh.ActDrop}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		gw.send(t, &wire.EventAck{Event: 1, Outcome: mesh.OutcomeOK})
		synctest.Wait()
		gw.Close()
		gw, h := n.accept(t, "g2", wire.Welcome{Session: 10, LastEvent: 2, Resume: "r10", Gateways: []string{"g1", "g2"}})
		if *h != (wire.Hello{Player: 7, Session: 9, Ticket: "r9", LastEvent: 1}) {
			t.Errorf("hello %+v", *h)
		}
		synctest.Wait()
		if stalled > 2*time.Second || stalled < 500*time.Millisecond {
			t.Errorf("stalled for %v; a gateway that hangs costs its connect timeout", stalled)
		}
		var events []uint32
		steered := false
		for range 3 {
			switch m := gw.next(t).(type) {
			case *wire.Do:
				events = append(events, m.Event.Number)
			case *wire.Steer:
				steered = m.Command.MoveX == 1
			}
		}
		if !slices.Equal(events, []uint32{2, 3}) || !steered {
			t.Errorf("repeated events %v, the command: %v", events, steered)
		}

		// What was in sight stays until the new gateway has had time to show it.
		if len(ids(c)) != 2 {
			t.Errorf("in sight after the welcome: %v", ids(c))
		}
		gw.send(t, &wire.View{Tick: 110, Enters: []wire.Enter{enter(70, 9, 3)}})
		gw.send(t, &wire.View{Tick: 130})
		synctest.Wait()
		if got := ids(c); !slices.Equal(got, []mesh.EntityID{mesh.PlayerEntity(9)}) {
			t.Errorf("in sight: %v", got)
		}
		if len(d.entered) != 2 || !slices.Equal(d.left, []mesh.EntityID{mesh.PlayerEntity(8)}) {
			t.Errorf("entered %v, left %v", d.entered, d.left)
		}

		// A drain sends the client on at once.
		gw.send(t, &wire.Bye{Reason: wire.ByeDraining, Resume: true})
		gw, h = n.accept(t, "g1", wire.Welcome{Session: 11})
		if h.Session != 10 || h.Ticket != "r10" {
			t.Errorf("hello %+v", *h)
		}
		c.Abort()
	})
}

func TestFinalBye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1")
		var gw *far
		c, err := dial(t, n.options(nil, "g1"), func() { gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9}) })
		if err != nil {
			t.Fatal(err)
		}
		gw.send(t, &wire.Bye{Reason: wire.ByeReplaced, Text: "elsewhere"})
		<-c.Done()
		bye := (*ByeError)(nil)
		if err := c.Close(); !errors.As(err, &bye) || bye.Reason != wire.ByeReplaced ||
			err.Error() != "the gateway ended the session: the player connected elsewhere (elsewhere)" {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestDialFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(t *testing.T, n *network, o *Options)
		want error
		text string
	}{
		{"no gateway", func(t *testing.T, n *network, o *Options) { o.Gateways = []string{"gone", "gone too"} }, ErrUnreachable, ""},
		{"refused for good", func(t *testing.T, n *network, o *Options) {
			f := <-n.gateways["g1"]
			f.send(t, &wire.Bye{Reason: wire.ByeTicket, Text: "expired"})
		}, nil, "the gateway ended the session: the ticket is not good (expired)"},
		{"no ticket", func(t *testing.T, n *network, o *Options) {
			o.Ticket = func(context.Context) (string, error) { return "", errors.New("no account") }
		}, errTicket, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork("g1")
				o := n.options(nil, "g1")
				if tt.want != nil {
					tt.play(t, n, &o)
				}
				_, err := dial(t, o, func() {
					if tt.want == nil {
						tt.play(t, n, &o)
					}
				})
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) || tt.text != "" && err.Error() != tt.text {
					t.Errorf("dial ended with %v", err)
				}
				if tt.want == ErrUnreachable && len(n.dialed) > 400 {
					t.Errorf("%d attempts in a minute", len(n.dialed))
				}
			})
		})
	}
}

func TestDialCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1") // accepts and never welcomes
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Dial(ctx, n.options(nil, "g1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial ended with %v", err)
		}
	})
}

// TestSilentGateway: a gateway that stands still is left.
func TestSilentGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1", "g2")
		var stalled time.Duration
		o := n.options(nil, "g1", "g2")
		o.Resumed = func(s time.Duration) { stalled = s }
		c, err := dial(t, o, func() { n.accept(t, "g1", wire.Welcome{Session: 9, Resume: "r"}) })
		if err != nil {
			t.Fatal(err)
		}
		n.accept(t, "g2", wire.Welcome{Session: 10, Resume: "r"})
		synctest.Wait()
		if stalled != 8*time.Second {
			t.Errorf("stalled for %v", stalled)
		}
		c.Abort()
	})
}

// TestOldTicket: a ticket for resuming that is refused is replaced by a fresh one.
func TestOldTicket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1")
		var gw *far
		c, err := dial(t, n.options(nil, "g1"), func() { gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9, Resume: "old"}) })
		if err != nil {
			t.Fatal(err)
		}
		gw.Close()
		gw = <-n.gateways["g1"]
		if h := gw.hello(t); h.Ticket != "old" {
			t.Errorf("hello %+v", h)
		}
		gw.send(t, &wire.Bye{Reason: wire.ByeTicket})
		if _, h := n.accept(t, "g1", wire.Welcome{Session: 10}); h.Ticket != "join" || h.Session != 9 {
			t.Errorf("hello %+v", h)
		}
		synctest.Wait()
		c.Abort()
	})
}

func TestClose(t *testing.T) {
	for _, hangsUp := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork("g1")
			var gw *far
			c, err := dial(t, n.options(nil, "g1"), func() { gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9}) })
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			closed := make(chan error)
			go func() { closed <- c.Close() }()
			if _, ok := gw.next(t).(*wire.Goodbye); !ok {
				t.Error("no goodbye")
			}
			if hangsUp {
				gw.Close()
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if took := time.Since(began); hangsUp && took != 0 || took > time.Second {
				t.Errorf("closing took %v", took)
			}
		})
	}
}

// TestNonsense: what cannot be read ends the client with a plain error.
func TestNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1")
		var gw *far
		c, err := dial(t, n.options(nil, "g1"), func() { gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9}) })
		if err != nil {
			t.Fatal(err)
		}
		if err := gw.Write(t.Context(), []byte{255, 1, 2}); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if !errors.Is(c.Err(), wire.ErrMalformed) {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

// views returns a view that enters n entities and one that moves them all.
func views(n int) (enters, moves []byte) {
	var a, b wire.View
	for i := range n {
		a.Enters = append(a.Enters, enter(uint32(i), mesh.PlayerID(i+1), int32(i)))
		b.Moves = append(b.Moves, wire.Quantise(mesh.Pose{Pos: mesh.Meters(int32(i), 1, 0)}, uint32(i), false))
	}
	return wire.AppendServer(nil, &a), wire.AppendServer(nil, &b)
}

func TestViewsAllocateNothing(t *testing.T) {
	c := &Client{replica: newReplica(), opts: Options{Handler: &diary{}}}
	enters, moves := views(200)
	if err := c.takeView(enters); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := c.takeView(moves); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%.1f allocations a view", n)
	}
}

func BenchmarkView(b *testing.B) {
	c := &Client{replica: newReplica()}
	enters, moves := views(150)
	if err := c.takeView(enters); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(moves)))
	for b.Loop() {
		if err := c.takeView(moves); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRepeats: an event without an Ack is sent again each second.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork("g1")
		var gw *far
		c, err := dial(t, n.options(nil, "g1"), func() { gw, _ = n.accept(t, "g1", wire.Welcome{Session: 9}) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(mesh.Event{Action: mesh.ActDrop}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i := range 3 {
			if d, ok := gw.next(t).(*wire.Do); !ok || d.Event.Number != 1 || time.Since(began) != time.Duration(i)*repeatEvery {
				t.Errorf("repeat %d after %v: %+v", i, time.Since(began), d)
			}
		}
		gw.send(t, &wire.EventAck{Event: 1})
		synctest.Wait()
		c.Abort()
	})
}
