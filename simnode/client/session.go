package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// errResume: the connection is over, and the session goes on elsewhere.
var errResume = errors.New("resume")

// maxGateways bounds the list of URLs that are tried.
const maxGateways = 2 * wire.MaxGateways

// run keeps the session on a connection until it is over for good, and returns why.
func (c *Client) run() error {
	urls := slices.Clone(c.opts.Gateways[:min(len(c.opts.Gateways), maxGateways)])
	at := 0
	for {
		conn, url, err := c.open1(urls, at)
		if err != nil {
			return err
		}
		if c.resumed() && c.opts.Resumed != nil {
			c.opts.Resumed(time.Since(c.heardAt))
		}
		c.started()
		err = c.read(conn)
		conn.Close()
		c.mu.Lock()
		c.conn = nil
		closing := c.closing
		urls = merge(c.welcome.Gateways, c.opts.Gateways)
		c.mu.Unlock()
		switch {
		case closing:
			return ErrClosed
		case c.ctx.Err() != nil:
			return c.ctx.Err()
		case !errors.Is(err, errResume):
			return err
		}
		// The gateway that broke comes last.
		if at = 0; len(urls) > 1 && urls[0] == url {
			at = 1
		}
	}
}

// merge lists the URLs of a and then those of b, each once.
func merge(a, b []string) []string {
	var urls []string
	for _, u := range append(slices.Clone(a), b...) {
		if len(urls) < maxGateways && !slices.Contains(urls, u) {
			urls = append(urls, u)
		}
	}
	return urls
}

// open1 tries the URLs in turn, beginning at place at, until one says welcome.
// The first round goes without waiting; between rounds it waits longer each time.
func (c *Client) open1(urls []string, at int) (Conn, string, error) {
	wait := &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, RandomizationFactor: 0.5,
		Multiplier: 1.5, MaxInterval: time.Second}
	giveUp := time.Now().Add(c.opts.GiveUp)
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	for try := 0; ; try++ {
		url := urls[(at+try)%len(urls)]
		conn, err := c.connect(url)
		if err == nil {
			return conn, url, nil
		}
		if bye := (*ByeError)(nil); errors.As(err, &bye) || errors.Is(err, errTicket) || c.ctx.Err() != nil {
			return nil, "", err
		}
		if !time.Now().Before(giveUp) {
			return nil, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if (try+1)%len(urls) != 0 {
			continue
		}
		timer.Reset(wait.NextBackOff())
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return nil, "", c.ctx.Err()
		}
	}
}

// errTicket wraps what Options.Ticket returned.
var errTicket = errors.New("no ticket")

// connect opens a connection to url, says hello and waits for the welcome.
func (c *Client) connect(url string) (Conn, error) {
	hello, timeout, err := c.hello()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.ConnectTimeout)
	conn, err := c.opts.Dial(ctx, url)
	cancel()
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(c.ctx, timeout)
	defer cancel()
	if err := c.greet(ctx, conn, hello); err != nil {
		conn.Close()
		return nil, c.withoutTicket(err)
	}
	return conn, nil
}

// withoutTicket makes a refused ticket of Welcome.Resume, which may be too old,
// a reason to ask Options.Ticket for another and try again.
func (c *Client) withoutTicket(err error) error {
	bye := (*ByeError)(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.welcome.Resume == "" || !errors.As(err, &bye) || bye.Reason != wire.ByeTicket {
		return err
	}
	c.welcome.Resume = ""
	return fmt.Errorf("%w: %s", errResume, err)
}

// hello returns the Hello of the session, and how long its welcome may take.
func (c *Client) hello() (*wire.Hello, time.Duration, error) {
	c.mu.Lock()
	w := c.welcome
	last := c.next
	if len(c.open) > 0 {
		last = c.open[0].event.Number
	}
	c.mu.Unlock()
	h := &wire.Hello{Player: c.opts.Player, Session: w.Session, Ticket: w.Resume}
	if last > 0 {
		h.LastEvent = last - 1
	}
	timeout := c.opts.ResumeTimeout
	if w.Session == 0 {
		timeout = c.opts.WelcomeTimeout
	}
	if h.Ticket == "" {
		ticket, err := c.opts.Ticket(c.ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errTicket, err)
		}
		h.Ticket = ticket
	}
	return h, timeout, nil
}

