package reconcile

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store"
)

// TestSweepIsEnough: a world that is only ever swept goes the same way, and
// nothing that is on its way is taken for an orphan.
func TestSweepIsEnough(t *testing.T) {
	w := newTown(t)
	r := w.reconcilerOf(w.store, w, false)
	orphans := 0
	w.history(func() {
		s, err := r.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		orphans += len(s.Instances)
	})
	if orphans > 0 {
		t.Errorf("%d instances were taken for orphans", orphans)
	}
	if t.Failed() {
		t.Log(w)
	}
}

func TestOrphans(t *testing.T) {
	w := newTown(t)
	r := w.reconcilerOf(w.store, w, false)
	for range 10 {
		w.live()
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	owner := w.owners()[0]
	sweep := func() Swept {
		t.Helper()
		w.live()
		w.now = w.now.Add(59 * time.Second)
		s, err := r.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := sweep(); len(s.Instances)+len(s.Processes) > 0 {
		t.Fatalf("a world in order has orphans: %+v", s.Orphans)
	}
	// An instance that nobody knows, and a record whose instance is gone.
	if _, err := w.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "rogue", Node: "rogue"}); err != nil {
		t.Fatal(err)
	}
	w.procs["rogue"].frozen = true
	delete(w.procs, owner)
	first, second := sweep(), sweep()
	if len(first.Instances) != 1 || first.Instances[0].Node != "rogue" || w.procs["rogue"] != nil || len(second.Instances) > 0 {
		t.Errorf("instances %+v, then %+v", first.Instances, second.Instances)
	}
	fenced := slices.Concat(first.Processes, second.Processes)
	if len(fenced) != 1 || fenced[0].ID != owner {
		t.Errorf("fenced %+v, want %s", fenced, owner)
	}
	for range 8 {
		w.live()
		if _, err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.check()
}

// TestAProcessThatReportsIsNoOrphan, whatever the launcher lists.
func TestAProcessThatReportsIsNoOrphan(t *testing.T) {
	w := newTown(t)
	blind := &faults{Store: w.store, Launcher: blindLauncher{w}}
	blind.around = func(_ string, _ bool, do func() error) error { return do() }
	r := w.reconcilerOf(blind, blind, false)
	for range 30 {
		w.live()
		s, err := r.Sweep(t.Context())
		if err != nil || len(s.Processes) > 0 {
			t.Fatalf("fenced %+v, %v", s.Processes, err)
		}
	}
	if n := w.nodes(); n != 2 {
		t.Errorf("%d nodes", n)
	}
}

// blindLauncher lists nobody.
type blindLauncher struct{ launch.Launcher }

func (blindLauncher) List(context.Context) ([]launch.Instance, error) { return nil, nil }

type expenses struct{ open, booked planner.Spent }

func (e *expenses) Open() planner.Spent { return e.open }
func (e *expenses) Booked(s planner.Spent) {
	e.open, e.booked = e.open.Minus(s), e.booked.Plus(s)
}

// TestEnsure: a run that others overtake is made again, and gives up in the end;
// what it spent is booked once, with the state.
func TestEnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		conflicts, tries := 3, 0
		f := &faults{Store: w.store, Launcher: w}
		f.around = func(name string, _ bool, do func() error) error {
			if name == "PutPlannerState" {
				if tries++; tries <= conflicts {
					return store.ErrConflict
				}
			}
			return do()
		}
		r := w.reconciler(f, f)
		spent := &expenses{open: planner.Spent{Calls: 3, Millis: 40}}
		r.d.Expenses = spent
		began := time.Now()
		if _, err := r.Ensure(t.Context()); err != nil || tries != 4 {
			t.Errorf("%v after %d tries", err, tries)
		}
		if d := time.Since(began); d < 140*time.Millisecond || d > 280*time.Millisecond {
			t.Errorf("it took %s", d)
		}
		if spent.open != (planner.Spent{}) || spent.booked != (planner.Spent{Calls: 3, Millis: 40}) {
			t.Errorf("%+v", spent)
		}
		spent.open.Calls = 1
		conflicts, tries = 100, 0
		w.live()
		if _, err := r.Ensure(t.Context()); !errors.Is(err, store.ErrConflict) || tries != ensureRuns || spent.open.Calls != 1 {
			t.Errorf("%v after %d tries, %+v", err, tries, spent)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Ensure(ctx); err == nil {
			t.Error("it went on after the end")
		}
	})
}

// TestAStoppedWorldIsFoundBare only when nothing runs, no record says that
// something does, and the launcher keeps nothing ready.
func TestAStoppedWorldIsFoundBare(t *testing.T) {
	w := newTown(t)
	r := w.reconcilerOf(w.store, w, false)
	pool, tended := 2, 0
	r.d.Tend = func(context.Context) error { tended++; return nil }
	r.d.Release = func(context.Context) (int, error) {
		if pool > 0 {
			pool--
		}
		return pool, nil
	}
	bare := func() bool {
		t.Helper()
		w.live()
		w.now = w.now.Add(time.Minute)
		if _, err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		intents, err := w.store.Intents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return planner.Bare(intents)
	}
	for range 4 {
		if bare() || pool != 2 {
			t.Fatal("a world that goes on is taken apart")
		}
	}
	if err := w.store.PutIntent(t.Context(), planner.StoppedIntent(w.now, "test")); err != nil {
		t.Fatal(err)
	}
	before := tended
	if _, err := w.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "rogue", Node: "rogue"}); err != nil {
		t.Fatal(err)
	}
	w.procs["rogue"].frozen = true
	sweeps := 0
	for !bare() {
		if sweeps++; sweeps > 20 {
			t.Fatalf("after %d sweeps %d processes run and the pool has %d", sweeps, len(w.procs), pool)
		}
	}
	if len(w.procs) > 0 || pool > 0 || tended != before || sweeps == 0 {
		t.Errorf("bare after %d sweeps with %d processes and %d in the pool; tended %d times", sweeps, len(w.procs), pool, tended-before)
	}
}
