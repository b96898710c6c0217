package partition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

func shard(meters int32) mesh.Shard {
	return mesh.Shard{Name: "test", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(meters, meters, 200)}, Spawn: mesh.Meters(meters/3, meters/5, 0)}
}

func owner(n int) mesh.Owner {
	return mesh.Owner{Node: mesh.NodeID(fmt.Sprintf("node-%02d", n)), Incarnation: 1}
}

var limits = Limits{High: 900, Low: 550, Room: 750, Width: 2 * mesh.UnitsPerMeter, Zones: 64, Changes: 16, Cooldown: 5 * time.Second, Settle: time.Second}

// world builds a layout of the boxes, zone i owned by node owners[i].
func world(s mesh.Shard, boxes []mesh.Box, owners []int) mesh.Layout {
	l := mesh.Layout{Version: 2, Shard: s, NextZone: mesh.ZoneID(len(boxes) + 1)}
	for i, b := range boxes {
		l.Zones = append(l.Zones, mesh.Zone{ID: mesh.ZoneID(i + 1), Box: b, Owner: owner(owners[i]), Epoch: 1})
	}
	return l
}

// density is what a node would report of points: quantile edges, counts.
func density(points []mesh.Vec) mesh.Density {
	if len(points) == 0 {
		return mesh.Density{}
	}
	edges := func(of func(mesh.Vec) int32) []int32 {
		var vs []int32
		for _, p := range points {
			vs = append(vs, of(p))
		}
		slices.Sort(vs)
		var out []int32
		for i := range mesh.DensityCells {
			if v := vs[i*len(vs)/mesh.DensityCells]; len(out) == 0 || v > out[len(out)-1] {
				out = append(out, v)
			}
		}
		return append(out, vs[len(vs)-1]+1)
	}
	d := mesh.Density{XEdges: edges(func(p mesh.Vec) int32 { return p.X }), YEdges: edges(func(p mesh.Vec) int32 { return p.Y })}
	d.Counts = make([]uint16, (len(d.XEdges)-1)*(len(d.YEdges)-1))
	at := func(e []int32, v int32) int {
		i, found := slices.BinarySearch(e, v)
		if !found {
			i--
		}
		return min(i, len(e)-2)
	}
	for _, p := range points {
		d.Counts[at(d.YEdges, p.Y)*(len(d.XEdges)-1)+at(d.XEdges, p.X)]++
	}
	return d
}

// see builds the view of a layout over a crowd in which each person is load
// thousandths of a node.
func see(l mesh.Layout, crowd []mesh.Vec, load Load, nodes int, now int64) View {
	v := View{Layout: l, Limits: limits, NowMilli: now}
	for n := range nodes {
		v.Nodes = append(v.Nodes, Node{Owner: owner(n), Open: true})
	}
	for _, z := range l.Zones {
		var in []mesh.Vec
		for _, p := range crowd {
			if z.State == mesh.Active && z.Box.Contains(p) {
				in = append(in, p)
			}
		}
		q := int64(1)
		if len(in) > 0 {
			q = 0
		}
		v.Zones = append(v.Zones, Zone{Load: Load(len(in)) * load, Known: true, Density: density(in), Memory: Memory{QuietMilli: q}})
		for n := range v.Nodes {
			if v.Nodes[n].Owner.Same(z.Owner) {
				v.Nodes[n].Load += Load(len(in)) * load
				v.Nodes[n].Zones++
			}
		}
	}
	return v
}

func crowds(t *rapid.T, b mesh.Box, n int) []mesh.Vec {
	var out []mesh.Vec
	for range rapid.IntRange(1, 4).Draw(t, "clusters") {
		c := mesh.Vec{X: rapid.Int32Range(b.Min.X, b.Max.X-1).Draw(t, "x"), Y: rapid.Int32Range(b.Min.Y, b.Max.Y-1).Draw(t, "y")}
		wide, deep := rapid.Int32Range(1, 1<<18).Draw(t, "wide"), rapid.Int32Range(1, 1<<18).Draw(t, "deep")
		for range rapid.IntRange(1, n).Draw(t, "people") {
			out = append(out, b.Clamp(c.Add(mesh.Vec{X: rapid.Int32Range(-wide, wide).Draw(t, "dx"), Y: rapid.Int32Range(-deep, deep).Draw(t, "dy")})))
		}
	}
	return out
}

