package gateway

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// TestRandomHistories feeds two gateways, one of which lets nobody rest, the same
// random events, sense and nonsense. Their effects must be the same, nothing may
// panic, and what each promises must hold at every step.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := DefaultConfig(4)
		cfg.MaxPending, cfg.KnownMax, cfg.NearCount, cfg.MidCount = 3, 8, 2, 2
		self := mesh.Process{ID: "g1", Incarnation: 1, ClientURL: "ws://g1"}
		a, b := New(cfg, self), New(cfg, self)
		b.never = true
		h := &history{rt: rt, encoders: map[mesh.ZoneID]*replication.FrameEncoder{}}
		for range rapid.IntRange(1, 150).Draw(rt, "events") {
			ev := h.event()
			x, y := render(a.Step(ev)), render(b.Step(ev))
			if x != y {
				rt.Fatalf("the same events, other effects:\n%s\n%s", x, y)
			}
			holds(rt, a)
		}
	})
}

// holds checks what is true of a gateway between any two events.
func holds(rt *rapid.T, g *Gateway) {
	pending, refs := 0, map[uint32]int32{}
	for i, c := range g.clients {
		if c.index != i || g.byID[c.id] != c || g.byPlayer[c.player] != c {
			rt.Fatalf("client %d is not listed where it should be", c.id)
		}
		if !c.playing {
			pending++
		}
		if len(c.events) > mesh.EventWindow || c.knows > g.cfg.KnownMax {
			rt.Fatalf("client %d: %d events, %d known", c.id, len(c.events), c.knows)
		}
		for j := 1; j < len(c.events); j++ {
			if c.events[j-1].event.Number >= c.events[j].event.Number {
				rt.Fatalf("events out of order: %v", c.events)
			}
		}
		knows := 0
		for j := range c.pages {
			p := &c.pages[j]
			p.known.each(p.number, func(slot uint32) { refs[slot]++; knows++ })
			for w := range p.known {
				if p.stale[w]&^p.known[w] != 0 || p.altered[w]&^p.stale[w] != 0 || j > 0 && c.pages[j-1].number >= p.number {
					rt.Fatalf("client %d: page %d is %+v", c.id, j, p)
				}
			}
		}
		if knows != c.knows {
			rt.Fatalf("client %d knows %d, counted %d", c.id, c.knows, knows)
		}
		for _, slot := range c.leaves {
			refs[slot]++
		}
	}
	if pending != g.pending || len(g.clients) != len(g.byID) || len(g.clients) != len(g.byPlayer) || len(g.clients) > g.cfg.MaxClients {
		rt.Fatalf("%d of %d clients pending, counted %d; %d by id, %d by player", pending, len(g.clients), g.pending, len(g.byID), len(g.byPlayer))
	}
	free := map[uint32]bool{}
	for _, slot := range g.free {
		if free[slot] || !g.entities[slot].dead || refs[slot] != 0 {
			rt.Fatalf("slot %d is free and should not be", slot)
		}
		free[slot] = true
	}
	for i := range g.entities {
		e := &g.entities[i]
		if e.refs != refs[uint32(i)] {
			rt.Fatalf("slot %d has %d references, counted %d", i, e.refs, refs[uint32(i)])
		}
		if at, ok := g.slots[e.id]; !e.dead && (!ok || at != uint32(i)) {
			rt.Fatalf("entity %x is lost", e.id)
		}
		best := claim{}
		for _, c := range e.claims {
			if best.feed == nil || c.pose.Hop > best.pose.Hop || c.pose.Hop == best.pose.Hop && best.pose.Flags&mesh.Outbound != 0 && c.pose.Flags&mesh.Outbound == 0 {
				best = c
			}
		}
		if best.feed != nil && e.pose.Hop != best.pose.Hop {
			rt.Fatalf("entity %x is shown with hop %d, the best claim has %d", e.id, e.pose.Hop, best.pose.Hop)
		}
	}
}

func render(effects []process.Effect) string {
	var s strings.Builder
	for _, e := range effects {
		if r := e.Request; r != nil && r.Report != nil {
			fmt.Fprintf(&s, "%+v ", *r.Report)
			r.Report = nil
		}
		fmt.Fprintf(&s, "%d %s %+v %+v %d %+v %x %v %s\n", e.Kind, e.Peer, e.Message, e.Request, e.Client, e.ServerMessage, e.Data, e.Droppable, e.Reason)
	}
	return s.String()
}

// history draws events that make a world of two or three zones.
type history struct {
	rt       *rapid.T
	now      mesh.Tick
	version  uint64
	epochs   [4]mesh.Epoch
	clients  process.ClientID
	fresh    uint64
	encoders map[mesh.ZoneID]*replication.FrameEncoder
	requests uint64
	sessions [6]uint64
}

func (h *history) n(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(h.rt, name) }

