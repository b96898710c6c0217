package planner

import (
	"cmp"
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/control/partition"
)

// adopt brings the layout up with zone records that are ahead of it: a run
// raised an epoch and was cut short before it wrote the layout.
func (p *pass) adopt() {
	for i := range p.layout.Zones {
		z := p.layout.Zones[i]
		rec, ok := p.s.Records[z.ID]
		if !ok || rec.Epoch < z.Epoch || rec.Epoch == z.Epoch && rec.Owner.Same(z.Owner) {
			continue
		}
		q := p.byID[rec.Owner.Node]
		if rec.Epoch > z.Epoch && q != nil && q.dead == "" && q.Owner().Same(rec.Owner) {
			p.takeover(i, q, rec.Epoch, fmt.Sprintf("its record already names node %s under epoch %d: an earlier run was cut short", q.ID, rec.Epoch))
			continue
		}
		// Nobody who lives owns it under the record's epoch.
		p.layout.Zones[i].Epoch = max(rec.Epoch, z.Epoch)
		p.layout.Zones[i].Owner = mesh.Owner{}
	}
}

// takeover gives zone i to q under epoch, beginning a rest for it.
func (p *pass) takeover(i int, q *process, epoch mesh.Epoch, reason string, alternatives ...string) bool {
	if !p.change(partition.Change{
		Kind: partition.Takeover, Zone: p.layout.Zones[i].ID, Owner: q.Owner(), Epoch: epoch, Reason: reason, Alternatives: alternatives,
	}) {
		return false
	}
	m := &p.zones[i].Memory
	m.ChangedMilli, m.Last = p.now, partition.Takeover
	return true
}

// takeOver gives the zones whose owner is gone to living nodes at once. No
// launch is waited for, except by a world in which nobody lives at all.
func (p *pass) takeOver() {
	var orphans []int
	owned := false
	for i := range p.layout.Zones {
		lost := p.refused(i)
		if lost || p.owner(i) == nil {
			orphans = append(orphans, i)
		}
		owned = owned || lost || p.owner(i) != nil
	}
	if owned || len(orphans) == 0 || p.asleep != "" {
		p.next.ColdMilli = 0
	} else if p.next.ColdMilli == 0 {
		p.next.ColdMilli = p.now
	}
	p.tally()
	if len(p.targets) > 0 && len(orphans) > 0 && !p.waitForFleet() {
		slices.SortStableFunc(orphans, func(a, b int) int { return cmp.Compare(p.zones[b].Load, p.zones[a].Load) })
		for _, i := range orphans {
			p.rescue(i)
		}
	}
	p.fence()
}

// refused reports that the owner of zone i, which lives, says that it has lost
// what the layout gives it, and that this is one of those: its report, made
// under this very layout, does not name it. The rest of the node is sound.
func (p *pass) refused(i int) bool {
	q, z := p.owner(i), p.layout.Zones[i]
	return q != nil && q.refuses && q.report != nil && q.report.LayoutVersion >= p.s.Layout.Version && z.Epoch == p.s.Layout.Zones[i].Epoch &&
		!slices.ContainsFunc(q.report.Zones, func(l mesh.ZoneLoad) bool { return l.Zone == z.ID })
}

// waitForFleet reports whether a world without any living owner should wait
// for the nodes that its policy needs.
func (p *pass) waitForFleet() bool {
	need := min(p.policy.NodesNeeded(p.s.Layout), p.cfg.Fleet.MaxNodes)
	return p.next.ColdMilli > 0 && len(p.targets) < need && p.now-p.next.ColdMilli < p.cfg.LaunchTimeout.Milliseconds()
}

