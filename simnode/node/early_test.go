package node_test

import (
	"slices"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// A gateway may learn of a zone before its owner does. What it asked for then
// must come with the zone's first tick, or its clients see nothing for a while.
func TestSubscriptionBeforeTheLayout(t *testing.T) {
	m := newTown(t)
	m.cfg.World = world.Config{TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(40, 40, 20)}}
	m.start("a")
	a := m.nodes["a"]
	effects := a.Step(process.Event{Kind: process.EventPeer, Peer: gatewayID, Message: &wire.Subscribe{Zone: 1}})
	if !slices.ContainsFunc(effects, func(e process.Effect) bool { return e.Kind == process.EffectFetchLayout }) {
		t.Error("a subscription to an unknown zone does not make the node look for a layout")
	}
	m.build([]string{"a"}, mesh.Meters(20, 20, 0), nil)
	effects = a.Step(process.Event{Kind: process.EventTick, Tick: m.tick + 1})
	if !slices.ContainsFunc(effects, func(e process.Effect) bool {
		f, ok := e.Message.(*wire.Frame)
		return ok && e.Peer == gatewayID && f.Zone == 1
	}) {
		t.Error("the zone's first tick is not told to who subscribed before")
	}
}
