package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"weft/control/store/dynamostore/mototest"
	"weft/loadtest/scenario"
)

// cloudPatience bounds the run of a deployed world, its deployment included.
const cloudPatience = 9 * time.Minute

// A world is deployed to an emulator, played, and taken away again.
func TestDemoCloud(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	if why := missing(); why != "" {
		if mototest.Required() {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	report := filepath.Join(t.TempDir(), "out.json")
	ctx, cancel := context.WithTimeout(t.Context(), cloudPatience)
	defer cancel()
	demo := exec.CommandContext(ctx, filepath.Join(binDir(t), "weft"), "demo", "--cloud", "--headless", "--players", "60", "--report", report)
	demo.Cancel = func() error { return demo.Process.Signal(os.Interrupt) }
	demo.WaitDelay = time.Minute
	out, err := demo.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r scenario.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Cloud == nil || r.Cost == nil {
		t.Fatal("the report tells nothing of cloud or cost")
	}
	if c := r.Cloud; !c.PlanEmpty || !c.Destroyed || c.TasksLeft != 0 || c.TasksLaunched < 2 || c.InstancesLaunched < 2 || c.Invocations["replan"] == 0 || c.Invocations["join"] == 0 || c.Resources < 50 {
		t.Errorf("cloud: %+v", c)
	}
	if c := r.Cost; c.USDTotal <= 0 || c.USDPerPlayerHour <= 0 || c.StaticPeakUSD <= 0 || c.Lines["nodes"] <= 0 || c.Lines["functions"] <= 0 {
		t.Errorf("cost: %+v", c)
	}
	if len(r.Recovery) != 2 || r.Nodes.Killed != 2 { // a task and an instance
		t.Errorf("recovery: %+v", r.Recovery)
	}
}

// missing says what this machine lacks for a deployment.
func missing() string {
	if _, err := exec.LookPath("terraform"); err != nil {
		return "Terraform is not installed"
	}
	if os.Getenv("AWS_ENDPOINT_URL") != "" {
		return ""
	}
	s, err := mototest.Start()
	if errors.Is(err, mototest.ErrMissing) {
		return err.Error()
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
