package node

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/authority"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// zone is a zone that this node holds, or is about to.
type zone struct {
	id    mesh.ZoneID
	layer mesh.Layer
	state mesh.ZoneState
	box   mesh.Box
	auth  *authority.Zone
	world *world.World // nil until open

	// Crossings under way out of the zone.
	marked map[mesh.EntityID]uint64 // by member, until sent
	marks  map[uint64]*mark
	sent   map[uint64]departure // shown, not simulated, until landed
	landed []landing            // lately

	volleys map[uint64]volley          // of what was sent, by crossing
	unsaved map[mesh.EntityID]struct{} // changed for good while the journal was full

	ghosts   map[mesh.EntityID]ghost
	area     mesh.Box // where ghosts matter: around the residents
	gatherAt mesh.Tick
	widened  bool // the area has grown since ghosts were last looked for
	fresh    freshness

	stepped  mesh.Tick // the last one simulated
	mindAt   mesh.Tick
	attended map[mesh.PlayerID]attendance
	players  []mesh.PlayerID
	picks    map[mesh.PlayerID]*pick
	effects  effects

	subs    []subscriber // by peer
	encoder replication.FrameEncoder
	poses   []mesh.Pose
	frame   []byte
	frames  [2]wire.Frame // of this tick: what changed, and the key frame if somebody needs it
	key     []byte

	poseRequest uint64 // the one outstanding, or 0
	poseDue     mesh.Tick
	lain        []mesh.Pose // by slot: an item that was found to lie at its durable place
	kept        []byte      // the poses that the store was last asked to keep
	keptTick    mesh.Tick   // of kept
	keptSure    bool        // and it answered, so that it has them
	laidDown    bool        // the store has the poses as they were at the last look
	strays      []mesh.EntityID
	group       []mesh.EntityID
}

// attendance is who speaks for a body, and when it last did.
type attendance struct {
	gateway mesh.NodeID
	at      mesh.Tick
	idleAt  mesh.Tick // when the body became idle; 0: it is not
}

// freshness is the newest that others were showing of a zone while it loads.
type freshness struct {
	epoch mesh.Epoch
	tick  mesh.Tick
	poses map[mesh.EntityID]freshPose
}

type freshPose struct {
	tick mesh.Tick
	pose mesh.Pose
}

func (n *Node) onLayout(l *mesh.Layout) {
	if n.layout != nil && l.Version <= n.layout.Version {
		return
	}
	if n.layout != nil {
		n.remember(n.layout, l)
	}
	n.layout = l
	maps.DeleteFunc(n.lost, func(id mesh.ZoneID, lost mesh.Epoch) bool {
		entry, ok := l.Zone(id)
		return !ok || !entry.Owner.Same(n.self.Owner()) || entry.Epoch > lost
	})
	for _, z := range slices.Clone(n.zones) {
		if entry, ok := l.Zone(z.id); !ok || !entry.Owner.Same(n.self.Owner()) || entry.Epoch > z.auth.Epoch() {
			n.dropZone(z)
		}
	}
	ids := make([]mesh.ZoneID, len(l.Zones))
	for i, entry := range l.Zones {
		ids[i] = entry.ID
		if !entry.Owner.Same(n.self.Owner()) || entry.Epoch <= n.lost[entry.ID] {
			continue
		}
		z := n.zone(entry.ID)
		if z == nil {
			z = n.addZone(entry)
		}
		z.layer, z.state, z.box = entry.Layer, entry.State, entry.Box
	}
	for _, z := range n.zones {
		z.effects.forget(l)
		n.step(z, authority.Event{Kind: authority.ZonesEvent, Zones: ids, NextZone: l.NextZone})
	}
	n.forgetPeers()
	n.chooseSources()
	for _, p := range n.peers {
		if p.up {
			n.send(p.id, &wire.News{Version: l.Version})
		}
	}
}

