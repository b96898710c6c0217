// Package client connects a player to a shard: it opens a session at a
// gateway, steers the body, delivers durable events exactly once, keeps what
// the player sees, and resumes on another gateway when one dies. Most callers
// need Dial and Client.Each.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// Conn carries whole messages both ways. One goroutine reads and one writes.
type Conn interface {
	// Read returns the next message, which is good until the next Read.
	Read(ctx context.Context) ([]byte, error)
	// Write sends a message and keeps nothing of it.
	Write(ctx context.Context, message []byte) error
	// Close ends the connection and makes Read and Write return; it does not
	// wait for the other side. It may be called at any time, and again.
	Close() error
}

// Handler is told of what happens to a client, one call at a time, from the
// goroutine that reads. It may call the Client's methods except Close, and must
// return soon: what it takes is taken from reading.
type Handler interface {
	// Entered: e came into sight. It is the client's and changes with later views.
	Entered(e *Entity)
	// Left: e went out of sight.
	Left(e *Entity)
	// Acked: an event of Do is decided and durable. It is called once an event.
	Acked(ack wire.EventAck)
	// Viewed: view was taken in. It is the client's again afterwards.
	Viewed(view *wire.View)
}

// Options say whose session it is and how long to try. Player, Ticket and
// Gateways are needed; zero durations mean the defaults.
type Options struct {
	// Gateways are the URLs to begin with, best first. Those that the gateway
	// names take their place.
	Gateways []string
	Player   mesh.PlayerID
	// Ticket returns what admits the player to a new session. It is asked
	// again whenever a connection cannot resume with the gateway's own ticket.
	Ticket func(ctx context.Context) (string, error)
	// Handler may be nil.
	Handler Handler
	// Resumed, if set, is called when a broken connection was made good, with
	// the time from the last word of the
	// broken one to the welcome. The rules of Handler hold.
	Resumed func(stalled time.Duration)
	// Dial opens a connection; DialWebSocket if nil.
	Dial func(ctx context.Context, url string) (Conn, error)

	// ConnectTimeout bounds one attempt to connect (500 ms).
	ConnectTimeout time.Duration
	// WelcomeTimeout bounds the wait for the body of a new session, which may
	// have to be woken with its world (90 s); ResumeTimeout that of one that
	// resumes (5 s). Then the next gateway is tried.
	WelcomeTimeout, ResumeTimeout time.Duration
	// SilenceTimeout is how long a gateway may say nothing (3 s more than the
	// keep-alive that its welcome tells).
	SilenceTimeout time.Duration
	// GiveUp is how long in all a session is resumed or opened before the
	// client ends with ErrUnreachable (60 s; at least WelcomeTimeout for a new one).
	GiveUp time.Duration
	// CloseTimeout is how long Close waits for the gateway (1 s).
	CloseTimeout time.Duration
}

// The errors of a client.
var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the client is closed")
	// ErrWindow: mesh.EventWindow events are unanswered. Wait for an Acked.
	ErrWindow = errors.New("too many events are unanswered")
	// ErrUnreachable: no gateway took the session in time. Dial again later.
	ErrUnreachable = errors.New("no gateway can be reached")
)

// ByeError is a gateway's final word: the session is over and must not be
// resumed by itself.
type ByeError struct {
	Reason wire.ByeReason
	Text   string
}

func (e *ByeError) Error() string {
	return fmt.Sprintf("the gateway ended the session: %s (%s)", ReasonText(e.Reason), e.Text)
}

// ReasonText names a reason in a few words.
func ReasonText(r wire.ByeReason) string {
	names := [...]string{
		wire.ByeMalformed: "a message was malformed", wire.ByeVersion: "it speaks another version",
		wire.ByeTicket: "the ticket is not good", wire.ByeReplaced: "the player connected elsewhere",
		wire.ByeFlood: "too many messages", wire.ByeSlow: "the client read too slowly",
		wire.ByeDraining: "the gateway stops", wire.ByeFull: "the gateway is full",
		wire.ByeIdle: "the client said nothing",
	}
	if r == 0 || int(r) >= len(names) {
		return fmt.Sprintf("reason %d", r)
	}
	return names[r]
}

// Client is one player's session. Its methods may be called from any goroutine.
type Client struct {
	opts   Options
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // something is to be written
	ready  chan struct{} // closed at the first welcome
	done   chan struct{} // closed when both goroutines have ended

	mu      sync.Mutex
	err     error // why it ended
	conn    Conn  // welcomed and writable, or nil
	closing bool
	goodbye bool // to be written
	welcome wire.Welcome
	next    uint32 // number of the next event
	open    []openEvent
	command mesh.Command
	steer   bool // command is to be written
	view    wire.View
	heardAt time.Time // when the gateway last said something; of the reading goroutine
	replica
}

// openEvent is an event without an Ack.
type openEvent struct {
	event  mesh.Event
	sentAt time.Time // zero: not over this connection yet
}

// repeatEvery is how often an event without an Ack is sent again: a gateway
// drops what comes too fast.
const repeatEvery = time.Second

