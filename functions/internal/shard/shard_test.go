package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/planner"
	"weft/control/store/memstore"
	"weft/functions/internal/emf"
)

func functionOptions(t *testing.T) options.Function {
	t.Helper()
	o, err := options.ReadFunction([]string{"WEFT_STORE=dynamodb://weft-dev", "WEFT_LAUNCHER=dryrun:"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestLogAndMetrics(t *testing.T) {
	var out bytes.Buffer
	s := New(functionOptions(t), memstore.New(), &out, func() time.Time { return time.UnixMilli(5) })
	s.Log.Info("split", "decision", "7")
	s.Emit(emf.Metric{Name: "Nodes", Unit: emf.Count, Value: 2})
	s.Emit(emf.Metric{Name: "Nodes", Unit: emf.Count, Value: math.NaN()})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", lines)
	}
	var log, metric, lost map[string]any
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &log), json.Unmarshal([]byte(lines[1]), &metric), json.Unmarshal([]byte(lines[2]), &lost)); err != nil {
		t.Fatal(err)
	}
	if log["decision"] != "7" || log["shard"] != "weft" || log["env"] != "dev" || metric["Nodes"] != 2.0 || metric["Shard"] != "weft" || lost["level"] != "ERROR" {
		t.Errorf("%q", lines)
	}
}

func TestPurse(t *testing.T) {
	s := New(functionOptions(t), memstore.New(), &bytes.Buffer{}, time.Now)
	ctx := t.Context()
	for n := range 40 {
		if err := s.Store.PutProcess(ctx, mesh.Process{ID: mesh.NodeID(strings.Repeat("n", n+1)), Address: strings.Repeat("x", 300)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Store.Processes(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.Intents(ctx); err != nil {
		t.Fatal(err)
	}
	f := Timed(s.Purse, func(context.Context, int) (int, error) { return 0, nil })
	if _, err := f(ctx, 1); err != nil {
		t.Fatal(err)
	}
	spent := s.Purse.Open()
	if spent.Calls != 1 || spent.Millis < 1 || spent.WriteUnits < 40 || spent.ReadUnits < 5 || spent.ReadUnits > 9 {
		t.Errorf("%+v", spent)
	}
	if again := s.Purse.Open(); again != spent {
		t.Errorf("looked at twice: %+v, then %+v", spent, again)
	}
	s.Purse.Call(2500 * time.Microsecond)
	s.Purse.Booked(spent)
	if left := s.Purse.Open(); left != (planner.Spent{Calls: 1, Millis: 3}) {
		t.Errorf("left %+v", left)
	}
}

func TestLauncher(t *testing.T) {
	s := New(functionOptions(t), memstore.New(), &bytes.Buffer{}, time.Now)
	l, err := s.Launcher(t.Context(), launchurl.Local...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reconciler(l); err != nil {
		t.Error(err)
	}
	if _, err := s.Launcher(t.Context()); err == nil {
		t.Error("a launcher that is not linked was opened")
	}
}
