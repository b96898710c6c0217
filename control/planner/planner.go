// Package planner turns what is known of a mesh into what is to be done about
// it. It is pure: Plan reads a Snapshot and the time and returns Actions, each
// with its reason, and the State to remember. Nothing in it can fail: whatever
// processes report, the plan is one that keeps the layout valid.
package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
)

// Snapshot is what a plan is made from. Plan changes nothing in it.
type Snapshot struct {
	Layout     mesh.Layout
	Processes  []mesh.Process
	Reports    []mesh.Report
	Suspicions []mesh.Suspicion
	Intents    []mesh.Intent
	// Records are the zone records of (some of) the Unopened zones: where one
	// is ahead of the layout, a run before this one was cut short.
	Records map[mesh.ZoneID]mesh.ZoneRecord
	// Instances are the processes that the launcher runs, read after Processes
	// and Intents. InstancesKnown says that they are all there are: a process
	// that is not among them has ended.
	Instances      []mesh.NodeID
	InstancesKnown bool
	// Spent is what functions used since it was last counted.
	Spent Spent
	State State
}

// Do is the kind of an Action.
type Do uint8

const (
	// ChangeLayout: make Change part of the next version of the layout.
	ChangeLayout Do = iota + 1
	// Fence: write Process as Stopped, so that this life of it must end.
	Fence
	// Bury: remove the records of Process.
	Bury
	// Intend: write Intent, and carry it out if its state says so.
	Intend
	// DropIntent: delete Intent; it has served.
	DropIntent
	// DropSuspicion: delete Suspicion; it has aged or its suspect is gone.
	DropSuspicion
	// Sweep: delete the records and chunks of Change.Zone, which the layout has
	// no more and whose last owner knows it. To be done before the State is
	// stored, which forgets it.
	Sweep
)

// Action is one thing to do. Which fields count depends on Do.
type Action struct {
	Do           Do
	Change       partition.Change
	Process      mesh.Process
	Intent       mesh.Intent
	Suspicion    mesh.Suspicion
	Name         string // one word for the decision; empty for housekeeping, which is none
	Subject      string
	Reason       string
	Alternatives []string
}

// Unopened returns the zones, at most limit, that no owner reports open under
// the layout's epoch: those whose records reconcile should read.
func Unopened(l mesh.Layout, reports []mesh.Report, limit int) []mesh.ZoneID {
	open := make([]bool, len(l.Zones))
	for _, r := range reports {
		for _, z := range r.Zones {
			if i := l.Index(z.Zone); i >= 0 && z.Open && z.Epoch == l.Zones[i].Epoch && l.Zones[i].Owner.Same(r.Process.Owner()) {
				open[i] = true
			}
		}
	}
	var out []mesh.ZoneID
	for i, z := range l.Zones {
		if !open[i] && !z.Owner.IsZero() && len(out) < limit {
			out = append(out, z.ID)
		}
	}
	return out
}

// Plan decides what to do about s at now. It is deterministic. The actions are
// to be carried out in their order: fences, the changes of the layout (one new
// version for all of them), fleet, housekeeping. The State is to be stored
// before any action is; if another run stored its own meanwhile, drop the plan.
// cfg must be valid.
func Plan(cfg Config, s Snapshot, now time.Time) ([]Action, State) {
	p := newPass(cfg, s, now.UnixMilli())
	p.judge()
	p.meter()
	p.sleepOrWake()
	p.measure()
	p.adopt()
	p.takeOver()
	p.remove()
	if p.asleep == "" {
		p.drain()
		p.repartition()
		p.props()
	}
	p.fleet()
	p.housekeep()
	return p.finish()
}

// pass is one run of Plan.
type pass struct {
	cfg    Config
	policy partition.Policy
	s      Snapshot
	now    int64
	next   State

	layout  mesh.Layout // the draft
	zones   []partition.Zone
	moving  []int      // props in flight, beside layout.Zones as they were in s
	procs   []*process // ordered by id
	byID    map[mesh.NodeID]*process
	running map[mesh.NodeID]bool // as the launcher says
	targets []*process           // nodes that may be given zones

	opened  []bool // zones of s.Layout that their owners report open; made when first needed
	allOpen bool

	asleep       string // why the world sleeps; empty while it is awake
	propsWanted  int    // nodes that the props layer still waits for
	fences       []Action
	changes      []Action
	fleetActions []Action
	quiet        []Action
}

// process is what a pass knows of one process.
type process struct {
	mesh.Process
	report   *mesh.Report
	dead     string // why it is taken for gone; empty while it lives
	silence  bool   // dead for silence alone
	held     bool   // zones of it are not taken over yet
	refuses  bool   // it says that it has lost a zone which the layout gives it
	draining bool
	intents  []mesh.Intent // to drain or stop it
	load     partition.Load
	zones    int
	props    bool
}

