// Package fallover starts processes by the first of several launchers that has
// room, such as tasks of ECS, and instances of EC2 once there are enough tasks
// or Fargate has none to give.
package fallover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"weft/control/launch"
	"weft/control/mesh"
)

// Member is one of the launchers.
type Member interface {
	launch.Launcher
	// Used reports whether token ever started a process here, as far as that is
	// still known: as long as Start would refuse to start it again.
	Used(ctx context.Context, token string) (bool, error)
}

// Launcher remembers nothing: its members do.
type Launcher struct {
	members []Member
	starts  chan struct{} // holds a token while a Start is under way
}

// New returns a launcher that tries members in that order.
func New(members ...Member) *Launcher {
	return &Launcher{members: members, starts: make(chan struct{}, 1)}
}

// Start implements launch.Launcher. What a member cannot say whether it knows
// the token of is not started elsewhere: the error comes back, to be repeated.
func (l *Launcher) Start(ctx context.Context, spec launch.Spec) (launch.Instance, error) {
	if err := cmp.Or(ctx.Err(), spec.Validate()); err != nil {
		return launch.Instance{}, err
	}
	select {
	case l.starts <- struct{}{}:
		defer func() { <-l.starts }()
	case <-ctx.Done():
		return launch.Instance{}, ctx.Err()
	}
	for _, m := range l.members {
		used, err := m.Used(ctx, spec.Token)
		if err != nil {
			return launch.Instance{}, fmt.Errorf("start %s: %w", spec.Node, err)
		}
		if used {
			return m.Start(ctx, spec)
		}
	}
	all, err := l.List(ctx)
	if err != nil {
		return launch.Instance{}, err
	}
	if slices.ContainsFunc(all, func(i launch.Instance) bool { return i.Node == spec.Node }) {
		return launch.Instance{}, fmt.Errorf("start %s: it runs already, under another token: %w", spec.Node, launch.ErrInvalid)
	}
	var full []error
	for n, m := range l.members {
		i, err := m.Start(ctx, spec)
		switch {
		case errors.Is(err, launch.ErrNoCapacity):
			full = append(full, err)
		case err != nil:
			return launch.Instance{}, err
		default:
			return i, l.settle(ctx, spec, n)
		}
	}
	return launch.Instance{}, errors.Join(full...)
}

// settle sees to it that one process is left of a token which two programs
// started at once by different members: that of the first member. The n-th has
// just started it.
func (l *Launcher) settle(ctx context.Context, spec launch.Spec, n int) error {
	first := -1
	for k, m := range l.members {
		used, err := k == n, error(nil)
		if !used {
			if used, err = m.Used(ctx, spec.Token); err != nil {
				return fmt.Errorf("start %s: %w", spec.Node, err)
			}
		}
		switch {
		case !used:
		case first < 0:
			first = k
		default:
			if err := m.Stop(ctx, spec.Node); err != nil && !errors.Is(err, launch.ErrNotFound) {
				return fmt.Errorf("start %s: %w", spec.Node, err)
			}
		}
	}
	return nil
}

// Drain implements launch.Launcher.
func (l *Launcher) Drain(ctx context.Context, node mesh.NodeID) error {
	return l.each(func(m Member) error { return m.Drain(ctx, node) })
}

// Stop implements launch.Launcher.
func (l *Launcher) Stop(ctx context.Context, node mesh.NodeID) error {
	return l.each(func(m Member) error { return m.Stop(ctx, node) })
}

// each calls f with every member, also after one has failed. It is ErrNotFound
// if that is what all say.
func (l *Launcher) each(f func(Member) error) error {
	var faults []error
	none := error(nil)
	found := false
	for _, m := range l.members {
		switch err := f(m); {
		case err == nil:
			found = true
		case errors.Is(err, launch.ErrNotFound):
			none = cmp.Or(none, err)
		default:
			faults = append(faults, err)
		}
	}
	if found || len(faults) > 0 {
		return errors.Join(faults...)
	}
	return none
}

// List implements launch.Launcher. What one member cannot list is an error: a
// fleet that is known in part would make orphans of the others.
func (l *Launcher) List(ctx context.Context) ([]launch.Instance, error) {
	var all []launch.Instance
	for _, m := range l.members {
		some, err := m.List(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b launch.Instance) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Token, b.Token))
	})
	return slices.Compact(all), nil
}
