package main

import fault "weft/loadtest/drill"

type drill struct{ fault.Command }

// Run breaks meshes of this machine and prints what that cost.
func (d *drill) Run(s *session) error {
	s.status = d.Main(s.ctx, s.out, s.errs)
	return nil
}
