package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weft/control/local/cloud"
	"weft/control/mesh"
	"weft/control/provision"
	runner "weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
	"weft/simnode/ticket"
)

// The deployment of weft demo --cloud.
const (
	cloudScenario = "tavern-cloud"
	cloudSleep    = 15 * time.Second
	cloudNodes    = 6
	cloudGateways = 2
	joinPatience  = 15 * time.Second
	endPatience   = 5 * time.Minute
)

// cloudMesh is a deployed world as a run wants it.
type cloudMesh struct {
	*cloud.Cloud
	plain *atomic.Bool // a gateway was named that speaks without TLS
}

// Join implements run.Mesh.
func (m cloudMesh) Join(player mesh.PlayerID) (gateways []string, ticket string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), joinPatience)
	defer cancel()
	gateways, ticket, err = m.Cloud.Join(ctx, player)
	if slices.ContainsFunc(gateways, func(g string) bool { return !strings.HasPrefix(g, "wss://") }) {
		m.plain.Store(true)
	}
	return gateways, ticket, err
}

// runCloud plays the tavern on a world that Terraform deploys to an emulator,
// and takes it away again.
func (d *demo) runCloud(s *session) (err error) {
	play := runner.Command{File: cloudScenario, Report: d.Report, Policy: d.Policy, Players: d.Players, Duration: d.Duration}
	tavern, dropped, err := play.Load()
	if err != nil {
		s.status = runner.ExitBad
		return err
	}
	if d.Seed != 0 {
		tavern.Seed = d.Seed
	}
	cfg, err := d.cloudConfig(s, tavern)
	if err != nil {
		return err
	}
	began := time.Now()
	c, err := cloud.Start(s.ctx, cfg)
	if err != nil {
		return fmt.Errorf("the world could not be deployed: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	p := runner.NewPrinter(s.errs)
	for _, e := range dropped {
		p.Log("not expected of a run of this size: " + e.String())
	}
	played := cloudMesh{c, &atomic.Bool{}}
	report, err := runner.Run(s.ctx, tavern, played, runner.Options{Progress: p.Progress, Log: p.Log})
	p.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), endPatience)
	defer cancel()
	if err := errors.Join(err, c.Destroy(ctx)); err != nil {
		return err
	}
	report.WallSeconds = math.Round(time.Since(began).Seconds())
	if err := account(report, c, d.Launcher); err != nil {
		return err
	}
	report.Expect = append(report.Expect, scenario.Verdict{Check: "gateways speak TLS", OK: !played.plain.Load(), Got: !played.plain.Load()})
	if err := runner.Write(report, d.Report, s.out); err != nil {
		return fmt.Errorf("the report could not be written: %w", err)
	}
	p.Verdicts(report)
	fmt.Fprintf(s.errs, "on AWS it would have cost $%.4f: $%.4f a player-hour, egress aside; a fleet of the peak's size $%.4f\n",
		report.Cost.USDTotal, report.Cost.USDPerPlayerHour, report.Cost.StaticPeakUSD)
	if !report.OK() {
		s.status = runner.ExitFailed
	}
	return nil
}

func (d *demo) cloudConfig(s *session, tavern *scenario.Scenario) (cloud.Config, error) {
	here, err := os.Getwd()
	if err != nil {
		return cloud.Config{}, err
	}
	source := provision.FindSource(here)
	if source == "" {
		return cloud.Config{}, errors.New("weft demo --cloud builds the functions from Weft's source; run it in a checkout")
	}
	world, err := stage.Config(tavern)
	if err != nil {
		return cloud.Config{}, err
	}
	cfg := cloud.Config{
		Launcher: d.Launcher, Source: source, Dir: d.Data, Shard: world.Shard, Zones: tavern.Zones, Chunks: world.Chunks, Command: world.Command, JoinToken: ticket.JoinToken,
		Policy: tavern.Policy, NodeActors: tavern.NodeActors, Cooldown: tavern.Cooldown, SleepAfter: cloudSleep, MaxNodes: cloudNodes, MaxGateways: cloudGateways,
		Say: func(text string) { fmt.Fprintln(s.errs, text) },
		Log: slog.New(stage.Warnings(s.errs)),
	}
	if d.Verbose {
		cfg.Words, cfg.Log = s.errs, slog.New(slog.NewTextHandler(s.errs, nil))
	}
	if d.Data != "" {
		if cfg.Dir, err = filepath.Abs(d.Data); err != nil {
			return cloud.Config{}, err
		}
	}
	return cfg, nil
}

// account adds to the report what the deployment came to, with its verdicts.
func account(report *scenario.Report, c *cloud.Cloud, launcher string) error {
	f := c.Figures()
	bill, err := c.Cost()
	if err != nil {
		return err
	}
	report.Cloud = &scenario.Cloud{
		Emulator: f.Emulator, Resources: f.Resources, PlanEmpty: f.PlanEmpty, Destroyed: len(f.Left) == 0,
		Invocations: f.Invocations, ColdStartMS: f.ColdStartMS, FirstInvokeMS: f.FirstInvokeMS, ZipBytes: f.ZipBytes, GivenUp: f.GivenUp,
		TasksLaunched: f.TasksLaunched, InstancesLaunched: f.InstancesLaunched, TasksLeft: f.TasksLeft,
	}
	report.Cost = &scenario.Cost{
		USDTotal: bill.USD, USDPerPlayerHour: bill.USDPerPlayerHour, StaticPeakUSD: bill.StaticPeakUSD, PlayerHours: bill.PlayerHours, Lines: bill.Lines,
	}
	verdict := func(check string, ok bool, got any) {
		report.Expect = append(report.Expect, scenario.Verdict{Check: check, OK: ok, Got: got})
	}
	verdict("cloud.plan_empty: true", f.PlanEmpty, f.PlanEmpty)
	verdict("cloud.destroyed: true", len(f.Left) == 0, f.Left)
	verdict("cloud.tasks_left: 0", f.TasksLeft == 0, f.TasksLeft)
	launched := f.TasksLaunched + f.InstancesLaunched
	verdict("cloud.tasks_launched and instances_launched >= 4", launched >= 4, launched)
	for name, n := range map[string]int{"ecs": f.TasksLaunched, "ec2": f.InstancesLaunched} {
		if strings.Contains(launcher, name) {
			verdict("cloud: launched by "+name+" >= 2", n >= 2, n)
		}
	}
	for _, name := range provision.Functions {
		verdict("cloud.zip_bytes."+name+" <= 8388608", f.ZipBytes[name] > 0 && f.ZipBytes[name] <= 8<<20, f.ZipBytes[name])
	}
	if f.Emulator == cloud.Moto { // another emulator runs them itself
		for _, name := range []string{"replan", "join"} {
			verdict("cloud.invocations."+name+" > 0", f.Invocations[name] > 0, f.Invocations[name])
		}
	}
	return nil
}