func (h *history) event() process.Event {
	peer := mesh.NodeID(fmt.Sprint("n", h.n("node", 1, 2)))
	incarnation := mesh.Incarnation(h.n("incarnation", 1, 2))
	client := h.clients - min(h.clients, process.ClientID(h.n("client", 0, 4)))
	switch h.n("kind", 0, 20) {
	case 0:
		return process.Event{Kind: process.EventPeerUp, Peer: peer, Incarnation: incarnation, Role: mesh.RoleNode}
	case 1:
		return process.Event{Kind: process.EventPeerDown, Peer: peer, Incarnation: incarnation, Gone: h.n("gone", 0, 1) == 1}
	case 2:
		return process.Event{Kind: process.EventLayout, Layout: h.layout()}
	case 3, 4, 16, 17:
		return process.Event{Kind: process.EventPeer, Peer: peer, Message: h.frame()}
	case 5:
		h.clients++
		h.fresh++
		p := h.n("player", 0, 5)
		h.sessions[p] = h.fresh
		return process.Event{Kind: process.EventClientUp, Client: h.clients, Hello: wire.Hello{Player: mesh.PlayerID(p)}, Fresh: h.fresh}
	case 6:
		if h.n("down", 0, 3) > 0 {
			return process.Event{Kind: process.EventFleet, Fleet: []mesh.Process{{ID: peer, Role: mesh.RoleGateway, State: mesh.Ready, ClientURL: string(peer)}}}
		}
		return process.Event{Kind: process.EventClientDown, Client: client}
	case 7:
		return process.Event{Kind: process.EventClientSlow, Client: client}
	case 8, 14, 15:
		return process.Event{Kind: process.EventClient, Client: client, ClientMessage: h.message()}
	case 9, 10:
		return process.Event{Kind: process.EventPeer, Peer: peer, Message: h.answer()}
	case 11:
		h.requests++
		if h.requests == 1 {
			return process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: 1, Op: process.OpPutProcess}}
		}
		return process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: h.requests, Op: process.Op(h.n("op", int(process.OpPutPoses), int(process.OpPutSuspicion))),
			Verdict: process.Verdict(h.n("verdict", 0, 5))}}
	case 12:
		if h.n("drain", 0, 9) == 0 {
			return process.Event{Kind: process.EventDrain}
		}
		fallthrough
	default:
		h.now += mesh.Tick(h.n("ticks", 1, 12))
		return process.Event{Kind: process.EventTick, Tick: h.now, Skipped: h.n("skipped", 0, 6)}
	}
}

func (h *history) layout() *mesh.Layout {
	h.version++
	l := &mesh.Layout{Version: h.version, NextZone: 9, Shard: mesh.Shard{TickHz: 20, Bounds: world}}
	for z := 1; z <= h.n("zones", 1, 3); z++ {
		h.epochs[z] += mesh.Epoch(h.n("raise", 0, 1))
		l.Zones = append(l.Zones, mesh.Zone{ID: mesh.ZoneID(z), Epoch: h.epochs[z], Box: world, State: mesh.ZoneState(h.n("state", 0, 1)),
			Owner: mesh.Owner{Node: mesh.NodeID(fmt.Sprint("n", h.n("owner", 1, 2))), Incarnation: mesh.Incarnation(h.n("life", 1, 2))}})
	}
	return l
}

func (h *history) frame() wire.PeerMessage {
	zone, epoch := mesh.ZoneID(h.n("zone", 1, 4)), mesh.Epoch(h.n("epoch", 1, 4))
	enc := h.encoders[zone]
	if enc == nil || h.n("key", 0, 3) == 0 {
		enc = &replication.FrameEncoder{}
		enc.Begin(zone, epoch)
		h.encoders[zone] = enc
	}
	var poses []mesh.Pose
	for p := 1; p <= 6; p++ {
		if h.n("shown", 0, 2) > 0 {
			pose := player(mesh.PlayerID(p), int32(h.n("x", 0, 90_000)), 0)
			pose.Hop, pose.Flags = uint32(h.n("hop", 0, 3)), mesh.Flags(h.n("flags", 0, 1))*mesh.Outbound
			poses = append(poses, pose)
		}
	}
	return &wire.Frame{Zone: zone, Epoch: epoch, Tick: h.now, Data: enc.Encode(nil, h.now, poses)}
}

func (h *history) message() wire.ClientMessage {
	switch h.n("message", 0, 19) {
	case 0:
		return &wire.Goodbye{}
	case 1:
		return &wire.Hello{}
	case 2, 3, 4, 5, 6, 7, 8:
		return &wire.Steer{Command: mesh.Command{Sequence: uint32(h.n("sequence", 0, 9)), MoveX: int8(h.n("x", -128, 127)), MoveY: int8(h.n("y", -128, 127))}}
	default:
		return &wire.Do{Event: mesh.Event{Number: uint32(h.n("number", 0, 4)), Action: mesh.Action(h.n("action", 1, 5))}}
	}
}

func (h *history) answer() wire.PeerMessage {
	player := mesh.PlayerID(h.n("player", 1, 5))
	session := h.sessions[player]
	if h.n("other", 0, 9) == 0 {
		session += uint64(h.n("session", 0, 1))
	}
	switch h.n("answer", 0, 6) {
	case 0:
		return &wire.News{Version: uint64(h.n("version", 0, 9))}
	case 1:
		return &wire.Relay{To: "n1", Message: wire.AppendPeer(nil, &wire.Late{})}
	case 2:
		return &wire.Ack{Player: player, Session: session, Event: uint32(h.n("event", 0, 4))}
	case 3:
		return &wire.Frame{Zone: 1, Epoch: 9, Data: rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(h.rt, "noise")}
	default:
		return &wire.LoggedIn{Zone: mesh.ZoneID(h.n("zone", 1, 3)), Epoch: 9, Player: player, Session: session}
	}
}
