package partition

import (
	"fmt"

	"weft/control/mesh"
)

// kdsplit grows a k-d tree of zones with the crowd: zones of a hot node are cut
// at the plane that halves their measured load, borders between siblings shift
// in damped steps, and quiet siblings merge.
type kdsplit struct{}

func (kdsplit) Genesis(bounds mesh.Box, _ int) []mesh.Box { return grid(bounds, 1) }

func (kdsplit) NodesNeeded(mesh.Layout) int { return 1 }

func (kdsplit) Propose(v View) Proposal {
	d := newDraft(v)
	for _, p := range d.siblings() {
		d.balance(p[0], p[1])
	}
	d.relieve(func(n, to int) bool { return d.moveWhole(n, to) || d.split(n, to) })
	d.gather()
	return d.proposal()
}

// moveWhole moves one of several zones of node n to node to, where that alone
// is enough: no cut is cheaper than a cut.
func (d *draft) moveWhole(n, to int) bool {
	excess, best := d.nodes[n].Load-d.limits.High, -1
	for i := range d.layout.Zones {
		if d.node(i) != n || !d.movable(i) || d.zones[i].Load < excess || d.nodes[to].Load+d.zones[i].Load > d.limits.Room {
			continue
		}
		if best < 0 || d.zones[i].Load < d.zones[best].Load {
			best = i
		}
	}
	if best < 0 || d.zones[best].Load >= d.nodes[n].Load*3/4 {
		return false // moving nearly all of it solves nothing
	}
	return d.try(Change{
		Kind: Move, Zone: d.layout.Zones[best].ID, Owner: d.nodes[to].Owner,
		Reason: fmt.Sprintf("node %s carries %s, above %s; without this zone of %s it is below",
			d.nodes[n].Owner.Node, d.nodes[n].Load, d.limits.High, d.zones[best].Load),
		Alternatives: []string{"split a zone: moving a whole one is enough"},
	})
}

// split cuts the heaviest zone of node n in two and gives the new half to to.
func (d *draft) split(n, to int) bool {
	i := -1
	for j := range d.layout.Zones {
		z := &d.layout.Zones[j]
		if d.node(j) == n && z.State == mesh.Active && d.rested(j, Split) && (i < 0 || d.zones[j].Load > d.zones[i].Load) {
			i = j
		}
	}
	if i < 0 || len(d.layout.Zones) >= d.limits.Zones {
		return false
	}
	if piece := d.zones[i].Load / 2; d.nodes[to].Load+piece > d.nodes[n].Load*9/10 {
		return false // to would be as hot as n
	}
	box := d.layout.Zones[i].Box
	axis, at, ok := bestCut(d.cells(i), box, d.limits.Width)
	if !ok {
		return false
	}
	_, high := box.Cut(axis, at)
	c := Change{
		Kind: Split, Zone: d.layout.Zones[i].ID, Axis: axis, At: at, Owner: d.nodes[to].Owner,
		KeepHigh: d.layout.Zones[i].ID == mesh.Cradle && high.Contains(d.layout.Shard.Spawn),
		Reason: fmt.Sprintf("node %s carries %s, above %s; the plane %s = %.1f m halves the %s of this zone",
			d.nodes[n].Owner.Node, d.nodes[n].Load, d.limits.High, [2]string{"x", "y"}[axis],
			float64(at)/mesh.UnitsPerMeter, d.zones[i].Load),
		Alternatives: []string{"move a whole zone: none is small enough to fit and large enough to help"},
	}
	return d.try(c)
}

// siblings merges quiet sibling zones, whole subtrees in one go, and returns
// the pairs of sibling leaves that stay apart.
func (d *draft) siblings() (pairs [][2]int) {
	var leaves []int
	for i, z := range d.layout.Zones {
		if z.State == mesh.Active && z.Layer == mesh.Actors {
			leaves = append(leaves, i)
		}
	}
	if len(leaves) < 2 || !d.restless() {
		return nil
	}
	var fold func(t *tree) int
	fold = func(t *tree) int {
		if t.low == nil {
			return t.zone
		}
		a, b := fold(t.low), fold(t.high)
		if a < 0 || b < 0 {
			return -1
		}
		if into := d.merge(a, b); into >= 0 {
			return into
		}
		pairs = append(pairs, [2]int{a, b})
		return -1
	}
	fold(decompose(d.layout.Zones, leaves))
	return pairs
}

