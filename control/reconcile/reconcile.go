// Package reconcile carries out what the planner decides: it loads what the
// store knows, plans, and applies the plan. It is safe to run twice, late, out
// of order, from several places at once, and to be killed between any two
// writes; whatever a run leaves undone, the next one finishes.
//
// The order of its writes is what makes that so:
//
//  1. the planner's state, by compare-and-set: of runs that began from the same
//     state one goes on, the others end with store.ErrConflict;
//  2. dead processes as Stopped, so that they cannot come back;
//  3. zone records: those of new zones, and higher epochs of zones that change
//     hands. A record without its layout entry harms nobody: a new zone's is
//     found and taken when its number is given out again, a raised epoch is
//     adopted by the next run;
//  4. the layout, by compare-and-set, all changes of a plan in one version;
//  5. intents, each before its act and again after it. An intent that is found
//     written is carried out again under the same token;
//  6. housekeeping.
//
// A server calls Run; a function or a simulator calls Reconciler.Once.
package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store"
)

// Store is what reconcile needs of the replication store.
type Store interface {
	store.Ownership
	store.Layouts
	store.Control
	store.Stream
	ChunkKeys(ctx context.Context, prefix string) ([]string, error)
	DeleteChunk(ctx context.Context, key string) error
}

// Deps are what a Reconciler works with. Config, Store, Launcher and Now must
// be set.
type Deps struct {
	Config   planner.Config
	Store    Store
	Launcher launch.Launcher
	// FleetComplete says that Launcher.List names every process of the world
	// at once, so that one that it does not name has ended.
	FleetComplete bool
	// Tend, if set, keeps what the launcher holds ready; each Sweep calls it.
	Tend func(context.Context) error
	// Release, if set, gives back what Tend keeps, and returns how many machines
	// of the world there still are in any state. Each Sweep of a world that was
	// told to stop calls it instead.
	Release func(context.Context) (held int, err error)
	// Env is added to the environment of every process that is launched.
	Env []string
	Now func() time.Time
	Log *slog.Logger // nil is silent
	// Expenses, if set, are what calling this costs; the planner meters them.
	Expenses Expenses

	// MinInterval is the least time between two runs of Serve; ReportInterval
	// is that between runs for which there is no more than reports. Backstop is
	// how long it waits at most. Zero is 50 ms, 250 ms and 1 s.
	MinInterval, ReportInterval, Backstop time.Duration
}

// Expenses counts what functions use until it is in the planner's state.
type Expenses interface {
	// Open returns what is not booked yet.
	Open() planner.Spent
	// Booked says that so much of it is stored now.
	Booked(planner.Spent)
}

const (
	saveEvery    = time.Second // how often the planner's state is stored when nothing is to be done
	recordsAtOne = 64          // zone records read in one run
	raiseRetries = 3
)

// Reconciler runs. It keeps nothing in memory between two runs.
type Reconciler struct {
	d Deps
}

// New returns a reconciler, or what is wrong with d. It starts nothing.
func New(d Deps) (*Reconciler, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, fmt.Errorf("the planner's configuration: %w", err)
	}
	if d.Store == nil || d.Launcher == nil || d.Now == nil {
		return nil, errors.New("reconcile needs a store, a launcher and a clock")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	for p, otherwise := range map[*time.Duration]time.Duration{&d.MinInterval: 50 * time.Millisecond, &d.ReportInterval: 250 * time.Millisecond, &d.Backstop: time.Second} {
		if *p <= 0 {
			*p = otherwise
		}
	}
	return &Reconciler{d}, nil
}

// run is one pass.
type run struct {
	*Reconciler
	now       time.Time
	snapshot  planner.Snapshot
	state     mesh.PlannerState // as loaded
	actions   []planner.Action
	version   uint64 // of the layout that the run saw or made
	decisions []mesh.Decision
}

