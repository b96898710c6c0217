package reconcile

import (
	"context"
	"errors"
	"fmt"

	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/planner"
	"weft/control/store"
)

// relayout writes the zone records that the plan's changes need, then one new
// version of the layout with all of them.
func (p *run) relayout(ctx context.Context) error {
	draft := p.snapshot.Layout.Clone()
	draft.Version++
	var done []planner.Action
	for _, a := range p.actions {
		if a.Do != planner.ChangeLayout {
			continue
		}
		c := a.Change
		if c.Kind == partition.Takeover {
			if err := p.raise(ctx, &c); err != nil {
				return fmt.Errorf("zone %d: %w", c.Zone, err)
			}
		}
		if err := c.Apply(&draft); err != nil {
			return err
		}
		if c.Makes() {
			if err := p.create(ctx, &draft.Zones[len(draft.Zones)-1]); err != nil {
				return err
			}
		}
		done = append(done, a)
	}
	if len(done) == 0 {
		return nil
	}
	if err := draft.Validate(); err != nil {
		return err
	}
	if err := p.d.Store.PutLayout(ctx, draft); err != nil {
		return fmt.Errorf("version %d: %w", draft.Version, err)
	}
	p.version = draft.Version
	for _, a := range done {
		if err := p.decide(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// raise makes c.Owner the owner of c.Zone under c.Epoch in the zone's record.
// Where the record has moved on, because a run was cut short after this very
// write, c is changed to follow it: to the owner that it names, if it lives,
// else to a yet higher epoch.
func (p *run) raise(ctx context.Context, c *partition.Change) error {
	for range raiseRetries {
		err := p.d.Store.RaiseEpoch(ctx, c.Zone, c.Epoch-1, c.Owner)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if err := p.current(ctx); err != nil {
			return err
		}
		rec, err := p.d.Store.Zone(ctx, c.Zone)
		if err != nil {
			return err
		}
		if rec.Epoch+1 < c.Epoch {
			return fmt.Errorf("its record is at epoch %d, behind the layout's %d: the store has lost writes", rec.Epoch, c.Epoch-1)
		}
		if p.lives(rec.Owner) {
			c.Owner, c.Epoch = rec.Owner, rec.Epoch
			return nil
		}
		c.Epoch = rec.Epoch + 1
	}
	return store.ErrConflict
}

// create writes the first record of the new zone z. A record that is there
// already was left by a run that was cut short before it wrote its layout: no
// layout has ever named it, so nobody can have used it, and it is taken over.
func (p *run) create(ctx context.Context, z *mesh.Zone) error {
	rec := mesh.ZoneRecord{Zone: z.ID, Owner: z.Owner, Epoch: z.Epoch, Pointer: mesh.Pointer{Position: -1}}
	err := p.d.Store.CreateZone(ctx, rec)
	for range raiseRetries {
		if !errors.Is(err, store.ErrConflict) {
			break
		}
		if err := p.current(ctx); err != nil {
			return err
		}
		if rec, err = p.d.Store.Zone(ctx, z.ID); err != nil {
			return fmt.Errorf("new zone %d: %w", z.ID, err)
		}
		z.Epoch = rec.Epoch
		if rec.Owner.Same(z.Owner) {
			return nil
		}
		z.Epoch++
		err = p.d.Store.RaiseEpoch(ctx, z.ID, rec.Epoch, z.Owner)
	}
	if err != nil {
		return fmt.Errorf("new zone %d: %w", z.ID, err)
	}
	return nil
}

// current is store.ErrConflict if the layout is not the one that was loaded.
func (p *run) current(ctx context.Context) error {
	v, err := p.d.Store.LayoutVersion(ctx)
	if err == nil && v != p.snapshot.Layout.Version {
		return fmt.Errorf("the layout is at version %d, not %d: %w", v, p.snapshot.Layout.Version, store.ErrConflict)
	}
	return err
}

// lives reports whether o is a process that this run takes for alive.
func (p *run) lives(o mesh.Owner) bool {
	for _, a := range p.actions {
		if a.Do == planner.Fence && a.Process.Owner().Same(o) {
			return false
		}
	}
	for _, q := range p.snapshot.Processes {
		if q.Owner().Same(o) {
			return q.State == mesh.Ready
		}
	}
	return false
}
