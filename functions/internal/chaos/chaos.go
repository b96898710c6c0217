// Package chaos calls handlers as badly as the cloud may: twice, in the wrong
// order, and cut short before and after every single write, and says what must
// be true afterwards. It is for tests; begin with Run.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/partition"
	"weft/control/reconcile"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/functions/internal/shard"
)

// Call is one call of a function: it makes its handler and calls it.
type Call func(ctx context.Context, s *shard.Shard, l launchurl.Opened) error

// World is a shard in memory whose processes do as told.
type World struct {
	Store    *memstore.Store
	Launcher *dryrun.Launcher
	Now      time.Time

	t         testing.TB
	born      mesh.Incarnation
	residents map[mesh.NodeID]*mesh.Report
}

// New returns a world of which nothing runs yet.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{Store: memstore.New(), Launcher: dryrun.New(0), Now: time.UnixMilli(1_795_341_600_000), t: t, residents: map[mesh.NodeID]*mesh.Report{}}
	w.born = mesh.Incarnation(w.Now.UnixNano())
	s := mesh.Shard{Name: "weft", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(1000, 1000, 100)}}
	boxes, err := partition.Genesis("kdsplit", s, 1)
	if err := errors.Join(err, reconcile.Genesis(t.Context(), w.Store, s, boxes, nil)); err != nil {
		t.Fatal(err)
	}
	return w
}

// Function returns the shard as a function sees it whose writes go through c.
func (w *World) function(c *cut) (*shard.Shard, launchurl.Opened) {
	w.t.Helper()
	o, err := options.ReadFunction([]string{"WEFT_STORE=dynamodb://weft-dev", "WEFT_LAUNCHER=dryrun:", "WEFT_SLEEP_AFTER=0s"})
	if err != nil {
		w.t.Fatal(err)
	}
	s := shard.New(o, &cutStore{w.Store, c}, io.Discard, func() time.Time { return w.Now })
	return s, launchurl.Opened{Launcher: &cutLauncher{w.Launcher, c}, Tend: func(context.Context) error { return nil }}
}

// Live lets a second pass: who runs makes itself known and reports.
func (w *World) Live() {
	w.t.Helper()
	ctx := w.t.Context()
	w.Now = w.Now.Add(time.Second)
	running, err := w.Launcher.List(ctx)
	layout, err2 := w.Store.Layout(ctx)
	if err := errors.Join(err, err2); err != nil {
		w.t.Fatal(err)
	}
	for _, i := range running {
		r := w.residents[i.Node]
		if r == nil {
			w.born++
			r = &mesh.Report{TickBudgetUS: 50_000, Process: mesh.Process{
				ID: i.Node, Incarnation: w.born, Role: i.Role, State: mesh.Ready, Address: string(i.Node) + ":1",
				ClientURL: "wss://" + string(i.Node), Capacity: 100, Machine: "i-" + string(i.Node),
			}}
			w.residents[i.Node] = r
		}
		r.Sequence++
		r.LayoutVersion, r.Zones = layout.Version, nil
		for _, z := range layout.Zones {
			if z.Owner.Same(r.Process.Owner()) {
				r.Zones = append(r.Zones, mesh.ZoneLoad{Zone: z.ID, Epoch: z.Epoch, Open: true})
			}
		}
		err := w.Store.PutProcess(ctx, r.Process)
		if errors.Is(err, store.ErrStaleEpoch) { // it was fenced: it ends
			err = w.Launcher.Stop(ctx, i.Node)
		}
		if err := errors.Join(err, w.Store.PutReport(ctx, *r)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Sweep lets a minute pass and sweeps, as the function does.
func (w *World) Sweep() {
	w.t.Helper()
	w.Live()
	w.Now = w.Now.Add(time.Minute)
	s, l := w.function(&cut{at: -1})
	r, err := s.Reconciler(l)
	if err == nil {
		_, err = r.Sweep(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Fleet returns who runs of a role.
func (w *World) Fleet(r mesh.Role) (out []mesh.NodeID) {
	w.t.Helper()
	all, err := w.Launcher.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range all {
		if i.Role == r {
			out = append(out, i.Node)
		}
	}
	return out
}

// orphans says what runs and is unknown, or is known and does not run.
func (w *World) orphans() (faults []string) {
	w.t.Helper()
	ctx := w.t.Context()
	running, err := w.Launcher.List(ctx)
	processes, err2 := w.Store.Processes(ctx)
	intents, err3 := w.Store.Intents(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		w.t.Fatal(err)
	}
	for _, i := range running {
		if !slices.ContainsFunc(processes, func(p mesh.Process) bool { return p.ID == i.Node }) &&
			!slices.ContainsFunc(intents, func(n mesh.Intent) bool { return n.Target == i.Node }) {
			faults = append(faults, fmt.Sprintf("%s runs and nobody knows it", i.Node))
		}
	}
	for _, p := range processes {
		if p.State != mesh.Stopped && !slices.ContainsFunc(running, func(i launch.Instance) bool { return i.Node == p.ID }) {
			faults = append(faults, fmt.Sprintf("%s has a record and does not run", p.ID))
		}
	}
	return faults
}

// Run makes the calls in their order and in reverse, each twice, cut short
// before or after the n-th write, for every n that there is, and each that was cut
// short again. After two sweeps there must be as many nodes and gateways as in the
// undisturbed world, and no orphan. Prepare, if not nil, makes the world ready; check,
// if not nil, says what else must be true.
func Run(t *testing.T, prepare func(*World), check func(testing.TB, *World), calls ...Call) {
	t.Helper()
	play := func(order []Call, times int, c *cut) *World {
		w := New(t)
		if prepare != nil {
			prepare(w)
		}
		for i, call := range order {
			for range times {
				for { // the runtime calls again what failed
					s, l := w.function(c)
					err := call(t.Context(), s, l)
					if err == nil {
						break
					}
					if !errors.Is(err, errCut) {
						t.Fatalf("call %d: %v", i, err)
					}
					c.dead = false
				}
			}
		}
		w.Sweep()
		w.Sweep()
		w.Live()
		return w
	}
	want := play(calls, 1, &cut{at: -1})
	nodes, gateways := len(want.Fleet(mesh.RoleNode)), len(want.Fleet(mesh.RoleGateway))
	if nodes == 0 || gateways == 0 {
		t.Fatalf("the undisturbed world has %d nodes and %d gateways", nodes, gateways)
	}
	reversed := slices.Clone(calls)
	slices.Reverse(reversed)
	cuts := 0
	for name, order := range map[string][]Call{"in order": calls, "reversed": reversed} {
		for _, after := range []bool{false, true} {
			for n := 0; ; n++ {
				c := &cut{at: n, after: after}
				w := play(order, 2, c)
				at := fmt.Sprintf("%s, cut at write %d (written: %v)", name, n, after)
				for _, fault := range w.orphans() {
					t.Errorf("%s: %s", at, fault)
				}
				if a, b := len(w.Fleet(mesh.RoleNode)), len(w.Fleet(mesh.RoleGateway)); a != nodes || b != gateways {
					t.Errorf("%s: %d nodes and %d gateways, want %d and %d: %q", at, a, b, nodes, gateways, w.Launcher.Records())
				}
				if check != nil {
					check(t, w)
				}
				if t.Failed() || !c.done {
					break
				}
				cuts++
			}
		}
	}
	t.Logf("%d cuts, %d nodes and %d gateways each time", cuts, nodes, gateways)
	if cuts == 0 {
		t.Error("the calls write nothing: there was nothing to cut")
	}
}
