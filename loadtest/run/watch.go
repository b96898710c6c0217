package run

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weft/control/mesh"
	"weft/loadtest/scenario"
)

// life names one incarnation of a process.
type life struct {
	id          mesh.NodeID
	incarnation mesh.Incarnation
}

// watched is what a process's reports said.
type watched struct {
	first, last mesh.Report
	counted     bool // first was there when the run began, and is not the run's
	melting     mesh.Tick
}

// watch makes a run's figures out of samples of the store.
type watch struct {
	tickHz  uint32
	samples int
	lives   map[life]*watched
	seen    map[life]struct{} // nodes that ever made themselves known

	nodes, zones         int // at the last sample
	nodesPeak, zonesPeak int
	propsOwnersPeak      int
	movingPeak           int
	nodesKilled          int
	tickP99MS            float64
	tickMaxUS            uint32
	ticks                *hdrhistogram.Histogram // microseconds
	melted               mesh.Tick
	faults               []string
}

const mostTickUS = int64(10 * time.Minute / time.Microsecond)

func newWatch(tickHz uint32) *watch {
	return &watch{tickHz: max(tickHz, 1), lives: map[life]*watched{}, seen: map[life]struct{}{}, ticks: hdrhistogram.New(1, mostTickUS, 3)}
}

func (w *watch) killed(role mesh.Role) {
	if role == mesh.RoleNode {
		w.nodesKilled++
	}
}

// sample takes in the store's records as of now.
func (w *watch) sample(layout mesh.Layout, reports []mesh.Report, processes []mesh.Process) {
	w.layout(layout)
	for _, p := range processes {
		if p.Role == mesh.RoleNode {
			w.seen[life{p.ID, p.Incarnation}] = struct{}{}
		}
	}
	w.tickP99MS = 0
	moving := 0
	for _, r := range reports {
		w.report(r)
		for _, z := range r.Zones {
			if l, ok := layout.Zone(z.Zone); ok && l.Epoch == z.Epoch && l.Owner.Same(r.Process.Owner()) {
				moving += z.Moving
			}
		}
	}
	w.movingPeak = max(w.movingPeak, moving)
	w.samples++
}

func (w *watch) layout(l mesh.Layout) {
	owners, actors, props := map[mesh.NodeID]bool{}, map[mesh.NodeID]bool{}, map[mesh.NodeID]bool{}
	for _, z := range l.Zones {
		if z.Owner.IsZero() {
			continue
		}
		owners[z.Owner.Node] = true
		if z.Layer == mesh.Props {
			props[z.Owner.Node] = true
		} else {
			actors[z.Owner.Node] = true
		}
	}
	own := 0
	for id := range props {
		if !actors[id] {
			own++
		}
	}
	w.nodes, w.zones = len(owners), len(l.Zones)
	w.nodesPeak, w.zonesPeak = max(w.nodesPeak, w.nodes), max(w.zonesPeak, w.zones)
	w.propsOwnersPeak = max(w.propsOwnersPeak, own)
}

// report takes in a process's report, once.
func (w *watch) report(r mesh.Report) {
	key := life{r.Process.ID, r.Process.Incarnation}
	p := w.lives[key]
	if p == nil {
		p = &watched{first: r, counted: w.samples == 0}
		w.lives[key] = p
		if w.samples > 0 { // born in this run: all of it counts
			p.last = mesh.Report{Process: r.Process, Tick: r.Tick - min(r.Tick, mesh.Tick(r.Ticks))}
		} else {
			p.last = r
		}
	}
	if r.Process.Role == mesh.RoleNode {
		w.tickP99MS = max(w.tickP99MS, float64(r.TickP99US)/1000)
	}
	if r.Sequence <= p.last.Sequence {
		return
	}
	if r.Process.Role == mesh.RoleNode {
		w.seen[key] = struct{}{}
		w.node(p, r)
	}
	p.last = r
}

// fineSteps is into how many steps the ticks between median and 99th percentile
// of a report are spread.
const fineSteps = 7

// node counts the ticks of a node since its last report, and whether it melts:
// misses more than a fifth of them.
func (w *watch) node(p *watched, r mesh.Report) {
	if ticks := int64(r.Ticks - p.last.Ticks); ticks > 0 && r.Ticks > p.last.Ticks {
		add := func(us uint32, n int64) { _ = w.ticks.RecordValues(min(int64(us), mostTickUS), n) } // in range: never fails
		add(r.TickP50US, 500*ticks)
		for i := range uint32(fineSteps) {
			add(r.TickP50US+uint32(uint64(r.TickP99US-min(r.TickP50US, r.TickP99US))*uint64(i+1)/fineSteps), 490/fineSteps*ticks)
		}
		add(r.TickMaxUS, 10*ticks)
		w.tickMaxUS = max(w.tickMaxUS, r.TickMaxUS)
	}
	span := r.Tick - min(p.last.Tick, r.Tick)
	if missed := r.TicksMissed - min(p.last.TicksMissed, r.TicksMissed); missed*5 > uint64(span) {
		p.melting += span
	} else {
		p.melting = 0
	}
	w.melted = max(w.melted, p.melting)
}

// fill sets what the store told of a run that took so long.
func (w *watch) fill(report *scenario.Report, took time.Duration) {
	report.Nodes = scenario.Nodes{Peak: w.nodesPeak, Final: w.nodes, Launched: len(w.seen), Killed: w.nodesKilled}
	report.Zones = scenario.Zones{Peak: w.zonesPeak, Final: w.zones}
	report.Layers.PropsOwnersPeak, report.Props.MovingPeak = w.propsOwnersPeak, w.movingPeak
	for _, p := range w.lives {
		before := mesh.Report{}
		if p.counted {
			before = p.first
		}
		now, then := p.last.Counters, before.Counters
		report.Store.Writes += now.StoreWrites - then.StoreWrites
		report.Store.WriteUnits += now.StoreWriteUnits - then.StoreWriteUnits
		if p.last.Process.Role == mesh.RoleNode {
			report.Crossings.Count += now.Crossings - then.Crossings
			report.TicksMissed += p.last.TicksMissed - before.TicksMissed
		}
	}
	report.Store.WriteUnitsPerS = round(float64(report.Store.WriteUnits) / max(took.Seconds(), 1))
	report.MeltedSeconds = round(float64(w.melted) / float64(w.tickHz))
	if w.ticks.TotalCount() > 0 {
		report.TickMS = scenario.Extremes{
			P50: round(float64(w.ticks.ValueAtQuantile(50)) / 1000), P99: round(float64(w.ticks.ValueAtQuantile(99)) / 1000),
			Max: round(float64(w.tickMaxUS) / 1000),
		}
	}
}

// round keeps three decimals.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
