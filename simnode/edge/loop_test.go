package edge

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// script is a core that does what the test says.
type script struct {
	step     func(process.Event) []process.Effect
	observed mesh.Report
}

func (s *script) Step(ev process.Event) []process.Effect { return s.step(ev) }
func (s *script) Observe(r mesh.Report)                  { s.observed = r }

func newLoop(ctx context.Context, c core) *loop {
	k := newIntake(ctx, newLog(slog.New(slog.DiscardHandler)))
	shard := mesh.Shard{OriginUnixMilli: time.Now().UnixMilli(), TickHz: 20}
	return &loop{
		intake: k, core: c, pace: newPace(shard, 0, time.Now()), pool: newPool(memstore.New(), k.answer),
		fetch: make(chan struct{}, 1), links: map[mesh.NodeID]*link{}, dialers: map[mesh.NodeID]*dialer{},
		clients: newAudience(nil),
	}
}

func TestLoopTicksAndSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ticks []process.Event
		var began []time.Time
		origin := time.Now()
		c := &script{}
		c.step = func(ev process.Event) []process.Effect {
			ticks, began = append(ticks, ev), append(began, time.Now())
			switch ev.Tick {
			case 3:
				time.Sleep(120 * time.Millisecond) // virtual: ticks 4 and 5 are run late
			case 10:
				time.Sleep(time.Second) // too late to catch up
			case 40:
				return []process.Effect{{Kind: process.EffectStop, Reason: "enough"}}
			}
			return nil
		}
		l := newLoop(t.Context(), c)
		if err := l.run(nil, time.Minute); err != nil || l.reason != "enough" {
			t.Errorf("ended with %v, %q", err, l.reason)
		}
		for i, ev := range ticks {
			due := origin.Add(time.Duration(ev.Tick) * 50 * time.Millisecond)
			late := began[i].Sub(due)
			if ev.LateUS != uint32(late.Microseconds()) || late < 0 {
				t.Errorf("tick %d came %v late and says %d µs", ev.Tick, late, ev.LateUS)
			}
			skipped := 0
			if ev.Tick == 30 { // 1 s after tick 10
				skipped = 19
			}
			if ev.Skipped != skipped {
				t.Errorf("tick %d says %d skipped", ev.Tick, ev.Skipped)
			}
		}
		if len(ticks) != 21 || c.observed.Ticks != 20 {
			t.Errorf("%d ticks, %d observed", len(ticks), c.observed.Ticks)
		}
		// Tick 4 began 70 ms late; 19 were skipped.
		if c.observed.TicksMissed != 20 {
			t.Errorf("%d missed", c.observed.TicksMissed)
		}
	})
}

// TestLoopHearsWhileItIsLate: a core whose ticks take too long still gets
// every input, and its ticks go on.
func TestLoopHearsWhileItIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		heard, ticks := 0, 0
		l := newLoop(ctx, &script{step: func(ev process.Event) []process.Effect {
			if ev.Kind == process.EventTick {
				ticks++
				time.Sleep(80 * time.Millisecond)
			} else if heard++; heard == 2000 {
				cancel()
			}
			return nil
		}})
		go func() {
			for range 2000 {
				l.put(input{ev: process.Event{Kind: process.EventFleet}})
			}
		}()
		if err := l.run(nil, time.Minute); err != nil || heard != 2000 {
			t.Errorf("%d heard, %v", heard, err)
		}
		// And a flood does not hold the ticks up.
		ctx, cancel = context.WithCancel(t.Context())
		ticks = 0
		l = newLoop(ctx, &script{step: func(ev process.Event) []process.Effect {
			if ev.Kind != process.EventTick {
				time.Sleep(time.Millisecond)
			} else if ticks++; ticks == 20 {
				cancel()
			}
			return nil
		}})
		go func() {
			for l.put(input{ev: process.Event{Kind: process.EventFleet}}) {
			}
		}()
		began := time.Now()
		if err := l.run(nil, time.Minute); err != nil || time.Since(began) > 1100*time.Millisecond {
			t.Errorf("20 ticks took %v, %v", time.Since(began), err)
		}
	})
}

func TestEveryRequestIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const requests = poolWaiting + 3000
		answers := map[uint64]process.Verdict{}
		c := &script{}
		c.step = func(ev process.Event) []process.Effect {
			switch {
			case ev.Kind == process.EventFleet:
				var all []process.Effect
				for i := range uint64(requests) {
					all = append(all, process.Effect{Kind: process.EffectRequest, Request: &process.Request{ID: i, Op: process.OpChunkKeys}})
				}
				return all
			case ev.Kind == process.EventAnswer:
				answers[ev.Answer.ID] = ev.Answer.Verdict
				if len(answers) == requests {
					return []process.Effect{{Kind: process.EffectStop}}
				}
			}
			return nil
		}
		l := newLoop(ctx, c)
		go l.pool.run(ctx)
		l.put(input{ev: process.Event{Kind: process.EventFleet}})
		if err := l.run(nil, time.Minute); err != nil {
			t.Error(err)
		}
		unavailable := 0
		for _, v := range answers {
			if v == process.Unavailable {
				unavailable++
			}
		}
		if unavailable == 0 || unavailable > 3000 {
			t.Errorf("%d of %d were turned down", unavailable, len(answers))
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := newLoop(t.Context(), &script{step: func(ev process.Event) []process.Effect {
			if ev.Kind == process.EventDrain {
				asked++
			}
			return nil
		}})
		drain := make(chan struct{})
		close(drain)
		began := time.Now()
		err := l.run(drain, 7*time.Second)
		if err == nil || !strings.Contains(err.Error(), "7s") || asked != 1 || time.Since(began) != 7*time.Second {
			t.Errorf("asked %d times, after %v: %v", asked, time.Since(began), err)
		}
	})
}

// TestFramesAreEncodedOnce: a message for many peers is the same bytes for
// all, in order, and a steady tick's sending allocates nothing.
func TestFramesAreEncodedOnce(t *testing.T) {
	frame := &wire.Frame{Zone: 1, Epoch: 2, Tick: 3, Data: make([]byte, 10_000)}
	other := &wire.News{Version: 4}
	var effects []process.Effect
	ids := []mesh.NodeID{"b", "c", "d"}
	for _, id := range ids {
		effects = append(effects, process.Effect{Kind: process.EffectSend, Peer: id, Message: frame})
	}
	effects = append(effects, process.Effect{Kind: process.EffectSend, Peer: "c", Message: other},
		process.Effect{Kind: process.EffectSend, Peer: "nobody", Message: other})
	l := newLoop(t.Context(), nil)
	for _, id := range ids {
		conn, _ := net.Pipe()
		defer conn.Close()
		l.links[id] = newLink(conn, identity{node: id})
	}
	l.perform(effects)
	for _, id := range ids {
		want := string(wire.AppendFramed(nil, frame))
		if id == "c" {
			want += string(wire.AppendFramed(nil, other))
		}
		if got := string(l.links[id].waiting); got != want {
			t.Errorf("%s has %d bytes waiting, want %d", id, len(got), len(want))
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, k := range l.links {
			k.waiting = k.waiting[:0]
		}
		l.perform(effects)
	}); n != 0 {
		t.Errorf("sending allocates %v times", n)
	}
}

// TestOnlyTheNewestLinkCounts has links of several lives of a peer come, in
// and out of order.
func TestOnlyTheNewestLinkCounts(t *testing.T) {
	var got []process.Event
	l := newLoop(t.Context(), &script{step: func(ev process.Event) []process.Effect { got = append(got, ev); return nil }})
	of := func(inc mesh.Incarnation) *link {
		conn, _ := net.Pipe()
		return newLink(conn, identity{node: "p", incarnation: inc, role: mesh.RoleNode})
	}
	event := func(kind process.EventKind, k *link) input {
		return input{link: k, ev: process.Event{Kind: kind, Peer: "p", Incarnation: k.peer.incarnation}}
	}
	gone := func(inc mesh.Incarnation) input {
		return input{ev: process.Event{Kind: process.EventPeerDown, Peer: "p", Incarnation: inc, Gone: true}}
	}
	older, first, second, newer := of(1), of(2), of(2), of(3)
	for _, in := range []input{
		event(process.EventPeerUp, first),
		event(process.EventPeerUp, older),   // refused
		event(process.EventPeer, older),     // not heard
		event(process.EventPeerDown, older), // not told
		gone(2),                             // it is connected
		event(process.EventPeer, first),
		event(process.EventPeerUp, second), // the first broke unnoticed
		event(process.EventPeer, first),
		event(process.EventPeerDown, first),
		event(process.EventPeerUp, newer), // the process is another
		event(process.EventPeerDown, second),
		gone(2),
		event(process.EventPeerDown, newer),
		gone(3),
	} {
		l.take(in)
	}
	type told struct {
		kind process.EventKind
		inc  mesh.Incarnation
		gone bool
	}
	want := []told{
		{process.EventPeerUp, 2, false}, {process.EventPeer, 2, false},
		{process.EventPeerDown, 2, false}, {process.EventPeerUp, 2, false},
		{process.EventPeerDown, 2, true}, {process.EventPeerUp, 3, false},
		{process.EventPeerDown, 3, false}, {process.EventPeerDown, 3, true},
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing %+v", want[i])
		case i >= len(want) || want[i] != told{got[i].Kind, got[i].Incarnation, got[i].Gone}:
			t.Errorf("event %d is %+v", i, got[i])
		}
	}
}
