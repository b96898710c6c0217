package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/planner"
	"weft/control/store"
	"weft/control/store/memstore"
)

func TestHistory(t *testing.T) {
	for name, complete := range map[string]bool{"the launcher knows who runs": true, "nobody knows who runs": false} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			r := w.reconcilerOf(w.store, w, complete)
			w.history(func() {
				if _, err := r.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
			if t.Failed() {
				t.Log(w)
			}
		})
	}
}

// TestKilledBetweenWrites kills the reconciler at random writes, before or
// after they take effect.
func TestKilledBetweenWrites(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newTown(t)
			rng := rand.New(rand.NewPCG(seed, 7))
			killed, kills := false, 0
			f := &faults{Store: w.store, Launcher: w}
			f.around = func(_ string, write bool, do func() error) error {
				if killed {
					return errKilled
				}
				if write && rng.IntN(12) == 0 {
					killed = true
					kills++
					if rng.IntN(2) == 0 {
						_ = do()
					}
					return errKilled
				}
				return do()
			}
			r := w.reconciler(f, f)
			w.history(func() {
				killed = false
				if _, err := r.Once(t.Context()); err != nil && !errors.Is(err, errKilled) && !errors.Is(err, store.ErrConflict) {
					t.Fatal(err)
				}
			})
			if kills < 5 {
				t.Errorf("only %d kills", kills)
			}
			if t.Failed() {
				t.Log(w)
			}
		})
	}
}

// TestCutShortInATakeover kills the reconciler between the raised epochs and
// the layout: the next run follows the records instead of raising them again.
func TestCutShortInATakeover(t *testing.T) {
	w := newTown(t)
	killing := false
	f := &faults{Store: w.store, Launcher: w}
	f.around = func(name string, _ bool, do func() error) error {
		if killing && name == "PutLayout" {
			return errKilled
		}
		return do()
	}
	r := w.reconciler(f, f)
	pass := func(n int, want error) {
		t.Helper()
		for range n {
			w.live()
			if _, err := r.Once(t.Context()); !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
		}
	}
	w.gather(100)
	pass(10, nil)
	before, err := w.store.Zone(t.Context(), mesh.Cradle)
	if err != nil {
		t.Fatal(err)
	}
	delete(w.procs, before.Owner.Node)
	killing = true
	pass(1, errKilled)
	cut, err := w.store.Zone(t.Context(), mesh.Cradle)
	if err != nil || cut.Epoch != before.Epoch+1 || cut.Owner.Same(before.Owner) {
		t.Fatalf("the record is %+v (%v)", cut, err)
	}
	killing = false
	pass(1, nil)
	after, err := w.store.Zone(t.Context(), mesh.Cradle)
	l, err2 := w.store.Layout(t.Context())
	if z, _ := l.Zone(mesh.Cradle); err != nil || err2 != nil || after.Epoch != cut.Epoch || !after.Owner.Same(cut.Owner) || z.Epoch != cut.Epoch || !z.Owner.Same(cut.Owner) {
		t.Errorf("the next run left record %+v and layout %+v, want those of %+v", after, z, cut)
	}
	pass(30, nil)
	w.check()
}

// TestTwoAtOnce lets two reconcilers take turns at random between any two
// calls of the store and the launcher.
func TestTwoAtOnce(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newTown(t)
			rng := rand.New(rand.NewPCG(seed, 8))
			both := [2]*turns{newTurns(), newTurns()}
			var rs [2]*Reconciler
			for i, turn := range both {
				f := &faults{Store: w.store, Launcher: w}
				f.around = func(_ string, _ bool, do func() error) error { turn.yield(); return do() }
				rs[i] = w.reconciler(f, f)
			}
			conflicts := 0
			w.history(func() {
				// One may still be in the middle of its last run.
				for range rng.IntN(60) {
					i := rng.IntN(2)
					both[i].step(func() {
						_, err := rs[i].Once(t.Context())
						if errors.Is(err, store.ErrConflict) {
							conflicts++
						} else if err != nil {
							t.Error(err)
						}
					})
				}
			})
			for _, turn := range both {
				turn.finish()
			}
			if conflicts == 0 {
				t.Error("the two never met")
			}
			if t.Failed() {
				t.Log(w)
			}
		})
	}
}

// turns runs a function as a coroutine that stops at each yield.
type turns struct {
	go_, back chan struct{}
	running   bool
}

func newTurns() *turns { return &turns{go_: make(chan struct{}), back: make(chan struct{})} }

func (c *turns) yield() { c.back <- struct{}{}; <-c.go_ }

