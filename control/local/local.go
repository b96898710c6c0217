// Package local runs a whole mesh on this machine: the replication store in
// this process, nodes and gateways as children of it, the planner, and the
// page. Begin with Start; end with Mesh.Stop and Mesh.Close.
//
// Children are this very program under other arguments. None outlives its
// parent, however that ends: the kernel or the lifeline ends them (see
// proclaunch), and whatever was acknowledged is in the store.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weft/control/dashboard"
	"weft/control/launch"
	"weft/control/launch/proclaunch"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/partition"
	"weft/control/planner"
	"weft/control/reconcile"
	"weft/control/store/natsstore"
)

// Config says what world to run and how. Shard, Chunks and Command are needed.
type Config struct {
	// Dir keeps the world. Empty is a new directory that Close removes.
	Dir string
	// Shard is the world to create if Dir holds none. One that is there goes on
	// as it is; it must have this name, rate of ticks and bounds.
	Shard mesh.Shard
	// Zones is about how many zones a policy with a fixed grid begins with; 0
	// is nine, so that no border runs through the middle.
	Zones int
	// Chunks returns the snapshot with which a zone of the new world begins, in
	// pieces of at most store.MaxChunkBytes; none for an empty one.
	Chunks func(zone mesh.Box) [][]byte
	// Command returns program and arguments of a child.
	Command func(mesh.Role) []string

	Policy     string        // empty is the planner's default, as for the fields below when zero
	NodeActors int           // a node's declared capacity
	Cooldown   time.Duration // see planner.Config
	Gateways   int           // at least so many
	// GatewayClients is for how many clients a gateway is meant. It takes twice
	// as many, since another may die.
	GatewayClients int
	ViewHz         int // views a second of each client
	MinNodes       int
	MaxNodes       int
	ActorCostUS    int // work per actor and tick in the rules, microseconds
	NodeCPU        int // thousandths of a core that each node gets; 0 is no limit

	// Env, if set, returns what is added to the environment of a child, as
	// NAME=value; for drills.
	Env func(launch.Spec) []string

	// Listen is the host:port of the page; empty is no page. Listening, if set,
	// is told its URL as soon as it answers, before the fleet stands.
	Listen    string
	Listening func(url string)
	// Tickets returns what makes tickets for gateways; nil: nobody can join.
	Tickets func(World) (func(mesh.PlayerID, []mesh.NodeID) string, error)
	// Map returns the page's map feed, which must end with ctx, and what waits
	// for that; may be nil.
	Map func(ctx context.Context, w World) (feed dashboard.MapFeed, wait func(), err error)
	// Note is a line for the page; may be nil.
	Note func() string

	// Log takes what happens; nil is silent. Children's own words go to Words.
	Log   *slog.Logger
	Words io.Writer
}

// World is what main needs to know of a mesh to speak to its processes.
type World struct {
	Shard    mesh.Shard
	Key      options.Key
	StoreURL string // with its token: for processes of this machine only
	Store    *natsstore.Store
}

// The errors of Start that a program may tell apart; their texts are sentences.
var (
	// ErrAddress: the page cannot listen where it was told to.
	ErrAddress = errors.New("cannot serve the page")
	// ErrOtherWorld: the directory holds another world.
	ErrOtherWorld = errors.New("another world")
	// ErrNotReady: the processes do not come up.
	ErrNotReady = errors.New("the mesh did not come up")
)

const (
	// defaultZones is an odd grid: its middle is the middle of a zone.
	defaultZones = 9
	// startPatience is how long the first processes may take.
	startPatience = 30 * time.Second
	// deathsAtStart is how many children may end by themselves before the
	// first is ready; then it is no accident.
	deathsAtStart = 2
	// gatewaysAtOnce is how many gateways a client is told of: one, and one in case that dies.
	gatewaysAtOnce = 2
	// leavePatience is how long gateways may take to say goodbye at the end,
	// nodeGrace how long nodes may after them, to store what they have.
	leavePatience = 4 * time.Second
	nodeGrace     = 4 * time.Second
)

// Mesh is a running mesh. Its methods may be called concurrently.
type Mesh struct {
	cfg     Config
	world   World
	ours    bool // Dir is temporary
	server  *natsstore.Server
	fleet   *fleet
	page    *page
	tickets func(mesh.PlayerID, []mesh.NodeID) string
	roster  roster

	deaths chan error // of children that ended by themselves, before the mesh is ready
	ready  atomic.Bool

	planning sync.Mutex // guards what follows
	config   planner.Config
	cancel   context.CancelFunc // ends planning
	over     bool
	planned  sync.WaitGroup
	stop     sync.Once
	close    sync.Once
}

