// Package edge is the only room of simnode with sockets, clocks and
// goroutines. It drives the pure cores of node and gateway for real: RunNode
// and RunGateway are whole processes, NodeMain and GatewayMain whole programs.
// [Perform] carries a core's store calls out, here as in the simulator.
//
// One goroutine, the loop, owns the core. Connections, the store's workers and
// the watch on the layout put events into its bounded inbox; ticks come at
// absolute times. What the core wants done goes to bounded buffers and pools
// that never block the loop: a peer or client that does not take what it is
// sent is cut off.
package edge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/control/store/metered"
	"weft/control/store/storeurl"
	"weft/simnode/gateway"
	"weft/simnode/metadata"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/ticket"
	"weft/simnode/world"
)

// RunNode runs a simulation node until it is drained and says so, or ctx ends:
// then it stops as it is, as if it had been killed. SIGTERM, SIGINT and
// SIGHUP drain it, a second one ends the program, and so does the end of the lifeline.
// Errors are sentences for the user; nothing is left running.
func RunNode(ctx context.Context, o options.Node) error {
	return withStore(ctx, o.Process, o.Validate(), func(h *host) error { return h.runNode(o) })
}

// RunGateway runs a gateway likewise.
func RunGateway(ctx context.Context, o options.Gateway) error {
	return withStore(ctx, o.Process, o.Validate(), func(h *host) error { return h.runGateway(o) })
}

// host is what a process stands on.
type host struct {
	ctx   context.Context
	store *metered.Store
	drain <-chan struct{}
	log   *slog.Logger
	ready func(mesh.Process) // for tests: told of the process once it runs
}

// withStore opens the store and calls run.
func withStore(ctx context.Context, o options.Process, invalid error, run func(*host) error) error {
	if invalid != nil {
		return invalid
	}
	drain, release, err := obey(o.LifelineFD, o.Machine)
	if err != nil {
		return err
	}
	defer release()
	opening, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	s, err := storeurl.Open(opening, o.Store)
	if err != nil {
		return fmt.Errorf("cannot open the store (%w); check WEFT_STORE", err)
	}
	defer s.Close() //nolint:errcheck // the process ends
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	stopProfiles, err := Profiles(ctx, o.Pprof, log)
	if err != nil {
		return err
	}
	defer stopProfiles()
	return run(newHost(ctx, s, drain, log))
}

func newHost(ctx context.Context, s store.Store, drain <-chan struct{}, log *slog.Logger) *host {
	return &host{ctx: ctx, store: metered.New(s), drain: drain, log: log}
}

// process returns the record of a process that begins now.
func (h *host) process(o options.Process, role mesh.Role, capacity int) mesh.Process {
	id := o.NodeID
	if id == "" {
		id = madeUpID()
	}
	return mesh.Process{
		ID: id, Incarnation: mesh.Incarnation(time.Now().UnixNano()), Role: role, State: mesh.Ready,
		Capacity: capacity, OSProcess: os.Getpid(), Kind: o.Kind, Machine: o.Instance,
	}
}

func madeUpID() mesh.NodeID {
	name, err := os.Hostname()
	if err != nil || len(name) > 64 {
		name = "host"
	}
	var b [4]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	return mesh.NodeID(name + "-" + hex.EncodeToString(b[:]))
}

