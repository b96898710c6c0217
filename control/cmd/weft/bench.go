package main

import measure "weft/loadtest/bench"

type bench struct{ measure.Command }

// Run measures rows of the table and says which bars are met.
func (b *bench) Run(s *session) (err error) {
	s.status, err = b.Main(s.ctx, s.out, s.errs)
	return err
}