// heavier returns how many of points the plane leaves on its heavier side.
func heavier(points []mesh.Vec, axis int, at int32) int {
	low := 0
	for _, p := range points {
		if [2]int32{p.X, p.Y}[axis] < at {
			low++
		}
	}
	return max(low, len(points)-low)
}

// TestCutAgainstBruteForce compares the plane found in the histogram with the
// best of all planes through all points: it may be worse by what one cell of
// the histogram blurs.
func TestCutAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		box := shard(4000).Bounds
		points := crowds(t, box, 60)
		axis, at, ok := bestCut(Cells(density(points), 1000), box, 1)
		best := len(points)
		for _, p := range points {
			for a, v := range [2]int32{p.X, p.Y} {
				if v > floor(box, a) {
					best = min(best, heavier(points, a, v))
				}
			}
		}
		if !ok {
			if best < len(points) {
				t.Fatalf("no cut found where one leaves %d of %d", best, len(points))
			}
			return
		}
		got := heavier(points, axis, at)
		// Ties at one coordinate can make one axis much worse than the other;
		// up to three quarters on a side is then taken for the wider spread.
		if slack := len(points)/mesh.DensityCells + 2; got > max(best, (len(points)*3+3)/4)+slack {
			t.Fatalf("the cut %d = %d leaves %d of %d on one side, the best %d", axis, at, got, len(points), best)
		}
		distinct := func(a int) int {
			seen := map[int32]bool{}
			for _, p := range points {
				seen[[2]int32{p.X, p.Y}[a]] = true
			}
			return len(seen)
		}
		if distinct(axis) == len(points) && got > (len(points)+1)/2+len(points)/mesh.DensityCells+2 {
			t.Fatalf("without ties the cut leaves %d of %d on one side", got, len(points))
		}
	})
}

// TestProposalsAreValid plays proposals of every policy over wandering crowds:
// each change leaves a valid layout, the proposal says truly what all of them
// leave, and no load is lost.
func TestProposalsAreValid(t *testing.T) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := shard(1000)
				boxes, err := Genesis(name, s, rapid.IntRange(1, 9).Draw(t, "boxes"))
				if err != nil {
					t.Fatal(err)
				}
				nodes := rapid.IntRange(1, 8).Draw(t, "nodes")
				owners := make([]int, len(boxes))
				for i := range owners {
					owners[i] = i % nodes
				}
				l := world(s, boxes, owners)
				for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
					l.Version++
					v := see(l, crowds(t, s.Bounds, 100), 10, nodes, int64(step+1)*60_000)
					p := policy.Propose(v)
					check := l.Clone()
					for _, c := range p.Changes {
						if err := cmp.Or(c.Apply(&check), check.Validate()); err != nil {
							t.Fatalf("%+v: %v", c, err)
						}
						if c.Reason == "" {
							t.Fatalf("%s without a reason", c.Kind)
						}
					}
					if !slices.Equal(check.Zones, p.Layout.Zones) || check.NextZone != p.Layout.NextZone || len(p.Zones) != len(check.Zones) {
						t.Fatal("the proposal says wrongly what its changes leave")
					}
					var before, after Load
					for _, z := range v.Zones {
						before += z.Load
					}
					for _, z := range p.Zones {
						if z.Load < 0 {
							t.Fatalf("a zone is left with load %s", z.Load)
						}
						after += z.Load
					}
					if before != after {
						t.Fatalf("load was %s and is %s", before, after)
					}
					if len(p.Changes) > limits.Changes || len(p.Layout.Zones) > max(limits.Zones, len(l.Zones)) {
						t.Fatalf("%d changes, %d zones", len(p.Changes), len(p.Layout.Zones))
					}
					l = p.Layout
					l.Zones = slices.DeleteFunc(slices.Clone(l.Zones), func(z mesh.Zone) bool { return z.State == mesh.Retiring })
				}
			})
		})
	}
}