func (h *host) runNode(o options.Node) error {
	layout, err := firstLayout(h.ctx, h.store)
	if err != nil {
		return err
	}
	listener, err := listen(h.ctx, "WEFT_LISTEN", o.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // serve may have closed it
	self := h.process(o.Process, mesh.RoleNode, o.Actors)
	if self.Address, err = advertised(h.ctx, o.Advertise, listener.Addr()); err != nil {
		return err
	}
	cfg := node.DefaultConfig()
	cfg.MaxActors = o.Actors
	cfg.World = world.Config{TickHz: layout.Shard.TickHz, Bounds: layout.Shard.Bounds, Seed: layout.Shard.Seed, Spawn: layout.Shard.Spawn}
	hz := layout.Shard.TickHz
	commit, poses := o.Paces()
	cfg.Authority.CommitEveryTicks, cfg.PoseEveryTicks = ticksIn(commit, hz), max(ticksIn(poses, hz), 1)
	core := node.New(cfg, self, world.Tavern{ActorWork: actorWork(o.ActorCostUS)})
	record, err := newDiary(o.RecordWrites, self)
	if err != nil {
		return err
	}
	defer record.close()
	s, err := h.newService(o.Process, core, self, layout)
	if err != nil {
		return err
	}
	s.loop.pool.record = record
	return s.serve(listener, nil)
}

// ticksIn is how many ticks cover d.
func ticksIn(d time.Duration, hz uint32) mesh.Tick {
	return mesh.Tick((uint64(d)*uint64(hz) + uint64(time.Second) - 1) / uint64(time.Second))
}

func (h *host) runGateway(o options.Gateway) error {
	layout, err := firstLayout(h.ctx, h.store)
	if err != nil {
		return err
	}
	listener, err := listen(h.ctx, "WEFT_CLIENT_LISTEN", o.ClientListen)
	if err != nil {
		return err
	}
	listener = newSeats(listener, o.Clients+maxGuests)
	defer listener.Close() //nolint:errcheck // serve may have closed it
	self := h.process(o.Process, mesh.RoleGateway, o.Clients)
	tls, err := newClientTLS(o)
	if err != nil {
		return err
	}
	if self.ClientURL, err = clientURL(h.ctx, o.ClientAdvertise, tls.scheme(), listener.Addr()); err != nil {
		return err
	}
	if o.ClientTLS == options.TLSBehind { // where the balancer finds it
		machine := "" // this one
		if o.Machine == onEC2 || os.Getenv(metadata.TaskVariable) != "" {
			machine = options.Metadata
		}
		if self.Address, err = advertised(h.ctx, machine, listener.Addr()); err != nil {
			return err
		}
	}
	self.ClientURL, listener = tls.named(self.ClientURL), tls.over(listener)
	booth, err := ticket.NewBooth(o.ShardKey, layout.Shard.Name)
	if err != nil {
		return err
	}
	cfg := gateway.DefaultConfig(o.Clients)
	if o.ViewHz > 0 {
		cfg.ViewEveryTicks = max(uint64(layout.Shard.TickHz)/uint64(o.ViewHz), 1)
	}
	if o.KeepAlive > 0 {
		cfg.KeepAliveTicks = min(max(uint64(o.KeepAlive/layout.Shard.TickInterval()), 1), gateway.MaxKeepAliveTicks)
	}
	if o.ViewNear > 0 {
		cfg = cfg.WithNear(o.ViewNear)
	}
	s, err := h.newService(o.Process, gateway.New(cfg, self), self, layout)
	if err != nil {
		return err
	}
	s.loop.clients = newAudience(booth)
	if s.reception, err = newReception(s.loop.intake, booth, self); err != nil {
		return err
	}
	return s.serve(nil, listener)
}

// service is a process with all its goroutines.
type service struct {
	host      *host
	loop      *loop
	reception *reception // of a gateway
	layout    *mesh.Layout
	fetch     chan struct{}
	drain     time.Duration
	tasks     sync.WaitGroup
	cancel    context.CancelFunc
}

func (h *host) newService(o options.Process, c core, self mesh.Process, layout *mesh.Layout) (*service, error) {
	proof, err := newCredentials(o.ShardKey, identity{layout.Shard.Name, self.ID, self.Role, self.Incarnation})
	if err != nil {
		return nil, err
	}
	s := &service{host: h, layout: layout, fetch: make(chan struct{}, 1), drain: o.DrainTimeout}
	ctx, cancel := context.WithCancel(h.ctx)
	s.cancel = cancel
	// A gateway ticks halfway between two ticks of the nodes: the frames of the
	// one are there, and on a small machine they do not all run at once.
	phase := time.Duration(0)
	if self.Role == mesh.RoleGateway {
		phase = layout.Shard.TickInterval() / 2
	}
	k := newIntake(ctx, newLog(h.log.With("process", string(self.ID))))
	s.loop = &loop{
		intake: k, core: c, self: self, pace: newPace(layout.Shard, phase, time.Now()),
		pool: newPool(h.store, k.answer), peering: newPeering(k, proof, &s.tasks), fetch: s.fetch,
		meter: func(c *mesh.Counters) {
			n := h.store.Counts()
			c.StoreWrites, c.StoreWriteUnits, c.StoreRefused = n.Writes, n.Units, n.Refused
		},
		links: map[mesh.NodeID]*link{}, dialers: map[mesh.NodeID]*dialer{},
	}
	return s, nil
}

// farewell is how long clients may take to read their last messages when a
// gateway stops in good order.
const farewell = time.Second

// serve runs everything until the loop ends, and then ends everything.
func (s *service) serve(peers, clients net.Listener) error {
	l := s.loop
	defer s.tasks.Wait()
	defer s.cancel()
	s.tasks.Go(func() { l.pool.run(l.ctx) })
	s.tasks.Go(func() { watchLayout(l.intake, s.host.store, s.layout.Version, s.fetch) })
	if peers != nil {
		defer peers.Close() //nolint:errcheck // it ends accept
		s.tasks.Go(func() { l.peering.accept(peers) })
	}
	if clients != nil {
		s.tasks.Go(func() { watchFleet(l.intake, s.host.store) })
		s.tasks.Go(func() { s.reception.run(clients) })
		defer s.reception.wait()
		defer s.cancel()
		defer s.reception.leave()
	}
	l.take(input{ev: process.Event{Kind: process.EventLayout, Layout: s.layout}})
	l.log.info("running", "role", l.self.Role, "address", l.self.Address+l.self.ClientURL, "shard", s.layout.Shard.Name)
	if s.host.ready != nil {
		s.host.ready(l.self)
	}
	err := l.run(s.host.drain, s.drain)
	if l.stopped {
		l.log.info("stopped", "reason", l.reason)
		if clients != nil {
			s.reception.leave()
			s.reception.waitFor(farewell)
		}
	}
	return err
}

var silent = log.New(io.Discard, "", 0)
