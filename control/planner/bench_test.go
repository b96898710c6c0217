package planner

import (
	"fmt"
	"testing"

	"weft/control/mesh"
	"weft/control/partition"
)

// fleetOf is a mesh of n nodes with ten zones each, a grid, all well loaded;
// one node in a hundred is hot, one zone in fifty quiet with its neighbours.
func fleetOf(b *testing.B, n int) (Config, Snapshot) {
	cfg := DefaultConfig()
	cfg.MaxZones, cfg.Fleet.MaxNodes = 20*n, 2*n
	s := Snapshot{State: State{Zones: map[mesh.ZoneID]ZoneState{}, Seen: map[mesh.NodeID]Seen{}}}
	shard := mesh.Shard{Name: "b", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(100_000, 100_000, 100)}}
	boxes, err := partition.Genesis("static", shard, 10*n)
	if err != nil {
		b.Fatal(err)
	}
	boxes = boxes[:len(boxes):len(boxes)]
	s.Layout = mesh.Layout{Version: 9, Shard: shard, NextZone: mesh.ZoneID(len(boxes) + 1)}
	for i := range n {
		p := mesh.Process{ID: mesh.NodeID(fmt.Sprintf("node-%04d", i)), Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready}
		s.Processes = append(s.Processes, p)
		s.Reports = append(s.Reports, mesh.Report{Process: p, Sequence: 5, LayoutVersion: 9, TickBudgetUS: 50_000, BusyUS: 30_000})
		s.State.Seen[p.ID] = Seen{1, 5, at(0).UnixMilli()}
	}
	for i, box := range boxes {
		z := mesh.Zone{ID: mesh.ZoneID(i + 1), Box: box, Owner: s.Processes[i%n].Owner(), Epoch: 1}
		s.Layout.Zones = append(s.Layout.Zones, z)
		actors := 8
		if i%n%100 == 0 {
			actors = 14
		} else if i/2%50 == 0 {
			actors = 0
		}
		l := mesh.ZoneLoad{Zone: z.ID, Epoch: 1, Open: true, Actors: actors, BusyUS: 3000}
		if actors > 0 {
			for k := range mesh.DensityCells + 1 {
				l.Density.XEdges = append(l.Density.XEdges, box.Min.X+(box.Max.X-box.Min.X)/mesh.DensityCells*int32(k))
				l.Density.YEdges = append(l.Density.YEdges, box.Min.Y+(box.Max.Y-box.Min.Y)/mesh.DensityCells*int32(k))
			}
			l.Density.Counts = make([]uint16, mesh.DensityCells*mesh.DensityCells)
			for k := range actors {
				l.Density.Counts[k*17] = 1
			}
		}
		s.Reports[i%n].Zones = append(s.Reports[i%n].Zones, l)
		s.State.Zones[z.ID] = ZoneState{Load: partition.Load(actors * 1000 / 120), Milli: at(0).UnixMilli(), Memory: partition.Memory{QuietMilli: 1}}
	}
	s.State.RunMilli = at(0).UnixMilli()
	return cfg, s
}

// BenchmarkPlan is one run over n nodes with ten zones each; it is to take
// 50 ms at 1,000 nodes and grow little faster than the fleet.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			cfg, s := fleetOf(b, n)
			b.ReportAllocs()
			changes := 0
			for b.Loop() {
				actions, _ := Plan(cfg, s, at(500))
				changes = 0
				for _, a := range actions {
					if a.Do == ChangeLayout {
						changes++
					}
				}
			}
			b.ReportMetric(float64(changes), "changes")
		})
	}
}
