package node

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
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
	spare   bool       // followed only for what it still shows near us
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

// source returns the followed zone of that id, or nil.
func (n *Node) source(id mesh.ZoneID) *source {
	i, ok := n.sourceAt(id)
	if !ok {
		return nil
	}
	return n.sources[i]
}

func (n *Node) sourceAt(id mesh.ZoneID) (int, bool) {
	return slices.BinarySearchFunc(n.sources, id, func(s *source, id mesh.ZoneID) int { return cmp.Compare(s.zone, id) })
}

// chooseSources follows every zone near one of ours, whatever its layer, and
// lets the others go, once they have nothing near us any more: the residents of
// a box that has shrunk leave it only after that.
func (n *Node) chooseSources() {
	if n.layout == nil {
		return
	}
	n.sources = slices.DeleteFunc(n.sources, func(s *source) bool {
		entry, ok := n.layout.Zone(s.zone)
		s.spare = !ok || !n.wants(&entry)
		if !s.spare || ok && n.showsNear(s) {
			return false
		}
		n.leaveSource(s.zone)
		return true
	})
	for k := range n.layout.Zones {
		entry := &n.layout.Zones[k]
		if i, ok := n.sourceAt(entry.ID); ok {
			n.freshen(n.sources[i])
		} else if n.wants(entry) {
			s := &source{zone: entry.ID, frameAt: n.tick}
			n.sources = slices.Insert(n.sources, i, s)
			n.subscribe(s)
		}
	}
}

// showsNear reports whether a source shows anything near a zone of ours.
func (n *Node) showsNear(s *source) bool {
	return slices.ContainsFunc(n.zones, func(z *zone) bool {
		return z.world != nil && z.id != s.zone && slices.ContainsFunc(s.decoder.Poses, func(p mesh.Pose) bool { return z.area.Contains(p.Pos) })
	})
}

// former is a box that a zone had: until its residents have begun to leave, they
// are to be expected there.
type former struct {
	box   mesh.Box
	until mesh.Tick
}

const formerTicks = 10

// remember keeps the boxes that change from one layout to the next.
func (n *Node) remember(old, l *mesh.Layout) {
	for i := range l.Zones {
		entry := &l.Zones[i]
		was, ok := old.Zone(entry.ID)
		if !ok || was.Box == entry.Box {
			continue
		}
		box := was.Box
		if f, ok := n.former[entry.ID]; ok {
			box = cover(box, f.box)
		}
		n.former[entry.ID] = former{box, n.tick + formerTicks}
	}
}

// wants reports whether a zone is near one of this node's others.
func (n *Node) wants(entry *mesh.Zone) bool {
	return slices.ContainsFunc(n.zones, func(z *zone) bool {
		reach := z.box.Grow(n.ghostMargin(z))
		if z.world != nil {
			reach = cover(reach, z.area)
		}
		was, shrunk := n.former[entry.ID]
		return entry.ID != z.id && (entry.Box.Overlaps(reach) || shrunk && was.box.Overlaps(reach))
	})
}

func cover(a, b mesh.Box) mesh.Box {
	return mesh.Box{
		Min: mesh.Vec{X: min(a.Min.X, b.Min.X), Y: min(a.Min.Y, b.Min.Y), Z: min(a.Min.Z, b.Min.Z)},
		Max: mesh.Vec{X: max(a.Max.X, b.Max.X), Y: max(a.Max.Y, b.Max.Y), Z: max(a.Max.Z, b.Max.Z)},
	}
}

// leaveSource undoes what following a zone has brought.
func (n *Node) leaveSource(id mesh.ZoneID) {
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
	for _, s := range n.sources {
		if n.tick > s.frameAt+n.cfg.SilentTicks && n.tick >= s.askedAt+20 {
			n.subscribe(s)
		}
		n.freshen(s)
	}
	known := len(n.former)
	maps.DeleteFunc(n.former, func(_ mesh.ZoneID, f former) bool { return n.tick >= f.until })
	if len(n.former) < known || slices.ContainsFunc(n.sources, func(s *source) bool { return s.spare && !n.showsNear(s) }) {
		n.chooseSources()
	}
	for _, z := range n.zones {
		if z.auth.Open() && n.tick >= z.gatherAt {
			z.gatherAt = n.tick + gatherTicks
			n.gatherGhosts(z)
		}
	}
}

