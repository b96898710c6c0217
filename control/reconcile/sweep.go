package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store"
)

const (
	ensureRuns  = 5
	ensurePause = 20 * time.Millisecond // before the second run; doubled each time, plus as much at random
)

// Ensure runs Once, and again while other runs are faster, five times at most.
// It returns the decisions of the last run. store.ErrConflict after all of
// them means that others go on deciding: call again later.
func (r *Reconciler) Ensure(ctx context.Context) (decisions []mesh.Decision, err error) {
	pause := ensurePause
	for n := range ensureRuns {
		if n > 0 {
			timer := time.NewTimer(pause + rand.N(pause))
			select {
			case <-ctx.Done():
				timer.Stop()
				return decisions, ctx.Err()
			case <-timer.C:
			}
			pause *= 2
		}
		if decisions, err = r.Once(ctx); !errors.Is(err, store.ErrConflict) {
			return decisions, err
		}
		r.d.Log.Debug("another run was faster", "err", err)
	}
	return decisions, err
}

// Orphans are what one side knows and the other does not.
type Orphans struct {
	Instances []launch.Instance // run without a record and without an intent; ended
	Processes []mesh.Process    // have a record, say nothing and do not run; fenced
}

// Swept is what a Sweep found and did.
type Swept struct {
	Orphans
	Decisions []mesh.Decision
}

// Sweep is the backstop for whatever lost events leave behind; call it each
// minute. It reconciles, ends orphans of either kind, and lets the launcher
// keep ready what it keeps. What fails does not keep the rest from being done; the errors
// come back together.
func (r *Reconciler) Sweep(ctx context.Context) (Swept, error) {
	var s Swept
	var faults []error
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, launch.ErrNoCapacity) {
			faults = append(faults, fmt.Errorf("%s: %w", what, err))
		}
	}
	before, err := r.remembered(ctx)
	note("planner state", err)
	s.Decisions, err = r.Ensure(ctx)
	note("reconcile", err)
	s.Orphans, err = r.orphans(ctx, before)
	note("orphans", err)
	if len(s.Processes) > 0 {
		more, err := r.Ensure(ctx)
		s.Decisions = append(s.Decisions, more...)
		note("reconcile again", err)
	}
	intents, err := r.d.Store.Intents(ctx)
	note("intents", err)
	switch _, stopped := planner.Woken(intents); {
	case stopped:
		note("release", r.release(ctx))
	case err == nil && r.d.Tend != nil:
		note("tend the launcher", r.d.Tend(ctx))
	}
	return s, errors.Join(faults...)
}

// release gives back what a stopped world keeps ready, and says so if nothing
// of it is left. Records count: a process that has one may be listed late.
func (r *Reconciler) release(ctx context.Context) error {
	held := 0
	if r.d.Release != nil {
		var err error
		if held, err = r.d.Release(ctx); err != nil {
			return err
		}
	}
	running, err := r.d.Launcher.List(ctx)
	if err != nil {
		return err
	}
	processes, err := r.d.Store.Processes(ctx)
	if err != nil {
		return err
	}
	for _, p := range processes {
		if p.State != mesh.Stopped {
			held++
		}
	}
	if held+len(running) > 0 {
		return nil
	}
	return r.d.Store.PutIntent(ctx, planner.BareIntent(r.d.Now()))
}

// orphans finds and ends them. Instances are listed before intents, and these
// before processes: an instance's intent is there before it starts, and its
// record before the intent goes, so that one that is on its way is never taken
// for an orphan. Before is what the planner remembered when the sweep began.
func (r *Reconciler) orphans(ctx context.Context, before planner.State) (o Orphans, err error) {
	instances, err := r.d.Launcher.List(ctx)
	if err != nil {
		return o, fmt.Errorf("running processes: %w", err)
	}
	intents, err := r.d.Store.Intents(ctx)
	if err != nil {
		return o, err
	}
	processes, err := r.d.Store.Processes(ctx)
	if err != nil {
		return o, err
	}
	known, running := map[mesh.NodeID]bool{}, map[mesh.NodeID]bool{}
	for _, i := range intents {
		if i.State == mesh.IntentWritten || i.What == "launch" && i.State == mesh.IntentDone {
			known[i.Target] = true
		}
	}
	for _, p := range processes {
		known[p.ID] = true
	}
	for _, i := range instances {
		running[i.Node] = true
		if known[i.Node] {
			continue
		}
		if err := r.d.Launcher.Stop(ctx, i.Node); err != nil && !errors.Is(err, launch.ErrNotFound) {
			return o, fmt.Errorf("stop %s: %w", i.Node, err)
		}
		o.Instances = append(o.Instances, i)
		if err := r.log(ctx, "stop", i.Role, i.Node, "it runs, but no record and no intent names it"); err != nil {
			return o, err
		}
	}
	processes = slices.DeleteFunc(processes, func(p mesh.Process) bool { return p.State == mesh.Stopped || running[p.ID] })
	if len(processes) == 0 {
		return o, nil
	}
	reports, err := r.d.Store.Reports(ctx)
	if err != nil {
		return o, err
	}
	for _, p := range processes {
		if !r.silent(p, before, reports) {
			continue
		}
		p.State = mesh.Stopped
		err := r.d.Store.PutProcess(ctx, p)
		if errors.Is(err, store.ErrStaleEpoch) {
			continue // it stopped, or was restarted, meanwhile
		}
		if err != nil {
			return o, err
		}
		o.Processes = append(o.Processes, p)
		if err := r.log(ctx, "condemn", p.Role, p.ID, "it has a record, but does not run and says nothing"); err != nil {
			return o, err
		}
	}
	return o, nil
}

// silent reports whether p has said nothing for as long as a process may,
// since a run before this sweep. A launcher's list may be late; a heartbeat is not.
func (r *Reconciler) silent(p mesh.Process, before planner.State, reports []mesh.Report) bool {
	seen, ok := before.Seen[p.ID]
	since := r.d.Now().UnixMilli() - min(seen.Milli, before.RunMilli)
	return ok && seen.Incarnation == p.Incarnation && since > r.d.Config.ReportTimeout.Milliseconds() &&
		!slices.ContainsFunc(reports, func(q mesh.Report) bool {
			return q.Process.ID == p.ID && (q.Process.Incarnation != seen.Incarnation || q.Sequence != seen.Sequence)
		})
}

// remembered returns the planner's stored state; none if it cannot be read,
// since the next run plans from none then.
func (r *Reconciler) remembered(ctx context.Context) (s planner.State, err error) {
	stored, err := r.d.Store.PlannerState(ctx)
	if err == nil && len(stored.Data) > 0 && json.Unmarshal(stored.Data, &s) != nil {
		s = planner.State{}
	}
	return s, err
}

// log records a decision of the sweep.
func (r *Reconciler) log(ctx context.Context, action string, role mesh.Role, id mesh.NodeID, reason string) error {
	now := r.d.Now().UnixMilli()
	d := mesh.Decision{
		ID: fmt.Sprintf("%014d-sweep-%s", now, id), UnixMilli: now,
		Action: action, Subject: fmt.Sprintf("%s %s", role, id), Reason: reason,
	}
	r.d.Log.Warn(d.Action, "decision", d.ID, "subject", d.Subject, "reason", d.Reason)
	return r.d.Store.PutDecision(ctx, d)
}
