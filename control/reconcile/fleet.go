package reconcile

import (
	"context"
	"errors"
	"fmt"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/planner"
)

// fleet writes the plan's intents and carries out every intent that is
// written, those of earlier runs included: under their token that is harmless.
func (p *run) fleet(ctx context.Context) error {
	settled := map[string]bool{} // tokens that this plan replaces or drops
	for _, a := range p.actions {
		if a.Do == planner.Intend || a.Do == planner.DropIntent {
			settled[a.Intent.Token] = true
		}
	}
	for _, i := range p.snapshot.Intents {
		if i.State == mesh.IntentWritten && !settled[i.Token] {
			if err := p.carryOut(ctx, i); err != nil {
				return err
			}
		}
	}
	return p.each(ctx, planner.Intend, func(a planner.Action) error {
		if err := p.d.Store.PutIntent(ctx, a.Intent); err != nil {
			return fmt.Errorf("intent %s: %w", a.Intent.Token, err)
		}
		if a.Intent.State != mesh.IntentWritten {
			return nil
		}
		return p.carryOut(ctx, a.Intent)
	})
}

// carryOut does what i says and writes how it ended. A launcher that gives no
// clear answer leaves the intent as it is, to be repeated by the next run.
func (p *run) carryOut(ctx context.Context, i mesh.Intent) error {
	var err error
	switch i.What {
	case "launch":
		_, err = p.d.Launcher.Start(ctx, launch.Spec{Role: i.Role, Token: i.Token, Node: i.Target, Env: p.d.Env})
	case "drain":
		err = p.d.Launcher.Drain(ctx, i.Target)
	case "stop":
		err = p.d.Launcher.Stop(ctx, i.Target)
	case "wake", "stopped", "bare": // said to the planner, not to be done
		return nil
	default:
		err = fmt.Errorf("nobody knows how to %q: %w", i.What, launch.ErrInvalid)
	}
	over := errors.Is(err, launch.ErrNotFound)
	switch {
	case err == nil, over && i.What != "launch":
		i.State = mesh.IntentDone
	case over, errors.Is(err, launch.ErrNoCapacity), errors.Is(err, launch.ErrInvalid):
		i.State, i.Reason, i.CreatedUnixMilli = mesh.IntentFailed, err.Error(), p.now.UnixMilli()
		p.d.Log.Error("cannot "+i.What, "target", i.Target, "err", err)
	default:
		p.d.Log.Warn("the launcher gave no clear answer; asking again", "what", i.What, "target", i.Target, "err", err)
		return ctx.Err()
	}
	if err := p.d.Store.PutIntent(ctx, i); err != nil {
		return fmt.Errorf("intent %s: %w", i.Token, err)
	}
	return nil
}
