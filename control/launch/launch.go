// Package launch is the port to whatever runs processes: this machine, a
// container service, a fleet of machines. Drivers live in sub-folders and all
// pass the suite in launchtest; programs get one from launchurl.
package launch

import (
	"context"
	"errors"

	"weft/control/mesh"
)

// The errors a caller acts on. Drivers wrap them with %w.
var (
	// ErrNoCapacity: there is no room for another process now. Nothing was
	// started; try later, or elsewhere.
	ErrNoCapacity = errors.New("no capacity")
	// ErrNotFound: no such process runs. It is over; do not ask again.
	ErrNotFound = errors.New("no such process")
	// ErrInvalid: the spec can never be started. Do not repeat it.
	ErrInvalid = errors.New("invalid launch")
)

// Spec is a process to start.
type Spec struct {
	Role mesh.Role
	// Token makes Start idempotent: one token starts one process, ever.
	Token string
	// Node is the id under which the process will make itself known.
	Node mesh.NodeID
	// Env is added to its environment, as NAME=value.
	Env []string
}

// Validate reports what makes s impossible, wrapping ErrInvalid.
func (s Spec) Validate() error {
	switch {
	case s.Token == "":
		return errors.Join(ErrInvalid, errors.New("the launch has no token"))
	case s.Node == "":
		return errors.Join(ErrInvalid, errors.New("the launch names no node"))
	case s.Role != mesh.RoleNode && s.Role != mesh.RoleGateway:
		return errors.Join(ErrInvalid, errors.New("the launch has no role"))
	}
	return nil
}

// Instance is a process that was started and has not ended.
type Instance struct {
	Role  mesh.Role
	Token string
	Node  mesh.NodeID
	PID   int // on this machine, else 0; for drills
}

// Launcher starts and ends processes. All methods are safe for concurrent use
// and safe to repeat: a caller that does not know the outcome asks again.
type Launcher interface {
	// Start starts a process, or returns the running one of the same token. A
	// token whose process has ended is ErrNotFound: it is not started twice.
	// ErrNoCapacity and ErrInvalid as above; any other error means that the
	// process may or may not have been started: repeat it.
	Start(ctx context.Context, spec Spec) (Instance, error)
	// Drain asks the process to leave in its own time. It does not wait.
	// ErrNotFound if it is over.
	Drain(ctx context.Context, node mesh.NodeID) error
	// Stop ends the process at once, also one that is paused, and returns when
	// it is over or sure to be. ErrNotFound if it is over already.
	Stop(ctx context.Context, node mesh.NodeID) error
	// List returns the processes that run: each from its Start until it has
	// ended, in order of Node.
	List(ctx context.Context) ([]Instance, error)
}
