package partition

import (
	"fmt"
	"slices"

	"weft/control/mesh"
)

// draft is a copy of a View on which a policy tries its changes before it
// proposes them, so that each is judged by what the ones before it leave.
type draft struct {
	layout  mesh.Layout
	zones   []Zone
	nodes   []Node
	byName  map[mesh.NodeID]int
	limits  Limits
	now     int64
	cut     map[int][]Cell // the cells of zones that this draft has changed
	changes []Change
}

func newDraft(v View) *draft {
	d := &draft{
		layout: v.Layout.Clone(), zones: slices.Clone(v.Zones), nodes: slices.Clone(v.Nodes),
		byName: make(map[mesh.NodeID]int, len(v.Nodes)), limits: v.Limits, now: v.NowMilli, cut: map[int][]Cell{},
	}
	for i, n := range d.nodes {
		d.byName[n.Owner.Node] = i
	}
	return d
}

// proposal returns the draft as it is now.
func (d *draft) proposal() Proposal { return Proposal{d.changes, d.layout, d.zones} }

// node returns the index of the owner of zone i, or −1 if it is not alive.
func (d *draft) node(i int) int {
	o := d.layout.Zones[i].Owner
	if n, ok := d.byName[o.Node]; ok && d.nodes[n].Owner.Same(o) {
		return n
	}
	return -1
}

// rested reports whether zone i may change again in the way of k: after Settle
// if it is cut or its border shifts, unless it merged before, else after
// Cooldown. A zone that this draft has just split may be split on.
func (d *draft) rested(i int, k Kind) bool {
	m := d.zones[i].Memory
	if _, fresh := d.cut[i]; fresh && k == Split && m.Last == Split {
		return true
	}
	wait := d.limits.Cooldown
	if (k == Split || k == Border) && m.Last != Merge {
		wait = d.limits.Settle
	}
	return m.ChangedMilli == 0 || d.now-m.ChangedMilli >= wait.Milliseconds()
}

// still reports whether the border of zone i has forgotten which way it went.
func (d *draft) still(i int) bool {
	return d.now-d.zones[i].Memory.ChangedMilli > 10*d.limits.Cooldown.Milliseconds()
}

// quiet reports whether zone i has carried little for long enough to merge.
func (d *draft) quiet(i int) bool {
	z := &d.zones[i]
	cool := d.limits.Cooldown.Milliseconds()
	return d.layout.Zones[i].State == mesh.Active && z.Known && z.Memory.QuietMilli > 0 && d.now-z.Memory.QuietMilli >= cool &&
		(z.Memory.Last == Merge || d.now-z.Memory.ChangedMilli >= cool)
}

// movable reports whether zone i can be moved whole.
func (d *draft) movable(i int) bool {
	z := &d.layout.Zones[i]
	return z.State == mesh.Active && z.Layer == mesh.Actors && z.ID != mesh.Cradle && d.zones[i].Known && d.rested(i, Move) && len(d.layout.Zones) < d.limits.Zones
}

// cells returns the load of zone i, clipped to its box.
func (d *draft) cells(i int) []Cell {
	if c, ok := d.cut[i]; ok {
		return c
	}
	return d.zones[i].cells(d.layout.Zones[i].Box)
}

// try applies c to the draft and keeps it; false if it does not fit.
func (d *draft) try(c Change) bool {
	if len(d.changes) >= d.limits.Changes {
		return false
	}
	i, j := d.layout.Index(c.Zone), d.layout.Index(c.Other)
	if c.Kind == Border && extentAt(d.layout.Zones[i].Box, d.layout.Zones[j].Box, c.Axis) == c.At {
		return false
	}
	cells := d.cells(i)
	if err := c.Apply(&d.layout); err != nil {
		return false
	}
	if c.Makes() {
		d.zones = append(d.zones, Zone{})
		j = len(d.zones) - 1
		if n := d.node(j); n >= 0 {
			d.nodes[n].Zones++
		}
	}
	a, b := &d.zones[i], &d.zones[j]
	switch c.Kind {
	case Split:
		mine, theirs := cutCells(cells, c.Axis, c.At)
		if c.KeepHigh {
			mine, theirs = theirs, mine
		}
		d.cut[i], d.cut[j] = mine, theirs
		d.shift(i, j, share(a.Load, weight(theirs), weight(cells)))
	case Move:
		d.cut[j] = cells
		d.shift(i, j, a.Load)
	case Merge:
		d.cut[j] = append(d.cells(j), cells...)
		d.shift(i, j, a.Load)
	case Border:
		mine, theirs := cutCells(cells, c.Axis, c.At)
		dir := int8(-1)
		if floor(d.layout.Zones[i].Box, c.Axis) == c.At {
			mine, theirs, dir = theirs, mine, 1
		}
		d.cut[j] = append(d.cells(j), theirs...)
		d.cut[i] = mine
		step := a.Memory.step(dir, d.still(i))
		d.shift(i, j, share(a.Load, weight(theirs), weight(cells)))
		a.Memory.Dir, a.Memory.Step, b.Memory.Dir, b.Memory.Step = dir, step, dir, step
	}
	for _, m := range []*Memory{&a.Memory, &b.Memory} {
		m.ChangedMilli, m.Last = d.now, c.Kind
		if c.Kind != Merge {
			m.QuietMilli = 0
		}
	}
	d.changes = append(d.changes, c)
	return true
}