// restless reports whether any zone could merge or shift its border, so that
// a mesh at rest pays for no tree.
func (d *draft) restless() bool {
	for i := range d.zones {
		if d.quiet(i) {
			return true
		}
	}
	for i := range d.nodes {
		if d.nodes[i].Load > d.limits.Room {
			return true
		}
	}
	return false
}

// merge merges zones a and b if both are quiet, and returns which is left; −1
// if they stay apart.
func (d *draft) merge(a, b int) int {
	sum := d.zones[a].Load + d.zones[b].Load
	if !d.quiet(a) || !d.quiet(b) || sum >= d.limits.Low || len(d.changes) >= d.limits.Changes {
		return -1
	}
	if d.layout.Zones[a].ID == mesh.Cradle || d.layout.Zones[b].ID != mesh.Cradle && d.heavier(a, b) {
		a, b = b, a
	}
	to := d.node(b) // a goes into b
	if to < 0 || !d.nodes[to].Open || d.node(a) != to && d.nodes[to].Load+d.zones[a].Load > d.limits.Room {
		return -1
	}
	if !d.try(Change{
		Kind: Merge, Zone: d.layout.Zones[a].ID, Other: d.layout.Zones[b].ID,
		Reason: fmt.Sprintf("it and its sibling zone %d carry %s together, below %s, and have been quiet for %s",
			d.layout.Zones[b].ID, sum, d.limits.Low, d.limits.Cooldown),
	}) {
		return -1
	}
	return b
}

// heavier reports whether zone a's node carries more than zone b's, so that
// zones gather where there is most already and the others come free.
func (d *draft) heavier(a, b int) bool {
	na, nb := d.node(a), d.node(b)
	if na < 0 || nb < 0 {
		return na >= 0
	}
	if d.nodes[na].Load != d.nodes[nb].Load {
		return d.nodes[na].Load > d.nodes[nb].Load
	}
	return d.layout.Zones[a].ID < d.layout.Zones[b].ID
}

// balance shifts the border between sibling zones a and b towards the heavier
// node by a bounded load: a quarter of the difference at most, and less each
// time the direction flips. A node that is hot beyond that is left to relieve.
func (d *draft) balance(a, b int) {
	na, nb := d.node(a), d.node(b)
	if na < 0 || nb < 0 || na == nb || len(d.changes) >= d.limits.Changes {
		return
	}
	if d.nodes[na].Load < d.nodes[nb].Load {
		a, b, na, nb = b, a, nb, na
	}
	diff := d.nodes[na].Load - d.nodes[nb].Load
	if d.nodes[na].Load <= d.limits.Room || d.nodes[na].Load > d.limits.High*5/4 || diff < d.limits.High/4 || !d.nodes[nb].Open || d.nodes[nb].Props ||
		!d.zones[a].Known || !d.zones[b].Known || !d.rested(a, Border) || !d.rested(b, Border) {
		return
	}
	boxA, boxB := d.layout.Zones[a].Box, d.layout.Zones[b].Box
	_, axis, ok := union(boxA, boxB)
	if !ok {
		return
	}
	lo, hi := extent(boxA, axis)
	blo, _ := extent(boxB, axis)
	dir := int8(-1) // the border goes down: b is the high one
	if blo < lo {
		dir = 1
	}
	shift := min(diff/4, d.zones[a].Memory.step(dir, d.still(a)))
	cells := d.cells(a)
	total := weight(cells)
	w := max(d.limits.Width, 1)
	if shift < leastStep || d.zones[a].Load == 0 || int64(hi)-int64(lo) < 2*int64(w) {
		return
	}
	part := total * int64(shift) / int64(d.zones[a].Load)
	at := plane(cells, axis, lo+w, hi-w, total-part)
	if dir > 0 {
		at = plane(cells, axis, lo+w, hi-w, part)
	}
	d.try(Change{
		Kind: Border, Zone: d.layout.Zones[a].ID, Other: d.layout.Zones[b].ID, Axis: axis, At: at,
		Reason: fmt.Sprintf("node %s carries %s and node %s %s; a shift of at most %s evens them",
			d.nodes[na].Owner.Node, d.nodes[na].Load, d.nodes[nb].Owner.Node, d.nodes[nb].Load, shift),
		Alternatives: []string{fmt.Sprintf("split: the node is below %s or has nowhere to split to", d.limits.High)},
	})
}
