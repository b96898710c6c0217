package partition

import "weft/control/mesh"

// static is a grid that never changes, one node a zone: what a world does
// without meshing. Zones change hands only when their owner is gone.
type static struct{}

func (static) Genesis(bounds mesh.Box, n int) []mesh.Box { return grid(bounds, n) }

func (static) NodesNeeded(l mesh.Layout) int { return len(l.Zones) }

func (static) Propose(v View) Proposal { return newDraft(v).proposal() }
