package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	runner "weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

type demo struct {
	Headless bool          `help:"Show no page, and end with the scenario: status 1 if an expectation failed."`
	Players  int           `help:"So many players instead of 400." placeholder:"N"`
	Duration time.Duration `help:"So long instead of 90s." placeholder:"D"`
	Report   string        `help:"Write the report as JSON to this file; - is standard output." placeholder:"FILE"`
	Policy   string        `help:"How zones follow the load: kdsplit, quasi or static." placeholder:"NAME"`
	Seed     uint64        `help:"Seed of the crowd and of a new world instead of the scenario's." placeholder:"N"`
	Cloud    bool          `help:"Play on a world that Terraform deploys to an emulator of AWS, with 60 players."`
	Launcher string        `help:"With --cloud, what runs nodes and gateways: ecs, ec2, or both in the order in which they are asked." default:"ecs,ec2" placeholder:"NAMES"`
	world
}

// world are the flags of every command that runs a world.
type world struct {
	Data    string `help:"Keep the world in this directory, and go on with the one that is there." placeholder:"DIR"`
	Listen  string `help:"Address of the page." default:"127.0.0.1:7070"`
	Verbose bool   `short:"v" help:"Write the log of all processes to standard error."`
}

// Run plays the tavern that ships with Weft. With a page it goes on serving
// after the end, until Ctrl-C.
func (d *demo) Run(s *session) error {
	if d.Cloud {
		return d.runCloud(s)
	}
	var m stage.Mesh
	var began atomic.Int64
	options := stage.Options{Dir: d.Data, Errs: s.errs, Verbose: d.Verbose}
	if !d.Headless {
		options.Listen = d.Listen
	}
	play := runner.Command{File: "tavern", Report: d.Report, Policy: d.Policy, Players: d.Players, Duration: d.Duration}
	over := "the scenario is over; the world sleeps"
	s.status = play.Main(s.ctx, s.out, s.errs, func(ctx context.Context, tavern *scenario.Scenario) (runner.Mesh, error) {
		if d.Seed != 0 {
			tavern.Seed = d.Seed
		}
		options.Note = func() string {
			at := began.Load()
			if at == 0 {
				return "the crowd is about to come"
			}
			if since := time.Since(time.UnixMilli(at)); since < tavern.Duration {
				return fmt.Sprintf("second %.0f of %.0f", since.Seconds(), tavern.Duration.Seconds())
			}
			return over
		}
		var err error
		if m, err = stage.Start(ctx, tavern, options); err != nil {
			return nil, err
		}
		began.Store(time.Now().UnixMilli())
		return m, nil
	})
	if m.Mesh != nil && !d.Headless && s.ctx.Err() == nil {
		fmt.Fprintf(s.errs, "%s; the page stays at %s until Ctrl-C\n", over, m.PageURL())
		<-s.ctx.Done()
	}
	return m.Close()
}