// TestSplitsAlwaysMergeAgain: however a world was cut, when it falls quiet one
// proposal leaves one zone.
func TestSplitsAlwaysMergeAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := shard(1000)
		l := world(s, []mesh.Box{s.Bounds}, []int{0})
		for range rapid.IntRange(1, 40).Draw(t, "splits") {
			z := l.Zones[rapid.IntRange(0, len(l.Zones)-1).Draw(t, "zone")]
			axis := rapid.IntRange(0, 1).Draw(t, "axis")
			lo, hi := extent(z.Box, axis)
			if hi-lo < 2 {
				continue
			}
			c := Change{Kind: Split, Zone: z.ID, Axis: axis, At: rapid.Int32Range(lo+1, hi-1).Draw(t, "at"), Owner: owner(rapid.IntRange(0, 3).Draw(t, "node"))}
			if err := c.Apply(&l); err != nil {
				t.Fatal(err)
			}
		}
		v := see(l, nil, 0, 4, 1_000_000)
		v.Limits.Changes = 100
		p := kdsplit{}.Propose(v)
		active := 0
		for _, z := range p.Layout.Zones {
			if z.State == mesh.Active {
				active++
			}
		}
		if active != 1 {
			t.Fatalf("%d zones are left of %d", active, len(l.Zones))
		}
	})
}

