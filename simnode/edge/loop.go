package edge

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// core is the pure part of a process, a node's or a gateway's.
type core interface {
	Step(process.Event) []process.Effect
	Observe(mesh.Report)
}

// input is one thing that came in: an event, and the connection it came by.
type input struct {
	ev     process.Event
	link   *link   // of events of peers, unless an attempt to reach one failed
	client *client // of events of clients
}

// maxInbox bounds the inputs that wait; whoever brings more waits too.
const maxInbox = 4096

// loop owns the core: one goroutine takes inputs and ticks one at a time and
// carries out what the core wants done.
type loop struct {
	*intake
	core    core
	self    mesh.Process
	pace    *pace
	pool    *pool
	peering *peering
	clients *audience // nil in a node
	fetch   chan<- struct{}
	meter   func(*mesh.Counters)

	links   map[mesh.NodeID]*link
	dialers map[mesh.NodeID]*dialer
	dirty   []*link
	framed  []byte           // the last message sent, encoded
	sent    wire.PeerMessage // in framed
	backlog []process.Event  // that effects gave rise to
	now     time.Time

	stopped bool
	reason  string
}

// run works until the core stops, ctx ends or a drain takes longer than
// drainTimeout; only the last is an error.
func (l *loop) run(drain <-chan struct{}, drainTimeout time.Duration) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var overdue <-chan time.Time
	for !l.stopped {
		l.now = time.Now()
		if l.pace.wait(l.now) <= 0 {
			l.tick()
			l.catchUp()
			timer.Reset(max(l.pace.wait(time.Now()), 0))
			continue
		}
		select {
		case in := <-l.inbox:
			l.now = time.Now()
			l.take(in)
			l.pace.busy += time.Since(l.now)
		case <-timer.C:
			timer.Reset(max(l.pace.wait(time.Now()), 0))
		case <-drain:
			drain = nil
			l.log.info("asked to leave")
			t := time.NewTimer(drainTimeout)
			defer t.Stop()
			overdue = t.C
			l.step(process.Event{Kind: process.EventDrain})
		case <-overdue:
			return fmt.Errorf("could not be emptied in %v; the process stops as it is", drainTimeout)
		case <-l.ctx.Done():
			return nil
		}
	}
	return nil
}

// tick runs the tick that is due.
func (l *loop) tick() {
	began := l.now
	tick, skipped, late := l.pace.begin(began)
	var r mesh.Report
	l.pace.report(&r)
	r.Counters.BytesToPeers, r.Counters.BytesToClients = l.toPeers.Load(), l.toClients.Load()
	r.Counters.RefusedInputs = l.refused.Load()
	if l.meter != nil {
		l.meter(&r.Counters)
	}
	l.core.Observe(r)
	l.step(process.Event{Kind: process.EventTick, Tick: tick, Skipped: skipped, LateUS: us(late)})
	if l.clients != nil && l.clients.settled(began) {
		go debug.FreeOSMemory()
	}
	now := time.Now()
	l.pace.busy += now.Sub(began)
	l.pace.end(now)
}

// catchUp takes the inputs that came during a tick even if the next one is
// due already, so that a process that is behind still hears; for half an
// interval at most.
func (l *loop) catchUp() {
	began := time.Now()
	l.now = began
	for n := len(l.inbox); n > 0 && !l.stopped && l.now.Sub(began) < l.pace.interval/2; n-- {
		l.take(<-l.inbox)
		l.now = time.Now()
	}
	l.pace.busy += l.now.Sub(began)
}

// take hands an input to the core unless its connection is no longer the one
// that counts.
func (l *loop) take(in input) {
	switch in.ev.Kind {
	case process.EventPeerUp:
		if !l.linkUp(in.link) {
			return
		}
	case process.EventPeerDown:
		if !l.linkDown(in) {
			return
		}
	case process.EventPeer:
		if l.links[in.ev.Peer] != in.link {
			return
		}
	case process.EventClientUp, process.EventClient, process.EventClientDown:
		if !l.clients.admits(in) {
			return
		}
	}
	l.step(in.ev)
	if in.ev.Kind == process.EventLayout {
		l.dialOwners(in.ev.Layout)
	}
}

