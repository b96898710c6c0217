package bot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// Swarm is a crowd that does nothing but walk about a place, at so little cost
// that thousands fit beside the servers they measure: one goroutine that reads
// and decodes every view, where the system gives a way to, and one that steers them all.
// What each was shown is kept, for an Audit afterwards.
type Swarm struct {
	cfg    SwarmConfig
	bots   []*walker
	joined atomic.Int64
	ended  atomic.Int64 // connections that broke
	record atomic.Bool
	works  sync.WaitGroup
	poller poller // reads all connections
}

// SwarmConfig is what a swarm needs to know. Its players are numbered from 1.
type SwarmConfig struct {
	Players int
	Seed    uint64
	Shard   mesh.Shard
	// Center and RadiusUnits are the place; Still players do not walk.
	Center      mesh.Vec
	RadiusUnits int32
	Still       bool
	Join        func(mesh.PlayerID) (gateways []string, ticket string, err error)
	// MaxGlimpses bounds what is kept of a player.
	MaxGlimpses int
}

// Glimpse is what a player was shown by one view.
type Glimpse struct {
	Tick  mesh.Tick // of the zone's frame that it shows
	AtUS  int64     // when it came, in microseconds since the shard's tick 0
	Bytes int       // with what the WebSocket adds
	Told  []uint64  // a bit for each player, numbered from 0, that it tells the place of
	Sum   uint64    // of Print of each of them
}

