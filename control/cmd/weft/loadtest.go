package main

import "weft/loadtest/stage"

type loadtest struct {
	Run play `cmd:"" help:"Play a scenario: status 1 if an expectation failed, 2 if the file is bad."`
}

type play struct{ stage.Play }

// Run plays the scenario against a mesh of this machine.
func (p *play) Run(s *session) error {
	s.status = p.Play.Play(s.ctx, s.out, s.errs)
	return nil
}
