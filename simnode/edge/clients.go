package edge

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/ticket"
	"weft/simnode/wire"
)

const (
	helloTimeout = 5 * time.Second
	// maxGuests is how many connections may be before their hello.
	maxGuests = 512
	// resumeValid is how long a session may be resumed.
	resumeValid = 24 * time.Hour
	// messagesPerSecond is how fast a client's messages are read; what is more
	// waits in its own connection. The core counts, and refuses, less than that.
	messagesPerSecond, messagesBurst = 120, 240
	readPause                        = 50 * time.Millisecond
	maxHeaderBytes                   = 8 << 10
)

// reception lets clients in: a WebSocket at any path, and /healthz.
type reception struct {
	*intake
	booth  *ticket.Booth
	self   mesh.Process
	guests chan struct{}
	last   atomic.Uint64 // ClientID
	server http.Server
	poller *poller

	patience time.Duration // for a hello

	mu     sync.Mutex
	closed bool
	open   sync.WaitGroup // connections
}

func newReception(k *intake, booth *ticket.Booth, self mesh.Process) (*reception, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("the system gives no way to wait for clients: %w", err)
	}
	r := &reception{intake: k, booth: booth, self: self, poller: poller, guests: make(chan struct{}, maxGuests), patience: helloTimeout}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /", r.serve)
	r.server = http.Server{
		Handler: mux, ReadHeaderTimeout: helloTimeout, IdleTimeout: helloTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: silent, ConnContext: withConn,
	}
	return r, nil
}

// guest is a connection before its hello was judged.
type guest struct {
	conn     net.Conn
	in       inbound
	messages [][]byte // that came with the hello, after it
}

// serve takes a client's connection from its request on. A plain one is the
// poller's in the end, and costs no goroutine.
func (r *reception) serve(w http.ResponseWriter, req *http.Request) {
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a gateway of a game; its clients speak WebSocket", http.StatusUpgradeRequired)
		return
	}
	if !r.enter() {
		http.Error(w, "this gateway stops", http.StatusServiceUnavailable)
		return
	}
	select {
	case r.guests <- struct{}{}:
	default:
		r.open.Done()
		http.Error(w, "too many clients are connecting; try again", http.StatusServiceUnavailable)
		return
	}
	g, hello, err := r.greet(w, req)
	<-r.guests
	if g == nil {
		r.open.Done()
		return
	}
	c := &client{id: process.ClientID(r.last.Add(1)), in: g.in, over: r.open.Done}
	count := func(n int) { r.toClients.Add(uint64(n)) }
	conn, release := seated(req.Context(), g.conn)
	if o, ok := r.poller.adopt(conn, count); ok {
		c.outlet, c.over = o, func() { release(); r.open.Done() }
		r.attend(c, g, hello, err)
		o.serve(c, r.receive)
		return
	}
	o := newConnOutlet(g.conn, count)
	o.flush, c.outlet = c.flush, o
	stop := context.AfterFunc(r.ctx, o.cut)
	defer stop()
	var writer sync.WaitGroup
	writer.Go(o.run)
	r.attend(c, g, hello, err)
	r.readFrom(g.conn, c)
	o.cut()
	writer.Wait()
	c.ended()
}

// readFrom reads what c says until its connection ends.
func (r *reception) readFrom(conn net.Conn, c *client) {
	var b [wire.MaxClientBytes]byte
	for {
		n, err := conn.Read(b[:])
		if err == nil && c.ending() {
			continue // what it still says does not count
		}
		again := time.Duration(0)
		if err == nil {
			again, err = r.receive(c, b[:n])
		}
		if err != nil {
			return
		}
		if again > 0 {
			pause(r.ctx, again)
		}
	}
}

func (r *reception) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.open.Add(1)
	}
	return !r.closed
}

// leave lets nobody in any more; wait waits for those who are.
func (r *reception) leave() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.server.Close() //nolint:errcheck // its listener may be closed already
}

func (r *reception) wait() { r.open.Wait() }

// waitFor waits until all are gone, or for d.
func (r *reception) waitFor(d time.Duration) {
	ctx, cancel := context.WithTimeout(r.ctx, d)
	go func() {
		r.open.Wait()
		cancel()
	}()
	<-ctx.Done()
}

