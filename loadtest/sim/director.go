package sim

import (
	"time"

	"weft/control/mesh"
	"weft/control/partition"
)

// direct changes the layout: it takes dead owners' zones over and, while
// faults last, splits, merges, moves and takes over at random. It leaves work
// half done on purpose: an epoch raised and no layout that says so.
func (s *Sim) direct() {
	s.every(200*time.Millisecond, 100*time.Millisecond, func() {
		if s.disk.down {
			return
		}
		l, err := s.store.Layout(ctx)
		if err != nil {
			s.fail("no layout: %v", err)
			return
		}
		if l.Asleep {
			return
		}
		draft := l.Clone()
		draft.Version++
		changed := s.cfg.Planners == 0 && s.takeOver(&draft)
		changed = s.cfg.Planners == 0 && s.remove(&draft) || changed
		if s.faulting && s.chance(0.25) {
			changed = s.rearrange(&draft) || changed
		}
		if changed && !(s.faulting && s.chance(s.cfg.Faults.PlannerDies)) {
			if err := draft.Validate(); err != nil {
				s.fail("the director made %v", err)
				return
			}
			if s.store.PutLayout(ctx, draft) == nil {
				s.stats.Layouts++
				s.collect(l, draft)
			}
		}
	})
}

// takeOver gives zones of dead or long paused owners to living nodes, and
// adopts epochs that were raised without a layout.
func (s *Sim) takeOver(l *mesh.Layout) bool {
	changed := false
	for i := range l.Zones {
		z := &l.Zones[i]
		rec, err := s.store.Zone(ctx, z.ID)
		if err != nil {
			s.fail("zone %d has no record", z.ID)
			return false
		}
		if rec.Epoch > z.Epoch {
			z.Owner, z.Epoch = rec.Owner, rec.Epoch
			changed = true
		}
		p := s.find(z.Owner.Node)
		dead := p == nil || p.self.Incarnation != z.Owner.Incarnation
		suspect := !dead && p.pausing && s.chance(0.3) || s.faulting && s.chance(0.002)
		if !dead && !suspect {
			continue
		}
		if to := s.anyNode(); to != nil && s.raise(z, to) {
			changed = true
		}
	}
	return changed
}

func (s *Sim) raise(z *mesh.Zone, to *proc) bool {
	if s.store.RaiseEpoch(ctx, z.ID, z.Epoch, to.self.Owner()) != nil {
		return false
	}
	s.note("takeover of zone %d by %s, epoch %d", z.ID, to.self.ID, z.Epoch+1)
	s.stats.Takeovers++
	z.Owner, z.Epoch = to.self.Owner(), z.Epoch+1
	if s.faulting && s.chance(s.cfg.Faults.RaisedTwice) { // by a planner that thinks alike
		if again := s.anyNode(); again != nil {
			zone, epoch := z.ID, z.Epoch
			s.after(s.between(0, 600*time.Millisecond), func() {
				if s.store.RaiseEpoch(ctx, zone, epoch, again.self.Owner()) == nil {
					s.note("and of zone %d by %s, epoch %d", zone, again.self.ID, epoch+1)
				}
			})
		}
	}
	return true
}

