package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/planner"
)

var plan = Row{
	Name: "plan",
	What: "planner on 1,000 nodes, 10,000 zones",
	Bars: []Bar{
		{Figure: "plan", Unit: "ms", Limit: 50},
		{Figure: "disaster", Unit: "ms", Limit: 50},
		{Figure: "growth", Unit: "exponent of nodes, 10 to 1,000", Limit: 1.2},
	},
	Measure: measurePlan,
}

// measurePlan times one run of the planner over ever larger fleets of ten zones
// a node: one where each hundredth node is hot and some zones are quiet, and a
// disaster, where besides each twentieth node is gone and each twentieth is to
// be emptied. The plan must leave a layout that is valid, in which the gone own nothing.
func measurePlan(ctx context.Context, o Options) (Sample, error) {
	sizes := []float64{10, 30, 100, 300, 1000}
	if o.Small {
		sizes = sizes[:2]
	}
	plot := Plot{Title: "One plan", XName: "nodes, ten zones each", YName: "ms", LogX: true, LogY: true,
		Lines: []string{"busy", "disaster"}, X: sizes, Y: make([][]Reading, 2)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, n := range sizes {
		for line, disaster := range []bool{false, true} {
			if err := ctx.Err(); err != nil {
				return Sample{}, err
			}
			ms, err := timePlan(int(n), disaster)
			if err != nil {
				return Sample{}, fmt.Errorf("%v nodes: %w", n, err)
			}
			plot.Y[line] = append(plot.Y[line], Reading(ms))
		}
	}
	last := len(sizes) - 1
	busy, first := float64(plot.Y[0][last]), float64(plot.Y[0][0])
	return Sample{Plots: []Plot{plot}, Figures: map[string]float64{
		"plan": busy, "disaster": float64(plot.Y[1][last]),
		"growth": math.Log(busy/first) / math.Log(sizes[last]/sizes[0]),
	}}, nil
}

// timePlan returns the median of what a plan takes of the clock, collections
// of its garbage included.
func timePlan(nodes int, disaster bool) (float64, error) {
	cfg, snapshot, now := fleet(nodes, disaster)
	actions, state := planner.Plan(cfg, snapshot, now)
	again, stateAgain := planner.Plan(cfg, snapshot, now)
	if !reflect.DeepEqual(actions, again) || !reflect.DeepEqual(state, stateAgain) {
		return 0, errors.New("two plans of one snapshot differ")
	}
	if err := checkPlan(snapshot, actions, disaster); err != nil {
		return 0, err
	}
	var all []float64
	for range max(7, 2000/nodes) {
		began := time.Now()
		planner.Plan(cfg, snapshot, now)
		all = append(all, time.Since(began).Seconds()*1000)
	}
	return Median(all), nil
}

func checkPlan(s planner.Snapshot, actions []planner.Action, disaster bool) error {
	layout, fenced, changes := s.Layout.Clone(), map[mesh.NodeID]bool{}, 0
	layout.Version++
	for _, a := range actions {
		switch a.Do {
		case planner.Fence:
			fenced[a.Process.ID] = true
		case planner.ChangeLayout:
			changes++
			if err := a.Change.Apply(&layout); err != nil {
				return fmt.Errorf("a change does not fit: %w", err)
			}
		}
	}
	if err := layout.Validate(); err != nil {
		return err
	}
	for _, z := range layout.Zones {
		if fenced[z.Owner.Node] {
			return fmt.Errorf("zone %d is left with %s, which is gone", z.ID, z.Owner.Node)
		}
	}
	if changes == 0 || disaster != (len(fenced) > 0) {
		return fmt.Errorf("%d changes, %d processes taken for gone: that is no answer to what was asked", changes, len(fenced))
	}
	return nil
}

// fleet returns a mesh of n nodes with ten zones each, a grid, all well loaded.
func fleet(n int, disaster bool) (planner.Config, planner.Snapshot, time.Time) {
	now := time.UnixMilli(1_700_000_000_000)
	cfg := planner.DefaultConfig()
	cfg.MaxZones, cfg.Fleet.MaxNodes = 20*n, 2*n
	s := planner.Snapshot{State: planner.State{
		RunMilli: now.UnixMilli() - 500, Zones: map[mesh.ZoneID]planner.ZoneState{}, Seen: map[mesh.NodeID]planner.Seen{},
		Draining: map[mesh.NodeID]int64{},
	}}
	shard := mesh.Shard{Name: "plan", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(100_000, 100_000, 100)}}
	boxes, err := partition.Genesis("static", shard, 10*n)
	if err != nil {
		panic(err) // a fixed input
	}
	s.Layout = mesh.Layout{Version: 9, Shard: shard, NextZone: mesh.ZoneID(len(boxes) + 1)}
	for i := range n {
		p := mesh.Process{ID: mesh.NodeID(fmt.Sprintf("node-%04d", i)), Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready}
		seen := planner.Seen{Incarnation: 1, Sequence: 4, Milli: now.UnixMilli() - 500}
		if disaster && i%20 == 7 {
			p.State = mesh.Draining
		}
		if disaster && i%20 == 3 {
			seen = planner.Seen{Incarnation: 1, Sequence: 5, Milli: now.UnixMilli() - 60_000}
		}
		s.Processes = append(s.Processes, p)
		s.Reports = append(s.Reports, mesh.Report{Process: p, Sequence: 5, LayoutVersion: 9, TickBudgetUS: 50_000, BusyUS: 30_000})
		s.State.Seen[p.ID] = seen
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
		s.Reports[i%n].Zones = append(s.Reports[i%n].Zones, mesh.ZoneLoad{Zone: z.ID, Epoch: 1, Open: true, Actors: actors, BusyUS: 3000, Density: evenly(box, actors)})
		s.State.Zones[z.ID] = planner.ZoneState{Load: partition.Load(actors * 1000 / 120), Milli: now.UnixMilli() - 500, Memory: partition.Memory{QuietMilli: 1}}
	}
	return cfg, s, now
}

// evenly returns the density of actors on the diagonal of a box.
func evenly(box mesh.Box, actors int) (d mesh.Density) {
	if actors == 0 {
		return d
	}
	for k := range mesh.DensityCells + 1 {
		d.XEdges = append(d.XEdges, box.Min.X+(box.Max.X-box.Min.X)/mesh.DensityCells*int32(k))
		d.YEdges = append(d.YEdges, box.Min.Y+(box.Max.Y-box.Min.Y)/mesh.DensityCells*int32(k))
	}
	d.Counts = make([]uint16, mesh.DensityCells*mesh.DensityCells)
	for k := range actors {
		d.Counts[k%mesh.DensityCells*(mesh.DensityCells+1)] = 1
	}
	return d
}