func (n *Node) addZone(entry mesh.Zone) *zone {
	z := &zone{
		id:       entry.ID,
		auth:     authority.New(entry.ID, n.self.Owner(), entry.Epoch, n.cfg.Authority, &n.ids),
		marked:   map[mesh.EntityID]uint64{},
		marks:    map[uint64]*mark{},
		sent:     map[uint64]departure{},
		volleys:  map[uint64]volley{},
		unsaved:  map[mesh.EntityID]struct{}{},
		ghosts:   map[mesh.EntityID]ghost{},
		fresh:    freshness{poses: map[mesh.EntityID]freshPose{}},
		attended: map[mesh.PlayerID]attendance{},
		picks:    map[mesh.PlayerID]*pick{},
		effects:  newEffects(),
	}
	i, _ := slices.BinarySearchFunc(n.zones, z.id, func(y *zone, id mesh.ZoneID) int { return cmp.Compare(y.id, id) })
	n.zones = slices.Insert(n.zones, i, z)
	n.welcomeEarly(z)
	// What this node itself was showing of the zone is worth keeping.
	if s := n.source(z.id); s != nil && s.decoder.Zone != 0 {
		z.keepFresh(s.decoder.Epoch, s.decoder.Tick, s.decoder.Poses)
	}
	n.step(z, authority.Event{Kind: authority.TickEvent, Tick: n.tick})
	n.step(z, authority.Event{Kind: authority.Start})
	return z
}

// loseZone ends a hold that the store refused or that cannot go on. A hold is
// never taken up again under its epoch: what the first knew is not in memory.
func (n *Node) loseZone(z *zone, reason string) {
	n.log(fmt.Sprintf("zone %d stopped: %s", z.id, reason))
	if len(n.lost) == 0 {
		n.admitAt = n.tick + admitTicks
	}
	n.lost[z.id] = z.auth.Epoch()
	n.dropZone(z)
}

// admitTicks is how long a lost zone is left to whoever has taken it.
const admitTicks = 100

// dropZone ends the simulation of a zone that is lost or removed.
func (n *Node) dropZone(z *zone) {
	n.zones = slices.DeleteFunc(n.zones, func(y *zone) bool { return y == z })
	n.work = slices.DeleteFunc(n.work, func(w work) bool { return w.zone == z })
	maps.DeleteFunc(n.acks, func(_ uint64, a ack) bool { return a.zone == z })
	maps.DeleteFunc(n.bodies, func(_ mesh.PlayerID, at mesh.ZoneID) bool { return at == z.id })
	n.chooseSources()
}

func (z *zone) keepFresh(epoch mesh.Epoch, tick mesh.Tick, poses []mesh.Pose) {
	for _, p := range poses {
		if old, ok := z.fresh.poses[p.ID]; !ok || tick > old.tick {
			z.fresh.poses[p.ID] = freshPose{tick, p}
		}
	}
}

// onFreshen keeps what others were showing of a zone that is loading here.
func (n *Node) onFreshen(m *wire.Freshen) {
	z := n.zone(m.Zone)
	if z == nil || z.world != nil || m.Epoch >= z.auth.Epoch() {
		return
	}
	poses, err := replication.DecodePoses(m.Poses)
	if err != nil {
		n.counters.RefusedInputs++
		return
	}
	z.keepFresh(m.Epoch, m.Tick, poses)
}

// openZone begins to simulate what the load gave, each entity where it was
// last seen: a pose counts only if it is of the entity's current hop and not
// before its last durable place. Who sleeps lies where it is stored: a pose of it
// comes from a waking that never was.
func (n *Node) openZone(z *zone, state *replication.State, stored mesh.PoseRecord) {
	if poses, err := replication.DecodePoses(stored.Data); err == nil {
		z.keepFresh(stored.Epoch, stored.Tick, poses)
	}
	z.world = world.New(n.cfg.World, n.rules)
	for _, id := range slices.Sorted(maps.Keys(state.Entities)) {
		e := state.Entities[id]
		if f, ok := z.fresh.poses[id]; ok && e.Flags&mesh.Asleep == 0 && f.pose.Hop == e.Hop && f.tick >= e.Placed {
			carrier := e.Carrier
			e.Pose = f.pose
			e.Carrier = carrier
			e.Flags &^= mesh.Outbound | mesh.Asleep
		}
		n.install(z, e)
	}
	for _, number := range slices.Sorted(maps.Keys(state.Outbound)) {
		z.showSent(number, state.Outbound[number].To, state.Outbound[number].Members)
	}
	z.fresh.poses = nil
	z.keptTick = stored.Tick
	z.keptSure = len(stored.Data) == 0 // what somebody else wrote is written anew, under own ticks
	z.encoder.Begin(z.id, z.auth.Epoch())
	z.poseDue = max(n.tick+n.cfg.PoseEveryTicks, stored.Tick+1) // the store wants ticks to grow, whoever counts them
	z.area = z.box.Grow(n.ghostMargin(z))
	n.chooseSources()
	n.gatherGhosts(z)
}

