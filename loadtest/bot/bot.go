package bot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weft/control/mesh"
	"weft/loadtest/audit"
	"weft/simnode/client"
	"weft/simnode/wire"
)

// state is where a bot is in its life.
type state uint8

const (
	away    state = iota // to log in when it is time
	joining              // a goroutine logs it in
	playing
	leaving // a goroutine logs it out
	gone
)

// maxPromises bounds a bot's ledger; a full one makes no more events.
const maxPromises = 1 << 16

// bot is one player. The driver has its mind; what the connection tells is
// under its lock.
type bot struct {
	crowd *Crowd
	mind  mind
	index int
	retry time.Duration // not to log in before
	tries int
	sent  [2]int8 // the last command

	bytes atomic.Int64 // received since the last look

	mu       sync.Mutex
	state    state
	client   *client.Client
	welcomed bool // ever
	refused  bool // ever
	self     wire.Self
	advanced time.Time // when self.Tick last grew; zero: the connection is new
	moving   time.Time // since when it walks; zero: it stands
	open     []asked
	account  audit.Account
}

// asked is an event without an answer.
type asked struct {
	event mesh.Event
	at    time.Time
	pos   mesh.Vec
}

var _ client.Handler = (*bot)(nil)

func (b *bot) Entered(*client.Entity) {}
func (b *bot) Left(*client.Entity)    {}

// Acked enters a promise into the ledger.
func (b *bot) Acked(ack wire.EventAck) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.open {
		if a := b.open[i]; a.event.Number == ack.Event {
			b.open = append(b.open[:i], b.open[i+1:]...)
			b.crowd.acks.addTime(now.Sub(a.at))
			b.account.Promises = append(b.account.Promises, audit.Promise{
				Number: ack.Event, Action: a.event.Action, Outcome: ack.Outcome,
				Item: ack.Entity, Hop: ack.Hop, Asked: a.pos, Told: b.self.Pos,
			})
			return
		}
	}
	b.crowd.fault("player %d: an answer to event %d, which it did not ask", b.mind.spec.Player, ack.Event)
}

// Viewed measures ages and stalls.
func (b *bot) Viewed(v *wire.View) {
	if v.Self.Zone == 0 {
		return
	}
	now := time.Now()
	c := b.crowd
	outages := c.outages.Load()
	for _, o := range *outages {
		o.observe(v, now)
	}
	c.ages[b.index%stripes].addTime(now.Sub(c.cfg.Shard.TimeOf(v.Self.Tick)))
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.self
	if b.self = v.Self; v.Self.Tick <= was.Tick && !b.advanced.IsZero() {
		return
	}
	since := b.advanced
	b.advanced = now
	if since.IsZero() || v.Self.Zone == was.Zone && v.Self.Epoch == was.Epoch && v.Self.Hop == was.Hop {
		return
	}
	for _, o := range *outages {
		if now.After(o.at) && o.hit(was.Zone, was.Epoch) {
			o.stalls.addTime(now.Sub(since))
			return
		}
		if since.Before(o.at.Add(outageShade)) && now.After(o.at) && o.zones[v.Self.Zone] != nil {
			return // it crossed into what was struck
		}
	}
	// A body that stands still is told of now and then only.
	if !b.moving.IsZero() && b.moving.Before(since) {
		c.stalls.addTime(now.Sub(since))
	}
}

// outageShade is for how long after a blow a crossing into the struck node's
// zones is no plain crossing.
const outageShade = 10 * time.Second

// join logs b in. It runs beside the driver.
func (b *bot) join(ctx context.Context) {
	c := b.crowd
	player := b.mind.spec.Player
	gateways, ticket, err := c.cfg.Join(ctx, player)
	var cl *client.Client
	if err == nil {
		fresh := true
		cl, err = client.Dial(ctx, client.Options{
			Gateways: gateways, Player: player, Handler: b, Dial: b.dial,
			Ticket: func(ctx context.Context) (string, error) {
				if fresh {
					fresh = false
					return ticket, nil
				}
				_, again, err := c.cfg.Join(ctx, player)
				return again, err
			},
			Resumed: b.resumed,
		})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if b.state = away; ctx.Err() == nil {
			if !b.refused {
				b.refused = true
				c.rejected.Add(1)
			}
			c.fault("player %d: login failed: %v", player, err)
		}
		return
	}
	if b.client, b.state = cl, playing; !b.welcomed {
		b.welcomed = true
		c.joined.Add(1)
	}
	n := c.connected.Add(1)
	for peak := c.peak.Load(); n > peak && !c.peak.CompareAndSwap(peak, n); peak = c.peak.Load() {
	}
}