// step goes on to the next yield, beginning f if nothing is running.
func (c *turns) step(f func()) {
	if !c.running {
		c.running = true
		go func() {
			<-c.go_
			f()
			c.running = false
			c.back <- struct{}{}
		}()
	}
	c.go_ <- struct{}{}
	<-c.back
}

func (c *turns) finish() {
	for c.running {
		c.step(nil)
	}
}

var errKilled = errors.New("killed")

// faults passes calls through around.
type faults struct {
	Store
	launch.Launcher
	around func(name string, write bool, do func() error) error
}

func (f *faults) CreateZone(ctx context.Context, r mesh.ZoneRecord) error {
	return f.around("CreateZone", true, func() error { return f.Store.CreateZone(ctx, r) })
}

func (f *faults) Zone(ctx context.Context, z mesh.ZoneID) (r mesh.ZoneRecord, err error) {
	err = f.around("Zone", false, func() (err error) { r, err = f.Store.Zone(ctx, z); return })
	return r, err
}

func (f *faults) RaiseEpoch(ctx context.Context, z mesh.ZoneID, e mesh.Epoch, o mesh.Owner) error {
	return f.around("RaiseEpoch", true, func() error { return f.Store.RaiseEpoch(ctx, z, e, o) })
}

func (f *faults) RemoveZone(ctx context.Context, z mesh.ZoneID) error {
	return f.around("RemoveZone", true, func() error { return f.Store.RemoveZone(ctx, z) })
}

func (f *faults) Layout(ctx context.Context) (l mesh.Layout, err error) {
	err = f.around("Layout", false, func() (err error) { l, err = f.Store.Layout(ctx); return })
	return l, err
}

func (f *faults) PutLayout(ctx context.Context, l mesh.Layout) error {
	return f.around("PutLayout", true, func() error { return f.Store.PutLayout(ctx, l) })
}

func (f *faults) Processes(ctx context.Context) (p []mesh.Process, err error) {
	err = f.around("Processes", false, func() (err error) { p, err = f.Store.Processes(ctx); return })
	return p, err
}

func (f *faults) PutProcess(ctx context.Context, p mesh.Process) error {
	return f.around("PutProcess", true, func() error { return f.Store.PutProcess(ctx, p) })
}

func (f *faults) RemoveProcess(ctx context.Context, n mesh.NodeID, i mesh.Incarnation) error {
	return f.around("RemoveProcess", true, func() error { return f.Store.RemoveProcess(ctx, n, i) })
}

func (f *faults) Intents(ctx context.Context) (i []mesh.Intent, err error) {
	err = f.around("Intents", false, func() (err error) { i, err = f.Store.Intents(ctx); return })
	return i, err
}

func (f *faults) PutIntent(ctx context.Context, i mesh.Intent) error {
	return f.around("PutIntent", true, func() error { return f.Store.PutIntent(ctx, i) })
}

func (f *faults) DeleteIntent(ctx context.Context, token string) error {
	return f.around("DeleteIntent", true, func() error { return f.Store.DeleteIntent(ctx, token) })
}

func (f *faults) PutDecision(ctx context.Context, d mesh.Decision) error {
	return f.around("PutDecision", true, func() error { return f.Store.PutDecision(ctx, d) })
}

func (f *faults) PutPlannerState(ctx context.Context, s mesh.PlannerState) error {
	return f.around("PutPlannerState", true, func() error { return f.Store.PutPlannerState(ctx, s) })
}

func (f *faults) Start(ctx context.Context, s launch.Spec) (i launch.Instance, err error) {
	err = f.around("Start", true, func() (err error) { i, err = f.Launcher.Start(ctx, s); return })
	return i, err
}

func (f *faults) Stop(ctx context.Context, n mesh.NodeID) error {
	return f.around("Stop", true, func() error { return f.Launcher.Stop(ctx, n) })
}

func (f *faults) Drain(ctx context.Context, n mesh.NodeID) error {
	return f.around("Drain", true, func() error { return f.Launcher.Drain(ctx, n) })
}

