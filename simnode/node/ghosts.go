package node

import (
	"errors"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// source is a zone whose frames this node follows, to show its entities to its
// own zones as ghosts. The node's own zones are sources of each other.
type source struct {
	zone    mesh.ZoneID
	decoder replication.FrameDecoder
	frameAt mesh.Tick // own tick when the last frame came
	askedAt mesh.Tick
	offered mesh.Epoch // to the owner under which the last Freshen was sent
}

// ghost is where a zone has a ghost from: the source with the highest hop.
type ghost struct {
	from mesh.ZoneID
	hop  uint32
}

func (n *Node) ghostMargin(z *zone) int32 {
	if z.world == nil {
		return n.cfg.GhostSlackUnits
	}
	return z.world.InteractionRadius() + n.cfg.GhostSlackUnits
}

func (n *Node) sourceIDs() []mesh.ZoneID { return slices.Sorted(maps.Keys(n.sources)) }

// chooseSources follows every zone near one of ours, whatever its layer, and
// lets the others go.
func (n *Node) chooseSources() {
	if n.layout == nil {
		return
	}
	want := map[mesh.ZoneID]bool{}
	for _, z := range n.zones {
		reach := z.box.Grow(n.ghostMargin(z))
		if z.world != nil {
			reach = cover(reach, z.area)
		}
		for _, entry := range n.layout.Zones {
			if entry.ID != z.id && entry.Box.Overlaps(reach) {
				want[entry.ID] = true
			}
		}
	}
	for _, id := range n.sourceIDs() {
		if !want[id] {
			n.dropSource(id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if n.sources[id] == nil {
			n.sources[id] = &source{zone: id, frameAt: n.tick}
			n.subscribe(n.sources[id])
		} else {
			n.freshen(n.sources[id])
		}
	}
}

func cover(a, b mesh.Box) mesh.Box {
	return mesh.Box{
		Min: mesh.Vec{X: min(a.Min.X, b.Min.X), Y: min(a.Min.Y, b.Min.Y), Z: min(a.Min.Z, b.Min.Z)},
		Max: mesh.Vec{X: max(a.Max.X, b.Max.X), Y: max(a.Max.Y, b.Max.Y), Z: max(a.Max.Z, b.Max.Z)},
	}
}

func (n *Node) dropSource(id mesh.ZoneID) {
	delete(n.sources, id)
	for _, z := range n.zones {
		z.forgetGhosts(id)
	}
	if entry, ok := n.layout.Zone(id); ok && entry.Owner.Node != n.self.ID {
		if p := n.peer(entry.Owner.Node); p != nil && p.up {
			n.send(p.id, &wire.Subscribe{Zone: id, Off: true})
		}
	}
}

func (z *zone) forgetGhosts(from mesh.ZoneID) {
	for id, g := range z.ghosts {
		if g.from == from {
			z.dropGhost(id)
		}
	}
}

func (z *zone) dropGhost(id mesh.EntityID) {
	delete(z.ghosts, id)
	if z.world != nil {
		z.world.RemoveGhost(id)
	}
}

// subscribe asks the owner of a source for its frames, from a key frame on.
func (n *Node) subscribe(s *source) {
	s.askedAt = n.tick
	entry, ok := n.layout.Zone(s.zone)
	if !ok {
		return
	}
	if entry.Owner.Node == n.self.ID {
		return // localFrame feeds it
	}
	if p := n.peer(entry.Owner.Node); p != nil && p.up {
		n.send(p.id, &wire.Subscribe{Zone: s.zone})
	}
}

// freshen offers a zone's new owner what this node was showing of it.
func (n *Node) freshen(s *source) {
	entry, ok := n.layout.Zone(s.zone)
	if !ok || s.decoder.Zone == 0 || entry.Epoch <= s.decoder.Epoch || s.offered >= entry.Epoch {
		return
	}
	if p := n.peer(entry.Owner.Node); p != nil && p.up {
		s.offered = entry.Epoch
		n.send(p.id, &wire.Freshen{
			Zone: s.zone, Epoch: s.decoder.Epoch, Tick: s.decoder.Tick,
			Poses: replication.EncodePoses(nil, s.decoder.Poses[:min(len(s.decoder.Poses), maxStoredPoses)]),
		})
		n.subscribe(s)
	}
}

// keepSources repeats what was asked for in vain, and now and then looks for
// ghosts anew, since our residents move.
func (n *Node) keepSources() {
	if n.layout == nil {
		return
	}
	for _, id := range n.sourceIDs() {
		s := n.sources[id]
		if n.tick > s.frameAt+n.cfg.SilentTicks && n.tick >= s.askedAt+20 {
			n.subscribe(s)
		}
		n.freshen(s)
	}
	for _, z := range n.zones {
		if z.auth.Open() && (n.tick+mesh.Tick(z.id))%10 == 0 {
			n.gatherGhosts(z)
		}
	}
}

// onSubscribe lists the peer among those who get the zone's frames.
func (n *Node) onSubscribe(from mesh.NodeID, m *wire.Subscribe) {
	z := n.zone(m.Zone)
	if z == nil {
		return
	}
	if m.Off {
		delete(z.subs, from)
		return
	}
	z.subs[from] = true
}

func (n *Node) onFrame(from mesh.NodeID, m *wire.Frame) {
	s := n.sources[m.Zone]
	if s == nil {
		return
	}
	if entry, ok := n.layout.Zone(m.Zone); ok && m.Epoch < entry.Epoch {
		n.counters.DroppedFrames++
		return
	}
	n.follow(s, m.Data)
}

// localFrame shows a zone of this node to its neighbours on this node.
func (n *Node) localFrame(z *zone) {
	s := n.sources[z.id]
	if s == nil {
		return
	}
	data := z.frame
	if s.decoder.Zone == 0 || s.decoder.Epoch != z.auth.Epoch() {
		z.key = z.encoder.Key(z.key[:0])
		data = z.key
	}
	n.follow(s, data)
}

func (n *Node) follow(s *source, data []byte) {
	err := s.decoder.Apply(data)
	switch {
	case errors.Is(err, replication.ErrStaleFrame):
		n.counters.DroppedFrames++
		return
	case errors.Is(err, replication.ErrNeedKey):
		if entry, ok := n.layout.Zone(s.zone); ok && entry.Owner.Node == n.self.ID {
			s.decoder = replication.FrameDecoder{}
		} else if n.tick >= s.askedAt+5 {
			n.subscribe(s)
		}
		return
	case err != nil:
		n.counters.RefusedInputs++
		return
	}
	s.frameAt = n.tick
	for _, z := range n.zones {
		if z.id == s.zone || z.world == nil {
			continue
		}
		for _, i := range s.decoder.Changed {
			z.consider(s.zone, s.decoder.Poses[i])
		}
		for _, id := range s.decoder.Gone {
			if g, ok := z.ghosts[id]; ok && g.from == s.zone {
				z.dropGhost(id)
			}
		}
	}
}

// consider shows p to z as a ghost where it is near and the best copy known.
func (z *zone) consider(from mesh.ZoneID, p mesh.Pose) {
	if z.world.Has(p.ID) {
		return
	}
	old, known := z.ghosts[p.ID]
	if known && old.from != from && (old.hop > p.Hop || old.hop == p.Hop && p.Flags&mesh.Outbound != 0) {
		return
	}
	if !z.area.Contains(p.Pos) {
		if known && old.from == from {
			z.dropGhost(p.ID)
		}
		return
	}
	z.ghosts[p.ID] = ghost{from, p.Hop}
	z.world.PutGhost(p)
}

// gatherGhosts finds where the residents are and shows them all that is near.
func (n *Node) gatherGhosts(z *zone) {
	if z.world == nil {
		return
	}
	area, any := mesh.Box{}, false
	for _, p := range z.poses {
		if p.Flags&mesh.Outbound != 0 {
			continue
		}
		at := mesh.Box{Min: p.Pos, Max: mesh.Vec{X: p.Pos.X + 1, Y: p.Pos.Y + 1, Z: p.Pos.Z + 1}}
		if !any {
			area, any = at, true
		} else {
			area = cover(area, at)
		}
	}
	if !any {
		area = z.box
	}
	z.area = area.Grow(n.ghostMargin(z))
	for id, g := range z.ghosts {
		if g.from == z.id {
			continue // left, and not yet seen at its target
		}
		if s := n.sources[g.from]; s == nil {
			z.dropGhost(id)
		} else if i, ok := s.decoder.Slot(id); !ok || !z.area.Contains(s.decoder.Poses[i].Pos) {
			z.dropGhost(id)
		}
	}
	for _, id := range n.sourceIDs() {
		if id == z.id {
			continue
		}
		for _, p := range n.sources[id].decoder.Poses {
			z.consider(id, p)
		}
	}
}