// leave logs b out. It runs beside the driver.
func (b *bot) leave(cl *client.Client, after state) {
	b.ended(cl.Close())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.client, b.state = nil, after
	b.advanced, b.moving, b.open = time.Time{}, time.Time{}, nil
}

// ended counts the end of a session; err is why, if it was not b's own wish.
func (b *bot) ended(err error) {
	c := b.crowd
	c.connected.Add(-1)
	if err != nil && !errors.Is(err, client.ErrClosed) {
		c.disconnects.Add(1)
		c.fault("player %d: disconnected: %v", b.mind.spec.Player, err)
	}
}

func (b *bot) resumed(stalled time.Duration) {
	b.crowd.resumes.Add(1)
	b.crowd.resume.addTime(stalled)
	b.mu.Lock()
	b.advanced = time.Time{}
	b.mu.Unlock()
}

// look lets the bot think and do what it decides. It runs in the driver.
func (b *bot) look(ctx context.Context, now time.Duration) (next time.Duration) {
	b.mu.Lock()
	state, cl, self := b.state, b.client, b.self
	heard := !b.advanced.IsZero()
	free := len(b.open) == 0 && len(b.account.Promises) < maxPromises
	b.mu.Unlock()
	switch state {
	case away:
		return b.arrive(ctx, now)
	case joining, leaving:
		return now + 500*time.Millisecond
	case gone:
		return never
	}
	select {
	case <-cl.Done():
		b.retry = now + time.Second
		b.ended(cl.Err())
		b.mu.Lock()
		b.client, b.state = nil, away
		b.advanced, b.moving, b.open = time.Time{}, time.Time{}, nil
		b.mu.Unlock()
		return b.retry
	default:
	}
	if !heard {
		return now + 100*time.Millisecond
	}
	in := b.mind.think(sense{now: now, pos: self.Pos, held: self.Held, free: free, eachItem: func(f func(*client.Entity)) {
		cl.Each(func(e *client.Entity) bool { f(e); return true })
	}})
	if in.leave {
		after := away
		if in.gone {
			after = gone
		}
		b.depart(cl, after)
		return now + time.Second
	}
	b.do(cl, in)
	return in.next
}

// maxTries is how often a bot tries to log in before it stays away for good.
const maxTries = 30

func (b *bot) arrive(ctx context.Context, now time.Duration) time.Duration {
	if b.mind.mode == modeLeave || b.tries >= maxTries {
		b.mu.Lock()
		b.state = gone
		b.mu.Unlock()
		return never
	}
	if now < b.retry || !b.mind.present(now) {
		return max(b.retry, b.mind.spec.JoinAt, now+100*time.Millisecond)
	}
	b.mu.Lock()
	b.state = joining // before it begins: it may be over at once
	b.mu.Unlock()
	if !b.crowd.begin(func() { b.join(ctx) }) {
		b.mu.Lock()
		b.state = away
		b.mu.Unlock()
		return now + 100*time.Millisecond // enough are logging in
	}
	b.retry = now + time.Second
	if b.mind.spec.Path == nil {
		b.tries++
	}
	b.mind.homed, b.sent = false, [2]int8{}
	return now + 200*time.Millisecond
}

func (b *bot) depart(cl *client.Client, after state) {
	b.mu.Lock()
	b.state = leaving
	b.mu.Unlock()
	b.crowd.always(func() { b.leave(cl, after) })
}

// do carries an intent out. Small turns are not worth a message.
func (b *bot) do(cl *client.Client, in intent) {
	dx, dy := int(in.moveX)-int(b.sent[0]), int(in.moveY)-int(b.sent[1])
	standing := in.moveX == 0 && in.moveY == 0
	if standing != (b.sent == [2]int8{}) || dx*dx+dy*dy > 8*8 {
		b.sent = [2]int8{in.moveX, in.moveY}
		cl.Steer(in.moveX, in.moveY, in.yaw)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if standing {
		b.moving = time.Time{}
	} else if b.moving.IsZero() {
		b.moving = time.Now()
	}
	if in.do.Action == 0 {
		return
	}
	n, err := cl.Do(in.do)
	if err != nil {
		return // the session just ended; look will see
	}
	in.do.Number = n
	b.open = append(b.open, asked{in.do, time.Now(), b.self.Pos})
	b.crowd.asked.Add(1)
}

// dial opens a connection that counts what is received.
func (b *bot) dial(ctx context.Context, url string) (client.Conn, error) {
	open := b.crowd.cfg.Dial
	if open == nil {
		open = client.DialWebSocket
	}
	conn, err := open(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	return &countedConn{conn, &b.bytes}, nil
}

type countedConn struct {
	client.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Read(ctx context.Context) ([]byte, error) {
	b, err := c.Conn.Read(ctx)
	c.bytes.Add(int64(len(b)))
	return b, err
}
