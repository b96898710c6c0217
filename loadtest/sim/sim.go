// Package sim runs a whole mesh in virtual time: the real node and gateway
// cores, planner and reference store, with a simulated clock, network and
// store latency, under faults drawn from a seed. One seed fixes everything:
// the same seed gives the same run. Checks look at every process at every tick
// and at the store after the faults have stopped.
package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/simnode/gateway"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/world"
)

// Config sizes a run. Times are virtual.
type Config struct {
	Nodes, Gateways, Players, Items int
	Ships                           int
	FaultFor                        time.Duration // faults and changes of layout happen this long
	SettleFor                       time.Duration // afterwards everything must come to order within this
	WidthM                          int32         // of the square world
	Faults                          Faults
	// Planners is how many run the real reconcile at once. With 0 the director,
	// who sees through walls, takes zones over and launches nothing.
	Planners int
	// MaxOpen is how many unacknowledged events a player has at once; Leaving is
	// the chance that one says goodbye, each time it is about to act.
	MaxOpen int
	Leaving float64
	// Sleep has everybody leave twice while faults last, until the world sleeps,
	// and come back, the second time after the faults; it needs planners.
	Sleep bool
}

// DefaultConfig is the small world of which thousands are run.
func DefaultConfig() Config {
	return Config{
		Nodes: 8, Gateways: 2, Players: 40, Items: 200,
		FaultFor: 30 * time.Second, SettleFor: 30 * time.Second,
		Ships: 3, WidthM: 80, Faults: AllFaults(), MaxOpen: 4, Leaving: 0.002,
	}
}

// Result is what a run found.
type Result struct {
	Seed      uint64
	Violation string // empty: none
	At        time.Duration
	Ran       time.Duration // virtual
	Stats     Stats
	Hash      uint64   // of everything said and stored, in order
	Trace     []string // the last events, if a violation was found
}

// Stats count what a run did, so that a run that did nothing is noticed.
type Stats struct {
	Steps, Messages, StoreCalls, Refused         int
	Kills, Pauses, Restarts, Takeovers, Layouts  int
	Crossings, Acked, Picks, Outages, Partitions int
	Blinds, Impacts, Disconnects, Views          int
	Sleeps, Wakes, LaidDown, Boarded             int
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	for _, f := range []struct {
		sum *int
		n   int
	}{
		{&s.Steps, o.Steps}, {&s.Messages, o.Messages}, {&s.StoreCalls, o.StoreCalls}, {&s.Refused, o.Refused},
		{&s.Kills, o.Kills}, {&s.Pauses, o.Pauses}, {&s.Restarts, o.Restarts}, {&s.Takeovers, o.Takeovers}, {&s.Layouts, o.Layouts},
		{&s.Crossings, o.Crossings}, {&s.Acked, o.Acked}, {&s.Picks, o.Picks}, {&s.Outages, o.Outages},
		{&s.Partitions, o.Partitions}, {&s.Blinds, o.Blinds}, {&s.Impacts, o.Impacts},
		{&s.Disconnects, o.Disconnects}, {&s.Views, o.Views},
		{&s.Sleeps, o.Sleeps}, {&s.Wakes, o.Wakes}, {&s.LaidDown, o.LaidDown}, {&s.Boarded, o.Boarded},
	} {
		*f.sum += f.n
	}
}

// origin is virtual time zero on the wall.
var origin = time.UnixMilli(1_700_000_000_000)

const tickHz = 20