// install makes e a resident of z.
func (n *Node) install(z *zone, e mesh.Entity) {
	delete(z.ghosts, e.ID)
	z.unshow(e.ID)
	z.widen(n, e.Pose)
	z.world.Put(e)
	if p := e.ID.Player(); p != 0 {
		n.bodies[p] = z.id
		delete(n.left, p)
		if e.Flags&mesh.Asleep == 0 {
			z.attended[p] = attendance{gateway: z.attended[p].gateway, at: n.tick}
		}
	}
}

func (n *Node) onTick(ev process.Event) {
	n.tick = ev.Tick
	n.announce()
	n.judgeSilence(ev)
	n.admitLosses()
	resting := n.resting()
	for _, z := range n.zones {
		n.step(z, authority.Event{Kind: authority.TickEvent, Tick: n.tick})
		if resting && z.auth.Open() && !z.auth.Full() {
			n.journalUnsaved(z) // nothing is simulated that would
		}
		if z.state == mesh.Retiring || resting {
			n.step(z, authority.Event{Kind: authority.Flush})
		}
	}
	n.settle()
	for _, z := range n.zones {
		if z.auth.Open() && !resting {
			if z.widened {
				n.showNear(z)
			}
			n.simulate(z)
		}
	}
	n.settle()
	for i := range n.zones {
		if z := n.zones[i]; z.auth.Open() {
			n.publish(z)
			n.keepPoses(z, resting)
		}
	}
	n.keepSources()
	n.report()
	if n.self.State == mesh.Draining && (n.empty() || resting && n.atRest()) {
		n.self.State = mesh.Stopped
		n.announce()
	}
	if n.tick >= n.forgetAt {
		n.forgetAt = n.tick + forwardTicks
		maps.DeleteFunc(n.left, func(_ mesh.PlayerID, f forwarding) bool { return n.tick > f.until })
	}
}

// nextTick is the first tick that sees what is changed in z now.
func (n *Node) nextTick(z *zone) mesh.Tick { return max(n.tick, z.stepped+1) }

// mindTicks is how often a zone looks after bodies without a client.
const mindTicks = 20

// simulate runs one tick of a zone: its world, what came of it, who strays.
func (n *Node) simulate(z *zone) {
	out := z.world.Step(n.tick, n.impactsNow(z))
	z.stepped = n.tick
	n.journalOutcomes(z, out)
	n.sendImpacts(z, out.Impacts)
	n.retryPicks(z)
	n.findStrays(z)
	if n.tick >= z.mindAt {
		z.mindAt = n.tick + mindTicks
		n.minders(z)
	}
}

// maxPut bounds the entities of one record.
const maxPut = 256

// journalOutcomes makes durable what the simulation changed for good. What is
// marked is left to its crossing, which carries the new state. While the
// journal is full it only notes what changed: however long that lasts, an
// entity is journaled once afterwards.
func (n *Node) journalOutcomes(z *zone, out *world.Output) {
	if len(z.unsaved) > 0 || z.auth.Full() {
		for _, id := range slices.Concat(out.Durable, out.Ended) {
			z.unsaved[id] = struct{}{}
		}
		if !z.auth.Full() {
			n.journalUnsaved(z)
		}
		return
	}
	n.journalStates(z, out.Durable)
	n.journalStates(z, out.Ended)
}

func (n *Node) journalUnsaved(z *zone) {
	var ids []mesh.EntityID
	for _, id := range slices.Sorted(maps.Keys(z.unsaved)) {
		if _, ok := z.marked[id]; !ok { // else once it is decided
			ids = append(ids, id)
			delete(z.unsaved, id)
		}
	}
	for part := range slices.Chunk(ids, maxPut) {
		n.journalStates(z, part)
	}
}

// journalStates journals each entity as it is, or as no more.
func (n *Node) journalStates(z *zone, ids []mesh.EntityID) {
	var put []mesh.Entity
	var ended []mesh.EntityID
	for _, id := range ids {
		if _, ok := z.marked[id]; ok {
			continue // a marked one that has ended ends when its mark is durable
		}
		if e, ok := z.world.Get(id); ok {
			put = append(put, e)
		} else {
			ended = append(ended, id)
		}
	}
	var records []replication.Record
	if len(put) > 0 {
		records = append(records, replication.Record{Kind: replication.RecordPut, Entities: put})
	}
	if len(ended) > 0 {
		records = append(records, replication.Record{Kind: replication.RecordRemove, IDs: ended})
	}
	if len(records) > 0 {
		n.step(z, authority.Event{Kind: authority.Journal, Lazy: true, Records: records})
	}
}

