package main

import (
	"weft/loadtest/budget"
	"weft/loadtest/sim"
	"weft/loadtest/stage"
)

type loadtest struct {
	Run    play   `cmd:"" help:"Play a scenario: status 1 if an expectation failed, 2 if the file is bad."`
	Budget writes `cmd:"" help:"Count what a load costs in write units of DynamoDB, in virtual time: status 1 if it is over the budget."`
	Sim    seeds  `cmd:"" help:"Run the mesh in virtual time under faults drawn from seeds: status 1 if a promise was broken."`
}

type play struct{ stage.Play }

// Run plays the scenario against a mesh of this machine.
func (p *play) Run(s *session) error {
	s.status = p.Play.Play(s.ctx, s.out, s.errs)
	return nil
}

type writes struct{ budget.Command }

// Run measures in virtual time.
func (w *writes) Run(s *session) (err error) {
	s.status, err = w.Main(s.out)
	return err
}

type seeds struct{ sim.Command }

// Run runs the seeds.
func (r *seeds) Run(s *session) (err error) {
	s.status, err = r.Main(s.ctx, s.out, s.errs)
	return err
}
