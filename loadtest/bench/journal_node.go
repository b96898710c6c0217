package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/natsstore"
	"weft/simnode/edge"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// clerk drives the core of a node as its edge does: one goroutine takes inputs
// and ticks and carries effects out, and store calls run side by side.
type clerk struct {
	core     *node.Node
	store    store.Store
	shard    mesh.Shard
	inbox    chan process.Event
	requests chan *process.Request
	framed   []byte
	players  []actor
	count    journalCount
	waits    []float64 // seconds from receipt to acknowledgement
	measure  bool
	logged   int
	appends  int
}

// actor is a player whose events are sent.
type actor struct {
	last, sent uint32
	hop        uint32    // of its bottle
	at         time.Time // of the event that is open
}

const gatewayName = mesh.NodeID("gateway")

func journalNode(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	var order journalOrder
	if err := json.NewDecoder(in).Decode(&order); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := natsstore.Open(ctx, order.URL)
	if err != nil {
		return err
	}
	defer s.Close()
	layout, err := s.Layout(ctx)
	if err != nil {
		return err
	}
	c := &clerk{
		store: s, shard: layout.Shard, inbox: make(chan process.Event, 4096), requests: make(chan *process.Request, 4096),
		players: make([]actor, order.Players),
	}
	cfg := node.DefaultConfig()
	cfg.World = world.Config{TickHz: layout.Shard.TickHz, Bounds: layout.Shard.Bounds, Spawn: layout.Shard.Spawn}
	c.core = node.New(cfg, mesh.Process{ID: "journal", Incarnation: layout.Zones[0].Owner.Incarnation, Role: mesh.RoleNode}, world.Tavern{})
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	for range 32 {
		workers.Go(func() { c.work(ctx) })
	}
	if err := c.run(ctx, &layout, order, func() error { return json.NewEncoder(out).Encode("ready") }); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(c.count)
}

func (c *clerk) work(ctx context.Context) {
	for {
		select {
		case r := <-c.requests:
			a := edge.Perform(ctx, c.store, *r)
			select {
			case c.inbox <- process.Event{Kind: process.EventAnswer, Answer: &a}:
			case <-ctx.Done():
			}
		case <-ctx.Done():
			return
		}
	}
}

// run logs everyone in, sends events for as long as is ordered, and waits for
// the answers that are still out.
func (c *clerk) run(ctx context.Context, layout *mesh.Layout, order journalOrder, ready func() error) error {
	began := time.Now()
	tick := c.shard.TickAt(began)
	c.step(process.Event{Kind: process.EventTick, Tick: tick})
	c.step(process.Event{Kind: process.EventLayout, Layout: layout})
	c.step(process.Event{Kind: process.EventPeerUp, Peer: gatewayName, Incarnation: 1, Role: mesh.RoleGateway})
	session := uint64(began.UnixNano())
	var warmed, from, to time.Time
	sent, next := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if now.Sub(began) > 30*time.Second {
			return fmt.Errorf("%d of %d players logged in, events sent %d: it does not come to an end", c.logged, len(c.players), sent)
		}
		if due := c.shard.TickAt(now); due > tick {
			tick = due
			c.step(process.Event{Kind: process.EventTick, Tick: tick})
			if c.logged < len(c.players) && tick%5 == 0 {
				for i := range c.players {
					c.receive(&wire.Login{Player: mesh.PlayerID(i + 1), Session: session})
				}
			}
		}
		switch {
		case c.logged < len(c.players):
		case warmed.IsZero():
			warmed = now
		case from.IsZero() && now.Sub(warmed) >= order.Warm:
			from, c.measure, c.appends = now, true, 0
			if err := ready(); err != nil {
				return err
			}
		case to.IsZero() && !from.IsZero() && now.Sub(from) >= order.Measure:
			to, c.measure = now, false
			c.count.Seconds, c.count.Appends = to.Sub(from).Seconds(), c.appends
		}
		if !to.IsZero() && c.open() == 0 {
			return c.finish()
		}
		if !warmed.IsZero() && to.IsZero() {
			due := len(c.players)
			if order.Rate > 0 {
				due = int(now.Sub(warmed).Seconds()*float64(order.Rate)) - sent
			}
			for range due {
				i := next
				next = (next + 1) % len(c.players)
				if p := &c.players[i]; p.sent > p.last {
					if order.Rate > 0 {
						sent++
						c.count.HeldBack++
					}
					continue
				}
				sent++
				c.act(i, session, now)
			}
		}
		timer.Reset(time.Millisecond)
		select {
		case ev := <-c.inbox:
			c.step(ev)
			for n := len(c.inbox); n > 0; n-- {
				c.step(<-c.inbox)
			}
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open counts the events without an answer.
func (c *clerk) open() (n int) {
	for i := range c.players {
		if c.players[i].sent > c.players[i].last {
			n++
		}
	}
	return n
}

func (c *clerk) finish() error {
	if len(c.waits) == 0 {
		return errors.New("no event was acknowledged")
	}
	slices.Sort(c.waits)
	at := func(q float64) time.Duration { return time.Duration(Quantile(c.waits, q) * float64(time.Second)) }
	c.count.P50, c.count.P99, c.count.Acked = at(0.50), at(0.99), len(c.waits)
	c.count.LastEvents = map[mesh.PlayerID]uint32{}
	for i, p := range c.players {
		c.count.LastEvents[mesh.PlayerID(i+1)] = p.last
	}
	return nil
}

// act sends the player's next event: the bottle down, the bottle up.
func (c *clerk) act(i int, session uint64, now time.Time) {
	p, id := &c.players[i], mesh.PlayerID(i+1)
	p.sent++
	p.at = now
	ev := mesh.Event{Number: p.sent, Action: mesh.ActDrop}
	if p.sent%2 == 0 {
		ev = mesh.Event{Number: p.sent, Action: mesh.ActPickUp, Target: bottleOf(id), Hop: p.hop}
	}
	c.receive(&wire.Act{Player: id, Session: session, Gateway: gatewayName, Event: ev})
}

// receive hands the core a message as it comes off a link: decoded.
func (c *clerk) receive(m wire.PeerMessage) {
	c.framed = wire.AppendPeer(c.framed[:0], m)
	decoded, err := wire.DecodePeer(c.framed)
	if err != nil {
		panic(err) // of our own encoding
	}
	c.step(process.Event{Kind: process.EventPeer, Peer: gatewayName, Message: decoded})
}

func (c *clerk) step(ev process.Event) {
	for _, e := range c.core.Step(ev) {
		switch e.Kind {
		case process.EffectRequest:
			if e.Request.Op == process.OpAppend {
				c.appends++
			}
			c.requests <- e.Request
		case process.EffectSend:
			c.framed = wire.AppendFramed(c.framed[:0], e.Message)
			switch m := e.Message.(type) {
			case *wire.LoggedIn:
				p := &c.players[m.Player-1]
				if p.at.IsZero() {
					c.logged++
					p.at, p.last, p.sent, p.hop = time.Now(), m.LastEvent, m.LastEvent, m.LastEvent // each event raised it by one
				}
			case *wire.Ack:
				p := &c.players[m.Player-1]
				if m.Event == p.sent && p.sent > p.last && m.Outcome == mesh.OutcomeOK {
					p.last, p.hop = m.Event, m.Hop
					if c.measure {
						c.waits = append(c.waits, time.Since(p.at).Seconds())
					}
				}
			}
		}
	}
}