// Once loads, plans and applies once, and returns the decisions that it
// carried out. On store.ErrConflict another run was faster: call again soon.
// On any other error the plan is applied in part: call again, nothing is lost.
func (r *Reconciler) Once(ctx context.Context) ([]mesh.Decision, error) {
	p := &run{Reconciler: r, now: r.d.Now()}
	if err := p.load(ctx); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var next planner.State
	p.actions, next = planner.Plan(r.d.Config, p.snapshot, p.now)
	pending := slices.ContainsFunc(p.snapshot.Intents, func(i mesh.Intent) bool { return i.State == mesh.IntentWritten })
	if len(p.actions) == 0 && !pending && p.now.UnixMilli()-p.snapshot.State.RunMilli < saveEvery.Milliseconds() {
		return nil, nil
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"sweep", p.sweep},
		{"store the planner's state", func(ctx context.Context) error { return p.save(ctx, next) }},
		{"fence", p.fence},
		{"change the layout", p.relayout},
		{"change the fleet", p.fleet},
		{"tidy up", p.tidy},
	} {
		if err := step.do(ctx); err != nil {
			return p.decisions, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return p.decisions, nil
}

// load reads the planner's state first: whoever stores a newer one from here
// on makes this run end at its first write. Processes are read before the
// layout, so that a run that sees an owner sees the process too; instances are
// read after processes and intents.
func (p *run) load(ctx context.Context) (err error) {
	s, st := &p.snapshot, p.d.Store
	if p.d.Expenses != nil {
		s.Spent = p.d.Expenses.Open()
	}
	if p.state, err = st.PlannerState(ctx); err != nil {
		return fmt.Errorf("planner state: %w", err)
	}
	if len(p.state.Data) > 0 {
		if err := json.Unmarshal(p.state.Data, &s.State); err != nil {
			// Losing it costs patience, not safety.
			p.d.Log.Error("the planner's state cannot be read; planning from none", "err", err)
			s.State = planner.State{}
		}
	}
	if s.Processes, err = st.Processes(ctx); err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	if s.Reports, err = st.Reports(ctx); err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	if s.Suspicions, err = st.Suspicions(ctx); err != nil {
		return fmt.Errorf("suspicions: %w", err)
	}
	if s.Intents, err = st.Intents(ctx); err != nil {
		return fmt.Errorf("intents: %w", err)
	}
	if p.d.FleetComplete {
		instances, err := p.d.Launcher.List(ctx)
		if err != nil {
			return fmt.Errorf("running processes: %w", err)
		}
		s.InstancesKnown = true
		for _, i := range instances {
			s.Instances = append(s.Instances, i.Node)
		}
	}
	if s.Layout, err = st.Layout(ctx); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	p.version = s.Layout.Version
	s.Records = map[mesh.ZoneID]mesh.ZoneRecord{}
	for _, z := range planner.Unopened(s.Layout, s.Reports, recordsAtOne) {
		rec, err := st.Zone(ctx, z)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed meanwhile; the layout read was late
		}
		if err != nil {
			return fmt.Errorf("record of zone %d: %w", z, err)
		}
		s.Records[z] = rec
	}
	return nil
}

func (p *run) save(ctx context.Context, next planner.State) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := p.d.Store.PutPlannerState(ctx, mesh.PlannerState{Version: p.state.Version + 1, Data: data}); err != nil {
		return err
	}
	if p.d.Expenses != nil {
		p.d.Expenses.Booked(p.snapshot.Spent)
	}
	return nil
}

// decide records that a was carried out.
func (p *run) decide(ctx context.Context, a planner.Action) error {
	if a.Name == "" {
		return nil
	}
	d := mesh.Decision{
		ID:        fmt.Sprintf("%014d-%08d-%03d", p.now.UnixMilli(), p.state.Version+1, len(p.decisions)),
		UnixMilli: p.now.UnixMilli(), LayoutVersion: p.version,
		Action: a.Name, Subject: a.Subject, Reason: a.Reason, Alternatives: a.Alternatives,
	}
	p.decisions = append(p.decisions, d)
	p.d.Log.Info(d.Action, "decision", d.ID, "subject", d.Subject, "reason", d.Reason, "layout", d.LayoutVersion)
	if err := p.d.Store.PutDecision(ctx, d); err != nil {
		return fmt.Errorf("decision %s: %w", d.ID, err)
	}
	return nil
}