// greet opens the connection and reads its hello. An error with a guest is
// to be told to the client.
func (r *reception) greet(w http.ResponseWriter, req *http.Request) (*guest, wire.Hello, error) {
	// A page of any origin may connect: what admits is the ticket in the hello,
	// never anything that a browser adds by itself.
	conn, buffered, _, err := ws.HTTPUpgrader{Timeout: r.patience}.Upgrade(req, w)
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, wire.Hello{}, err
	}
	stop := context.AfterFunc(r.ctx, func() { conn.Close() })
	g := &guest{conn: conn}
	hello, err := r.readHello(g, buffered.Reader)
	if !stop() || errors.Is(err, errGuestLeft) {
		conn.Close()
		return nil, wire.Hello{}, errGuestLeft
	}
	return g, hello, err
}

// errGuestLeft: the connection ended without a hello.
var errGuestLeft = errors.New("no hello came")

func (r *reception) readHello(g *guest, from *bufio.Reader) (hello wire.Hello, err error) {
	if err := g.conn.SetDeadline(time.Now().Add(r.patience)); err != nil {
		return hello, errGuestLeft
	}
	var b [wire.MaxClientBytes]byte
	for len(g.messages) == 0 {
		n, err := from.Read(b[:])
		if err != nil {
			return hello, errGuestLeft
		}
		if from.Buffered() > 0 {
			g.in.kept = append(g.in.kept, b[:n]...)
			continue // the rest is there
		}
		if err := g.in.take(b[:n], func(op byte, payload []byte) error {
			switch op {
			case opClose:
				return errGuestLeft
			case opBinary:
				g.messages = append(g.messages, append([]byte(nil), payload...))
			}
			return nil
		}); err != nil {
			return hello, err
		}
	}
	first := g.messages[0]
	g.messages = g.messages[1:]
	m, err := wire.DecodeClient(first)
	if err != nil {
		return hello, err
	}
	h, ok := m.(*wire.Hello)
	if !ok {
		return hello, wire.ErrMalformed
	}
	claims, err := r.booth.Verify(h.Ticket, time.Now())
	switch {
	case err != nil:
		return hello, err
	case claims.Player != h.Player, claims.Session != h.Session, !claims.Admits(r.self.ID) && !claims.Admits(mesh.NodeID(r.self.ClientURL)):
		return hello, ticket.ErrInvalid
	}
	return *h, g.conn.SetDeadline(time.Time{})
}

// refuse says goodbye to a client that was never let in.
func (r *reception) refuse(c *client, err error) {
	r.refused.Add(1)
	bye := &wire.Bye{Reason: wire.ByeMalformed, Text: "the first message must be a hello"}
	switch {
	case errors.Is(err, wire.ErrVersion):
		bye = &wire.Bye{Reason: wire.ByeVersion, Text: "this gateway speaks another version of the protocol"}
	case errors.Is(err, ticket.ErrExpired):
		bye = &wire.Bye{Reason: wire.ByeTicket, Text: "the ticket has expired; get a new one"}
	case errors.Is(err, ticket.ErrInvalid):
		bye = &wire.Bye{Reason: wire.ByeTicket, Text: "the ticket is not for this player, session, gateway and shard"}
	}
	c.finish(bye)
}

// attend tells the loop of a client, or the client why it is refused.
func (r *reception) attend(c *client, g *guest, hello wire.Hello, err error) {
	if err != nil {
		r.refuse(c, err)
		return
	}
	c.limiter = rate.NewLimiter(messagesPerSecond, messagesBurst)
	fresh := freshSession(time.Now(), hello.Session)
	if !r.put(input{client: c, ev: process.Event{Kind: process.EventClientUp, Client: c.id, Hello: hello, Fresh: fresh}}) {
		return
	}
	over := c.over
	c.over = func() {
		r.put(input{client: c, ev: process.Event{Kind: process.EventClientDown, Client: c.id}})
		over()
	}
	for _, m := range g.messages {
		if err := r.message(c, m); err != nil {
			r.malformed(c)
		}
	}
}

// receive takes in bytes that c sent, and returns how long to wait before more
// is read; an error is the end.
func (r *reception) receive(c *client, b []byte) (again time.Duration, err error) {
	err = c.in.take(b, func(op byte, payload []byte) error {
		switch {
		case c.ending():
			return nil
		case op == opPing:
			c.push(appendFrame(nil, opPong, payload, nil), false)
			return nil
		case op == opClose:
			c.finish(nil)
			return nil
		case op == opPong:
			return nil
		}
		if !c.limiter.Allow() {
			again = readPause
		}
		return r.message(c, payload)
	})
	if errors.Is(err, wire.ErrMalformed) {
		r.malformed(c)
		return 0, nil
	}
	return again, err
}

