package planner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
)

// loop is a small model of a whole mesh around the planner: nodes that load
// zones after a while, hold what stands in them, hand over at a bounded rate
// what the layout has given to others, and report once a second.
type loop struct {
	t       testing.TB
	cfg     Config
	now     time.Time
	rng     *rand.Rand
	layout  mesh.Layout
	state   State
	nodes   map[mesh.NodeID]*node
	intents map[string]mesh.Intent
	accused []mesh.Suspicion
	crowd   []*person
	flying  int // props in flight around the middle

	incarnation mesh.Incarnation
	log         []string // every decision
	changes     map[string]int
	peak        int  // nodes that own an Actors zone
	alone       bool // props had a node of its own
}

type person struct {
	at   mesh.Vec
	zone mesh.ZoneID
}

type node struct {
	mesh.Process
	report   mesh.Report
	opens    map[mesh.ZoneID]time.Time // when a zone will be loaded
	at       time.Time                 // when it registers
	next     time.Time                 // when it reports
	silent   bool                      // reports no more, though it may run
	gone     bool
	draining bool
}

const (
	startup     = 1500 * time.Millisecond
	loading     = 300 * time.Millisecond
	crossPerSec = 200 // out of one zone
	passEvery   = 250 * time.Millisecond
)

func newLoop(t testing.TB, cfg Config, seed uint64) *loop {
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := mesh.Shard{Name: "t", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(4000, 4000, 200)}, Spawn: mesh.Meters(2000, 2000, 0)}
	boxes, err := partition.Genesis(cfg.Policy, s, 4)
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{t: t, cfg: cfg, now: time.UnixMilli(1_700_000_000_000), rng: rand.New(rand.NewPCG(seed, 1)),
		nodes: map[mesh.NodeID]*node{}, intents: map[string]mesh.Intent{}, changes: map[string]int{}}
	l.layout = mesh.Layout{Version: 1, Shard: s, NextZone: mesh.ZoneID(len(boxes) + 1)}
	for i, b := range boxes {
		l.layout.Zones = append(l.layout.Zones, mesh.Zone{ID: mesh.ZoneID(i + 1), Box: b})
	}
	return l
}

// run lets d pass, calling each (if any) once a pass.
func (l *loop) run(d time.Duration, each func()) {
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(passEvery) {
		if each != nil {
			each()
		}
		l.live()
		l.plan()
	}
}

func (l *loop) snapshot() Snapshot {
	s := Snapshot{Layout: l.layout, State: l.state, Suspicions: l.accused}
	for _, id := range sortedKeys(l.nodes) {
		n := l.nodes[id]
		if n.at.After(l.now) {
			continue
		}
		s.Processes = append(s.Processes, n.Process)
		if n.report.Sequence > 0 {
			s.Reports = append(s.Reports, n.report)
		}
	}
	for _, token := range sortedKeys(l.intents) {
		s.Intents = append(s.Intents, l.intents[token])
	}
	return s
}

func sortedKeys[K ~string, V any](m map[K]V) (out []K) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (l *loop) plan() {
	actions, state := Plan(l.cfg, l.snapshot(), l.now)
	l.state = state
	draft := l.layout.Clone()
	draft.Version++
	changed := false
	for _, a := range actions {
		if a.Name != "" {
			l.log = append(l.log, fmt.Sprintf("%7.2f %-8s %-12s %s", float64(l.now.UnixMilli()%1_000_000)/1000, a.Name, a.Subject, a.Reason))
			l.changes[a.Name]++
		}
		switch a.Do {
		case ChangeLayout:
			if err := a.Change.Apply(&draft); err != nil {
				l.t.Fatalf("the plan does not apply: %v", err)
			}
			changed = true
		case Fence:
			l.nodes[a.Process.ID].State = mesh.Stopped
		case Bury:
			delete(l.nodes, a.Process.ID)
		case Intend:
			l.carryOut(a.Intent)
		case DropIntent:
			delete(l.intents, a.Intent.Token)
		case DropSuspicion:
			l.accused = slices.DeleteFunc(l.accused, func(s mesh.Suspicion) bool { return s == a.Suspicion })
		}
	}
	if changed {
		if err := draft.Validate(); err != nil {
			l.t.Fatal(err)
		}
		l.layout = draft
	}
	owners, props := map[mesh.NodeID]bool{}, map[mesh.NodeID]bool{}
	for _, z := range l.layout.Zones {
		if z.Layer == mesh.Props {
			props[z.Owner.Node] = true
		} else if !z.Owner.IsZero() {
			owners[z.Owner.Node] = true
		}
	}
	l.peak = max(l.peak, len(owners))
	for n := range props {
		l.alone = l.alone || !owners[n]
	}
}

