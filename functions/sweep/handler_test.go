package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/launch"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/reconcile"
	"weft/control/store/memstore"
	"weft/functions/internal/chaos"
	"weft/functions/internal/shard"
)

type sweeps struct {
	n   int
	err error
}

func (s *sweeps) Sweep(context.Context) (reconcile.Swept, error) {
	s.n++
	return reconcile.Swept{Orphans: reconcile.Orphans{Instances: make([]launch.Instance, 2)}, Decisions: []mesh.Decision{{Action: "failed"}}}, s.err
}

func TestSweep(t *testing.T) {
	out := &bytes.Buffer{}
	s := &sweeps{}
	h := &handler{shard.New(options.Function{Shard: "weft", Env: "dev"}, memstore.New(), out, time.Now), s, nil}
	ctx := t.Context()
	node := mesh.Process{ID: "n", Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready, Capacity: 100}
	gateway := mesh.Process{ID: "g", Incarnation: 1, Role: mesh.RoleGateway, State: mesh.Ready}
	gone := mesh.Process{ID: "o", Incarnation: 1, Role: mesh.RoleNode, State: mesh.Stopped, Capacity: 1}
	for _, r := range []mesh.Report{
		{Process: node, Sequence: 1, TickBudgetUS: 50_000, BusyUS: 10_000, Zones: []mesh.ZoneLoad{{Actors: 30}, {Actors: 45}}},
		{Process: gateway, Sequence: 1, Clients: 70},
		{Process: gone, Sequence: 1, Zones: []mesh.ZoneLoad{{Actors: 9}}},
	} {
		if err := errors.Join(h.Store.PutProcess(ctx, r.Process), h.Store.PutReport(ctx, r)); err != nil {
			t.Fatal(err)
		}
	}
	event, err := os.ReadFile("testdata/event.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.handle(ctx, event)
	if err != nil || got != (summary{Decisions: 1, Orphans: 2}) || s.n != 1 {
		t.Errorf("%+v, %v, %d sweeps", got, err, s.n)
	}
	for _, want := range []string{`"Players":70`, `"Nodes":1`, `"Gateways":1`, `"WorstLoad":0.75`, `"Refusals":1`, "orphans"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	s.err = errors.New("boom")
	out.Reset()
	if _, err := h.handle(ctx, json.RawMessage(`null`)); !errors.Is(err, s.err) || !strings.Contains(out.String(), `"Players"`) {
		t.Errorf("a sweep that fails: %v, and %s", err, out)
	}
}

// TestChaos: a world that only sweeps bring up and repair.
func TestChaos(t *testing.T) {
	sweep := func(ctx context.Context, s *shard.Shard, l launchurl.Opened) error {
		r, err := s.Reconciler(l)
		if err != nil {
			return err
		}
		_, err = (&handler{s, r, nil}).handle(ctx, nil)
		return err
	}
	t.Run("at birth", func(t *testing.T) { chaos.Run(t, nil, nil, sweep, sweep) })
	t.Run("after losses", func(t *testing.T) {
		chaos.Run(t, func(w *chaos.World) {
			for range 3 {
				w.Sweep()
			}
			w.Live()
			// A node dies, and somebody starts one by hand.
			if err := w.Launcher.Stop(t.Context(), w.Fleet(mesh.RoleNode)[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Launcher.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "by hand", Node: "rogue"}); err != nil {
				t.Fatal(err)
			}
			w.Now = w.Now.Add(time.Minute)
		}, func(t testing.TB, w *chaos.World) {
			if slices.Contains(w.Fleet(mesh.RoleNode), "rogue") {
				t.Error("rogue still runs")
			}
		}, sweep, sweep)
	})
}