// Start starts a mesh and returns when its gateways take clients. On an error,
// a sentence for the user, everything that was started has ended. Ctx is for
// the start only: the mesh runs until Stop.
func Start(ctx context.Context, cfg Config) (*Mesh, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	plan, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	if cfg.NodeCPU > 0 {
		if err := proclaunch.CheckCPU(cfg.NodeCPU); err != nil {
			return nil, fmt.Errorf("nodes cannot be limited to a share of a core: %w", err)
		}
	}
	m := &Mesh{cfg: cfg, deaths: make(chan error, deathsAtStart)}
	if err := m.start(ctx, plan); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// plan is the planner's configuration.
func (c *Config) plan() (planner.Config, error) {
	p := planner.DefaultConfig()
	if c.Policy != "" {
		p.Policy = c.Policy
	}
	if c.NodeActors > 0 {
		p.NodeActors = c.NodeActors
	}
	if c.Cooldown > 0 {
		p.Cooldown, p.Settle = c.Cooldown, min(p.Settle, c.Cooldown)
	}
	if c.Gateways > 0 {
		p.Fleet.MinGateways, p.Fleet.MaxGateways = c.Gateways, max(p.Fleet.MaxGateways, c.Gateways)
	}
	if c.GatewayClients > 0 {
		p.Fleet.ClientsPerGateway = c.GatewayClients
	}
	c.GatewayClients = p.Fleet.ClientsPerGateway
	if c.MaxNodes > 0 {
		p.Fleet.MaxNodes = c.MaxNodes
	}
	if c.MinNodes > 0 {
		p.Fleet.MinNodes, p.Fleet.MaxNodes = c.MinNodes, max(p.Fleet.MaxNodes, c.MinNodes)
	}
	c.NodeActors = p.NodeActors
	return p, p.Validate()
}

func (m *Mesh) start(ctx context.Context, plan planner.Config) error {
	if m.cfg.Listen != "" {
		listener, err := listen(ctx, m.cfg.Listen)
		if err != nil {
			return err
		}
		m.page = &page{listener: listener}
	}
	if err := m.openStore(ctx); err != nil {
		return err
	}
	zones := m.cfg.Zones
	if zones <= 0 {
		zones = defaultZones
	}
	boxes, err := partition.Genesis(plan.Policy, m.cfg.Shard, zones)
	if err != nil {
		return err
	}
	if m.world.Shard, err = m.create(ctx, boxes); err != nil {
		return err
	}
	if err := m.bury(ctx); err != nil { // what a killed mesh left: nobody else has this directory
		return err
	}
	if m.cfg.Tickets != nil {
		if m.tickets, err = m.cfg.Tickets(m.world); err != nil {
			return fmt.Errorf("make tickets: %w", err)
		}
	}
	m.fleet = newFleet(m)
	if err := m.Replan(func(c *planner.Config) { *c = plan }); err != nil {
		return err
	}
	if m.page != nil {
		if err := m.serve(); err != nil {
			return err
		}
	}
	return m.awaitGateways(ctx, plan.Fleet.MinGateways)
}

// Replan plans from now on as change says, from what the mesh was planned by
// before. On an error, for a configuration that is not valid, that goes on.
func (m *Mesh) Replan(change func(*planner.Config)) error {
	m.planning.Lock()
	defer m.planning.Unlock()
	if m.over {
		return errors.New("the mesh has stopped")
	}
	config := m.config
	change(&config)
	reconciler, err := reconcile.New(reconcile.Deps{
		Config: config, Store: m.world.Store, Launcher: m.fleet, FleetComplete: true, Now: time.Now, Log: m.cfg.Log,
	})
	if err != nil {
		return err
	}
	m.rest()
	running, cancel := context.WithCancel(context.Background())
	m.config, m.cancel = config, cancel
	m.planned.Go(func() { reconciler.Serve(running) })
	return nil
}

// rest ends planning; its caller holds the lock.
func (m *Mesh) rest() {
	if m.cancel != nil {
		m.cancel()
		m.planned.Wait()
	}
}

// Shard returns the world's unchanging facts as the store has them.
func (m *Mesh) Shard() mesh.Shard { return m.world.Shard }

// Store is this process's handle on the replication store. It stays good
// after Stop, until Close.
func (m *Mesh) Store() *natsstore.Store { return m.world.Store }

// World returns what is needed to speak to the mesh's processes.
func (m *Mesh) World() World { return m.world }

// PageURL is where the page is; empty without one.
func (m *Mesh) PageURL() string {
	if m.page == nil {
		return ""
	}
	return m.page.url()
}

// Join returns what player needs to connect: two gateways that are ready, best
// first, and a ticket for them.
func (m *Mesh) Join(ctx context.Context, player mesh.PlayerID) (dashboard.Invitation, error) {
	if m.tickets == nil {
		return dashboard.Invitation{}, errors.New("nobody can join this world: it makes no tickets")
	}
	gateways, err := m.invite(ctx)
	if err != nil {
		return dashboard.Invitation{}, err
	}
	if len(gateways) == 0 {
		return dashboard.Invitation{}, dashboard.ErrNobodyHome
	}
	var in dashboard.Invitation
	var ids []mesh.NodeID
	for i := range min(len(gateways), gatewaysAtOnce) {
		g := gateways[(int(player)+i)%len(gateways)] // players spread evenly
		in.Gateways, ids = append(in.Gateways, g.ClientURL), append(ids, g.ID)
	}
	in.Ticket = m.tickets(player, ids)
	return in, nil
}

// Kill ends a process with SIGKILL, as a crash would; the planner does what it
// does about one.
func (m *Mesh) Kill(id mesh.NodeID) error {
	m.fleet.killed.Store(id, true)
	return m.fleet.Signal(id, syscall.SIGKILL)
}

// Pause stops a process in its tracks until Resume.
func (m *Mesh) Pause(id mesh.NodeID) error { return m.fleet.pause(id) }

// Resume lets a paused process go on. One that has ended is none the worse.
func (m *Mesh) Resume(id mesh.NodeID) error {
	if err := m.fleet.resume(id); !errors.Is(err, launch.ErrNotFound) {
		return err
	}
	return nil
}

// StoreDown takes the store away from everybody, the planner included, until
// StoreUp. Ending the mesh in between gives it back first.
func (m *Mesh) StoreDown() { m.server.Down() }

// StoreUp gives the store back as it was. On an error it is still down.
func (m *Mesh) StoreUp() error { return m.server.Up() }

// Stop puts the world to sleep: planning ends, gateways say goodbye, nodes
// write down what they have, and all processes end, within seconds. The store
// and the page stay until Close. A second Stop waits for the first, which alone
// returns what went wrong.
func (m *Mesh) Stop(ctx context.Context) error {
	var stopErr error
	m.stop.Do(func() {
		m.planning.Lock()
		m.over = true
		m.rest()
		m.planning.Unlock()
		if m.fleet == nil {
			return
		}
		if stopErr = m.server.Up(); stopErr != nil {
			stopErr = errors.Join(stopErr, m.fleet.Close())
			return
		}
		m.fleet.leave(ctx)
		if err := m.fallAsleep(ctx); err != nil {
			m.cfg.Log.Warn("nodes are stopped as they are", "err", err)
		}
		m.roster.forget()
		stopErr = errors.Join(m.fleet.Close(), m.bury(context.WithoutCancel(ctx)))
	})
	return stopErr
}

// bury writes what has ended as stopped, so that neither the page nor the next
// start waits for it.
func (m *Mesh) bury(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	all, err := m.world.Store.Processes(ctx)
	for _, p := range all {
		if p.State != mesh.Stopped && err == nil {
			p.State = mesh.Stopped
			err = m.world.Store.PutProcess(ctx, p)
		}
	}
	if err != nil {
		return fmt.Errorf("the store took no more writes; if the disk of %s is full, make room there: %w", m.cfg.Dir, err)
	}
	return nil
}

// Close stops the mesh, if Stop has not, and gives everything back. A
// temporary world is removed. Closing twice is harmless.
func (m *Mesh) Close() error {
	var err error
	m.close.Do(func() {
		err = m.Stop(context.Background())
		if m.page != nil {
			err = errors.Join(err, m.page.close())
		}
		if m.world.Store != nil {
			err = errors.Join(err, m.world.Store.Close())
		}
		if m.server != nil {
			err = errors.Join(err, m.server.Close())
		}
		if m.ours {
			err = errors.Join(err, os.RemoveAll(m.cfg.Dir))
		}
	})
	return err
}