// greet says hello and takes the welcome in.
func (c *Client) greet(ctx context.Context, conn Conn, hello *wire.Hello) error {
	if err := conn.Write(ctx, wire.AppendClient(nil, hello)); err != nil {
		return err
	}
	for {
		b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if wire.IsView(b) {
			continue
		}
		m, err := wire.DecodeServer(b)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Welcome:
			c.welcomed(conn, m)
			return nil
		case *wire.Bye:
			return byeErr(m)
		}
	}
}

// byeErr is final, or errResume when the client may go on elsewhere.
func byeErr(m *wire.Bye) error {
	e := &ByeError{Reason: m.Reason, Text: m.Text}
	if m.Resume {
		return fmt.Errorf("%w: %s", errResume, e.Error())
	}
	return e
}

// welcomed makes conn the one to write to: every open event goes out again,
// and the newest command.
func (c *Client) welcomed(conn Conn, m *wire.Welcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.welcome.Session == 0
	c.welcome = *m
	if first {
		c.next = m.LastEvent + 1
	}
	for i := range c.open {
		c.open[i].sentAt = time.Time{}
	}
	c.steer = c.command.Sequence != 0
	c.conn = conn
	c.replica.turn(m.Tick + mesh.Tick(m.TickHz))
	c.signal()
}

// resumed reports whether the client was welcomed before.
func (c *Client) resumed() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

func (c *Client) started() {
	if !c.resumed() {
		close(c.ready)
	}
}

// patience returns how long the gateway that welcomed the client may be silent.
func (c *Client) patience() time.Duration {
	if c.opts.SilenceTimeout > 0 {
		return c.opts.SilenceTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(time.Duration(c.welcome.KeepAliveMilli)+wire.SilenceMilli, maxPatienceMilli) * time.Millisecond
}

// maxPatienceMilli is the most that a gateway's own word makes of it.
const maxPatienceMilli = 300_000

// read takes messages in until the connection ends. A gateway that is silent
// for too long is given up.
func (c *Client) read(conn Conn) error {
	c.heardAt = time.Now()
	patience := c.patience()
	silence := time.AfterFunc(patience, func() { conn.Close() })
	defer silence.Stop()
	for {
		b, err := conn.Read(c.ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errResume, err)
		}
		silence.Reset(patience)
		c.heardAt = time.Now()
		if wire.IsView(b) {
			if err := c.takeView(b); err != nil {
				return err
			}
			continue
		}
		m, err := wire.DecodeServer(b)
		if err != nil {
			return fmt.Errorf("the gateway sent what cannot be read: %w", err)
		}
		switch m := m.(type) {
		case *wire.EventAck:
			c.acked(m)
		case *wire.Gateways:
			c.mu.Lock()
			c.welcome.Gateways = m.URLs
			c.mu.Unlock()
		case *wire.Bye:
			return byeErr(m)
		}
	}
}

// acked closes an event. An Ack that was repeated is not told again.
func (c *Client) acked(m *wire.EventAck) {
	c.mu.Lock()
	i := slices.IndexFunc(c.open, func(o openEvent) bool { return o.event.Number == m.Event })
	if i >= 0 {
		c.open = append(c.open[:i], c.open[i+1:]...)
	}
	c.mu.Unlock()
	if i >= 0 && c.opts.Handler != nil {
		c.opts.Handler.Acked(*m)
	}
}

// takeView takes a view into the replica and tells the handler.
func (c *Client) takeView(b []byte) error {
	c.mu.Lock()
	err := wire.DecodeView(b, &c.view)
	if err == nil {
		c.replica.take(&c.view)
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("the gateway sent a view that cannot be read: %w", err)
	}
	if h := c.opts.Handler; h != nil {
		for i := range c.left {
			h.Left(&c.left[i])
		}
		for _, handle := range c.entered {
			if i, ok := c.byHandle[handle]; ok {
				h.Entered(&c.entities[i])
			}
		}
		h.Viewed(&c.view)
	}
	return nil
}
