package gateway

import (
	"cmp"
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
)

// peer is a process that the gateway is, or was, connected to.
type peer struct {
	id          mesh.NodeID
	incarnation mesh.Incarnation
	role        mesh.Role
	up          bool
	gone        bool      // nobody listens at its address any more
	heardAt     mesh.Tick // the last frame or Late, or when the clocks were set anew
	suspectAt   mesh.Tick // when it was last suspected
	suspected   bool
}

// maxPeers bounds how many are remembered.
const maxPeers = 4096

func (g *Gateway) peer(id mesh.NodeID) *peer {
	if i, ok := g.peerIndex(id); ok {
		return g.peers[i]
	}
	return nil
}

func (g *Gateway) peerIndex(id mesh.NodeID) (int, bool) {
	return slices.BinarySearchFunc(g.peers, id, func(p *peer, id mesh.NodeID) int { return cmp.Compare(p.id, id) })
}

// notePeer returns the peer of that id, made known if it was not.
func (g *Gateway) notePeer(id mesh.NodeID) *peer {
	i, ok := g.peerIndex(id)
	if ok {
		return g.peers[i]
	}
	if len(g.peers) >= maxPeers {
		return nil
	}
	g.peers = slices.Insert(g.peers, i, &peer{id: id})
	return g.peers[i]
}

func (g *Gateway) peerUp(ev process.Event) {
	p := g.notePeer(ev.Peer)
	if p == nil || ev.Incarnation < p.incarnation {
		return
	}
	*p = peer{id: p.id, incarnation: ev.Incarnation, role: ev.Role, up: true, heardAt: g.now}
	owner := mesh.Owner{Node: p.id, Incarnation: p.incarnation}
	for _, f := range g.feeds {
		if f.owner.Same(owner) {
			f.asked = false
			g.subscribe(f)
			g.freshen(f)
		}
	}
	if !slices.ContainsFunc(g.owners, owner.Same) {
		return
	}
	// What was sent before is lost, and it may take our clients for gone.
	for _, c := range g.clients {
		if f := g.feed(c.route.zone); f == nil || f.owner.Same(owner) {
			g.relogin(c)
			c.route = route{}
		}
	}
}

func (g *Gateway) peerDown(ev process.Event) {
	p := g.notePeer(ev.Peer)
	if p == nil || ev.Incarnation != 0 && ev.Incarnation < p.incarnation {
		return
	}
	p.up, p.gone = false, p.gone || ev.Gone
	if ev.Incarnation != 0 {
		p.incarnation = ev.Incarnation
	}
	g.suspect(p)
}

// beginTick sets the clocks of silence anew if it was this process that slept.
func (g *Gateway) beginTick(ev process.Event) {
	late := uint64(ev.LateUS)*uint64(g.tickHz()) > g.cfg.LateTicks*1e6
	if !late && uint64(ev.Skipped) <= g.cfg.LateTicks {
		return
	}
	for _, p := range g.peers {
		p.heardAt = g.now
	}
}

func (g *Gateway) suspectAll() {
	for i := 0; i < len(g.peers); i++ {
		p := g.peers[i]
		g.suspect(p)
		if !p.up && !g.owns(p.id) {
			g.peers = slices.Delete(g.peers, i, i+1)
			i--
		}
	}
}

func (g *Gateway) owns(id mesh.NodeID) bool {
	return slices.ContainsFunc(g.feeds, func(f *feed) bool { return f.owner.Node == id })
}

// suspect writes a suspicion of p if there is cause, at most once in
// SuspectEveryTicks. Who owns nothing is not suspected, and nobody is while
// the store is away: then no zone changes hands.
func (g *Gateway) suspect(p *peer) {
	if g.record.storeDown || g.record.suspicions >= maxSuspicions ||
		p.suspected && g.now < p.suspectAt+mesh.Tick(g.cfg.SuspectEveryTicks) {
		return
	}
	silent := p.up && g.now > p.heardAt+mesh.Tick(g.cfg.SilentTicks)
	for _, f := range g.feeds {
		if f.owner.Node != p.id {
			continue
		}
		kind := mesh.SuspicionKind(0)
		switch accused := f.owner.Incarnation; {
		case p.up && p.incarnation > accused, p.gone && !p.up && (p.incarnation == 0 || p.incarnation >= accused):
			kind = mesh.Broken
		case silent && p.incarnation == accused && f.shown == f.epoch:
			kind = mesh.Silent // it sent frames of this zone and stopped
		default:
			continue
		}
		p.suspected, p.suspectAt = true, g.now
		g.writeSuspicion(f.owner, kind)
		return
	}
}
