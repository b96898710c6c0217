// Package bot is a crowd of players over the real protocol: many of them in
// one process, driven by one goroutine, each with its own ledger of what the
// server promised it and what it saw. Make a Crowd with New and Run it; Tally
// and Accounts say what came of it.
package bot

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weft/control/mesh"
	"weft/loadtest/audit"
	"weft/simnode/client"
)

// Config is what a crowd needs to know.
type Config struct {
	Seed  uint64
	Shard mesh.Shard
	// WalkUnits is the top speed of a body in units a second, ReachUnits how
	// far it can pick things up, in the game that is played.
	WalkUnits, ReachUnits int32
	// Join returns where and with which ticket a player connects. It is called
	// from many goroutines.
	Join func(ctx context.Context, player mesh.PlayerID) (gateways []string, ticket string, err error)
	// Dial opens a connection; WebSocket if nil.
	Dial func(ctx context.Context, url string) (client.Conn, error)
	// MaxJoining is how many log in at the same time; 0 is 256.
	MaxJoining int
}

// Crowd is a number of bots. Its methods may be called while it runs.
type Crowd struct {
	cfg    Config
	bots   []*bot
	orders chan func(now time.Duration)
	began  chan struct{} // closed when Run has begun
	ended  chan struct{} // closed when it takes no more orders
	start  time.Time
	places chan struct{} // of those that log in
	works  sync.WaitGroup

	connected, peak, joined, rejected, disconnects, resumes, asked atomic.Int64

	outages              atomic.Pointer[[]*Outage]
	ages                 striped
	stalls, acks, resume *histogram
	bytes                *histogram

	faultsMu sync.Mutex
	faults   []string
}

// maxFaults is how many faults are told in words.
const maxFaults = 20

// New returns a crowd of the players that specs describe. It starts nothing.
func New(cfg Config, specs []Spec) *Crowd {
	if cfg.MaxJoining == 0 {
		cfg.MaxJoining = 256
	}
	c := &Crowd{
		cfg: cfg, orders: make(chan func(time.Duration)), began: make(chan struct{}), ended: make(chan struct{}),
		places: make(chan struct{}, cfg.MaxJoining), ages: newStriped(mostMicros),
		stalls: newHistogram(mostMicros), acks: newHistogram(mostMicros), resume: newHistogram(mostMicros), bytes: newHistogram(mostBytes),
	}
	c.outages.Store(&[]*Outage{})
	b := body{cfg.WalkUnits, cfg.ReachUnits, cfg.Shard.Bounds}
	for i, s := range specs {
		x := &bot{crowd: c, index: i, mind: newMind(cfg.Seed, s, b)}
		x.account.Player = s.Player
		c.bots = append(c.bots, x)
	}
	return c
}

// The wheel of time on which bots wait: slots of wheelStep, as many as reach
// beyond the longest wait; longer ones go round again.
const (
	wheelStep  = 50 * time.Millisecond
	wheelSlots = 64
	never      = time.Duration(1<<63 - 1)
)

// Run drives the crowd until ctx ends, then logs everyone out and returns.
// It is called once.
func (c *Crowd) Run(ctx context.Context) {
	c.start = time.Now()
	close(c.began)
	var wheel [wheelSlots][]*bot
	var due []*bot
	for _, b := range c.bots {
		slot := min(int(b.mind.spec.JoinAt/wheelStep), wheelSlots-1)
		wheel[slot] = append(wheel[slot], b)
	}
	ticker := time.NewTicker(wheelStep)
	defer ticker.Stop()
	counted := c.start
	for at := 0; ; {
		select {
		case <-ctx.Done():
			close(c.ended)
			c.goodbye()
			return
		case order := <-c.orders:
			order(time.Since(c.start))
			continue
		case <-ticker.C:
		}
		now := time.Since(c.start)
		for ; time.Duration(at)*wheelStep <= now; at++ {
			slot := &wheel[at%wheelSlots]
			due = append(due[:0], *slot...)
			*slot = (*slot)[:0]
			for _, b := range due {
				if next := b.look(ctx, now); next != never {
					ahead := min(max(int((next-time.Duration(at)*wheelStep)/wheelStep), 1), wheelSlots-1)
					wheel[(at+ahead)%wheelSlots] = append(wheel[(at+ahead)%wheelSlots], b)
				}
			}
		}
		if time.Since(counted) >= time.Second {
			c.countBytes(time.Since(counted))
			counted = time.Now()
		}
	}
}

// countBytes records what each client that plays received in the last while.
func (c *Crowd) countBytes(over time.Duration) {
	for _, b := range c.bots {
		n := b.bytes.Swap(0)
		b.mu.Lock()
		playing := b.state == playing
		b.mu.Unlock()
		if playing {
			c.bytes.add(int64(float64(n) / over.Seconds()))
		}
	}
}

// goodbye logs everyone out, a bounded number at a time.
func (c *Crowd) goodbye() {
	c.works.Wait() // those that are logging in end with the context
	for _, b := range c.bots {
		b.mu.Lock()
		cl, state := b.client, b.state
		b.mu.Unlock()
		if state == playing {
			c.places <- struct{}{}
			c.works.Go(func() {
				defer func() { <-c.places }()
				b.leave(cl, gone)
			})
		}
	}
	c.works.Wait()
}