// Dial opens a session and returns when the player's body stands, ctx ends, or
// there is no hope: then with a *ByeError, ErrUnreachable, or what Ticket
// returned. The session outlives ctx, until Close or a final word of the gateway.
func Dial(ctx context.Context, opts Options) (*Client, error) {
	if len(opts.Gateways) == 0 || opts.Player == 0 || opts.Ticket == nil {
		return nil, errors.New("options need gateways, a player and a ticket")
	}
	opts.defaults()
	c := &Client{
		opts: opts,
		wake: make(chan struct{}, 1), ready: make(chan struct{}), done: make(chan struct{}),
		open:    make([]openEvent, 0, mesh.EventWindow),
		replica: newReplica(),
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var both sync.WaitGroup
	both.Go(func() { c.end(c.run()) })
	both.Go(c.write)
	go func() { both.Wait(); close(c.done) }()
	select {
	case <-c.ready:
		return c, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		c.end(ctx.Err())
		<-c.done
		return nil, ctx.Err()
	}
}

func (o *Options) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.ConnectTimeout, 500*time.Millisecond)
	set(&o.WelcomeTimeout, 90*time.Second)
	set(&o.ResumeTimeout, 5*time.Second)
	set(&o.GiveUp, 60*time.Second)
	set(&o.CloseTimeout, time.Second)
	if o.Dial == nil {
		o.Dial = DialWebSocket
	}
}

// end makes err the reason why the client ends, unless there is one.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	c.cancel()
	if conn != nil {
		conn.Close()
	}
}

// Done is closed when the client has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client ended, or nil while it lives: ErrClosed, a
// *ByeError, or ErrUnreachable wrapped around the last failure.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close logs the player out: it says goodbye and waits, at most CloseTimeout,
// for the gateway to hang up. It returns why the client had ended before, if it had.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing, c.goodbye = true, true
	connected := c.conn != nil
	c.mu.Unlock()
	if connected {
		c.signal()
		timer := time.NewTimer(c.opts.CloseTimeout)
		select {
		case <-c.done:
		case <-timer.C:
		}
		timer.Stop()
	}
	c.end(ErrClosed)
	<-c.done
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Abort ends the client at once and says nothing, as if its machine had died.
func (c *Client) Abort() {
	c.end(ErrClosed)
	<-c.done
}

// Entity returns the id of the player's body.
func (c *Client) Entity() mesh.EntityID { return mesh.PlayerEntity(c.opts.Player) }

// Welcome returns the gateway's last welcome: session, rate of ticks, the
// wall time of tick 0 and the gateways.
func (c *Client) Welcome() wire.Welcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcome
}

// Steer makes the body move by moveX and moveY, in 1/127 of the top speed and
// together no longer than 127, and look along yaw, until the next Steer. Of
// commands that come faster than they can be sent only the newest is sent.
func (c *Client) Steer(moveX, moveY int8, yaw uint16) {
	c.mu.Lock()
	c.command = mesh.Command{Sequence: c.command.Sequence + 1, MoveX: moveX, MoveY: moveY, Yaw: yaw}
	c.steer = true
	c.mu.Unlock()
	c.signal()
}

// Do asks for a durable event and returns its number, which is ev.Number from
// here on. The event is repeated, over all connections, until Handler.Acked is
// called with its number. ErrWindow and ErrClosed mean that it was not taken.
func (c *Client) Do(ev mesh.Event) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.closing {
		return 0, ErrClosed
	}
	if len(c.open) == mesh.EventWindow {
		return 0, ErrWindow
	}
	ev.Number = c.next
	c.next++
	c.open = append(c.open, openEvent{event: ev})
	c.signal()
	return ev.Number, nil
}

// Unacked returns how many events wait for their Ack.
func (c *Client) Unacked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// signal wakes the writer.
func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what is to be sent whenever there is a connection, the newest
// command and each event once a connection. It ends with the client.
func (c *Client) write() {
	var buffer []byte
	var ends []int
	repeat := time.NewTimer(repeatEvery)
	defer repeat.Stop()
	for {
		select {
		case <-c.wake:
		case <-repeat.C:
		case <-c.ctx.Done():
			return
		}
		now := time.Now()
		buffer, ends = buffer[:0], ends[:0]
		put := func(m wire.ClientMessage) {
			buffer = wire.AppendClient(buffer, m)
			ends = append(ends, len(buffer))
		}
		c.mu.Lock()
		conn := c.conn
		if conn != nil {
			for i := range c.open {
				if o := &c.open[i]; now.Sub(o.sentAt) >= repeatEvery {
					o.sentAt = now
					put(&wire.Do{Event: o.event})
				}
			}
			if len(c.open) > 0 {
				repeat.Reset(c.open[0].sentAt.Add(repeatEvery).Sub(now))
			}
			if c.steer {
				c.steer = false
				put(&wire.Steer{Command: c.command})
			}
			if c.goodbye {
				c.goodbye = false
				put(&wire.Goodbye{})
			}
		}
		c.mu.Unlock()
		from := 0
		for _, end := range ends {
			if err := conn.Write(c.ctx, buffer[from:end]); err != nil {
				conn.Close() // the reader sees it and resumes
				break
			}
			from = end
		}
	}
}
