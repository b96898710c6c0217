package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"weft/control/mesh"
	"weft/simnode/process"
)

const (
	// maxStrangers is how many connections may be in their handshake at once.
	maxStrangers = 64
	// maxLinks bounds the connections with peers.
	maxLinks = 4096
	// acceptPause is waited when the system has no more descriptors.
	acceptPause = 100 * time.Millisecond
	// lastingLink is how long a link must stand for the next attempt to come at once.
	lastingLink = time.Second
	redialFirst = 50 * time.Millisecond
	redialMost  = time.Second
	goneEvery   = time.Second
)

// peering makes and keeps the connections with peers: it accepts those who
// dial us, and dials the owners that the loop names.
type peering struct {
	*intake
	credentials
	tasks     *sync.WaitGroup
	strangers chan struct{}
}

func newPeering(k *intake, c credentials, tasks *sync.WaitGroup) *peering {
	return &peering{intake: k, credentials: c, tasks: tasks, strangers: make(chan struct{}, maxStrangers)}
}

// accept takes connections until the listener is closed.
func (p *peering) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || p.ctx.Err() != nil {
			return
		}
		if err != nil {
			p.log.warn("cannot accept a connection", "error", err)
			pause(p.ctx, acceptPause)
			continue
		}
		select {
		case p.strangers <- struct{}{}:
		default:
			p.refused.Add(1)
			conn.Close()
			continue
		}
		p.tasks.Go(func() { p.serve(conn) })
	}
}

func (p *peering) serve(conn net.Conn) {
	stop := context.AfterFunc(p.ctx, func() { conn.Close() })
	peer, err := p.welcome(conn)
	stop()
	<-p.strangers
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		if !errors.Is(err, io.EOF) && p.ctx.Err() == nil { // who only looks whether we live says nothing
			p.refused.Add(1)
			p.log.warn("a connection was refused", "from", conn.RemoteAddr(), "error", err)
		}
		return
	}
	newLink(conn, peer).run(p.intake)
}

// dialer keeps the connection with one owner, or, where it is the other's
// part to dial, finds out whether it still lives while there is none.
type dialer struct {
	owner  mesh.Owner
	probe  bool
	linked atomic.Bool // set by the loop
	poke   chan struct{}
	cancel context.CancelFunc
	goneAt time.Time // when it was last reported
}

// dials reports whether it is self's part to dial the owner: gateways dial
// nodes, and of two nodes the one with the smaller id dials.
func (c credentials) dials(o mesh.Owner) bool {
	return c.self.role == mesh.RoleGateway || c.self.node < o.Node
}

// keep starts a dialer for o.
func (p *peering) keep(o mesh.Owner) *dialer {
	ctx, cancel := context.WithCancel(p.ctx)
	d := &dialer{owner: o, probe: !p.dials(o), poke: make(chan struct{}, 1), cancel: cancel}
	p.tasks.Go(func() {
		defer cancel()
		p.dial(ctx, d)
	})
	return d
}

// note tells d whether a link with its owner stands.
func (d *dialer) note(linked bool) {
	d.linked.Store(linked)
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

func (p *peering) dial(ctx context.Context, d *dialer) {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = redialFirst, redialMost
	if d.probe {
		pause(ctx, redialMost) // it has just been named: let it come
	}
	for ctx.Err() == nil {
		if d.probe && d.linked.Load() {
			select {
			case <-d.poke:
			case <-ctx.Done():
			}
			b.Reset()
			d.goneAt = time.Time{}
			continue
		}
		if lasted := p.attempt(ctx, d); lasted >= lastingLink {
			b.Reset()
			continue // at once
		}
		pause(ctx, b.NextBackOff())
	}
}

// attempt makes a connection and runs it to its end, and returns how long it stood.
func (p *peering) attempt(ctx context.Context, d *dialer) time.Duration {
	conn, err := dial(ctx, d.owner.Address)
	if err != nil {
		if refused(err) {
			p.gone(d)
		}
		return 0
	}
	defer conn.Close()
	if d.probe {
		return 0
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	peer, err := p.greet(conn)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			p.log.warn("no connection with a node", "node", d.owner.Node, "address", d.owner.Address, "error", err)
		}
		return 0
	case peer.node != d.owner.Node: // another process has its address
		p.gone(d)
		return 0
	case peer.incarnation < d.owner.Incarnation: // its last life is not over yet
		return 0
	case peer.incarnation > d.owner.Incarnation:
		p.gone(d)
	}
	d.goneAt = time.Time{}
	began := time.Now()
	newLink(conn, peer).run(p.intake)
	return time.Since(began)
}

// gone tells the loop that d's owner does not live any more, at most once in goneEvery.
func (p *peering) gone(d *dialer) {
	if time.Since(d.goneAt) < goneEvery {
		return
	}
	d.goneAt = time.Now()
	p.put(input{ev: process.Event{Kind: process.EventPeerDown, Peer: d.owner.Node, Incarnation: d.owner.Incarnation, Gone: true}})
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