// linkUp makes k the link with its peer unless a later life is connected. An
// older link is broken, whether it knows or not.
func (l *loop) linkUp(k *link) bool {
	id := k.peer.node
	old := l.links[id]
	if old != nil && old.peer.incarnation > k.peer.incarnation || old == nil && len(l.links) >= maxLinks {
		k.close()
		return false
	}
	l.links[id] = k
	if old != nil {
		old.close()
		inc := old.peer.incarnation
		l.step(process.Event{Kind: process.EventPeerDown, Peer: id, Incarnation: inc, Gone: inc < k.peer.incarnation})
	}
	if d := l.dialers[id]; d != nil {
		d.note(true)
	}
	return true
}

// linkDown reports whether a peer is down by in: the link that counts broke,
// or an attempt to make one was refused.
func (l *loop) linkDown(in input) bool {
	id := in.ev.Peer
	current := l.links[id]
	if in.link == nil {
		return current == nil || current.peer.incarnation < in.ev.Incarnation
	}
	if current != in.link {
		return false
	}
	delete(l.links, id)
	if d := l.dialers[id]; d != nil {
		d.note(false)
	}
	return true
}

// dialOwners keeps a dialer for each process that owns a zone, and ends those
// of the others.
func (l *loop) dialOwners(layout *mesh.Layout) {
	owners := map[mesh.NodeID]mesh.Owner{}
	for _, z := range layout.Zones {
		if o := z.Owner; !o.IsZero() && o.Node != l.self.ID && o.Incarnation >= owners[o.Node].Incarnation {
			owners[o.Node] = o
		}
	}
	for id, d := range l.dialers {
		if owners[id] != d.owner {
			d.cancel()
			delete(l.dialers, id)
		}
	}
	for id, o := range owners {
		if l.dialers[id] == nil {
			d := l.peering.keep(o)
			d.linked.Store(l.links[id] != nil)
			l.dialers[id] = d
		}
	}
}

// step feeds the core and carries out what it wants, and what follows from that.
func (l *loop) step(ev process.Event) {
	l.perform(l.core.Step(ev))
	for len(l.backlog) > 0 && !l.stopped {
		ev := l.backlog[0]
		l.backlog = append(l.backlog[:0], l.backlog[1:]...)
		l.perform(l.core.Step(ev))
	}
}

func (l *loop) perform(effects []process.Effect) {
	for i := range effects {
		e := &effects[i]
		switch e.Kind {
		case process.EffectSend:
			l.send(e.Peer, e.Message)
		case process.EffectRequest:
			if !l.pool.submit(e.Request) {
				l.backlog = append(l.backlog, process.Event{Kind: process.EventAnswer, Answer: &process.Answer{
					ID: e.Request.ID, Op: e.Request.Op, Zone: e.Request.Zone,
					Verdict: process.Unavailable, Err: "too many requests wait for the store",
				}})
			}
		case process.EffectFetchLayout:
			select {
			case l.fetch <- struct{}{}:
			default: // it is being fetched
			}
		case process.EffectStop:
			l.stopped, l.reason = true, e.Reason
		case process.EffectLog:
			l.log.info(e.Reason)
		case process.EffectClient:
			if ev, ok := l.clients.send(e, l.now); ok {
				l.backlog = append(l.backlog, ev)
			}
		case process.EffectClientClose:
			l.clients.close(e)
		}
	}
	l.sent = nil
	for _, k := range l.dirty {
		k.flush()
	}
	l.dirty = l.dirty[:0]
}

// send queues m for the peer. A message for several peers is encoded once.
func (l *loop) send(to mesh.NodeID, m wire.PeerMessage) {
	k := l.links[to]
	if k == nil {
		return
	}
	if l.sent != m {
		l.framed, l.sent = wire.AppendFramed(l.framed[:0], m), m
	}
	if len(l.framed) > wire.MaxPeerBytes+wire.LengthBytes {
		l.log.warn("a message is too large to be sent", "peer", to, "kind", fmt.Sprintf("%T", m), "bytes", len(l.framed))
		return
	}
	if !k.send(l.framed) {
		return
	}
	for _, d := range l.dirty {
		if d == k {
			return
		}
	}
	l.dirty = append(l.dirty, k)
}

// answer feeds the outcome of a request back.
func (k *intake) answer(a process.Answer) {
	k.put(input{ev: process.Event{Kind: process.EventAnswer, Answer: &a}})
}

// newIntake returns an intake that ends with ctx.
func newIntake(ctx context.Context, log *throttledLog) *intake {
	return &intake{ctx: ctx, inbox: make(chan input, maxInbox), log: log}
}
