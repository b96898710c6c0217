package node

import (
	"slices"

	"weft/control/mesh"
)

// empty reports that this node has nothing left, in hand or by the layout.
func (n *Node) empty() bool { return len(n.zones) == 0 && n.layout != nil && !n.ownsByLayout() }

// resting reports that the world sleeps and this node is to leave: nobody takes
// its zones over, so they stand still until all that is in them is stored.
func (n *Node) resting() bool {
	return n.self.State == mesh.Stopped || n.self.State == mesh.Draining && n.layout != nil && n.layout.Asleep
}

// atRest reports that the next owners find everything in the store. A zone
// that is still loading has nothing that is not there.
func (n *Node) atRest() bool {
	return !slices.ContainsFunc(n.zones, func(z *zone) bool { return z.auth.Open() && !(z.laidDown && len(z.unsaved) == 0 && z.auth.Idle()) })
}
