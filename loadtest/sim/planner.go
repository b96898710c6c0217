package sim

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/reconcile"
	"weft/control/store"
)

// planning is one planner: the real reconcile, run as a coroutine that yields
// at every store call, so that others act between any two of its writes. A
// crash is never resuming it.
type planning struct {
	s     *Sim
	yield func(time.Duration) bool
	stop  func()
	dead  bool // its coroutine was ended: every call fails from then on
	slept bool // the layout that it last read said that the world sleeps
}

// plan starts a planner, which runs until the end, one pass after the other.
func (s *Sim) plan() {
	p := &planning{s: s}
	cfg := planner.DefaultConfig()
	cfg.NodeActors = max(4, s.cfg.Players/4)
	cfg.Cooldown, cfg.Settle = 3*time.Second, 600*time.Millisecond
	cfg.Fleet.MinNodes, cfg.Fleet.MaxNodes = 2, max(2, s.cfg.Nodes)
	cfg.Fleet.MinGateways, cfg.Fleet.MaxGateways = s.cfg.Gateways, s.cfg.Gateways
	cfg.PropsMoving = 3
	if s.cfg.Sleep {
		cfg.SleepAfter, cfg.WakeFor = cfg.ReportTimeout, 3*time.Second
	}
	r, err := reconcile.New(reconcile.Deps{
		Config: cfg, Store: p, Launcher: p, FleetComplete: true, Now: s.wall,
	})
	must(err)
	s.planners = append(s.planners, p)
	s.after(s.between(0, 200*time.Millisecond), func() { p.pass(r) })
}

// pass runs one Once to its end, or to its crash.
func (p *planning) pass(r *reconcile.Reconciler) {
	s := p.s
	next, stop := iter.Pull(func(yield func(time.Duration) bool) {
		p.yield, p.dead = yield, false
		if ds, err := r.Once(ctx); err == nil {
			for _, d := range ds {
				s.note("planner: %s %s: %s", d.Action, d.Subject, d.Reason)
			}
		}
	})
	p.stop = stop
	var step func()
	step = func() {
		if s.faulting && s.chance(s.cfg.Faults.PlannerDies/100) {
			s.note("a planner dies")
			stop()
			s.after(s.between(500*time.Millisecond, 2*time.Second), func() { p.pass(r) })
			return
		}
		if d, more := next(); more {
			s.after(d, step)
			return
		}
		s.after(s.between(50*time.Millisecond, 300*time.Millisecond), func() { p.pass(r) })
	}
	step()
}

// wait is a store call on its way: false means that nobody waits any more.
func (p *planning) wait() bool {
	p.dead = p.dead || !p.yield(p.s.between(300*time.Microsecond, 3*time.Millisecond))
	return !p.dead
}

func ask[T any](p *planning, f func() (T, error)) (T, error) {
	var zero T
	if !p.wait() || p.s.disk.down {
		return zero, store.ErrUnavailable
	}
	f2 := &p.s.cfg.Faults
	if p.s.faulting && p.s.chance(f2.StoreLost) {
		return zero, store.ErrUnavailable
	}
	v, err := f()
	if !p.wait() || p.s.faulting && p.s.chance(f2.StoreLost) {
		return zero, store.ErrUnavailable
	}
	return v, err
}

func tell(p *planning, f func() error) error {
	_, err := ask(p, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (p *planning) CreateZone(ctx context.Context, rec mesh.ZoneRecord) error {
	return tell(p, func() error { return p.s.store.CreateZone(ctx, rec) })
}

func (p *planning) Zone(ctx context.Context, z mesh.ZoneID) (mesh.ZoneRecord, error) {
	return ask(p, func() (mesh.ZoneRecord, error) { return p.s.store.Zone(ctx, z) })
}

func (p *planning) RaiseEpoch(ctx context.Context, z mesh.ZoneID, from mesh.Epoch, o mesh.Owner) error {
	return tell(p, func() error {
		err := p.s.store.RaiseEpoch(ctx, z, from, o)
		if err == nil {
			p.s.stats.Takeovers++
			p.s.raised[z] = p.slept
			p.s.note("zone %d is raised to epoch %d for %s", z, from+1, o.Node)
		}
		return err
	})
}

func (p *planning) MovePointer(ctx context.Context, z mesh.ZoneID, e mesh.Epoch, ptr mesh.Pointer) error {
	return tell(p, func() error { return p.s.store.MovePointer(ctx, z, e, ptr) })
}

func (p *planning) RemoveZone(ctx context.Context, z mesh.ZoneID) error {
	return tell(p, func() error {
		delete(p.s.check.opened, z) // its id is not used again
		return p.s.store.RemoveZone(ctx, z)
	})
}

func (p *planning) Layout(ctx context.Context) (mesh.Layout, error) {
	l, err := ask(p, func() (mesh.Layout, error) { return p.s.store.Layout(ctx) })
	p.slept = err == nil && l.Asleep
	return l, err
}

func (p *planning) LayoutVersion(ctx context.Context) (uint64, error) {
	return ask(p, func() (uint64, error) { return p.s.store.LayoutVersion(ctx) })
}

func (p *planning) PutLayout(ctx context.Context, l mesh.Layout) error {
	return tell(p, func() error {
		old, _ := p.s.store.Layout(ctx)
		err := p.s.store.PutLayout(ctx, l)
		if err == nil {
			p.s.stats.Layouts++
			p.s.slept(old, l)
		}
		return err
	})
}

func (p *planning) PutProcess(ctx context.Context, q mesh.Process) error {
	return tell(p, func() error { return p.s.store.PutProcess(ctx, q) })
}

func (p *planning) Processes(ctx context.Context) ([]mesh.Process, error) {
	return ask(p, func() ([]mesh.Process, error) { return p.s.store.Processes(ctx) })
}

func (p *planning) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	return tell(p, func() error { return p.s.store.RemoveProcess(ctx, id, inc) })
}

func (p *planning) PutReport(ctx context.Context, r mesh.Report) error {
	return tell(p, func() error { return p.s.store.PutReport(ctx, r) })
}

func (p *planning) Reports(ctx context.Context) ([]mesh.Report, error) {
	return ask(p, func() ([]mesh.Report, error) { return p.s.store.Reports(ctx) })
}

func (p *planning) PutSuspicion(ctx context.Context, q mesh.Suspicion) error {
	return tell(p, func() error { return p.s.store.PutSuspicion(ctx, q) })
}

func (p *planning) Suspicions(ctx context.Context) ([]mesh.Suspicion, error) {
	return ask(p, func() ([]mesh.Suspicion, error) { return p.s.store.Suspicions(ctx) })
}

func (p *planning) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	return tell(p, func() error { return p.s.store.DeleteSuspicion(ctx, suspect, witness) })
}