// Sim is one run.
type Sim struct {
	cfg    Config
	rng    *rand.Rand
	now    time.Duration
	seq    uint64
	events eventHeap

	store    *memstore.Store
	disk     disk
	net      network
	procs    []*proc // all that ever lived, in order of start
	clients  []*client
	planners []*planning
	rules    world.Rules
	shard    mesh.Shard

	incarnation mesh.Incarnation
	faulting    bool
	absent      bool // everybody stays away
	down        bool // and no process lives
	wasDown     bool
	raised      map[mesh.ZoneID]bool // the last raise of its epoch was by who knew that the world sleeps
	check       checker
	clear       map[mesh.ZoneID]cleared
	everySlots  int64 // between snapshots, on all nodes
	maxPending  int   // records of a zone that may wait for the store, likewise
	stats       Stats
	spoken      hash.Hash64
	violation   string
	violatedAt  time.Duration
	trace       []string
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// harbour is the Tavern with ships that are slow enough to get aboard, and that
// cast anchor like everybody before the end is looked at.
type harbour struct {
	world.Tavern
	anchor mesh.Tick
}

// Drive stops ships in time.
func (h harbour) Drive(e *mesh.Entity, tick mesh.Tick, random uint64) mesh.Command {
	if e.ID.Kind() == mesh.KindShip && tick >= h.anchor {
		return mesh.Command{Yaw: e.Yaw}
	}
	return h.Tavern.Drive(e, tick, random)
}

func (h harbour) Limits() world.Limits {
	l := h.Tavern.Limits()
	l.ShipSpeed = 2 * mesh.UnitsPerMeter
	return l
}

// proc is a simulated process: a node or a gateway core and what surrounds it.
type proc struct {
	self    mesh.Process
	node    *node.Node
	gateway *gateway.Gateway
	token   string // of its launch
	alive   bool
	pausing bool
	blind   bool            // it reads an old layout
	queue   []process.Event // while paused
	skipped int
	ticked  mesh.Tick
	version uint64
	drift   float64 // its clock's rate
	up      map[mesh.NodeID]mesh.Incarnation
	clients map[process.ClientID]*client
}

// Run simulates one seed.
func Run(seed uint64, cfg Config) Result {
	s := begin(seed, cfg)
	defer s.close()
	s.scheduleFaults()
	if cfg.Sleep {
		s.scheduleSleep()
	}
	s.runUntil(cfg.FaultFor)
	s.calm()
	s.runUntil(cfg.FaultFor + cfg.SettleFor)
	return s.result(seed)
}

// begin makes the world of a seed, its processes and its players.
func begin(seed uint64, cfg Config) *Sim {
	s := &Sim{
		cfg: cfg, spoken: fnv.New64a(), rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)),
		store: memstore.New(),
	}
	half := cfg.WidthM / 2
	s.shard = mesh.Shard{
		Name: "sim", OriginUnixMilli: origin.UnixMilli(), TickHz: tickHz, Seed: seed,
		Bounds: mesh.Box{Min: mesh.Meters(0, 0, 0), Max: mesh.Meters(cfg.WidthM, cfg.WidthM, 40)},
		Spawn:  mesh.Meters(half, half, 0),
	}
	s.rules = harbour{anchor: s.shard.TickAt(origin.Add(s.peace()))}
	s.clear, s.raised = map[mesh.ZoneID]cleared{}, map[mesh.ZoneID]bool{}
	s.everySlots = []int64{24, mesh.RingSlots / 2}[s.rng.IntN(2)]
	s.maxPending = []int{8, 24, 8192}[s.rng.IntN(3)]
	s.check.init(s)
	s.genesis()
	for i := range cfg.Nodes {
		s.start(mesh.NodeID(fmt.Sprintf("node-%d", i)), mesh.RoleNode)
	}
	for i := range cfg.Gateways {
		s.start(mesh.NodeID(fmt.Sprintf("gateway-%d", i)), mesh.RoleGateway)
	}
	s.direct()
	for range cfg.Planners {
		s.plan()
	}
	for i := range cfg.Players {
		s.addClient(mesh.PlayerID(i + 1))
	}
	s.faulting = true
	s.every(50*time.Millisecond, 25*time.Millisecond, s.check.step)
	return s
}

// peace is when everybody stands still, since the end is looked at.
func (s *Sim) peace() time.Duration { return s.cfg.FaultFor + s.cfg.SettleFor - 10*time.Second }

