package node

import (
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// announce writes the node's own record if its state is another than the
// store has. One call is outstanding at a time, so that an old state cannot
// come after a new one.
func (n *Node) announce() {
	if n.announcing != 0 || n.announced == n.self.State {
		return
	}
	n.announcing = n.self.State
	n.request(&process.Request{ID: n.ids.Next(), Op: process.OpPutProcess, Process: n.self})
}

func (n *Node) onAnnounced(a *process.Answer) {
	switch {
	case a.Verdict == process.Stale:
		n.stop("this node was declared gone: another has its place")
	case a.Verdict != process.OK:
		n.announcing = 0 // at the next tick again
	default:
		n.announced, n.announcing = n.announcing, 0
		if n.announced == mesh.Stopped {
			n.stop("drained")
		}
	}
}

func (n *Node) stop(reason string) {
	n.stopped = true
	n.emit(process.Effect{Kind: process.EffectStop, Reason: reason})
}

// ownsByLayout reports whether the newest layout still names this node as an owner.
func (n *Node) ownsByLayout() bool {
	for i := range n.layout.Zones {
		if n.layout.Zones[i].Owner.Same(n.self.Owner()) {
			return true
		}
	}
	return false
}

// report writes the node's load and heartbeat when it is due. One call is
// outstanding at a time: an older report that comes after a newer one is
// refused like that of an older incarnation.
func (n *Node) report() {
	if n.reporting || n.tick < n.reportAt {
		return
	}
	n.reporting, n.reportAt = true, n.tick+n.cfg.ReportEveryTicks
	r := n.observed
	n.sequence++
	r.Process, r.Sequence, r.Tick = n.self, n.sequence, n.tick
	if n.layout != nil {
		r.LayoutVersion = n.layout.Version
	}
	r.Counters.Crossings = n.counters.Crossings
	r.Counters.DurableEvents = n.counters.DurableEvents
	r.Counters.RefusedInputs += n.counters.RefusedInputs
	r.Counters.DroppedFrames = n.counters.DroppedFrames
	r.Zones = n.loads(r.BusyUS)
	n.request(&process.Request{ID: n.ids.Next(), Op: process.OpPutReport, Report: &r})
}

// loads tells each zone's share. Only the whole tick can be timed; it is
// shared out by what each zone simulates.
func (n *Node) loads(busyUS uint32) []mesh.ZoneLoad {
	loads := make([]mesh.ZoneLoad, 0, len(n.zones))
	weights := make([]uint64, 0, len(n.zones))
	var total uint64
	for _, z := range n.zones {
		l := mesh.ZoneLoad{Zone: z.id, Epoch: z.auth.Epoch(), Open: z.auth.Open()}
		var weight uint64 = 1
		if l.Open {
			l.Actors, l.Props, l.Moving, l.Asleep = z.world.Load()
			l.Outbound, l.OutboundTo = z.auth.Outbounds(nil)
			slices.Sort(l.OutboundTo)
			l.OutboundTo = slices.Compact(l.OutboundTo)
			l.Density = z.world.Density()
			weight += uint64(4*l.Actors + 2*l.Moving + z.world.Ghosts())
		}
		loads = append(loads, l)
		weights = append(weights, weight)
		total += weight
	}
	for i := range loads {
		loads[i].BusyUS = uint32(uint64(busyUS) * weights[i] / total)
	}
	return loads
}

// accuse tells the store that the owner of zones seems to be gone.
func (n *Node) accuse(p *peer, kind mesh.SuspicionKind) {
	if n.layout == nil || p.role != mesh.RoleNode {
		return
	}
	owns := slices.ContainsFunc(n.layout.Zones, func(z mesh.Zone) bool {
		return z.Owner.Node == p.id && z.Owner.Incarnation == p.incarnation
	})
	if !owns {
		return
	}
	p.accused = n.tick
	n.suspicions++
	n.request(&process.Request{ID: n.ids.Next(), Op: process.OpPutSuspicion, Suspicion: mesh.Suspicion{
		Suspect: p.id, Incarnation: p.incarnation, Kind: kind,
		Witness: n.self.ID, WitnessRole: mesh.RoleNode, Tick: n.tick, Number: n.suspicions,
	}})
}

// judgeSilence suspects peers whose frames this node follows and does not
// get. A node whose own loop was late has no evidence, and says so.
func (n *Node) judgeSilence(ev process.Event) {
	late := mesh.Tick(ev.Skipped) > n.cfg.LateTicks
	if n.layout != nil && n.layout.Shard.TickHz > 0 {
		late = late || uint64(ev.LateUS)*uint64(n.layout.Shard.TickHz) > uint64(n.cfg.LateTicks)*1_000_000
	}
	for _, p := range n.peers {
		if late {
			p.heard = n.tick
			if !p.up {
				p.downSince = n.tick
			} else {
				n.send(p.id, &wire.Late{Tick: n.tick})
			}
		}
		switch {
		case late || p.role != mesh.RoleNode || p.accused != 0 && n.tick < p.accused+accuseTicks:
		case !p.up && n.tick >= p.downSince+n.cfg.BrokenTicks:
			n.accuse(p, mesh.Broken)
		case p.up && n.tick > p.heard+n.cfg.SilentTicks && n.follows(p.id):
			n.accuse(p, mesh.Silent)
		}
	}
}

// accuseTicks is how often a suspicion is repeated while its cause lasts.
const accuseTicks = 20

// admitLosses says so when the layout goes on to name this node as the owner
// of what it has lost: nobody simulates that.
func (n *Node) admitLosses() {
	if len(n.lost) > 0 && n.tick >= n.admitAt {
		n.admitAt = n.tick + accuseTicks
		n.accuse(&peer{id: n.self.ID, incarnation: n.self.Incarnation, role: mesh.RoleNode}, mesh.Refusing)
	}
}

// follows reports whether this node has had frames from peer id as the owner
// of a zone: one that is still loading has nothing to say.
func (n *Node) follows(id mesh.NodeID) bool {
	for _, s := range n.sources {
		if z, ok := n.layout.Zone(s.zone); ok && z.Owner.Node == id && s.decoder.Zone != 0 && s.decoder.Epoch == z.Epoch {
			return true
		}
	}
	return false
}