// each calls f for the actions of a kind, and records those that it did.
func (p *run) each(ctx context.Context, do planner.Do, f func(planner.Action) error) error {
	for _, a := range p.actions {
		if a.Do != do {
			continue
		}
		if err := f(a); err != nil {
			return err
		}
		if err := p.decide(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// ZonePrefix is how the keys of a zone's snapshot chunks begin.
func ZonePrefix(z mesh.ZoneID) string { return fmt.Sprintf("z%d/", z) }

// sweep deletes what removed zones left behind: chunks first, since the record
// that names them is how a run that was cut short would be seen.
func (p *run) sweep(ctx context.Context) error {
	return p.each(ctx, planner.Sweep, func(a planner.Action) error {
		keys, err := p.d.Store.ChunkKeys(ctx, ZonePrefix(a.Change.Zone))
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := p.d.Store.DeleteChunk(ctx, k); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return p.d.Store.RemoveZone(ctx, a.Change.Zone)
	})
}

func (p *run) fence(ctx context.Context) error {
	return p.each(ctx, planner.Fence, func(a planner.Action) error {
		err := p.d.Store.PutProcess(ctx, a.Process)
		if errors.Is(err, store.ErrStaleEpoch) {
			return nil // it stopped, or was restarted, meanwhile
		}
		return err
	})
}

func (p *run) tidy(ctx context.Context) error {
	return errors.Join(
		p.each(ctx, planner.Bury, func(a planner.Action) error {
			return p.d.Store.RemoveProcess(ctx, a.Process.ID, a.Process.Incarnation)
		}),
		p.each(ctx, planner.DropIntent, func(a planner.Action) error {
			return p.d.Store.DeleteIntent(ctx, a.Intent.Token)
		}),
		p.each(ctx, planner.DropSuspicion, func(a planner.Action) error {
			return p.d.Store.DeleteSuspicion(ctx, a.Suspicion.Suspect, a.Suspicion.Witness)
		}),
	)
}

// Genesis makes a shard: the records of its first zones, then its layout, in
// which nobody owns them yet; the planner finds them owners. Zone i of boxes
// gets the number i+1; the first is the cradle. A zone begins empty unless
// snapshots names the state it begins with. If the shard exists already,
// nothing changes and Genesis returns nil, so it may be repeated.
func Genesis(ctx context.Context, s Store, shard mesh.Shard, boxes []mesh.Box, snapshots map[mesh.ZoneID]mesh.Pointer) error {
	l := mesh.Layout{Version: 1, Shard: shard, NextZone: mesh.ZoneID(len(boxes) + 1)}
	for i, b := range boxes {
		l.Zones = append(l.Zones, mesh.Zone{ID: mesh.ZoneID(i + 1), Box: b})
	}
	if err := l.Validate(); err != nil {
		return fmt.Errorf("genesis of shard %q: %w", shard.Name, err)
	}
	v, err := s.LayoutVersion(ctx)
	if err != nil || v > 0 {
		return err
	}
	for _, z := range l.Zones {
		ptr, ok := snapshots[z.ID]
		if !ok {
			ptr.Position = -1
		}
		if err := s.CreateZone(ctx, mesh.ZoneRecord{Zone: z.ID, Pointer: ptr}); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("genesis of shard %q, zone %d: %w", shard.Name, z.ID, err)
		}
	}
	if err := s.PutLayout(ctx, l); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("genesis of shard %q: %w", shard.Name, err)
	}
	return nil
}