// gatherTicks is how often a zone looks for ghosts anew.
const gatherTicks = 10

// subscriber gets a zone's frames.
type subscriber struct {
	peer mesh.NodeID
	key  bool // a key frame first
}

func (z *zone) subscriberAt(id mesh.NodeID) (int, bool) {
	return slices.BinarySearchFunc(z.subs, id, func(s subscriber, id mesh.NodeID) int { return cmp.Compare(s.peer, id) })
}

func (z *zone) unsubscribe(id mesh.NodeID) {
	if i, ok := z.subscriberAt(id); ok {
		z.subs = slices.Delete(z.subs, i, i+1)
	}
}

// onSubscribe lists the peer among those who get the zone's frames. A peer may
// know of a zone before its owner does: then it waits, so that the zone is seen
// from its first tick on.
func (n *Node) onSubscribe(from mesh.NodeID, m *wire.Subscribe) {
	z := n.zone(m.Zone)
	switch {
	case z == nil && !m.Off && len(n.early) < maxEarly:
		n.early = append(n.early, early{m.Zone, from, n.tick + earlyTicks})
		n.emit(process.Effect{Kind: process.EffectFetchLayout})
	case z == nil:
	case m.Off:
		z.unsubscribe(from)
	default:
		z.subscribe(from)
	}
}

func (z *zone) subscribe(from mesh.NodeID) {
	i, ok := z.subscriberAt(from)
	if ok {
		z.subs[i].key = true
		return
	}
	z.subs = slices.Insert(z.subs, i, subscriber{from, true})
}

// early is a subscription to a zone that this node does not know to be its own.
type early struct {
	zone  mesh.ZoneID
	peer  mesh.NodeID
	until mesh.Tick
}

const (
	maxEarly   = 1024
	earlyTicks = 20 // by then the layout has come, or the peer asks again
)

// welcomeEarly gives a new zone the subscribers that were faster than the
// layout, and forgets those who waited in vain.
func (n *Node) welcomeEarly(z *zone) {
	n.early = slices.DeleteFunc(n.early, func(e early) bool {
		if e.zone == z.id && n.tick <= e.until {
			z.subscribe(e.peer)
		}
		return e.zone == z.id || n.tick > e.until
	})
}

func (n *Node) onFrame(from mesh.NodeID, m *wire.Frame) {
	s := n.source(m.Zone)
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
	s := n.source(z.id)
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
		z.seeLanded(s)
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
	z.landed = slices.DeleteFunc(z.landed, func(l landing) bool { return n.tick > l.tick+gatherTicks })
	for id, g := range z.ghosts {
		if g.from == z.id {
			continue // left, and not yet seen at its target
		}
		if s := n.source(g.from); s == nil {
			z.dropGhost(id)
		} else if i, ok := s.decoder.Slot(id); !ok || !z.area.Contains(s.decoder.Poses[i].Pos) {
			z.dropGhost(id)
		}
	}
	n.showNear(z)
}

// showNear shows z what its sources last showed, where it is near.
func (n *Node) showNear(z *zone) {
	z.widened = false
	for _, s := range n.sources {
		if s.zone == z.id {
			continue
		}
		for _, p := range s.decoder.Poses {
			z.consider(s.zone, p)
		}
	}
}

// widen makes the ghost area reach around a newcomer: it may come in far from
// all other residents.
func (z *zone) widen(n *Node, p mesh.Pose) {
	at := mesh.Box{Min: p.Pos, Max: mesh.Vec{X: p.Pos.X + 1, Y: p.Pos.Y + 1, Z: p.Pos.Z + 1}}
	if near := at.Grow(n.ghostMargin(z)); p.Flags&mesh.Asleep == 0 && cover(z.area, near) != z.area {
		z.area, z.widened = cover(z.area, near), true
	}
}
