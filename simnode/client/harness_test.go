package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is one end of a connection in memory.
type pipe struct {
	in, out chan []byte
	broken  chan struct{} // shared by both ends
	once    *sync.Once
}

func newPipe() (a, b *pipe) {
	up, down, broken, once := make(chan []byte, 64), make(chan []byte, 64), make(chan struct{}), new(sync.Once)
	return &pipe{up, down, broken, once}, &pipe{down, up, broken, once}
}

var errBroken = errors.New("the pipe is broken")

func (p *pipe) Read(ctx context.Context) ([]byte, error) {
	select { // what was sent before the break is read
	case b := <-p.in:
		return b, nil
	default:
	}
	select {
	case b := <-p.in:
		return b, nil
	case <-p.broken:
		return nil, errBroken
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) Write(ctx context.Context, b []byte) error {
	select {
	case <-p.broken:
		return errBroken
	default:
	}
	select {
	case p.out <- slices.Clone(b):
		return nil
	case <-p.broken:
		return errBroken
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.broken) })
	return nil
}

// network is gateways by URL. One that is missing refuses; a nil one hangs.
type network struct {
	gateways map[string]chan *far
	dialed   []string
}

func newNetwork(urls ...string) *network {
	n := &network{gateways: map[string]chan *far{}}
	for _, u := range urls {
		n.gateways[u] = make(chan *far, 8)
	}
	return n
}

func (n *network) dial(ctx context.Context, url string) (Conn, error) {
	n.dialed = append(n.dialed, url)
	ch, ok := n.gateways[url]
	if !ok {
		return nil, errors.New("refused")
	}
	if ch == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	a, b := newPipe()
	ch <- &far{b}
	return a, nil
}

// far is the gateway's end of a connection.
type far struct{ *pipe }

func (f *far) next(t *testing.T) wire.ClientMessage {
	t.Helper()
	b, err := f.Read(t.Context())
	if err != nil {
		t.Fatalf("the client hung up: %v", err)
	}
	m, err := wire.DecodeClient(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (f *far) hello(t *testing.T) *wire.Hello {
	t.Helper()
	h, ok := f.next(t).(*wire.Hello)
	if !ok {
		t.Fatal("no hello")
	}
	return h
}

func (f *far) send(t *testing.T, m wire.ServerMessage) {
	t.Helper()
	if err := f.Write(t.Context(), wire.AppendServer(nil, m)); err != nil {
		t.Fatal(err)
	}
}

// accept takes the next connection of a gateway and welcomes it.
func (n *network) accept(t *testing.T, url string, w wire.Welcome) (*far, *wire.Hello) {
	t.Helper()
	f := <-n.gateways[url]
	h := f.hello(t)
	w.TickHz, w.KeepAliveMilli = 20, 5000
	f.send(t, &w)
	return f, h
}

// diary is a Handler that writes everything down.
type diary struct {
	mu      sync.Mutex
	acks    []wire.EventAck
	entered []mesh.EntityID
	left    []mesh.EntityID
	views   int
}

func (d *diary) Acked(a wire.EventAck) { d.mu.Lock(); d.acks = append(d.acks, a); d.mu.Unlock() }
func (d *diary) Entered(e *Entity)     { d.mu.Lock(); d.entered = append(d.entered, e.ID); d.mu.Unlock() }
func (d *diary) Left(e *Entity)        { d.mu.Lock(); d.left = append(d.left, e.ID); d.mu.Unlock() }
func (d *diary) Viewed(*wire.View)     { d.mu.Lock(); d.views++; d.mu.Unlock() }

func (n *network) options(d *diary, urls ...string) Options {
	o := Options{Gateways: urls, Player: 7, Dial: n.dial,
		Ticket: func(context.Context) (string, error) { return "join", nil }}
	if d != nil {
		o.Handler = d
	}
	return o
}

// dial dials while f plays the gateway.
func dial(t *testing.T, o Options, f func()) (*Client, error) {
	t.Helper()
	type result struct {
		c   *Client
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := Dial(t.Context(), o)
		got <- result{c, err}
	}()
	f()
	r := <-got
	return r.c, r.err
}