// begin runs f beside the driver unless too many run already.
func (c *Crowd) begin(f func()) bool {
	select {
	case c.places <- struct{}{}:
		c.works.Go(func() {
			defer func() { <-c.places }()
			f()
		})
		return true
	default:
		return false
	}
}

// always runs f beside the driver; there is one for each bot at most.
func (c *Crowd) always(f func()) { c.works.Go(f) }

func (c *Crowd) fault(f string, a ...any) {
	c.faultsMu.Lock()
	defer c.faultsMu.Unlock()
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fmt.Sprintf(f, a...))
	}
}

// order has f done by the driver, which owns the minds.
func (c *Crowd) order(f func(now time.Duration)) {
	select {
	case c.orders <- f:
	case <-c.ended:
	}
}

// some calls f for a share of the bots, the same for the same seed and salt.
func (c *Crowd) some(fraction float64, salt uint64, f func(*bot)) {
	n := int(fraction*float64(len(c.bots)) + 0.5)
	for _, i := range rand.New(rand.NewPCG(c.cfg.Seed, salt)).Perm(len(c.bots))[:min(n, len(c.bots))] {
		f(c.bots[i])
	}
}

// Gather sends a share of the players to within radius units of a place, to
// be there within a time, and lets them mill about there. Salt chooses which.
func (c *Crowd) Gather(fraction float64, salt uint64, at mesh.Vec, radius int32, within time.Duration) {
	c.order(func(now time.Duration) {
		c.some(fraction, salt, func(b *bot) { b.mind.gather(at, radius, now+within) })
	})
}

// Act makes a share of the players do such acts for a while; 0 is until Disperse.
func (c *Crowd) Act(fraction float64, salt uint64, do []mesh.Action, over time.Duration) {
	c.order(func(now time.Duration) {
		until := never
		if over > 0 {
			until = now + over
		}
		c.some(fraction, salt, func(b *bot) { b.mind.act(do, now, until) })
	})
}

// Disperse ends gathering and acting: everyone walks off and logs out within
// eleven seconds.
func (c *Crowd) Disperse() {
	c.order(func(now time.Duration) {
		for _, b := range c.bots {
			b.mind.disperse(now)
		}
	})
}

// Struck begins to watch zones whose node is about to be killed or stopped,
// each with the epoch under which that node holds it.
func (c *Crowd) Struck(zones map[mesh.ZoneID]mesh.Epoch) *Outage {
	o := &Outage{at: time.Now(), zones: map[mesh.ZoneID]*deadZone{}, stalls: newHistogram(mostMicros)}
	for id, epoch := range zones {
		o.zones[id] = &deadZone{epoch: epoch}
	}
	o.pending.Store(int32(len(zones)))
	for _, b := range c.bots {
		b.mu.Lock()
		if z := o.zones[b.self.Zone]; z != nil && b.state == playing {
			z.stood = true
		}
		b.mu.Unlock()
	}
	for {
		old := c.outages.Load()
		all := append(append([]*Outage(nil), *old...), o)
		if c.outages.CompareAndSwap(old, &all) {
			return o
		}
	}
}

// Connected is how many are logged in.
func (c *Crowd) Connected() int { return int(c.connected.Load()) }

// Open is how many durable events that were first sent before t have no answer
// yet.
func (c *Crowd) Open(before time.Time) (n int) {
	for _, b := range c.bots {
		b.mu.Lock()
		for _, a := range b.open {
			if a.at.Before(before) {
				n++
			}
		}
		b.mu.Unlock()
	}
	return n
}

// Tally is what the bots counted and measured.
type Tally struct {
	Joined, Peak, Disconnects, Resumed, Rejected int
	Asked                                        int // events sent
	Resume, Stall, Ack, Age                      Spread
	BytesPerS                                    Spread // bytes a second, of each client in each second
	Faults                                       []string
}

// Tally returns the counts so far; they are whole once Run has returned.
func (c *Crowd) Tally() Tally {
	c.faultsMu.Lock()
	defer c.faultsMu.Unlock()
	return Tally{
		Joined: int(c.joined.Load()), Peak: int(c.peak.Load()), Disconnects: int(c.disconnects.Load()),
		Resumed: int(c.resumes.Load()), Rejected: int(c.rejected.Load()), Asked: int(c.asked.Load()),
		Resume: c.resume.spread(1000), Stall: c.stalls.spread(1000), Ack: c.acks.spread(1000), Age: c.ages.spread(1000),
		BytesPerS: c.bytes.spread(1), Faults: append([]string(nil), c.faults...),
	}
}

// Accounts returns the ledgers of the players who were welcomed, once Run has returned.
func (c *Crowd) Accounts() []audit.Account {
	var all []audit.Account
	for _, b := range c.bots {
		b.mu.Lock()
		if b.welcomed {
			all = append(all, b.account)
		}
		b.mu.Unlock()
	}
	return all
}
