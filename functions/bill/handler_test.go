package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"weft/control/bill"
	"weft/control/cost"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/planner"
	"weft/control/store/memstore"
	"weft/functions/internal/chaos"
	"weft/functions/internal/shard"
)

var standing = cost.Standing{Keys: 1, Secrets: 1, Metrics: 19, Alarms: 13}

func TestAnHour(t *testing.T) {
	now := time.Date(2026, 11, 22, 21, 0, 3, 0, time.UTC)
	out := &bytes.Buffer{}
	o := options.Function{Shard: "weft", Env: "dev", Kind: cost.Fargate, NodeSize: options.Size{CPUUnits: 1024, MemoryMiB: 2048}}
	h := &handler{shard.New(o, memstore.New(), out, func() time.Time { return now }), bill.Config{Prices: cost.Published(), Machine: o.Machine, FunctionGB: 0.25, Standing: standing}}
	event, err := os.ReadFile("testdata/event.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.handle(t.Context(), event); err != nil || got != (summary{}) || out.Len() > 0 {
		t.Errorf("before anything was metered: %+v, %v, %s", got, err, out)
	}
	state, err := json.Marshal(planner.State{Meter: planner.Meter{
		Hours: []planner.Hour{{Hour: now.Unix()/3600 - 1, Processes: map[string]int64{"node ": 3_600_000}, ClientMillis: 36_000_000}},
		Today: planner.Peak{Nodes: 3},
	}})
	if err := errors.Join(err, h.Store.PutPlannerState(t.Context(), mesh.PlannerState{Version: 1, Data: state})); err != nil {
		t.Fatal(err)
	}
	for n := range 3 { // one record and one line an hour, however often it is called
		got, err := h.handle(t.Context(), event)
		if err != nil || got.Hours != 1 != (n > 0) {
			t.Errorf("time %d: %+v, %v", n+1, got, err)
		}
	}
	if n := strings.Count(out.String(), `"_aws"`); n != 1 {
		t.Errorf("%d lines of metrics", n)
	}
	for _, want := range []string{`"PlayerHours":10`, `"NodesUSD":0.0445`, `"StaticPeakUSD":0.1`, `"IdleShare":1`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
	decisions, err := h.Store.Decisions(t.Context(), 9)
	if err != nil || len(decisions) != 1 || decisions[0].Action != bill.Action {
		t.Errorf("%+v, %v", decisions, err)
	}
}

// TestChaos: bills of a world that runs, each hour once.
func TestChaos(t *testing.T) {
	sum := func(ctx context.Context, s *shard.Shard, _ launchurl.Opened) error {
		_, err := (&handler{s, bill.Config{Prices: cost.Published(), Machine: s.Options.Machine, FunctionGB: 0.25, Standing: standing}}).handle(ctx, nil)
		return err
	}
	chaos.Run(t, func(w *chaos.World) {
		for range 63 {
			w.Sweep()
		}
	}, func(t testing.TB, w *chaos.World) {
		decisions, err := w.Store.Decisions(t.Context(), 100)
		n := 0
		for _, d := range decisions {
			if r, ok := bill.Of(d); ok && r.Lines[cost.Nodes] > 0 {
				n++
			}
		}
		if err != nil || n != 1 {
			t.Errorf("%d bills, %v", n, err)
		}
	}, sum, sum)
}