func (r *reception) message(c *client, payload []byte) error {
	m, err := wire.DecodeClient(payload)
	if err != nil {
		return errors.Join(wire.ErrMalformed, err)
	}
	if !r.put(input{client: c, ev: process.Event{Kind: process.EventClient, Client: c.id, ClientMessage: m}}) {
		return r.ctx.Err()
	}
	return nil
}

func (r *reception) malformed(c *client) {
	r.refused.Add(1)
	c.finish(&wire.Bye{Reason: wire.ByeMalformed, Text: "a message could not be read"})
}

// freshSession returns a number above every session that was begun before, as
// far as clocks agree to the millisecond, and above the one it resumes.
func freshSession(now time.Time, resumed uint64) uint64 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	n := uint64(now.UnixMilli())<<20 | uint64(binary.LittleEndian.Uint32(b[:])&(1<<20-1))
	return max(n, resumed+1)
}

// run serves until leave, or the listener's end, and reads until the process ends.
func (r *reception) run(l net.Listener) {
	var polling sync.WaitGroup
	polling.Go(func() { r.poller.run(r.ctx) })
	if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		r.log.warn("no client can connect any more; drain this gateway", "error", err)
	}
	polling.Wait()
	r.poller.release()
}

// audience is the loop's side of the clients.
type audience struct {
	clients map[process.ClientID]*client
	booth   *ticket.Booth
	players map[process.ClientID]mesh.PlayerID
	payload []byte
	frame   []byte

	moved   int // clients that came or went since settled said so
	seen    int // of them at movedAt
	movedAt time.Time
}

func newAudience(b *ticket.Booth) *audience {
	return &audience{clients: map[process.ClientID]*client{}, booth: b, players: map[process.ClientID]mesh.PlayerID{}}
}

// settled reports, once, that at least crowd clients have come or gone, and
// nobody for settleTime.
func (a *audience) settled(now time.Time) bool {
	if a.moved != a.seen {
		a.seen, a.movedAt = a.moved, now
	}
	if a.moved < crowd || now.Sub(a.movedAt) < settleTime {
		return false
	}
	a.moved, a.seen = 0, 0
	return true
}

// A crowd that comes or goes leaves garbage that no steady tick would collect for minutes.
const (
	crowd      = 256
	settleTime = 5 * time.Second
)

// admits reports whether the loop knows the client of an event.
func (a *audience) admits(in input) bool {
	switch in.ev.Kind {
	case process.EventClientUp:
		a.moved++
		a.clients[in.client.id] = in.client
		a.players[in.client.id] = in.ev.Hello.Player
		return true
	case process.EventClientDown:
		known := a.clients[in.client.id] != nil
		a.forget(in.client.id)
		return known
	}
	return a.clients[in.client.id] != nil
}

func (a *audience) forget(id process.ClientID) {
	a.moved++
	delete(a.clients, id)
	delete(a.players, id)
}

// send queues an EffectClient and returns the event that follows from it, if any.
func (a *audience) send(e *process.Effect, now time.Time) (process.Event, bool) {
	c := a.clients[e.Client]
	if c == nil {
		return process.Event{}, false
	}
	switch m := e.ServerMessage.(type) {
	case nil:
		a.frame = appendFrame(a.frame[:0], opBinary, e.Data, e.Shared)
	case *wire.Welcome:
		w := *m
		w.Resume = a.booth.Mint(ticket.Claims{Player: a.players[e.Client], Session: w.Session, Expires: now.Add(resumeValid)})
		a.payload = wire.AppendServer(a.payload[:0], &w)
		a.frame = appendFrame(a.frame[:0], opBinary, a.payload, nil)
	default:
		a.payload = wire.AppendServer(a.payload[:0], m)
		a.frame = appendFrame(a.frame[:0], opBinary, a.payload, nil)
	}
	switch c.push(a.frame, e.Droppable) {
	case dropped:
		if c.slowSince.IsZero() {
			c.slowSince = now
		}
		if now.Sub(c.slowSince) < slowTimeout {
			return process.Event{Kind: process.EventClientSlow, Client: c.id}, true
		}
	case queued:
		if e.Droppable {
			c.slowSince = time.Time{}
		}
		return process.Event{}, false
	}
	c.finish(&wire.Bye{Reason: wire.ByeSlow, Resume: true, Text: "the client does not read what it is sent"})
	a.forget(c.id)
	return process.Event{Kind: process.EventClientDown, Client: c.id}, true
}

// close carries an EffectClientClose out.
func (a *audience) close(e *process.Effect) {
	c := a.clients[e.Client]
	if c == nil {
		return
	}
	bye, _ := e.ServerMessage.(*wire.Bye)
	c.finish(bye)
	a.forget(e.Client)
}
