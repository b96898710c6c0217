// Package scenario is what a load test does: a file, checked line by line, and
// the report that a run of it makes with the expectations on it. Load reads
// one; Open takes one of those that ship with Weft. weft/loadtest/run runs it.
package scenario

import (
	"slices"
	"strconv"
	"time"

	"weft/control/mesh"
	"weft/simnode/world"
)

// Scenario is a script for a world and its crowd. Parse validates it; its
// events are in order of time.
type Scenario struct {
	Name     string
	Seed     uint64
	TickHz   int
	SizeM    [3]float64 // the world reaches from 0, 0, 0 to here
	SpawnM   [3]float64 // where players are born: the middle of the ground unless the file says otherwise
	Items    int        // lying about at the start
	Falling  Falling    // besides
	Gateways int        // at least
	Groups   []Group
	Events   []Event
	Faults   []Trial       // one after the other; the run ends after the last
	Duration time.Duration // with faults: at most

	Policy     string
	Zones      int // about how many a policy with a fixed grid begins with; 0 is its own choice
	NodeActors int // a node's declared capacity
	// GatewayClients is for how many clients a gateway is meant, before another
	// is launched; 0 is the planner's default.
	GatewayClients int
	MinNodes       int // and MaxNodes: 0 is the planner's default
	MaxNodes       int
	ViewHz         int // views a second of each client; 0 is one a tick
	Cooldown       time.Duration
	ActorCostUS    int     // work per actor and tick in the rules, microseconds
	NodeCPU        float64 // share of a core that each node gets; 0 is no limit

	Expect []Expectation
}

// Group is players who behave alike: a count that joins by script, or the
// people of a trace.
type Group struct {
	Count    int
	JoinAt   time.Duration
	JoinOver time.Duration
	Behave   string // one of Behaviours
	// Asleep players have been here before: at the start they sleep, evenly all
	// over the world. Others are born at the spawn.
	Asleep bool

	Trace   *Trace // instead of the above
	Copies  int
	OriginM [3]float64 // of the trace's coordinates
}

// Falling is what is in the air when the world begins: items, evenly all over
// the world, from FromM to ToM above the ground, at rest. They fall as soon as
// there is a node.
type Falling struct {
	Items      int
	FromM, ToM float64
}

// Players is how many players the group has.
func (g *Group) Players() int {
	if g.Trace != nil {
		return len(g.Trace.People) * g.Copies
	}
	return g.Count
}

// What players of a Group do while no event tells them otherwise.
const (
	Wander = "wander" // stroll about where they are
	Roam   = "roam"   // stroll about all over the world
	Stand  = "stand"  // stand still
	// Shuttle is to run over the plane x = SpawnM[0] and back each second.
	Shuttle = "shuttle"
)

// Behaviours are the values of Group.Behave.
var Behaviours = []string{Wander, Roam, Stand, Shuttle}

// Event is one thing that happens; one of its pointers is set.
type Event struct {
	At       time.Duration
	Gather   *Gather
	Act      *Act
	Kill     *Fault
	Pause    *Fault
	Disperse *Disperse
}

// Gather sends a share of the players to a place and lets them stay.
type Gather struct {
	Fraction float64
	AtM      [3]float64
	RadiusM  float64
	Within   time.Duration
}

// Act makes a share of the players do durable acts, in turns, for a while; 0
// is until the next disperse or the end.
type Act struct {
	Fraction float64
	Do       []mesh.Action
	For      time.Duration
}

// Fault strikes one process.
type Fault struct {
	Role   mesh.Role
	Victim string // Busiest or Random
	// On prefers those that run as a Task or on an Instance of the cloud; empty is
	// all, as is what nobody runs on.
	On  string
	For time.Duration // of a pause
}

// How a Fault chooses its victim.
const (
	Busiest = "busiest" // the node that owns the most actors
	Random  = "random"  // any of those that own a zone; any ready gateway
)

// What a victim runs on.
const (
	Task     = "task"     // of ECS
	Instance = "instance" // of EC2
)

// Trial is a fault that is done Times times while the crowd plays, each time
// when the mesh has recovered from the last. `weft drill` does them.
type Trial struct {
	Do    string // one of Trials
	At    time.Duration
	Times int
	For   time.Duration // how long each lasts
	Delay time.Duration // of every byte between processes, of Links
}

// What a Trial does.
const (
	KillNode    = "kill-node"    // SIGKILL: the busiest owner of zones and any owner in turn
	KillGateway = "kill-gateway" // SIGKILL
	PauseNode   = "pause-node"   // SIGSTOP until another owns its zones, SIGCONT, and its writes once more
	Links       = "links"        // delays between nodes, silences one way and both, broken and refused connections
	StoreDown   = "store-down"   // connections to the store are refused for a while
)

// Trials are the values of Trial.Do.
var Trials = []string{KillNode, KillGateway, PauseNode, Links, StoreDown}

// Disperse ends gathering and acting: everyone walks off and logs out within
// some seconds.
type Disperse struct{}

// Players is how many players the scenario has. They are numbered from 1 on,
// group by group; of a trace, copy by copy.
func (s *Scenario) Players() int {
	n := 0
	for i := range s.Groups {
		n += s.Groups[i].Players()
	}
	return n
}

