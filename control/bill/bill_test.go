package bill

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"weft/control/cost"
	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store/memstore"
)

func config() Config {
	return Config{
		Prices: cost.Published(), Shard: "weft", Env: "dev", FunctionGB: 0.25, Standing: cost.Standing{Keys: 1},
		Machine: func(r mesh.Role, kind string) cost.Machine {
			if kind == "" {
				kind = cost.Fargate
			}
			return cost.Machine{Kind: kind, CPUUnits: 1024, MemoryMiB: 2048}
		},
	}
}

func TestHours(t *testing.T) {
	st := memstore.New()
	ctx := t.Context()
	if out, err := Hours(ctx, st, config(), time.Now()); len(out) > 0 || err != nil {
		t.Errorf("before the planner ever ran: %v, %v", out, err)
	}
	begin := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	hour := begin.Unix() / 3600
	state := planner.State{Meter: planner.Meter{
		Hours: []planner.Hour{
			{Hour: hour - 1},
			{
				Hour: hour, Processes: map[string]int64{"node ": 7_200_000, "node FARGATE_SPOT": 3_600_000, "gateway ": 3_600_000},
				BusyMillis: 8_100_000, ClientMillis: 100 * 3_600_000, WriteUnits: 900_000, ClientBytes: 2e9,
				Functions: planner.Spent{Calls: 1_000_000, Millis: 4000, ReadUnits: 1_000_000, WriteUnits: 100_000},
			},
			{Hour: hour + 1, ClientMillis: 5},
		},
		Today: planner.Peak{Nodes: 5, Gateways: 1},
	}}
	data, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.PutPlannerState(ctx, mesh.PlannerState{Version: 1, Data: data}); err != nil {
		t.Fatal(err)
	}
	now := begin.Add(65 * time.Minute)
	out, err := Hours(ctx, st, config(), now)
	if err != nil || len(out) != 2 || !out[1].Hour.Equal(begin) {
		t.Fatalf("%+v, %v", out, err)
	}
	r := out[1]
	for line, want := range map[string]float64{
		cost.Nodes: 2*0.0395 + 0.3*0.0395, cost.Gateways: 0.0395, cost.Store: 0.625 + 0.125*(1+4*layoutReadsPerHour/1e6),
		cost.Functions: 0.2 + 0.0000133334, cost.Egress: 0.18, cost.Fixed: 1 / 730.,
	} {
		if math.Abs(r.Lines[line]-want) > 1e-9 {
			t.Errorf("%s: $%v, want $%v", line, r.Lines[line], want)
		}
	}
	if want := r.USD - r.Lines[cost.Nodes] - r.Lines[cost.Gateways] + 6*0.0395; math.Abs(r.StaticPeakUSD-want) > 1e-9 || math.Abs(r.IdleShare-0.25) > 1e-9 || r.PlayerHours != 100 || r.EgressGB != 2 {
		t.Errorf("%+v", r)
	}
	for range 2 {
		if again, err := Hours(ctx, st, config(), now); err != nil || len(again) > 0 {
			t.Fatalf("billed again: %+v, %v", again, err)
		}
	}
	decisions, err := st.Decisions(ctx, 10)
	if err != nil || len(decisions) != 2 || decisions[0].Subject != "2026-11-22T20Z" || decisions[0].Reason == "" {
		t.Fatalf("%+v, %v", decisions, err)
	}
	if back, ok := Of(decisions[0]); !ok || !reflect.DeepEqual(back, r) {
		t.Errorf("%v: %+v\nis not %+v", ok, back, r)
	}
	if _, ok := Of(mesh.Decision{Action: "split"}); ok {
		t.Error("a split is a bill")
	}
}

func TestWhatHasNoPriceIsSaid(t *testing.T) {
	st := memstore.New()
	data, err := json.Marshal(planner.State{Meter: planner.Meter{Hours: []planner.Hour{{Hour: 5, Processes: map[string]int64{"node x9.mega": 3_600_000, "gateway ": 3_600_000}}}}})
	if err := errors.Join(err, st.PutPlannerState(t.Context(), mesh.PlannerState{Version: 1, Data: data})); err != nil {
		t.Fatal(err)
	}
	out, err := Hours(t.Context(), st, config(), time.Unix(7*3600, 0))
	if !errors.Is(err, cost.ErrNoPrice) || len(out) != 1 || out[0].Lines[cost.Gateways] == 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