func (l *loop) carryOut(i mesh.Intent) {
	if i.State == mesh.IntentWritten {
		i.State = mesh.IntentDone
		switch n := l.nodes[i.Target]; {
		case i.What == launch:
			l.incarnation++
			l.nodes[i.Target] = &node{Process: mesh.Process{ID: i.Target, Incarnation: l.incarnation, Role: i.Role, State: mesh.Ready},
				at: l.now.Add(startup), opens: map[mesh.ZoneID]time.Time{}}
		case n == nil:
		case i.What == drain:
			n.draining = true
		case i.What == stop:
			n.gone = true
		}
	}
	l.intents[i.Token] = i
}

// live lets every process and person do what a pass's time allows.
func (l *loop) live() {
	in := map[mesh.ZoneID][]*person{}
	for _, p := range l.crowd {
		if p.zone == 0 {
			p.zone, _ = l.layout.Locate(mesh.Actors, p.at)
		}
		in[p.zone] = append(in[p.zone], p)
	}
	for _, id := range sortedKeys(l.nodes) {
		n := l.nodes[id]
		if n.gone || n.State == mesh.Stopped || n.at.After(l.now) {
			continue
		}
		owns := false
		for _, z := range l.layout.Zones {
			if !z.Owner.Same(n.Owner()) {
				continue
			}
			owns = true
			if n.opens[z.ID].IsZero() {
				n.opens[z.ID] = l.now.Add(loading)
			}
			l.cross(n, z.ID, in)
		}
		if n.draining && n.State == mesh.Ready {
			n.State = mesh.Draining
		} else if n.draining && (!owns || l.layout.Asleep) {
			n.State, n.gone = mesh.Stopped, true
		}
		if !n.silent && !n.next.After(l.now) {
			n.next = l.now.Add(time.Second)
			l.report(n, in)
		}
	}
}

func (l *loop) cross(n *node, id mesh.ZoneID, in map[mesh.ZoneID][]*person) {
	left := int(crossPerSec * passEvery / time.Second)
	for k := len(in[id]) - 1; k >= 0 && left > 0 && !n.opens[id].After(l.now); k-- {
		p := in[id][k]
		if to, _ := l.layout.Locate(mesh.Actors, p.at); to != id && l.open(to) {
			p.zone = to
			in[id] = slices.Delete(in[id], k, k+1)
			left--
		}
	}
}

func (l *loop) open(id mesh.ZoneID) bool {
	z, _ := l.layout.Zone(id)
	n := l.nodes[z.Owner.Node]
	return n != nil && !n.gone && z.Owner.Same(n.Owner()) && !n.opens[id].IsZero() && !n.opens[id].After(l.now)
}

func (l *loop) report(n *node, in map[mesh.ZoneID][]*person) {
	r := mesh.Report{Process: n.Process, Sequence: n.report.Sequence + 1, LayoutVersion: l.layout.Version, TickBudgetUS: 50_000}
	middle, _ := l.layout.Locate(mesh.Props, l.layout.Shard.Spawn)
	for _, z := range l.layout.Zones {
		if !z.Owner.Same(n.Owner()) {
			continue
		}
		load := mesh.ZoneLoad{Zone: z.ID, Epoch: z.Epoch, Open: l.open(z.ID), Actors: len(in[z.ID]), BusyUS: uint32(100 * len(in[z.ID]))}
		if z.ID == middle {
			load.Moving, load.Props = l.flying, l.flying
		}
		r.BusyUS += load.BusyUS
		var points []mesh.Vec
		for _, p := range in[z.ID] {
			points = append(points, p.at)
		}
		load.Density = density(points)
		r.Zones = append(r.Zones, load)
	}
	if n.Role == mesh.RoleGateway {
		r.Clients = len(l.crowd)
	}
	n.report = r
}

