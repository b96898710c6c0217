package node_test

import (
	"testing"

	"weft/control/mesh"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// A new owner puts entities where others saw them last, if that was in their
// present life in the zone: of the hop that the load gives, not before their
// last durable place, under an earlier epoch, and never who sleeps.
func TestFreshen(t *testing.T) {
	elsewhere := mesh.Meters(25, 25, 0)
	for _, c := range []struct {
		name   string
		asleep bool
		epoch  mesh.Epoch
		tick   int // from that of the last durable place
		hop    uint32
		used   bool
	}{
		{"newer", false, 1, 1, 0, true},
		{"of that very tick", false, 1, 0, 0, true},
		{"older than the durable place", false, 1, -1, 0, false},
		{"of an earlier life", false, 1, 1, 7, false},
		{"of the new epoch itself", false, 2, 1, 0, false},
		{"of one who sleeps", true, 1, -1, 0, false},
		{"of one who sleeps, by a clock ahead", true, 1, 1, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newTown(t)
			m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), nil)
			m.step()
			m.sessions[1] = 1
			m.fromGateway("a", &wire.Login{Player: 1, Session: 1})
			m.settle()
			if c.asleep {
				m.fromGateway("a", &wire.Logout{Player: 1, Session: 1, Now: true})
				m.settle()
			}
			id := mesh.PlayerEntity(1)
			was := m.entity(id)

			m.nodes["a"] = nil // without a word
			m.ids = []mesh.NodeID{"b"}
			m.must(m.store.RaiseEpoch(ctx, 1, 1, m.selves["b"].Owner()))
			m.layout.Zones[0].Owner, m.layout.Zones[0].Epoch = m.selves["b"].Owner(), 2
			m.must(m.store.PutLayout(ctx, m.layout))
			l := m.layout.Clone()
			m.deliver("b", process.Event{Kind: process.EventLayout, Layout: &l})
			m.fromGateway("b", &wire.Freshen{
				Zone: 1, Epoch: c.epoch, Tick: was.Placed + mesh.Tick(c.tick),
				Poses: replication.EncodePoses(nil, []mesh.Pose{{ID: id, Hop: c.hop, Health: 50, Pos: elsewhere}}),
			})
			m.settle()
			is := m.entity(id)
			if used := is.Pos == elsewhere && is.Health == 50; used != c.used || !used && is.Pos != was.Pos {
				t.Errorf("durable at %v, seen at %v, now at %v", was.Pos, elsewhere, is.Pos)
			}
			if is.Flags&mesh.Asleep != was.Flags&mesh.Asleep || is.Hop != was.Hop {
				t.Errorf("it was %+v and is %+v", was, is)
			}
		})
	}
}

// entity returns e as its zone simulates it.
func (m *town) entity(id mesh.EntityID) (e mesh.Entity) {
	m.t.Helper()
	for _, at := range m.ids {
		m.nodes[at].Inspect(func(z node.ZoneView) {
			if z.World != nil {
				if x, ok := z.World.Get(id); ok {
					e = x
				}
			}
		})
	}
	if e.ID == 0 {
		m.t.Fatalf("%x is nowhere", id)
	}
	return e
}