// close ends the planners, which are goroutines while they wait.
func (s *Sim) close() {
	for _, p := range s.planners {
		p.stop()
	}
}

// result looks at what is left, once everything had time to come to order.
func (s *Sim) result(seed uint64) Result {
	if s.violation == "" {
		s.check.end()
	}
	return Result{Seed: seed, Violation: s.violation, At: s.violatedAt, Ran: s.now, Stats: s.stats, Hash: s.spoken.Sum64(), Trace: s.trace}
}

func (s *Sim) runUntil(t time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= t && s.violation == "" {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	s.now = t
}

// after schedules do; events of one instant happen in the order scheduled.
func (s *Sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.events, event{s.now + d, s.seq, do})
}

// every repeats do for as long as the run lasts.
func (s *Sim) every(period, first time.Duration, do func()) {
	s.after(first, func() {
		do()
		s.every(period, period, do)
	})
}

// between draws a duration.
func (s *Sim) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(s.rng.Int64N(int64(hi-lo)+1))
}

func (s *Sim) chance(p float64) bool { return s.rng.Float64() < p }

func (s *Sim) wall() time.Time { return origin.Add(s.now) }

func (s *Sim) fail(format string, a ...any) {
	if s.violation == "" {
		s.violation = fmt.Sprintf(format, a...)
		s.violatedAt = s.now
	}
}

const traceLines = 400

func (s *Sim) note(format string, a ...any) {
	if len(s.trace) == traceLines {
		s.trace = append(s.trace[:0], s.trace[traceLines/2:]...)
	}
	s.trace = append(s.trace, fmt.Sprintf("%8.3fs ", s.now.Seconds())+fmt.Sprintf(format, a...))
}

// start brings a process to life under a new incarnation.
func (s *Sim) start(id mesh.NodeID, role mesh.Role) *proc {
	s.incarnation++
	p := &proc{
		self: mesh.Process{
			ID: id, Incarnation: s.incarnation, Role: role, Address: string(id), Capacity: 100,
		},
		alive: true, up: map[mesh.NodeID]mesh.Incarnation{}, clients: map[process.ClientID]*client{},
		drift: 1 + (s.rng.Float64()-0.5)*s.cfg.Faults.ClockDrift,
	}
	if role == mesh.RoleNode {
		cfg := node.DefaultConfig()
		cfg.World = world.Config{TickHz: tickHz, Bounds: s.shard.Bounds, Seed: s.shard.Seed, Spawn: s.shard.Spawn}
		cfg.Authority.SnapshotEverySlots, cfg.Authority.MaxPendingRecords = s.everySlots, s.maxPending
		cfg.Authority.SnapshotEveryTicks = 100
		if s.everySlots == mesh.RingSlots/2 {
			cfg.Authority.SnapshotEveryTicks = 100_000 // so that a ring may fill
		}
		cfg.GhostSlackUnits = 8 * mesh.UnitsPerMeter
		cfg.IdleTicks = 100
		p.node = node.New(cfg, p.self, s.rules)
		p.node.Watch(s.check.events.took)
	} else {
		cfg := gateway.DefaultConfig(100)
		cfg.ViewEveryTicks = 2 // what clients see is looked at ten times a second
		p.gateway = gateway.New(cfg, p.self)
	}
	s.procs = append(s.procs, p)
	s.net.connect(s, p)
	first := s.between(0, 50*time.Millisecond)
	s.after(first, func() { s.tick(p) })
	s.after(s.between(0, 500*time.Millisecond), func() { s.pollLayout(p) })
	if role == mesh.RoleGateway {
		s.after(first, func() { s.fleet(p) })
	}
	return p
}