func TestGenesis(t *testing.T) {
	for _, c := range []struct {
		policy string
		n      int
		boxes  int
	}{{"kdsplit", 9, 1}, {"static", 1, 1}, {"static", 4, 4}, {"quasi", 9, 9}, {"quasi", 5, 6}, {"static", 0, 1}} {
		s := shard(1000)
		boxes, err := Genesis(c.policy, s, c.n)
		if err != nil {
			t.Fatal(err)
		}
		if len(boxes) != c.boxes || !boxes[0].Contains(s.Spawn) {
			t.Errorf("%s of %d: %d boxes, want %d; the first is %v", c.policy, c.n, len(boxes), c.boxes, boxes[0])
		}
		l := world(s, boxes, make([]int, len(boxes)))
		if err := l.Validate(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Genesis("kd", shard(10), 1); err == nil || !strings.Contains(err.Error(), "choose one of kdsplit, quasi, static") {
		t.Errorf("an unknown policy gives %v", err)
	}
	if _, err := Genesis("kdsplit", mesh.Shard{}, 1); err == nil || !strings.Contains(err.Error(), "give the world a size") {
		t.Errorf("empty bounds give %v", err)
	}
}

func square(s mesh.Shard, n int, spread int32) (out []mesh.Vec) {
	for i := range int32(n) {
		out = append(out, s.Bounds.Clamp(mesh.Meters(500, 500, 0).Add(mesh.Vec{X: i * 7919 % spread, Y: i * 104729 % spread})))
	}
	return out
}

func kinds(p Proposal) (out []string) {
	for _, c := range p.Changes {
		out = append(out, c.Kind.String())
	}
	return out
}

func TestKDSplitCutsACrowdAmongWarmNodes(t *testing.T) {
	s := shard(1000)
	v := see(world(s, []mesh.Box{s.Bounds}, []int{0}), square(s, 400, 12*256), 8, 5, 60_000)
	p := kdsplit{}.Propose(v)
	if got := kinds(p); !slices.Equal(got, []string{"split", "split", "split"}) {
		t.Fatalf("proposed %v", got)
	}
	loads := map[mesh.NodeID]Load{}
	for i, z := range p.Layout.Zones {
		loads[z.Owner.Node] += p.Zones[i].Load
	}
	for n, l := range loads {
		if l > 900 {
			t.Errorf("%s still carries %s", n, l)
		}
	}
	if c, _ := p.Layout.Zone(mesh.Cradle); !c.Box.Contains(s.Spawn) {
		t.Error("the cradle lost the place where players are born")
	}
}

func TestKDSplitShiftsABorderInDampedSteps(t *testing.T) {
	s := shard(1000)
	low, high := s.Bounds.Cut(0, 512*256)
	v := see(world(s, []mesh.Box{low, high}, []int{0, 1}), square(s, 100, 100*256), 8, 2, 60_000)
	if v.Zones[0].Load > 300 || v.Zones[1].Load < 600 {
		t.Fatalf("the crowd lies %v", v.Zones)
	}
	v.Zones[1].Load, v.Nodes[1].Load = 850, 850
	p := kdsplit{}.Propose(v)
	if got := kinds(p); !slices.Equal(got, []string{"border"}) {
		t.Fatalf("proposed %v", got)
	}
	shifted := 850 - p.Zones[1].Load
	if shifted <= 0 || shifted > firstStep+1 {
		t.Errorf("the border shifted %s", shifted)
	}
	// The crowd goes over to the other side: the border turns round, by half.
	m := p.Zones[0].Memory
	if on, back, still := m.step(m.Dir, false), m.step(-m.Dir, false), m.step(-m.Dir, true); on != firstStep || back != firstStep/2 || still != firstStep {
		t.Errorf("the next steps are %s on, %s back and %s after a long rest", on, back, still)
	}
	for range 4 {
		m.Step, m.Dir = m.step(-m.Dir, false), -m.Dir
	}
	if swing := m.step(-m.Dir, false); swing >= leastStep {
		t.Errorf("after five turns the border still swings by %s", swing)
	}
}

func TestQuasiMovesWholeZones(t *testing.T) {
	s := shard(1000)
	boxes, err := Genesis("quasi", s, 4)
	if err != nil {
		t.Fatal(err)
	}
	var crowd []mesh.Vec
	for _, b := range boxes {
		for i := range int32(40) {
			crowd = append(crowd, b.Min.Add(mesh.Vec{X: 1000 + i, Y: 1000 + i}))
		}
	}
	p := quasi{}.Propose(see(world(s, boxes, []int{0, 0, 0, 0}), crowd, 10, 2, 60_000))
	if got := kinds(p); !slices.Equal(got, []string{"move", "move"}) {
		t.Fatalf("proposed %v", got)
	}
	for _, c := range p.Changes {
		if c.Zone == mesh.Cradle {
			t.Error("the cradle was moved")
		}
	}
	if got := kinds(static{}.Propose(see(world(s, boxes, []int{0, 0, 0, 0}), crowd, 10, 2, 60_000))); got != nil {
		t.Errorf("static proposed %v", got)
	}
}

func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	s := shard(1000)
	low, high := s.Bounds.Cut(0, 100)
	l := world(s, []mesh.Box{low, high}, []int{0, 0})
	props := Change{Kind: AddProps, Box: low, Owner: owner(1)}
	if err := props.Apply(&l); err != nil {
		t.Fatal(err)
	}
	before := l.Clone()
	for _, c := range []Change{
		{Kind: Split, Zone: 9, At: 50}, {Kind: Split, Zone: 1, At: 100}, {Kind: Split, Zone: 1, At: 0},
		{Kind: Merge, Zone: 1, Other: 2}, {Kind: Merge, Zone: 2, Other: 3}, {Kind: Merge, Zone: 2, Other: 2}, {Kind: Move, Zone: 1},
		{Kind: Border, Zone: 1, Other: 2, Axis: 1, At: 50}, {Kind: Border, Zone: 1, Other: 2, Axis: 0, At: 0},
		{Kind: Takeover, Zone: 1, Epoch: 1}, {Kind: Remove, Zone: 1}, {Kind: RetireProps, Zone: 1}, props, {Kind: AddProps}, {Zone: 1},
	} {
		if err := c.Apply(&l); err == nil {
			t.Errorf("%+v was applied", c)
		}
		if !slices.Equal(l.Zones, before.Zones) {
			t.Fatalf("%+v was refused and still changed the layout", c)
		}
	}
}