func newPass(cfg Config, s Snapshot, now int64) *pass {
	policy, err := partition.ByName(cfg.Policy)
	if err != nil {
		panic("planner: Plan called with a config that was not validated: " + err.Error())
	}
	p := &pass{cfg: cfg, policy: policy, s: s, now: now, byID: make(map[mesh.NodeID]*process, len(s.Processes))}
	p.layout = s.Layout.Clone()
	p.layout.Version++
	p.zones = make([]partition.Zone, len(p.layout.Zones), len(p.layout.Zones)+cfg.MaxChanges)
	p.moving = make([]int, len(p.layout.Zones))
	p.next = State{
		RunMilli: now, NextNumber: max(s.State.NextNumber, 1), ColdMilli: s.State.ColdMilli,
		Zones: make(map[mesh.ZoneID]ZoneState, len(s.Layout.Zones)), Seen: make(map[mesh.NodeID]Seen, len(s.Processes)),
		Suspicions: map[string]Seen{}, Silenced: map[mesh.ZoneID]Silenced{}, Clear: map[mesh.ZoneID]Seen{},
		Draining: map[mesh.NodeID]int64{}, Failures: map[mesh.Role]int{}, Surplus: map[mesh.Role]int64{},
	}
	p.running = make(map[mesh.NodeID]bool, len(s.Instances))
	for _, id := range s.Instances {
		p.running[id] = true
	}
	for r, n := range s.State.Failures {
		p.next.Failures[r] = n
	}
	for _, proc := range s.Processes {
		if proc.ID != "" && p.byID[proc.ID] == nil {
			q := &process{Process: proc, draining: proc.State == mesh.Draining}
			p.byID[proc.ID] = q
			p.procs = append(p.procs, q)
		}
	}
	slices.SortFunc(p.procs, func(a, b *process) int { return cmp.Compare(a.ID, b.ID) })
	for i := range s.Reports {
		r := &s.Reports[i]
		if q := p.byID[r.Process.ID]; q != nil && q.Incarnation == r.Process.Incarnation {
			q.report = r
		}
	}
	for _, i := range s.Intents {
		if q := p.byID[i.Target]; q != nil && (i.What == drain || i.What == stop) {
			q.intents = append(q.intents, i)
			q.draining = true
		}
	}
	return p
}

// change makes c in the draft and keeps its action; false if it does not fit.
func (p *pass) change(c partition.Change) bool {
	if err := c.Apply(&p.layout); err != nil {
		return false
	}
	if c.Makes() {
		p.zones = append(p.zones, partition.Zone{Memory: partition.Memory{ChangedMilli: p.now, Last: c.Kind}})
	}
	p.record(c)
	return true
}

// record keeps the action of a change that is in the draft already.
func (p *pass) record(c partition.Change) {
	subject := fmt.Sprintf("zone %d", c.Zone)
	switch c.Kind {
	case partition.AddProps:
		subject = "node " + string(c.Owner.Node)
	case partition.Sleep, partition.Wake:
		subject = "world"
	}
	p.changes = append(p.changes, Action{
		Do: ChangeLayout, Change: c, Name: c.Kind.String(), Subject: subject, Reason: c.Reason, Alternatives: c.Alternatives,
	})
}

// owner returns the living process that owns zone i of the draft, or nil.
func (p *pass) owner(i int) *process {
	o := p.layout.Zones[i].Owner
	if q := p.byID[o.Node]; q != nil && q.dead == "" && q.Incarnation == o.Incarnation && q.Role == mesh.RoleNode {
		return q
	}
	return nil
}

// tally books each zone to its living owner and finds who may be given more.
func (p *pass) tally() {
	for _, q := range p.procs {
		q.load, q.zones, q.props = 0, 0, false
	}
	for i := range p.layout.Zones {
		if q := p.owner(i); q != nil {
			q.load += p.zones[i].Load
			q.zones++
			q.props = q.props || p.layout.Zones[i].Layer == mesh.Props
		}
	}
	p.targets = p.targets[:0]
	for _, q := range p.procs {
		if q.ready() && q.Role == mesh.RoleNode && p.asleep == "" {
			p.targets = append(p.targets, q)
		}
	}
}

func (q *process) ready() bool { return q.dead == "" && !q.draining && q.State == mesh.Ready }

// repartition asks the policy.
func (p *pass) repartition() {
	p.tally()
	v := partition.View{Layout: p.layout, Zones: p.zones, Limits: p.cfg.limits(), NowMilli: p.now}
	for _, q := range p.procs {
		if q.Role == mesh.RoleNode && q.dead == "" {
			v.Nodes = append(v.Nodes, partition.Node{Owner: q.Owner(), Load: q.load, Open: q.ready(), Zones: q.zones, Props: q.props})
		}
	}
	proposal := p.policy.Propose(v)
	p.layout, p.zones = proposal.Layout, proposal.Zones
	for _, c := range proposal.Changes {
		p.record(c)
	}
}

// finish puts the plan together.
func (p *pass) finish() ([]Action, State) {
	for i, z := range p.layout.Zones {
		p.next.Zones[z.ID] = ZoneState{p.zones[i].Load, p.now, p.zones[i].Memory}
	}
	return slices.Concat(p.fences, p.changes, p.fleetActions, p.quiet), p.next
}