// rescue finds a new owner for zone i.
func (p *pass) rescue(i int) {
	z := p.layout.Zones[i]
	old := p.byID[z.Owner.Node]
	reason := "it has no owner yet"
	switch {
	case !z.Owner.IsZero() && old == nil:
		reason = fmt.Sprintf("node %s is gone", z.Owner.Node)
	case old != nil && old.Incarnation != z.Owner.Incarnation:
		reason = fmt.Sprintf("node %s has been restarted and owns nothing of its earlier life", z.Owner.Node)
	case old != nil && old.dead == "":
		reason = fmt.Sprintf("node %s has lost it, and says so", old.ID)
	case old != nil:
		reason = fmt.Sprintf("node %s is gone: %s", old.ID, old.dead)
	}
	if old != nil && old.silence && old.Incarnation == z.Owner.Incarnation {
		s, ok := p.s.State.Silenced[z.ID]
		if ok && p.now-s.Milli < p.cfg.SilenceEvery.Milliseconds() && (s.Node != old.ID || s.Incarnation != old.Incarnation) {
			old.held = true // one silence after the other: it may be us
			return
		}
		p.next.Silenced[z.ID] = Silenced{old.ID, old.Incarnation, p.now}
	}
	q, why := p.place(i)
	epoch := max(z.Epoch, p.s.Records[z.ID].Epoch) + 1
	if p.takeover(i, q, epoch, reason+"; "+why, "wait for it: its players would stand still", "launch a node for it: that takes longer") {
		q.load += p.zones[i].Load
		q.zones++
	}
}

// place chooses the target that should take zone i. There must be targets.
func (p *pass) place(i int) (*process, string) {
	load := p.zones[i].Load
	spread := p.policy.NodesNeeded(p.layout) > 1
	if !spread && load*4 <= p.cfg.LowLoad && p.layout.Zones[i].Layer == mesh.Actors {
		var full *process // a light zone leaves the warm node warm
		for _, q := range p.targets {
			if q.zones > 0 && !q.props && q.load+load <= p.cfg.RoomLoad && (full == nil || q.load > full.load) {
				full = q
			}
		}
		if full != nil {
			return full, fmt.Sprintf("node %s carries %s and has room for its %s", full.ID, full.load, load)
		}
	}
	best := slices.MinFunc(p.targets, func(a, b *process) int {
		if a.props != b.props {
			if a.props {
				return 1
			}
			return -1
		}
		if spread {
			return cmp.Or(cmp.Compare(a.zones, b.zones), cmp.Compare(a.load, b.load))
		}
		return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.zones, b.zones))
	})
	return best, fmt.Sprintf("node %s carries least, %s", best.ID, best.load)
}

// fence writes dead processes off, so that a life that was only paused ends
// when it wakes, unless zones of theirs have to wait.
func (p *pass) fence() {
	for _, q := range p.procs {
		if q.dead == "" || q.State == mesh.Stopped || q.held {
			continue
		}
		dead := q.Process
		dead.State = mesh.Stopped
		p.fences = append(p.fences, Action{Do: Fence, Process: dead, Name: "condemn", Subject: fmt.Sprintf("%s %s", q.Role, q.ID), Reason: q.dead})
	}
}

// remove takes retired zones out of the layout that are empty for good.
func (p *pass) remove() {
	var gone []partition.Change
	for i := range p.layout.Zones {
		if z := p.layout.Zones[i]; z.State == mesh.Retiring && p.removable(i) {
			gone = append(gone, partition.Change{
				Kind: partition.Remove, Zone: z.ID,
				Reason: fmt.Sprintf("it is empty, everybody has seen layout %d and no crossing names it", z.RetiredAt),
			})
		}
	}
	for _, c := range gone {
		i := p.layout.Index(c.Zone)
		if p.change(c) {
			p.zones = slices.Delete(p.zones, i, i+1)
			p.next.Removed = append(p.next.Removed, Removed{c.Zone, p.layout.Version})
			delete(p.next.Clear, c.Zone)
		}
	}
}

// sweep deletes what removed zones left in the store, once no living node can
// write any more there: each has seen a layout without them.
func (p *pass) sweep() {
	oldest := p.s.Layout.Version
	for _, q := range p.procs {
		if q.Role != mesh.RoleNode || q.dead != "" {
			continue
		}
		if q.report == nil {
			oldest = 0
			break
		}
		oldest = min(oldest, q.report.LayoutVersion)
	}
	for _, r := range p.s.State.Removed {
		switch {
		case slices.Contains(p.next.Removed, r):
		case p.s.Layout.Index(r.Zone) < 0 && oldest >= r.Version:
			p.quiet = append(p.quiet, Action{Do: Sweep, Change: partition.Change{Kind: partition.Remove, Zone: r.Zone}})
		case p.s.Layout.Index(r.Zone) < 0 || p.layout.Index(r.Zone) >= 0:
			p.next.Removed = append(p.next.Removed, r)
		}
	}
}