// density is coarse on purpose: four quantiles along each axis.
func density(points []mesh.Vec) mesh.Density {
	if len(points) == 0 {
		return mesh.Density{}
	}
	const n = 4
	edges := func(of func(mesh.Vec) int32) (out []int32) {
		var vs []int32
		for _, p := range points {
			vs = append(vs, of(p))
		}
		slices.Sort(vs)
		for i := range n {
			out = append(out, vs[i*len(vs)/n])
		}
		return append(out, vs[len(vs)-1]+1)
	}
	d := mesh.Density{XEdges: edges(func(p mesh.Vec) int32 { return p.X }), YEdges: edges(func(p mesh.Vec) int32 { return p.Y }), Counts: make([]uint16, n*n)}
	cell := func(e []int32, v int32) int {
		i := 0
		for i < n-1 && v >= e[i+1] {
			i++
		}
		return i
	}
	for _, p := range points {
		d.Counts[cell(d.YEdges, p.Y)*n+cell(d.XEdges, p.X)]++
	}
	return d
}

// join adds people, spread over radius meters around the middle.
func (l *loop) join(n int, radius int32) {
	for range n {
		l.crowd = append(l.crowd, &person{at: l.near(radius)})
	}
}

func (l *loop) near(radius int32) mesh.Vec {
	r := radius * mesh.UnitsPerMeter
	return l.layout.Shard.Bounds.Clamp(mesh.Meters(2000, 2000, 0).Add(mesh.Vec{X: l.rng.Int32N(2*r+1) - r, Y: l.rng.Int32N(2*r+1) - r}))
}

func (l *loop) liveNodes() (n int) {
	for _, p := range l.nodes {
		if p.Role == mesh.RoleNode && !p.gone && p.State != mesh.Stopped && !p.at.After(l.now) {
			n++
		}
	}
	return n
}

func (l *loop) layoutChanges() int {
	return l.changes["split"] + l.changes["merge"] + l.changes["move"] + l.changes["border"]
}

// tell shows the decisions of a test that failed.
func (l *loop) tell() {
	if l.t.Failed() || testing.Verbose() {
		for _, line := range l.log {
			l.t.Log(line)
		}
	}
}

// TestTavern is the crowd of the demo: 400 people who come, gather within
// 12 m, throw bottles, and go.
func TestTavern(t *testing.T) {
	l := newLoop(t, DefaultConfig(), 1)
	defer l.tell()
	l.run(5*time.Second, nil)
	if l.liveNodes() != 2 {
		t.Errorf("an empty world has %d nodes, want one and a warm one", l.liveNodes())
	}
	l.run(10*time.Second, func() { l.join(10, 2000) })
	gathered := 0
	l.run(20*time.Second, func() {
		next := min(gathered+len(l.crowd)/60+1, len(l.crowd))
		for _, p := range l.crowd[gathered:next] {
			p.at = l.near(12)
		}
		gathered = next
	})
	if l.peak < 4 {
		t.Errorf("400 people at 120 a node are on %d nodes, want at least 4", l.peak)
	}
	for _, z := range l.layout.Zones {
		if n := l.state.Zones[z.ID].Load; n > 1000 {
			t.Errorf("zone %d carries %s after the crowd has settled", z.ID, n)
		}
	}
	settled := l.layoutChanges()
	l.run(10*time.Second, nil)
	if n := l.layoutChanges() - settled; n > 10 {
		t.Errorf("%d changes of the layout while nobody moved", n)
	}
	l.flying = 30
	l.run(5*time.Second, nil)
	l.flying = 0
	if !l.alone {
		t.Error("while bottles flew, props never had a node of its own")
	}
	l.run(5*time.Second, nil)
	l.crowd = nil
	l.run(20*time.Second, nil)
	if n := l.liveNodes(); n > 2 {
		t.Errorf("20 s after the crowd left there are %d nodes", n)
	}
	if n := len(l.layout.Zones); n != 1 {
		t.Errorf("20 s after the crowd left there are %d zones", n)
	}
}
