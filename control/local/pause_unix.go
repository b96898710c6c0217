//go:build unix

package local

import (
	"syscall"

	"weft/control/mesh"
)

func (f *fleet) pause(id mesh.NodeID) error  { return f.Signal(id, syscall.SIGSTOP) }
func (f *fleet) resume(id mesh.NodeID) error { return f.Signal(id, syscall.SIGCONT) }
