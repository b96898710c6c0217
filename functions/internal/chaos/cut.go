package chaos

import (
	"context"
	"errors"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/store"
)

// errCut: the function was killed.
var errCut = errors.New("killed")

// cut kills a function at its n-th write, counted from 0 over all calls.
type cut struct {
	at    int // −1 is never
	after bool
	done  bool
	dead  bool
}

// read is any call that changes nothing.
func (c *cut) read() error {
	if c.dead {
		return errCut
	}
	return nil
}

// write is any that does.
func (c *cut) write(do func() error) error {
	if c.dead {
		return errCut
	}
	if c.at < 0 || c.done {
		return do()
	}
	if c.at > 0 {
		c.at--
		return do()
	}
	c.done, c.dead = true, true
	if c.after {
		_ = do()
	}
	return errCut
}

// cutStore is a store whose user can be killed. Of reads, those count that come
// after a write in some handler.
type cutStore struct {
	store.Store
	c *cut
}

func (s *cutStore) Processes(ctx context.Context) ([]mesh.Process, error) {
	if err := s.c.read(); err != nil {
		return nil, err
	}
	return s.Store.Processes(ctx)
}

func (s *cutStore) Reports(ctx context.Context) ([]mesh.Report, error) {
	if err := s.c.read(); err != nil {
		return nil, err
	}
	return s.Store.Reports(ctx)
}

func (s *cutStore) Intents(ctx context.Context) ([]mesh.Intent, error) {
	if err := s.c.read(); err != nil {
		return nil, err
	}
	return s.Store.Intents(ctx)
}

func (s *cutStore) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	if err := s.c.read(); err != nil {
		return mesh.PlannerState{}, err
	}
	return s.Store.PlannerState(ctx)
}

func (s *cutStore) PutProcess(ctx context.Context, p mesh.Process) error {
	return s.c.write(func() error { return s.Store.PutProcess(ctx, p) })
}

func (s *cutStore) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	return s.c.write(func() error { return s.Store.RemoveProcess(ctx, id, inc) })
}

func (s *cutStore) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	return s.c.write(func() error { return s.Store.DeleteSuspicion(ctx, suspect, witness) })
}

func (s *cutStore) PutIntent(ctx context.Context, i mesh.Intent) error {
	return s.c.write(func() error { return s.Store.PutIntent(ctx, i) })
}

func (s *cutStore) DeleteIntent(ctx context.Context, token string) error {
	return s.c.write(func() error { return s.Store.DeleteIntent(ctx, token) })
}

func (s *cutStore) PutDecision(ctx context.Context, d mesh.Decision) error {
	return s.c.write(func() error { return s.Store.PutDecision(ctx, d) })
}

func (s *cutStore) PutPlannerState(ctx context.Context, p mesh.PlannerState) error {
	return s.c.write(func() error { return s.Store.PutPlannerState(ctx, p) })
}

func (s *cutStore) PutLayout(ctx context.Context, l mesh.Layout) error {
	return s.c.write(func() error { return s.Store.PutLayout(ctx, l) })
}

func (s *cutStore) CreateZone(ctx context.Context, r mesh.ZoneRecord) error {
	return s.c.write(func() error { return s.Store.CreateZone(ctx, r) })
}

func (s *cutStore) RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	return s.c.write(func() error { return s.Store.RaiseEpoch(ctx, zone, from, owner) })
}

func (s *cutStore) RemoveZone(ctx context.Context, zone mesh.ZoneID) error {
	return s.c.write(func() error { return s.Store.RemoveZone(ctx, zone) })
}

// cutLauncher is a launcher whose user can be killed.
type cutLauncher struct {
	launch.Launcher
	c *cut
}

func (l *cutLauncher) Start(ctx context.Context, spec launch.Spec) (i launch.Instance, err error) {
	err = l.c.write(func() error { i, err = l.Launcher.Start(ctx, spec); return err })
	return i, err
}

func (l *cutLauncher) Drain(ctx context.Context, node mesh.NodeID) error {
	return l.c.write(func() error { return l.Launcher.Drain(ctx, node) })
}

func (l *cutLauncher) Stop(ctx context.Context, node mesh.NodeID) error {
	return l.c.write(func() error { return l.Launcher.Stop(ctx, node) })
}

func (l *cutLauncher) List(ctx context.Context) ([]launch.Instance, error) {
	if err := l.c.read(); err != nil {
		return nil, err
	}
	return l.Launcher.List(ctx)
}