func (s *Sim) anyNode() *proc {
	var nodes []*proc
	for _, p := range s.live(mesh.RoleNode) {
		if !p.pausing {
			nodes = append(nodes, p)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	return nodes[s.rng.IntN(len(nodes))]
}

// cleared is the report of a retiring zone's owner when it was first seen that
// nobody sends to the zone any more.
type cleared struct {
	owner    mesh.Owner
	sequence uint64
}

// remove takes retired zones out once their owners report them empty and
// everyone has seen them retire.
func (s *Sim) remove(l *mesh.Layout) bool {
	reports, err := s.store.Reports(ctx)
	if err != nil {
		return false
	}
	load := map[mesh.ZoneID]mesh.ZoneLoad{}
	seen := map[mesh.ZoneID]uint64{}
	named := map[mesh.ZoneID]bool{}
	sequence := map[mesh.ZoneID]uint64{}
	for _, r := range reports {
		for _, zl := range r.Zones {
			z, ok := l.Zone(zl.Zone)
			if !ok || !z.Owner.Same(r.Process.Owner()) || z.Epoch != zl.Epoch || !zl.Open {
				continue
			}
			load[zl.Zone] = zl
			seen[zl.Zone], sequence[zl.Zone] = r.LayoutVersion, r.Sequence
			for _, to := range zl.OutboundTo {
				named[to] = true
			}
		}
	}
	for i := range l.Zones {
		z := l.Zones[i]
		zl, ok := load[z.ID]
		ready := z.State == mesh.Retiring && ok && !named[z.ID]
		for _, y := range l.Zones {
			ready = ready && seen[y.ID] >= z.RetiredAt
		}
		was, since := s.clear[z.ID]
		if !ready {
			continue
		}
		if !since || was.owner != z.Owner || sequence[z.ID] < was.sequence {
			s.clear[z.ID] = cleared{z.Owner, sequence[z.ID]}
			continue
		}
		// Only a report made after nobody sends there any more says that it is empty.
		if sequence[z.ID] < was.sequence+2 || zl.Actors+zl.Props+zl.Asleep+zl.Moving+zl.Outbound > 0 {
			continue
		}
		if (partition.Change{Kind: partition.Remove, Zone: z.ID}).Apply(l) == nil {
			s.note("zone %d removed", z.ID)
			return true
		}
	}
	return false
}

// collect deletes the records of zones that are no more in the layout.
func (s *Sim) collect(old, l mesh.Layout) {
	for _, z := range old.Zones {
		if _, ok := l.Zone(z.ID); !ok {
			s.after(time.Second, func() {
				must(s.store.RemoveZone(ctx, z.ID))
				delete(s.check.opened, z.ID) // its id is not used again
			})
		}
	}
}

// rearrange tries one random change.
func (s *Sim) rearrange(l *mesh.Layout) bool {
	to := s.anyNode()
	if to == nil || len(l.Zones) > 24 {
		return false
	}
	z := l.Zones[s.rng.IntN(len(l.Zones))]
	o := l.Zones[s.rng.IntN(len(l.Zones))]
	c := partition.Change{Zone: z.ID, Other: o.ID, Axis: s.rng.IntN(2), Owner: to.self.Owner(), KeepHigh: s.chance(0.5)}
	lo, hi := z.Box.Min.X, z.Box.Max.X
	if c.Axis == 1 {
		lo, hi = z.Box.Min.Y, z.Box.Max.Y
	}
	if hi-lo < 8*mesh.UnitsPerMeter {
		return false
	}
	c.At = lo + 2*mesh.UnitsPerMeter + s.rng.Int32N(hi-lo-4*mesh.UnitsPerMeter)
	c.Kind = []partition.Kind{
		partition.Split, partition.Merge, partition.Merge, partition.Move, partition.Border, partition.AddProps, partition.RetireProps,
	}[s.rng.IntN(7)]
	if c.Kind == partition.AddProps {
		c.Box = z.Box
	}
	if c.Apply(l) != nil {
		return false
	}
	s.note("%s of zone %d (%d), owner %s", c.Kind, c.Zone, c.Other, c.Owner.Node)
	if c.Makes() && !s.create(&l.Zones[len(l.Zones)-1]) {
		return false
	}
	return true
}

// create writes the record of a new zone, or takes over the one that a run left
// that was cut short, as the planner does: another run may be about to use it.
func (s *Sim) create(z *mesh.Zone) bool {
	rec := mesh.ZoneRecord{Zone: z.ID, Owner: z.Owner, Epoch: z.Epoch, Pointer: mesh.Pointer{Position: -1}}
	if s.store.CreateZone(ctx, rec) == nil {
		return true
	}
	rec, err := s.store.Zone(ctx, z.ID)
	if err != nil {
		return false
	}
	z.Epoch = rec.Epoch + 1
	return s.store.RaiseEpoch(ctx, z.ID, rec.Epoch, z.Owner) == nil
}
