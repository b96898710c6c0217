//go:build !unix

package local

import (
	"errors"

	"weft/control/mesh"
)

var errNoPause = errors.New("this system cannot pause processes; leave pauses out of the scenario")

func (f *fleet) pause(mesh.NodeID) error  { return errNoPause }
func (f *fleet) resume(mesh.NodeID) error { return errNoPause }
