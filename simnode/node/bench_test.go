package node_test

import (
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
)

// BenchmarkSteadyTick is a tick of a node that simulates 2,000 guests in one
// zone, which another node follows. The store answers at once.
func BenchmarkSteadyTick(b *testing.B) {
	m := newTown(b)
	m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), crowd(2000))
	for range 100 {
		m.step()
	}
	n := m.nodes["a"]
	b.ReportAllocs()
	for b.Loop() {
		m.tick++
		for _, e := range n.Step(process.Event{Kind: process.EventTick, Tick: m.tick}) {
			if e.Kind == process.EffectRequest {
				n.Step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: e.Request.ID, Op: e.Request.Op, Zone: e.Request.Zone}})
			}
		}
	}
}

// TestSteadyTickAllocates: between the seconds at which poses and reports are
// written, a tick allocates nothing.
func TestSteadyTickAllocates(t *testing.T) {
	m := newTown(t)
	m.cfg.PoseEveryTicks, m.cfg.ReportEveryTicks = 1<<40, 1<<40
	m.cfg.Authority.SnapshotEveryTicks = 1 << 40
	m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), crowd(200))
	for range 200 {
		m.step()
	}
	n := m.nodes["a"]
	if got := testing.AllocsPerRun(100, func() {
		m.tick++
		n.Step(process.Event{Kind: process.EventTick, Tick: m.tick})
	}); got > 0 {
		t.Errorf("a steady tick allocates %v times", got)
	}
}

// crowd returns guests in the middle of zone 1.
func crowd(n int) (guests []mesh.Entity) {
	for i := range int32(n) {
		guests = append(guests, mesh.Entity{Pose: mesh.Pose{
			ID: mesh.MakeEntityID(mesh.KindNPC, uint64(i+2)), Health: 100, Pos: mesh.Meters(8+i%24, 8+i/24%24, 0),
		}})
	}
	return guests
}