// extentAt returns the plane between two boxes that touch across axis.
func extentAt(a, b mesh.Box, axis int) int32 {
	return max(floor(a, axis), floor(b, axis))
}

// share returns the part of load that part is of whole.
func share(load Load, part, whole int64) Load {
	if whole == 0 {
		return 0
	}
	return Load(int64(load) * min(part, whole) / whole)
}

// shift books load from zone i to zone j and between their nodes.
func (d *draft) shift(i, j int, load Load) {
	d.zones[i].Load -= load
	d.zones[j].Load += load
	if n := d.node(i); n >= 0 {
		d.nodes[n].Load -= load
	}
	if n := d.node(j); n >= 0 {
		d.nodes[n].Load += load
	}
}

// relieve tries to bring every node below High, the hottest first, by calling
// ease with the hot node and the open one that carries least.
func (d *draft) relieve(ease func(n, to int) bool) {
	stuck := map[int]bool{}
	for len(d.changes) < d.limits.Changes {
		n, to := -1, -1
		for i := range d.nodes {
			if l := d.nodes[i].Load; l > d.limits.High && !stuck[i] && (n < 0 || l > d.nodes[n].Load) {
				n = i
			}
		}
		if n < 0 {
			return
		}
		for i := range d.nodes {
			if i != n && d.nodes[i].Open && !d.nodes[i].Props && (to < 0 || d.cheaper(i, to)) {
				to = i
			}
		}
		stuck[n] = to < 0 || !ease(n, to)
	}
}

// cheaper orders nodes by load, then warm ones first.
func (d *draft) cheaper(a, b int) bool {
	if d.nodes[a].Load != d.nodes[b].Load {
		return d.nodes[a].Load < d.nodes[b].Load
	}
	return d.nodes[a].Zones < d.nodes[b].Zones
}

// gather frees the node that carries least, if that is little, all its zones
// have been quiet for two cooldowns, and they fit onto the fullest node that
// has room for them.
func (d *draft) gather() {
	active, quiet := make([]int, len(d.nodes)), make([]int, len(d.nodes))
	for i, z := range d.layout.Zones {
		n := d.node(i)
		if n < 0 || z.State != mesh.Active {
			continue
		}
		active[n]++
		m := d.zones[i].Memory
		if z.Layer == mesh.Actors && z.ID != mesh.Cradle && d.quiet(i) && d.now-max(m.QuietMilli, m.ChangedMilli) >= 2*d.limits.Cooldown.Milliseconds() {
			quiet[n]++
		}
	}
	from, to := -1, -1
	for i, n := range d.nodes {
		if active[i] > 0 && quiet[i] == active[i] && n.Load*2 <= d.limits.Low && (from < 0 || n.Load < d.nodes[from].Load) {
			from = i
		}
	}
	if from < 0 {
		return
	}
	for i, n := range d.nodes {
		if i != from && active[i] > 0 && n.Open && !n.Props && n.Load+d.nodes[from].Load <= d.limits.Low && (to < 0 || n.Load > d.nodes[to].Load) {
			to = i
		}
	}
	if to < 0 || quiet[from]+len(d.changes) > d.limits.Changes || len(d.layout.Zones)+quiet[from] > d.limits.Zones {
		return
	}
	reason := fmt.Sprintf("node %s carries %s; all of it fits on node %s, which carries %s",
		d.nodes[from].Owner.Node, d.nodes[from].Load, d.nodes[to].Owner.Node, d.nodes[to].Load)
	for i := range len(d.layout.Zones) {
		if d.layout.Zones[i].State == mesh.Active && d.node(i) == from {
			d.try(Change{Kind: Move, Zone: d.layout.Zones[i].ID, Owner: d.nodes[to].Owner, Reason: reason})
		}
	}
}