// publish encodes the zone's frame once and sends it to all who listen.
func (n *Node) publish(z *zone) {
	z.poses = z.world.Poses(z.poses[:0])
	if len(z.sent) > 0 {
		for _, number := range slices.Sorted(maps.Keys(z.sent)) {
			z.showStill(z.sent[number].poses)
			z.poses = append(z.poses, z.sent[number].poses...)
		}
	}
	first := z.frame == nil
	z.frame = z.encoder.Encode(z.frame[:0], n.tick, z.poses)
	z.frames[0] = wire.Frame{Zone: z.id, Epoch: z.auth.Epoch(), Tick: n.tick, Data: z.frame}
	z.frames[1] = wire.Frame{}
	for i := range z.subs {
		s, m := &z.subs[i], &z.frames[0]
		if s.key && !first {
			if m = &z.frames[1]; m.Zone == 0 {
				z.key = z.encoder.Key(z.key[:0])
				*m = wire.Frame{Zone: z.id, Epoch: z.auth.Epoch(), Tick: n.tick, Data: z.key}
			}
		}
		s.key = false
		n.send(s.peer, m)
	}
	n.localFrame(z)
}

// keepPoses writes the volatile state now and then, if it has changed: only
// what has moved from its durable place, since the rest is known.
func (n *Node) keepPoses(z *zone, resting bool) {
	if n.tick < z.poseDue && !(resting && n.tick > z.keptTick) || z.poseRequest != 0 {
		return
	}
	z.poseDue = n.tick + n.cfg.PoseEveryTicks
	moved, placed := z.strayPoses()
	var data []byte // none, if all is where the durable state has it
	if len(moved) > 0 {
		data = replication.EncodePoses(nil, moved)
	}
	if z.laidDown = z.keptSure && bytes.Equal(data, z.kept) && placed <= z.keptTick; z.laidDown {
		return
	}
	z.kept, z.keptTick, z.keptSure = data, n.tick, false
	z.poseRequest = n.ids.Next()
	n.request(&process.Request{
		ID: z.poseRequest, Op: process.OpPutPoses, Zone: z.id,
		Poses: mesh.PoseRecord{Epoch: z.auth.Epoch(), Tick: n.tick, Data: data},
	})
}

// maxStoredPoses keeps a pose record below the store's limit of 384 KiB.
const maxStoredPoses = 6000

// strayPoses returns what has moved from its durable place, and the latest tick
// of these places: poses before it do not count. An item that was found to lie
// at its durable place, and has not moved, needs no look again: wherever one
// comes to rest is journaled.
func (z *zone) strayPoses() (moved []mesh.Pose, placed mesh.Tick) {
	if n := len(z.poses) - len(z.lain); n > 0 {
		z.lain = append(z.lain, make([]mesh.Pose, n)...)
	}
	for i, p := range z.poses {
		if p.Flags&mesh.Outbound != 0 || p.Carrier != 0 && p.ID.Layer() == mesh.Props || len(moved) == maxStoredPoses {
			continue
		}
		lies := p.ID.Kind() == mesh.KindItem && p.Flags&mesh.Flying == 0
		if lies && z.lain[i] == p {
			continue
		}
		z.lain[i] = mesh.Pose{}
		if e, ok := z.auth.Durable(p.ID); ok && e.Hop == p.Hop && (e.Pos != p.Pos || e.Vel != p.Vel || e.Health != p.Health) {
			moved, placed = append(moved, p), max(placed, e.Placed)
		} else if ok && lies && e.Hop == p.Hop {
			z.lain[i] = p
		}
	}
	return moved, placed
}

func (n *Node) onAnswer(a *process.Answer) {
	switch a.Op {
	case process.OpPutPoses:
		if z := n.zone(a.Zone); z != nil && z.poseRequest == a.ID {
			z.poseRequest = 0
			z.keptSure = a.Verdict == process.OK
			if a.Verdict == process.Stale {
				n.loseZone(z, "its poses belong to a later epoch")
			}
		}
	case process.OpPutProcess:
		n.onAnnounced(a)
	case process.OpPutReport:
		n.reporting = false
		if a.Verdict == process.Stale {
			n.stop("another incarnation of this node reports")
		}
	case process.OpPutSuspicion:
	default:
		if z := n.zone(a.Zone); z != nil {
			n.step(z, authority.Event{Kind: authority.AnswerEvent, Answer: a})
		}
	}
}