// removable reports whether retiring zone i is empty for good. That nobody
// sends to it any more must have been seen first; then its owner must report
// it empty in a report that it cannot have made before: two sequences on,
// since one may have been on its way.
func (p *pass) removable(i int) bool {
	z := p.layout.Zones[i]
	q := p.owner(i)
	if q == nil || q.report == nil || !p.sealedOff(z) {
		return false
	}
	clear, ok := p.s.State.Clear[z.ID]
	if !ok || clear.Incarnation != q.Incarnation || q.report.Sequence < clear.Sequence {
		clear = Seen{Incarnation: q.Incarnation, Sequence: q.report.Sequence, Milli: p.now}
	}
	p.next.Clear[z.ID] = clear
	if q.report.Sequence < clear.Sequence+2 {
		return false
	}
	for _, l := range q.report.Zones {
		if l.Zone == z.ID {
			return l.Open && l.Epoch >= z.Epoch && l.Actors == 0 && l.Props == 0 && l.Asleep == 0 && l.Moving == 0 && l.Outbound == 0
		}
	}
	return false
}

// sealedOff reports whether every zone of the layout is open under its owner,
// who has seen that z retired, and no outbound record names z.
func (p *pass) sealedOff(z mesh.Zone) bool {
	if p.opened == nil {
		p.opened = make([]bool, len(p.s.Layout.Zones))
		for _, q := range p.procs {
			if q.report == nil || q.dead != "" {
				continue
			}
			for _, l := range q.report.Zones {
				if i := p.s.Layout.Index(l.Zone); i >= 0 && l.Open && l.Epoch == p.s.Layout.Zones[i].Epoch && p.s.Layout.Zones[i].Owner.Same(q.Owner()) {
					p.opened[i] = true
				}
			}
		}
		p.allOpen = !slices.Contains(p.opened, false)
	}
	if !p.allOpen {
		return false
	}
	for _, q := range p.procs {
		if q.report == nil || q.dead != "" || q.Role != mesh.RoleNode {
			continue
		}
		if len(q.report.Zones) > 0 && q.report.LayoutVersion < z.RetiredAt {
			return false
		}
		for _, l := range q.report.Zones {
			if slices.Contains(l.OutboundTo, z.ID) {
				return false
			}
		}
	}
	return true
}

// drain empties nodes that want to stop: zones move, and entities cross over
// by themselves. The cradle cannot be retired and is taken over instead, as is
// whatever is left when the time is up.
func (p *pass) drain() {
	p.tally()
	if len(p.targets) == 0 {
		return
	}
	for i := range len(p.layout.Zones) {
		q := p.owner(i)
		if q == nil || !q.draining {
			continue
		}
		z := p.layout.Zones[i]
		late := p.now-p.next.Draining[q.ID] >= p.cfg.DrainTimeout.Milliseconds()
		fixed := z.ID == mesh.Cradle || !p.zones[i].Known || len(p.layout.Zones) >= p.cfg.MaxZones
		if z.State == mesh.Retiring && !late {
			continue
		}
		to, why := p.place(i)
		reason := fmt.Sprintf("node %s is draining; %s", q.ID, why)
		var done bool
		if late || fixed {
			if late {
				reason = fmt.Sprintf("node %s has been draining for %s; %s", q.ID, p.cfg.DrainTimeout, why)
			}
			done = p.takeover(i, to, max(z.Epoch, p.s.Records[z.ID].Epoch)+1, reason)
		} else {
			done = p.change(partition.Change{Kind: partition.Move, Zone: z.ID, Owner: to.Owner(), Reason: reason,
				Alternatives: []string{"take it over: a planned move stalls nobody"}})
			if done {
				last := len(p.zones) - 1
				p.zones[last].Load, p.zones[i].Load = p.zones[i].Load, 0
				i = last
			}
		}
		if done {
			to.load += p.zones[i].Load
			to.zones++
		}
	}
}
