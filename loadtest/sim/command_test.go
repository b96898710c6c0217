package sim

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	var out, errs strings.Builder
	c := Command{Seeds: 2, First: 3, Jobs: 2, Report: file}
	status, err := c.Main(context.Background(), &out, &errs)
	if status != 0 || err != nil {
		t.Fatalf("%d, %v\n%s", status, err, out.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if r.Seeds != 2 || r.First != 3 || r.SimulatedSeconds != 120 || r.Stats.Messages == 0 || len(r.Violations) != 0 {
		t.Errorf("%+v", r)
	}
	if status, err := (&Command{Seeds: 0}).Main(context.Background(), &out, &errs); status != 2 || err == nil {
		t.Errorf("no seeds: %d, %v", status, err)
	}
}

func TestCommandInStep(t *testing.T) {
	var out, errs strings.Builder
	c := Command{Seeds: 1, First: 3, Jobs: 1, Lockstep: true, Report: "-"}
	if status, err := c.Main(context.Background(), &out, &errs); status != 0 || err != nil || !strings.Contains(out.String(), `"lockstep": {`) {
		t.Fatalf("%d, %v\n%s", status, err, out.String())
	}
}

func TestViolationIsReported(t *testing.T) {
	var r Report
	r.add(Result{Seed: 9, Violation: "two owners"}, "")
	if len(r.Violations) != 1 || !strings.Contains(r.Violations[0].Replay, "--first 9 ") {
		t.Errorf("%+v", r.Violations)
	}
}
