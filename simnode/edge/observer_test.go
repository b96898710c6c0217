package edge

import (
	"slices"
	"strings"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// observed drives an Observer and tells what it wants done.
type observed struct {
	*testing.T
	*Observer
}

func (o observed) step(ev process.Event, want ...string) {
	o.Helper()
	var got []string
	for _, e := range o.Step(ev) {
		text := "fetch"
		switch m := e.Message.(type) {
		case *wire.Subscribe:
			text = string(e.Peer) + " subscribe " + string('0'+rune(m.Zone))
			if m.Off {
				text += " off"
			}
		case *wire.News:
			continue
		case nil:
		default:
			text = string(e.Peer) + " other"
		}
		got = append(got, text)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		o.Errorf("it wants %v, expected %v", got, want)
	}
}

func (o observed) sees() string {
	var out []string
	o.Each(func(zone mesh.ZoneID, p *mesh.Pose) {
		out = append(out, string('a'+rune(p.ID.Number()))+" in "+string('0'+rune(zone)))
	})
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func frame(zone mesh.ZoneID, tick mesh.Tick, poses ...mesh.Pose) *wire.Frame {
	var e replication.FrameEncoder
	e.Begin(zone, 1)
	return &wire.Frame{Zone: zone, Epoch: 1, Tick: tick, Data: e.Encode(nil, tick, poses)}
}

func TestObserver(t *testing.T) {
	box := mesh.Box{Max: mesh.Meters(10, 10, 10)}
	low, high := box.Cut(0, 5*mesh.UnitsPerMeter)
	a, b := mesh.Owner{Node: "a", Incarnation: 1}, mesh.Owner{Node: "b", Incarnation: 1}
	layout := &mesh.Layout{Version: 1, NextZone: 3, Shard: mesh.Shard{Bounds: box}, Zones: []mesh.Zone{{ID: 1, Box: low, Owner: a, Epoch: 1}, {ID: 2, Box: high, Owner: b, Epoch: 1}}}
	item := func(n uint64, hop uint32, f mesh.Flags) mesh.Pose {
		return mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, n), Hop: hop, Flags: f}
	}
	held := item(3, 0, 0)
	held.Carrier = mesh.PlayerEntity(9)
	o := observed{t, &Observer{peers: map[mesh.NodeID]bool{}, sights: map[mesh.ZoneID]*sight{}, shown: map[mesh.EntityID]mesh.ZoneID{}}}

	o.step(process.Event{Kind: process.EventLayout, Layout: layout})
	o.step(process.Event{Kind: process.EventPeerUp, Peer: "a"})
	o.step(process.Event{Kind: process.EventTick, Tick: 59}) // nobody looks: it asks for nothing
	if got := o.sees(); got != "" {
		t.Errorf("it sees %s", got)
	}
	o.step(process.Event{Kind: process.EventTick, Tick: 61}, "a subscribe 1")
	o.step(process.Event{Kind: process.EventPeerUp, Peer: "b"}, "b subscribe 2")
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: frame(1, 61, item(1, 0, 0), item(2, 4, mesh.Outbound), held)})
	o.step(process.Event{Kind: process.EventPeer, Peer: "b", Message: frame(2, 61, item(2, 4, 0))})
	if got := o.sees(); got != "b in 1, c in 2" {
		t.Errorf("it sees %s", got)
	}
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: frame(1, 62, item(2, 5, 0))}) // the higher hop counts
	if got := o.sees(); got != "c in 1" {
		t.Errorf("it sees %s", got)
	}
	o.step(process.Event{Kind: process.EventTick, Tick: 82}, "a subscribe 1", "b subscribe 2") // nothing came for a second
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: &wire.News{Version: 2}}, "fetch")
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: &wire.News{Version: 1}})
	inner := wire.AppendPeer(nil, &wire.Low{From: 1, To: 2, N: 3})
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: &wire.Relay{To: "b", Message: inner}}, "b other")
	nested := wire.AppendPeer(nil, &wire.Relay{To: "b", Message: inner})
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: &wire.Relay{To: "b", Message: nested}})
	o.step(process.Event{Kind: process.EventPeerDown, Peer: "b"})

	moved := layout.Clone()
	moved.Version, moved.Zones[1].Owner = 2, a
	o.step(process.Event{Kind: process.EventLayout, Layout: &moved}, "a subscribe 2")
	o.step(process.Event{Kind: process.EventTick, Tick: 120}, "a subscribe 1", "a subscribe 2") // the last look was before
	o.step(process.Event{Kind: process.EventTick, Tick: 180}, "a subscribe 1 off", "a subscribe 2 off")
	o.step(process.Event{Kind: process.EventPeer, Peer: "a", Message: frame(1, 181, item(1, 0, 0))})
	if got := o.sees(); got != "" {
		t.Errorf("it rests and sees %s", got)
	}
}