func (s *Sim) tick(p *proc) {
	if !p.alive {
		return
	}
	s.after(time.Duration(float64(50*time.Millisecond)*p.drift), func() { s.tick(p) })
	if p.pausing {
		p.skipped++
		return
	}
	ev := process.Event{Kind: process.EventTick, Tick: s.shard.TickAt(s.wall()), Skipped: p.skipped}
	ev.LateUS = uint32(p.skipped) * 50_000
	p.skipped = 0
	if ev.Tick > p.ticked { // a fast clock may wake it twice in a tick
		p.ticked = ev.Tick
		s.deliver(p, ev)
	}
}

func (s *Sim) fleet(p *proc) {
	if !p.alive {
		return
	}
	var fleet []mesh.Process
	for _, q := range s.procs {
		if q.alive && q.self.Role == mesh.RoleGateway {
			f := q.self
			f.State, f.ClientURL = mesh.Ready, string(q.self.ID)
			fleet = append(fleet, f)
		}
	}
	s.deliver(p, process.Event{Kind: process.EventFleet, Fleet: fleet})
	s.after(2*time.Second, func() { s.fleet(p) })
}

// deliver feeds an event to a process, now or when it is awake again.
func (s *Sim) deliver(p *proc, ev process.Event) {
	switch {
	case !p.alive || s.violation != "":
		return
	case p.pausing:
		p.queue = append(p.queue, ev)
		return
	}
	s.stats.Steps++
	var effects []process.Effect
	if p.node != nil {
		effects = p.node.Step(ev)
	} else {
		effects = p.gateway.Step(ev)
	}
	for i := range effects {
		s.carryOut(p, &effects[i])
	}
}

func (s *Sim) carryOut(p *proc, e *process.Effect) {
	switch e.Kind {
	case process.EffectSend:
		s.check.books.said(p, e.Message)
		s.net.send(s, p, e.Peer, e.Message)
	case process.EffectRequest:
		s.disk.request(s, p, e.Request)
	case process.EffectFetchLayout:
		s.after(s.between(time.Millisecond, 5*time.Millisecond), func() { s.fetchLayout(p) })
	case process.EffectStop:
		s.note("%s stops: %s", p.self.ID, e.Reason)
		if e.Reason == "drained" {
			s.check.rested(p)
		}
		s.kill(p)
	case process.EffectLog:
		if strings.Contains(e.Reason, "does not decode") {
			s.fail("%s: %s", p.self.ID, e.Reason)
		}
		s.note("%s: %s", p.self.ID, e.Reason)
	case process.EffectClient, process.EffectClientClose:
		s.toClient(p, e)
	}
}

func (s *Sim) pollLayout(p *proc) {
	if !p.alive {
		return
	}
	s.fetchLayout(p)
	s.after(500*time.Millisecond, func() { s.pollLayout(p) })
}

func (s *Sim) fetchLayout(p *proc) {
	if !p.alive || p.pausing || p.blind || s.disk.down {
		return
	}
	if v, err := s.store.LayoutVersion(ctx); err != nil || v <= p.version {
		return
	}
	l, err := s.store.Layout(ctx)
	if err != nil {
		return
	}
	p.version = l.Version
	s.deliver(p, process.Event{Kind: process.EventLayout, Layout: &l})
}

// kill ends a process without a word; others see the connection refused.
func (s *Sim) kill(p *proc) {
	if !p.alive {
		return
	}
	p.alive = false
	s.net.lost(s, p)
	for _, c := range s.clients {
		if c.at == p {
			s.dropClient(c)
		}
	}
}

func (s *Sim) drain(p *proc) { s.deliver(p, process.Event{Kind: process.EventDrain}) }

func (s *Sim) live(role mesh.Role) []*proc {
	var out []*proc
	for _, p := range s.procs {
		if p.alive && p.self.Role == role {
			out = append(out, p)
		}
	}
	return out
}

// find returns the living process of that id.
func (s *Sim) find(id mesh.NodeID) *proc {
	for i := len(s.procs) - 1; i >= 0; i-- {
		if p := s.procs[i]; p.alive && p.self.ID == id {
			return p
		}
	}
	return nil
}