// Print is a number for a player's being told to be where a move says.
func Print(player int, x, y, z uint16) uint64 {
	h := uint64(player+1)<<48 | uint64(x)<<32 | uint64(y)<<16 | uint64(z)
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

type walker struct {
	swarm    *Swarm
	player   int
	conn     io.WriteCloser
	view     wire.View
	players  []int32 // by handle; -1 is nobody
	pos      atomic.Uint64
	heading  float64
	turnAt   time.Duration
	seq      uint32
	frame    []byte
	kept     []byte // the beginning of a frame that is not whole
	welcomed bool

	mu       sync.Mutex
	glimpses []Glimpse
	bits     []uint64 // of which Told is cut
}

// NewSwarm returns a swarm that has not joined.
func NewSwarm(cfg SwarmConfig) *Swarm {
	s := &Swarm{cfg: cfg}
	for i := range cfg.Players {
		s.bots = append(s.bots, &walker{swarm: s, player: i})
	}
	return s
}

// Join logs everyone in, some at a time, and returns when all bodies stand.
func (s *Swarm) Join(ctx context.Context) error {
	if err := s.poller.begin(s); err != nil {
		return err
	}
	s.works.Go(func() { s.poller.run(ctx) })
	places := make(chan struct{}, maxSwarmJoining)
	var tries sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, w := range s.bots {
		places <- struct{}{}
		tries.Go(func() {
			defer func() { <-places }()
			if err := w.join(ctx); err != nil {
				mu.Lock()
				failed = errors.Join(failed, fmt.Errorf("player %d: %w", w.player+1, err))
				mu.Unlock()
			}
		})
	}
	tries.Wait()
	return failed
}

// Ended returns how many connections broke.
func (s *Swarm) Ended() int { return int(s.ended.Load()) }

// maxSwarmJoining is how many log in at the same time, joinPatience how long one may take.
const (
	maxSwarmJoining = 256
	joinPatience    = 30 * time.Second
)

func (w *walker) join(ctx context.Context) error {
	urls, ticket, err := w.swarm.cfg.Join(mesh.PlayerID(w.player + 1))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	conn, br, _, err := ws.Dialer{ReadBufferSize: 512, WriteBufferSize: 512}.Dial(ctx, urls[0])
	if err != nil {
		return err
	}
	w.conn = conn
	var reader io.Reader = conn
	if br != nil && br.Buffered() > 0 {
		reader = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	if err := w.say(&wire.Hello{Player: mesh.PlayerID(w.player + 1), Ticket: ticket}); err != nil {
		return err
	}
	welcomed := make(chan error, 1)
	w.swarm.works.Go(func() { w.read(reader, welcomed) })
	select {
	case err := <-welcomed:
		return err
	case <-ctx.Done():
		conn.Close()
		return ctx.Err()
	}
}

func (w *walker) say(m wire.ClientMessage) error {
	var head [14]byte
	payload := wire.AppendClient(head[:14:14], m)
	n := len(payload) - 14
	b := w.frame[:0]
	if n < 126 {
		b = append(b, 0x82, 0x80|byte(n), 0, 0, 0, 0) // masked by nothing
	} else {
		b = append(b, 0x82, 0x80|126, byte(n>>8), byte(n), 0, 0, 0, 0)
	}
	w.frame = append(b, payload[14:]...)
	_, err := w.conn.Write(w.frame)
	return err
}

// read takes in what the gateway sends until the connection ends, or, once the
// player is welcomed, somebody else reads it.
func (w *walker) read(from io.Reader, welcomed chan<- error) {
	b := make([]byte, pollBytes/8)
	for {
		n, err := from.Read(b)
		if err == nil {
			err = w.hear(b[:n])
		}
		switch {
		case err != nil && w.welcomed:
			w.swarm.ended.Add(1)
		case err != nil:
			welcomed <- err
		case !w.welcomed:
			continue
		}
		if err != nil {
			w.conn.Close()
			return
		}
		adopted := welcomed != nil && w.swarm.poller.adopt(w)
		if welcomed != nil {
			welcomed <- nil
			welcomed = nil
		}
		if adopted {
			return
		}
	}
}

// pollBytes is how much is read at a time.
const pollBytes = 64 << 10

// hear takes in bytes that came.
func (w *walker) hear(b []byte) error {
	kept := len(w.kept) > 0
	if kept {
		w.kept = append(w.kept, b...)
		b = w.kept
	}
	for {
		op, payload, size := cutServerFrame(b)
		if size == 0 {
			break
		}
		b = b[size:]
		switch {
		case op != 2:
		case wire.IsView(payload):
			if err := w.see(payload, size); err != nil {
				return err
			}
		default:
			m, err := wire.DecodeServer(payload)
			if bye, ok := m.(*wire.Bye); ok {
				err = fmt.Errorf("the gateway says goodbye: %s", bye.Text)
			}
			if err != nil {
				return err
			}
			if _, ok := m.(*wire.Welcome); ok {
				w.swarm.joined.Add(1)
				w.welcomed = true
			}
		}
	}
	w.kept = append(w.kept[:0], b...)
	return nil
}

// cutServerFrame returns the first frame of b, or a size of 0 if it is not whole.
func cutServerFrame(b []byte) (op byte, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	n, head := int(b[1]&0x7f), 2
	switch {
	case n == 126 && len(b) >= 4:
		n, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case n == 127 && len(b) >= 10:
		n, head = int(binary.BigEndian.Uint64(b[2:])), 10
	case n >= 126:
		return 0, nil, 0
	}
	if len(b) < head+n {
		return 0, nil, 0
	}
	return b[0] & 0x0f, b[head : head+n], head + n
}

// see takes in a view.
func (w *walker) see(payload []byte, size int) error {
	v := &w.view
	if err := wire.DecodeView(payload, v); err != nil {
		return err
	}
	w.pos.Store(uint64(uint32(v.Self.Pos.X))<<32 | uint64(uint32(v.Self.Pos.Y)))
	for _, h := range v.Leaves {
		w.players[h] = -1
	}
	for i := range v.Enters {
		e := &v.Enters[i]
		for len(w.players) <= int(e.Handle) {
			w.players = append(w.players, -1)
		}
		w.players[e.Handle] = -1
		if n := e.ID.Number(); e.ID.Kind() == mesh.KindPlayer && n <= uint64(w.swarm.cfg.Players) {
			w.players[e.Handle] = int32(n) - 1
		}
	}
	if !w.swarm.record.Load() {
		return nil
	}
	words := (w.swarm.cfg.Players + 63) / 64
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.glimpses) == cap(w.glimpses) {
		return nil
	}
	at := len(w.glimpses) * words
	g := Glimpse{Tick: v.Self.Tick, AtUS: time.Since(time.UnixMilli(w.swarm.cfg.Shard.OriginUnixMilli)).Microseconds(), Bytes: size, Told: w.bits[at : at+words : at+words]}
	for _, c := range v.Clocks {
		g.Tick = max(g.Tick, c.Tick)
	}
	for i := range v.Moves {
		m := &v.Moves[i]
		if int(m.Handle) < len(w.players) {
			if p := w.players[m.Handle]; p >= 0 {
				if bit := uint64(1) << (p % 64); g.Told[p/64]&bit == 0 {
					g.Told[p/64] |= bit
					g.Sum += Print(int(p), m.X, m.Y, m.Z)
				}
			}
		}
	}
	for i := range v.Enters {
		if p := w.players[v.Enters[i].Handle]; p >= 0 {
			m := wire.Quantise(mesh.Pose{Pos: v.Enters[i].Pos}, 0, false)
			if bit := uint64(1) << (p % 64); g.Told[p/64]&bit == 0 {
				g.Told[p/64] |= bit
				g.Sum += Print(int(p), m.X, m.Y, m.Z)
			}
		}
	}
	w.glimpses = append(w.glimpses, g)
	return nil
}

// Record begins to keep what is shown, or ends it.
func (s *Swarm) Record(on bool) {
	if on {
		words := (s.cfg.Players + 63) / 64
		for _, w := range s.bots {
			w.mu.Lock()
			w.glimpses = make([]Glimpse, 0, s.cfg.MaxGlimpses)
			w.bits = make([]uint64, s.cfg.MaxGlimpses*words)
			w.mu.Unlock()
		}
	}
	s.record.Store(on)
}

// Glimpses returns what a player, numbered from 0, was shown while it was recorded.
func (s *Swarm) Glimpses(player int) []Glimpse {
	w := s.bots[player]
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.glimpses
}

// How a walker walks: at a share of the top speed, and for so long in one direction.
const (
	walkPace      = 0.4
	walkMin       = 800 * time.Millisecond
	walkSpread    = 1200 * time.Millisecond
	swarmStep     = 50 * time.Millisecond
	fullTurn      = 1 << 16
	homeward      = 0.85 // of the radius: beyond it, the way leads home
	homewardSpray = 1.0  // radians to either side
)

// Run steers everyone until ctx ends, and returns once all connections are closed.
func (s *Swarm) Run(ctx context.Context) {
	rng := rand.New(rand.NewPCG(s.cfg.Seed, 1))
	began := time.Now()
	ticker := time.NewTicker(swarmStep)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if !s.cfg.Still {
			now := time.Since(began)
			for _, w := range s.bots {
				if now >= w.turnAt && w.pos.Load() != 0 {
					w.turn(rng, now)
				}
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	for _, w := range s.bots {
		if w.conn != nil {
			w.conn.Close()
		}
	}
	s.works.Wait()
}

func (w *walker) turn(rng *rand.Rand, now time.Duration) {
	w.turnAt = now + walkMin + time.Duration(rng.Int64N(int64(walkSpread)))
	at := w.pos.Load()
	dx, dy := float64(w.swarm.cfg.Center.X-int32(at>>32)), float64(w.swarm.cfg.Center.Y-int32(uint32(at)))
	w.heading = rng.Float64() * 2 * math.Pi
	if math.Hypot(dx, dy) > homeward*float64(w.swarm.cfg.RadiusUnits) {
		w.heading = math.Atan2(dy, dx) + (2*rng.Float64()-1)*homewardSpray
	}
	w.seq++
	_ = w.say(&wire.Steer{Command: mesh.Command{Sequence: w.seq, // a connection that broke is counted by who reads it
		MoveX: int8(127 * walkPace * math.Cos(w.heading)), MoveY: int8(127 * walkPace * math.Sin(w.heading)),
		Yaw: uint16(int64(w.heading / (2 * math.Pi) * fullTurn))}})
}
