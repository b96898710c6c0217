package node

import (
	"weft/control/mesh"
	"weft/simnode/world"
)

// ZoneView is a look at a zone that a node holds, for checks and drills.
type ZoneView struct {
	ID    mesh.ZoneID
	Epoch mesh.Epoch
	Open  bool
	World *world.World // nil until open; for reading only
}

// Inspect calls f with every zone that the node holds, by id.
func (n *Node) Inspect(f func(ZoneView)) {
	for _, z := range n.zones {
		f(ZoneView{ID: z.id, Epoch: z.auth.Epoch(), Open: z.auth.Open(), World: z.world})
	}
}