func (p *planning) PutIntent(ctx context.Context, i mesh.Intent) error {
	return tell(p, func() error { return p.s.store.PutIntent(ctx, i) })
}

func (p *planning) Intents(ctx context.Context) ([]mesh.Intent, error) {
	return ask(p, func() ([]mesh.Intent, error) { return p.s.store.Intents(ctx) })
}

func (p *planning) DeleteIntent(ctx context.Context, token string) error {
	return tell(p, func() error { return p.s.store.DeleteIntent(ctx, token) })
}

func (p *planning) PutDecision(ctx context.Context, d mesh.Decision) error {
	return tell(p, func() error { return p.s.store.PutDecision(ctx, d) })
}

func (p *planning) Decisions(ctx context.Context, limit int) ([]mesh.Decision, error) {
	return ask(p, func() ([]mesh.Decision, error) { return p.s.store.Decisions(ctx, limit) })
}

func (p *planning) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	return ask(p, func() (mesh.PlannerState, error) { return p.s.store.PlannerState(ctx) })
}

func (p *planning) PutPlannerState(ctx context.Context, q mesh.PlannerState) error {
	return tell(p, func() error { return p.s.store.PutPlannerState(ctx, q) })
}

func (p *planning) ChunkKeys(ctx context.Context, prefix string) ([]string, error) {
	return ask(p, func() ([]string, error) { return p.s.store.ChunkKeys(ctx, prefix) })
}

func (p *planning) DeleteChunk(ctx context.Context, key string) error {
	return tell(p, func() error { return p.s.store.DeleteChunk(ctx, key) })
}

// Watch is not called: passes follow one another.
func (p *planning) Watch(ctx context.Context, ready func(), f func(store.Change)) error {
	return store.ErrUnavailable
}

// The launcher starts simulated processes.

func (p *planning) Start(_ context.Context, spec launch.Spec) (launch.Instance, error) {
	if !p.wait() {
		return launch.Instance{}, store.ErrUnavailable
	}
	s := p.s
	for _, q := range s.procs {
		if q.token == spec.Token {
			if !q.alive {
				return launch.Instance{}, launch.ErrNotFound
			}
			return q.instance(), nil
		}
	}
	if s.find(spec.Node) != nil {
		return launch.Instance{}, launch.ErrInvalid
	}
	q := s.start(spec.Node, spec.Role)
	q.token = spec.Token
	s.note("launched %s", spec.Node)
	return q.instance(), nil
}

func (q *proc) instance() launch.Instance {
	return launch.Instance{Role: q.self.Role, Token: q.token, Node: q.self.ID}
}

func (p *planning) Drain(_ context.Context, id mesh.NodeID) error {
	if !p.wait() {
		return store.ErrUnavailable
	}
	q := p.s.find(id)
	if q == nil {
		return launch.ErrNotFound
	}
	p.s.drain(q)
	return nil
}

func (p *planning) Stop(_ context.Context, id mesh.NodeID) error {
	if !p.wait() {
		return store.ErrUnavailable
	}
	q := p.s.find(id)
	if q == nil {
		return launch.ErrNotFound
	}
	p.s.note("stop %s", id)
	p.s.kill(q)
	return nil
}

func (p *planning) List(context.Context) ([]launch.Instance, error) {
	if !p.wait() {
		return nil, store.ErrUnavailable
	}
	var out []launch.Instance
	for _, q := range p.s.procs {
		if q.alive {
			out = append(out, q.instance())
		}
	}
	slices.SortFunc(out, func(a, b launch.Instance) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out, nil
}
