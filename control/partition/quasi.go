package partition

import (
	"fmt"

	"weft/control/mesh"
)

// quasi is a fixed grid whose whole zones move between nodes as the load does:
// quasi-dynamic load balancing. A crowd in one zone is beyond it. The cradle
// stays where it is.
type quasi struct{}

func (quasi) Genesis(bounds mesh.Box, n int) []mesh.Box { return grid(bounds, n) }

func (quasi) NodesNeeded(mesh.Layout) int { return 1 }

func (quasi) Propose(v View) Proposal {
	d := newDraft(v)
	d.relieve(d.moveBest)
	d.gather()
	return d.proposal()
}

// moveBest moves the zone of node n to node to whose going leaves the heavier
// of the two lightest. It reports whether that is worth it.
func (d *draft) moveBest(n, to int) bool {
	best, worst := -1, d.nodes[n].Load*9/10
	for i := range d.layout.Zones {
		if d.node(i) != n || !d.movable(i) {
			continue
		}
		l := d.zones[i].Load
		if after := max(d.nodes[n].Load-l, d.nodes[to].Load+l); after < worst {
			best, worst = i, after
		}
	}
	if best < 0 {
		return false
	}
	return d.try(Change{
		Kind: Move, Zone: d.layout.Zones[best].ID, Owner: d.nodes[to].Owner,
		Reason: fmt.Sprintf("node %s carries %s, above %s; this zone carries %s and node %s has room",
			d.nodes[n].Owner.Node, d.nodes[n].Load, d.limits.High, d.zones[best].Load, d.nodes[to].Owner.Node),
	})
}