// TestWorldOpensAgain: whoever opens a world whose processes are all gone, by
// their word or without one, finds every zone owned again.
func TestWorldOpensAgain(t *testing.T) {
	w := newTown(t)
	r := w.reconciler(w.store, w)
	pass := func(n int) {
		for range n {
			w.live()
			if _, err := r.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.gather(400)
	pass(20)
	before, err := w.store.Layout(t.Context())
	if err != nil || len(before.Zones) < 4 {
		t.Fatalf("%d zones (%v)", len(before.Zones), err)
	}
	clear(w.procs)
	w.crowd = 0
	w.now = w.now.Add(30 * 24 * time.Hour)
	pass(3)
	for _, z := range before.Zones {
		if now, err := w.store.Zone(t.Context(), z.ID); err != nil || now.Epoch <= z.Epoch || w.procs[now.Owner.Node] == nil {
			t.Errorf("zone %d: %+v (%v)", z.ID, now, err)
		}
	}
	pass(40)
	w.check()
}

func TestNoRoom(t *testing.T) {
	w := newTown(t)
	w.full = true
	r := w.reconciler(w.store, w)
	for range 20 {
		w.live()
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ds, err := w.store.Decisions(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ds); n > 40 {
		t.Errorf("%d launches tried in 20 s without room", n)
	}
	w.full = false
	for range 60 {
		w.live()
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.check()
	if w.nodes() != 2 {
		t.Errorf("%d nodes when there is room again", w.nodes())
	}
}

func TestRemovedZonesLeaveNothingBehind(t *testing.T) {
	w := newTown(t)
	r := w.reconciler(w.store, w)
	w.gather(400)
	for range 20 {
		w.live()
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.store.Layout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range l.Zones {
		if err := w.store.PutChunk(t.Context(), ZonePrefix(z.ID)+"a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	w.crowd = 0
	for range 60 {
		w.live()
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.check()
	keys, err := w.store.ChunkKeys(t.Context(), "z")
	if err != nil || !slices.Equal(keys, []string{"z1/a"}) {
		t.Errorf("chunks left: %v (%v)", keys, err)
	}
}

func TestGenesis(t *testing.T) {
	s := memstore.New()
	shard := mesh.Shard{Name: "g", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(100, 100, 10)}}
	boxes, err := partition.Genesis("static", shard, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := Genesis(t.Context(), s, shard, boxes[:3], nil); !errors.Is(err, mesh.ErrInvalidLayout) {
		t.Errorf("boxes with a hole: %v", err)
	}
	ptr := mesh.Pointer{Position: 0, Chunks: []string{"z2/a"}}
	if err := Genesis(t.Context(), s, shard, boxes, map[mesh.ZoneID]mesh.Pointer{2: ptr}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[mesh.ZoneID]mesh.Pointer{1: {Position: -1}, 2: ptr} {
		rec, err := s.Zone(t.Context(), id)
		if err != nil || rec.Pointer.Position != want.Position || !slices.Equal(rec.Pointer.Chunks, want.Chunks) || !rec.Owner.IsZero() {
			t.Errorf("zone %d begins as %+v (%v)", id, rec, err)
		}
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	bad := planner.DefaultConfig()
	bad.LowLoad = 2000
	for _, c := range []struct {
		d     Deps
		fault string
	}{
		{Deps{Config: bad}, "must be positive and ascend"},
		{Deps{Config: planner.DefaultConfig()}, "needs a store, a launcher and a clock"},
	} {
		if err := Run(t.Context(), c.d); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("got %v, want %q", err, c.fault)
		}
	}
}

// TestServeWakes: a change of a control record brings a run at once, reports
// fewer of them, and without any change the backstop does.
func TestServeWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		var runs atomic.Int64
		f := &faults{Store: w.store, Launcher: dryrun.New(0)}
		f.around = func(name string, _ bool, do func() error) error {
			if name == "Layout" {
				runs.Add(1)
			}
			return do()
		}
		r, err := New(Deps{Config: planner.DefaultConfig(), Store: f, Launcher: f, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Serve(ctx) }()
		settle := func(d time.Duration) int64 {
			time.Sleep(d) // virtual: synctest's clock
			synctest.Wait()
			return runs.Swap(0)
		}
		settle(600 * time.Millisecond) // its own intents wake it
		if n := settle(5 * time.Second); n < 4 || n > 6 {
			t.Errorf("%d runs in 5 s of quiet, want about one a second", n)
		}
		if err := w.store.PutSuspicion(ctx, mesh.Suspicion{Suspect: "x", Witness: "y", Kind: mesh.Broken, Number: 1}); err != nil {
			t.Fatal(err)
		}
		if n := settle(60 * time.Millisecond); n < 1 {
			t.Errorf("%d runs in 60 ms after a suspicion, want one", n)
		}
		for i := range 100 {
			if err := w.store.PutReport(ctx, mesh.Report{Process: mesh.Process{ID: "x"}, Sequence: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := settle(0); n < 3 || n > 6 {
			t.Errorf("%d runs in a second of reports, want about four", n)
		}
		cancel()
		<-done
	})
}
