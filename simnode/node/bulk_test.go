package node_test

import (
	"testing"

	"weft/control/mesh"
	"weft/simnode/node"
)

// TestABorderThatMovesIsCrossedInBulk: what stands beyond a border that moved
// leaves together, a tick's crossings in one append of the source and one of the
// target, not in one each.
func TestABorderThatMovesIsCrossedInBulk(t *testing.T) {
	m := newTown(t)
	const crowd = 256
	var items []mesh.Entity
	for i := range int32(crowd) {
		items = append(items, mesh.Entity{Pose: mesh.Pose{
			ID: mesh.MakeEntityID(mesh.KindItem, uint64(i+1)), Pos: mesh.Meters(44+i%32, 4+i/32, 0),
		}})
	}
	m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), items)
	for range 40 { // they know each other
		m.step()
	}
	clear(m.appends)

	source, target := mesh.ZoneID(2), m.layout.NextZone
	z := &m.layout.Zones[m.layout.Index(source)]
	z.State, z.RetiredAt = mesh.Retiring, m.layout.Version
	next := mesh.Zone{ID: target, Box: z.Box, Owner: m.selves["a"].Owner(), Epoch: 1}
	m.layout.NextZone++
	m.layout.Zones = append(m.layout.Zones, next)
	m.create(next, nil)
	m.publish()

	ticks, there := 0, 0
	for ; there < crowd && ticks < 100; ticks++ {
		m.step()
		there = 0
		m.nodes["a"].Inspect(func(v node.ZoneView) {
			if v.ID == target && v.World != nil {
				v.World.Each(func(*mesh.Entity) bool { there++; return true })
			}
		})
	}
	t.Logf("%d of %d are there after %d ticks and %d appends of the source, %d of the target", there, crowd, ticks, m.appends[source], m.appends[target])
	if there != crowd {
		t.Fatalf("%d of %d arrived", there, crowd)
	}
	batches := crowd / m.cfg.MaxMarksPerTick
	if most := 3*batches + 2; m.appends[source] > most || m.appends[target] > most {
		t.Errorf("%d and %d appends for %d batches", m.appends[source], m.appends[target], batches)
	}
}
