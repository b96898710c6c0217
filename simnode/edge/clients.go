package edge

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

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

	patience time.Duration // for a hello

	mu     sync.Mutex
	closed bool
	open   sync.WaitGroup // requests being served
}

func newReception(k *intake, booth *ticket.Booth, self mesh.Process) *reception {
	r := &reception{intake: k, booth: booth, self: self, guests: make(chan struct{}, maxGuests), patience: helloTimeout}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /", r.serve)
	r.server = http.Server{
		Handler: mux, ReadHeaderTimeout: helloTimeout, IdleTimeout: helloTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: silent, ConnContext: withConn,
	}
	return r
}

// serve is one client's connection, from its request to its end.
func (r *reception) serve(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		http.Error(w, "this gateway stops", http.StatusServiceUnavailable)
		return
	}
	defer r.open.Done()
	select {
	case r.guests <- struct{}{}:
	default:
		http.Error(w, "too many clients are connecting; try again", http.StatusServiceUnavailable)
		return
	}
	s, hello, err := r.greet(w, req)
	<-r.guests
	if s == nil || r.ctx.Err() != nil {
		return
	}
	stop := context.AfterFunc(r.ctx, func() { s.Close("") })
	defer stop()
	c := newClient(process.ClientID(r.last.Add(1)), s)
	ended := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { c.write(r.intake, ended) })
	if err != nil {
		r.refuse(c, err)
	} else {
		r.attend(c, hello)
	}
	if !c.ending() {
		close(ended)
		s.Close("")
	}
	writer.Wait()
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

// greet opens the connection and reads its hello. An error with a socket is
// to be told to the client.
func (r *reception) greet(w http.ResponseWriter, req *http.Request) (*webSocket, wire.Hello, error) {
	s, err := openWebSocket(w, req)
	if err != nil {
		return nil, wire.Hello{}, err
	}
	stop := context.AfterFunc(r.ctx, func() { s.Close("") })
	defer stop()
	hello, err := r.readHello(s)
	if errors.Is(err, errGuestLeft) {
		s.Close("")
		return nil, wire.Hello{}, err
	}
	return s, hello, err
}

// errGuestLeft: the connection ended without a hello.
var errGuestLeft = errors.New("no hello came")

func (r *reception) readHello(s *webSocket) (wire.Hello, error) {
	if err := s.raw.SetReadDeadline(time.Now().Add(r.patience)); err != nil {
		return wire.Hello{}, errGuestLeft
	}
	var b [wire.MaxClientBytes]byte
	n, err := s.Read(b[:])
	switch {
	case errors.Is(err, wire.ErrMalformed):
		return wire.Hello{}, err
	case err != nil:
		return wire.Hello{}, errGuestLeft
	}
	m, err := wire.DecodeClient(b[:n])
	if err != nil {
		return wire.Hello{}, err
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return wire.Hello{}, wire.ErrMalformed
	}
	claims, err := r.booth.Verify(hello.Ticket, time.Now())
	switch {
	case err != nil:
		return wire.Hello{}, err
	case claims.Player != hello.Player, claims.Session != hello.Session, !claims.Admits(r.self.ID) && !claims.Admits(mesh.NodeID(r.self.ClientURL)):
		return wire.Hello{}, ticket.ErrInvalid
	}
	return *hello, s.raw.SetReadDeadline(time.Time{})
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

// attend hands the loop what a client sends until it ends.
func (r *reception) attend(c *client, hello wire.Hello) {
	fresh := freshSession(time.Now(), hello.Session)
	if !r.put(input{client: c, ev: process.Event{Kind: process.EventClientUp, Client: c.id, Hello: hello, Fresh: fresh}}) {
		return
	}
	defer r.put(input{client: c, ev: process.Event{Kind: process.EventClientDown, Client: c.id}})
	pace := rate.NewLimiter(messagesPerSecond, messagesBurst)
	var b [wire.MaxClientBytes]byte
	for !c.ending() {
		n, err := c.socket.Read(b[:])
		var m wire.ClientMessage
		if err == nil {
			m, err = wire.DecodeClient(b[:n])
			if err != nil {
				err = errors.Join(wire.ErrMalformed, err)
			}
		}
		if errors.Is(err, wire.ErrMalformed) {
			r.refused.Add(1)
			c.finish(&wire.Bye{Reason: wire.ByeMalformed, Text: "a message could not be read"})
		}
		if err != nil || pace.Wait(r.ctx) != nil {
			return
		}
		if !r.put(input{client: c, ev: process.Event{Kind: process.EventClient, Client: c.id, ClientMessage: m}}) {
			return
		}
	}
}

// freshSession returns a number above every session that was begun before, as
// far as clocks agree to the millisecond, and above the one it resumes.
func freshSession(now time.Time, resumed uint64) uint64 {
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	n := uint64(now.UnixMilli())<<20 | uint64(binary.LittleEndian.Uint32(b[:])&(1<<20-1))
	return max(n, resumed+1)
}

// run serves until leave, or the listener's end.
func (r *reception) run(l net.Listener) { _ = r.server.Serve(l) }

// audience is the loop's side of the clients.
type audience struct {
	clients map[process.ClientID]*client
	booth   *ticket.Booth
	players map[process.ClientID]mesh.PlayerID
}

func newAudience(b *ticket.Booth) *audience {
	return &audience{clients: map[process.ClientID]*client{}, booth: b, players: map[process.ClientID]mesh.PlayerID{}}
}

// admits reports whether the loop knows the client of an event.
func (a *audience) admits(in input) bool {
	switch in.ev.Kind {
	case process.EventClientUp:
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
	delete(a.clients, id)
	delete(a.players, id)
}

// send queues an EffectClient and returns the event that follows from it, if any.
func (a *audience) send(e *process.Effect, now time.Time) (process.Event, bool) {
	c := a.clients[e.Client]
	if c == nil {
		return process.Event{}, false
	}
	b := buffers.Get().(*[]byte)
	switch m := e.ServerMessage.(type) {
	case nil:
		*b = append((*b)[:0], e.Data...)
	case *wire.Welcome:
		w := *m
		w.Resume = a.booth.Mint(ticket.Claims{Player: a.players[e.Client], Session: w.Session, Expires: now.Add(resumeValid)})
		*b = wire.AppendServer((*b)[:0], &w)
	default:
		*b = wire.AppendServer((*b)[:0], m)
	}
	switch c.push(b, e.Droppable) {
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