// Shard returns the world's unchanging facts with tick 0 at origin.
func (s *Scenario) Shard(origin time.Time) mesh.Shard {
	return mesh.Shard{
		Name: s.Name, OriginUnixMilli: origin.UnixMilli(), TickHz: uint32(s.TickHz), Seed: s.Seed,
		Bounds: mesh.Box{Max: Vec(s.SizeM)}, Spawn: Vec(s.SpawnM),
	}
}

// litterM is how far from the spawn every second item lies at the most, so
// that a crowd finds something to throw however large the world is.
const litterM = 30

// Genesis returns what the world holds before anybody comes: Items items, on
// the ground, half of them all over the world and half about the spawn; those
// that fall; and the players who sleep.
func (s *Scenario) Genesis() []mesh.Entity {
	bounds, spawn := mesh.Box{Max: Vec(s.SizeM)}, Vec(s.SpawnM)
	items := world.Scatter(s.Seed, s.Items, bounds, spawn, 0)
	near := world.Scatter(s.Seed, s.Items, bounds, spawn, litterM*mesh.UnitsPerMeter)
	for i := 1; i < len(items); i += 2 {
		items[i] = near[i]
	}
	falling := world.Scatter(s.Seed, s.Items+s.Falling.Items, bounds, spawn, 0)[s.Items:]
	for i, e := range falling {
		e.Flags |= mesh.Flying
		e.Pos.Z = Vec([3]float64{2: s.Falling.FromM + (s.Falling.ToM-s.Falling.FromM)*float64(i)/float64(len(falling))}).Z
		items = append(items, e)
	}
	return append(items, s.sleepers()...)
}

// sleepers returns the bodies of the players who begin asleep.
func (s *Scenario) sleepers() (bodies []mesh.Entity) {
	beds := world.Scatter(^s.Seed, s.Players(), mesh.Box{Max: Vec(s.SizeM)}, mesh.Vec{}, 0)
	next := mesh.PlayerID(1)
	for i := range s.Groups {
		for range s.Groups[i].Players() {
			if s.Groups[i].Asleep {
				e := world.Tavern{}.Born(next, Vec(s.SpawnM), s.Seed)
				e.Pos, e.Flags = beds[next-1].Pos, mesh.Asleep
				bodies = append(bodies, e)
			}
			next++
		}
	}
	return bodies
}

// Resized returns s with n scripted players, shared out among its groups as
// before, and with its duration cut or extended to d; zero keeps either.
// Events after the end are left out. So are expectations of what cannot be
// expected any more, which are returned beside it: of events that were left
// out, of a crowd that a smaller one is not, of a calm that does not come.
func (s *Scenario) Resized(n int, d time.Duration) (*Scenario, []Expectation) {
	r := *s
	if n > 0 {
		r.Groups = append([]Group(nil), s.Groups...)
		scripted, left := 0, n
		for i := range r.Groups {
			scripted += r.Groups[i].Count
		}
		for i, before := range s.Groups {
			if before.Count == 0 {
				continue
			}
			r.Groups[i].Count = left * before.Count / scripted
			left, scripted = left-r.Groups[i].Count, scripted-before.Count
		}
	}
	if d > 0 {
		r.Duration, r.Events, r.Faults = d, nil, nil
		for _, f := range s.Faults {
			if f.At < d {
				r.Faults = append(r.Faults, f)
			}
		}
		for _, e := range s.Events {
			if e.At < d {
				r.Events = append(r.Events, e)
			}
		}
	}
	var dropped []Expectation
	r.Expect = nil
	for _, e := range s.Expect {
		switch {
		case e.about("players.joined") && e.Op == "==" && int(e.Bound) == s.Players():
			e.Bound = float64(r.Players())
			e.Source = strconv.Itoa(r.Players())
			r.Expect = append(r.Expect, e)
		case e.about("recovery") && !r.kills(),
			(e.about("nodes.peak") || e.about("layers") || e.about("props")) && (r.Players() < s.Players() || len(r.Events) < len(s.Events)),
			e.about("durable.acknowledged") && !r.acts(),
			e.about("nodes.final") && r.calm() < min(s.calm(), r.Cooldown*4):
			dropped = append(dropped, e)
		default:
			r.Expect = append(r.Expect, e)
		}
	}
	return &r, dropped
}

// kills reports whether a node is to be killed early enough to be replaced.
func (s *Scenario) kills() bool {
	return slices.ContainsFunc(s.Events, func(e Event) bool { return e.Kill != nil && e.Kill.Role == mesh.RoleNode })
}

func (s *Scenario) acts() bool {
	return slices.ContainsFunc(s.Events, func(e Event) bool { return e.Act != nil })
}

// calm is how long the scenario goes on after its crowd has dispersed.
func (s *Scenario) calm() time.Duration {
	for _, e := range s.Events {
		if e.Disperse != nil {
			return s.Duration - e.At
		}
	}
	return 0
}

// Vec returns the place m, given in meters, in units.
func Vec(m [3]float64) mesh.Vec {
	f := func(v float64) int32 { return int32(v * mesh.UnitsPerMeter) }
	return mesh.Vec{X: f(m[0]), Y: f(m[1]), Z: f(m[2])}
}
