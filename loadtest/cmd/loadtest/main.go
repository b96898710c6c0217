// Loadtest plays scenarios against a mesh of this machine, runs the mesh in
// virtual time and counts what a load writes: what `weft loadtest` does, as a
// program of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"weft/loadtest/budget"
	"weft/loadtest/run"
	"weft/loadtest/sim"
	"weft/loadtest/stage"
)

type cli struct {
	Run     play     `cmd:"" help:"Play a scenario: status 1 if an expectation failed, 2 if the file is bad."`
	Budget  writes   `cmd:"" help:"Count what a load costs in write units of DynamoDB, in virtual time: status 1 if it is over the budget."`
	Sim     seeds    `cmd:"" help:"Run the mesh in virtual time under faults drawn from seeds: status 1 if a promise was broken."`
	Simnode struct{} `cmd:"" hidden:"" help:"Be a simulation node; told by its environment."`
	Gateway struct{} `cmd:"" hidden:"" help:"Be a gateway; told by its environment."`
}

// session is what a command has to do with; status is what it leaves.
type session struct {
	ctx       context.Context
	out, errs io.Writer
	status    int
}

type play struct{ stage.Play }

func (p *play) Run(s *session) error {
	s.status = p.Play.Play(s.ctx, s.out, s.errs)
	return nil
}

type writes struct{ budget.Command }

func (w *writes) Run(s *session) (err error) {
	s.status, err = w.Main(s.out)
	return err
}

type seeds struct{ sim.Command }

func (r *seeds) Run(s *session) (err error) {
	s.status, err = r.Main(s.ctx, s.out, s.errs)
	return err
}

func main() {
	if status, is := stage.Child(os.Args); is {
		os.Exit(status)
	}
	os.Exit(command(os.Args[1:]))
}

func command(args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("loadtest"), kong.Description("Plays scenarios against a mesh of this machine, and runs one in virtual time."))
	var chosen *kong.Context
	if err == nil {
		chosen, err = parser.Parse(args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "loadtest: %v; see loadtest --help\n", err)
		return run.ExitBad
	}
	ctx, release := stage.Interruptible(os.Stderr)
	defer release()
	s := session{ctx: ctx, out: os.Stdout, errs: os.Stderr}
	if err := chosen.Run(&s); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		s.status = max(s.status, run.ExitFailed)
	}
	return s.status
}
