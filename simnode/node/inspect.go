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
	// Waiting is how many records are not yet known durable; Held is whatever
	// else the zone keeps until somebody answers: store calls, crossings,
	// impacts, events of players, what to journal when there is room. The last
	// is Noted, in entities.
	Waiting, Held, Noted int
}

func (z *zone) held() int {
	held := z.auth.Calls() + len(z.marks) + len(z.sent) + len(z.landed) + len(z.volleys) + len(z.picks) + len(z.unsaved) + z.effects.held + len(z.effects.pending)
	for _, m := range z.marks {
		held += len(m.waiting)
	}
	for _, q := range z.effects.out {
		held += len(q.queue)
	}
	return held
}

// Inspect calls f with every zone that the node holds, by id.
func (n *Node) Inspect(f func(ZoneView)) {
	for _, z := range n.zones {
		f(ZoneView{ID: z.id, Epoch: z.auth.Epoch(), Open: z.auth.Open(), World: z.world, Waiting: z.auth.Waiting(), Held: z.held(), Noted: len(z.unsaved)})
	}
}
