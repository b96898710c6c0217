package main

import (
	"fmt"

	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

type dev struct {
	Policy string `help:"How zones follow the load: kdsplit, quasi or static." placeholder:"NAME"`
	world
}

// Run starts the tavern's world without bots and keeps it until Ctrl-C.
func (d *dev) Run(s *session) error {
	tavern, err := scenario.Open("tavern", "")
	if err != nil {
		return err
	}
	if d.Policy != "" {
		tavern.Policy = d.Policy
	}
	m, err := stage.Start(s.ctx, tavern, stage.Options{Dir: d.Data, Listen: d.Listen, Errs: s.errs, Verbose: d.Verbose})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.errs, "a client joins with %s/join?player=7; Ctrl-C puts the world to sleep\n", m.PageURL())
	<-s.ctx.Done()
	return m.Close()
}
