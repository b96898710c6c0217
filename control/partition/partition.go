// Package partition decides how the zones of a layout follow their load. It is
// pure: a Policy looks at a View and proposes Changes; nothing is done here.
//
// A policy is one file and one row of the table below. Callers need ByName,
// Genesis and Change.Apply.
package partition

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"weft/control/mesh"
)

// Load is work in thousandths of what one node can carry.
type Load int64

// MaxLoad bounds every Load that a View carries, so that sums cannot overflow.
const MaxLoad Load = 1_000_000

func (l Load) String() string { return fmt.Sprintf("%d.%02d", l/1000, l%1000/10) }

// Policy is a way of partitioning a world among nodes.
type Policy interface {
	// Genesis returns the boxes of the first layout of a world with the given
	// bounds, about n of them. They tile the bounds.
	Genesis(bounds mesh.Box, n int) []mesh.Box
	// NodesNeeded is how many nodes the layout needs whatever its load.
	NodesNeeded(l mesh.Layout) int
	// Propose returns the changes that v calls for; none when all is well.
	Propose(v View) Proposal
}

// Proposal is what a policy wants: changes, each of which applies to the layout
// that the ones before it leave, and what all of them leave.
type Proposal struct {
	Changes []Change
	Layout  mesh.Layout
	Zones   []Zone // beside Layout.Zones, one for one
}

var policies = map[string]Policy{
	"static":  static{},
	"quasi":   quasi{},
	"kdsplit": kdsplit{},
}

// ByName returns the policy of that name; the error lists the names there are.
func ByName(name string) (Policy, error) {
	if p, ok := policies[name]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("no partition policy is called %q; choose one of %s", name, strings.Join(slices.Sorted(maps.Keys(policies)), ", "))
}

// Genesis returns the boxes of the first layout of shard under the named
// policy, about n of them (kdsplit begins with one whatever n). The first box
// holds the shard's spawn: it becomes the cradle.
func Genesis(policy string, shard mesh.Shard, n int) ([]mesh.Box, error) {
	p, err := ByName(policy)
	if err != nil {
		return nil, err
	}
	boxes := p.Genesis(shard.Bounds, n)
	spawn := shard.Bounds.Clamp(shard.Spawn)
	i := slices.IndexFunc(boxes, func(b mesh.Box) bool { return b.Contains(spawn) })
	if i < 0 {
		return nil, fmt.Errorf("the bounds %v of shard %q are empty; give the world a size", shard.Bounds, shard.Name)
	}
	boxes[0], boxes[i] = boxes[i], boxes[0]
	return boxes, nil
}

// grid cuts bounds into about n boxes of nearly equal size, the nearest
// c × r with c·r ≥ n. Boxes narrower than a unit are left out by cutting less.
func grid(bounds mesh.Box, n int) []mesh.Box {
	width, depth := int64(bounds.Max.X)-int64(bounds.Min.X), int64(bounds.Max.Y)-int64(bounds.Min.Y)
	cols := int64(1)
	for cols*cols < int64(n) {
		cols++
	}
	cols = min(cols, max(width, 1))
	rows := min((max(int64(n), 1)+cols-1)/cols, max(depth, 1))
	var out []mesh.Box
	for r := range rows {
		for c := range cols {
			b := bounds
			b.Min.X, b.Max.X = int32(int64(bounds.Min.X)+width*c/cols), int32(int64(bounds.Min.X)+width*(c+1)/cols)
			b.Min.Y, b.Max.Y = int32(int64(bounds.Min.Y)+depth*r/rows), int32(int64(bounds.Min.Y)+depth*(r+1)/rows)
			out = append(out, b)
		}
	}
	return out
}

// Limits are the thresholds of a policy. Loads are in thousandths of a node.
type Limits struct {
	High    Load  // a node above it is relieved
	Low     Load  // quiet neighbours merge when together below it; below half of High, or they flap
	Room    Load  // a node is not filled above it on purpose; between Low and High
	Width   int32 // units; no zone becomes narrower
	Zones   int   // at most so many in a layout, the retiring ones included
	Changes int   // at most so many in one proposal
	// Cooldown is how long a zone rests before a change in the other direction,
	// and how long it must be quiet before it merges; Settle is the rest before
	// another change in the same direction.
	Cooldown, Settle time.Duration
}

// View is what a policy sees. The policy owns nothing in it and changes nothing.
type View struct {
	Layout   mesh.Layout // its Version is already the next one
	Zones    []Zone      // beside Layout.Zones, one for one
	Nodes    []Node      // the live ones
	Limits   Limits
	NowMilli int64
}

// Zone is the load of one zone of the layout.
type Zone struct {
	Load    Load         // smoothed; of what is in its box, whoever simulates it yet
	Known   bool         // its owner reports it open under its epoch
	Density mesh.Density // as its owner reports it, well formed or empty
	Strays  []Cell       // what lies in its box but is still reported by other zones
	Memory  Memory
}

// Node is a live process that may own zones.
type Node struct {
	Owner mesh.Owner
	Load  Load // sum of its zones
	Open  bool // may be given zones: ready, not draining, not suspected
	Zones int  // that it owns, retiring ones included
	Props bool // it owns a zone of the Props layer and is kept for that
}

// Memory is what must be remembered of a zone between two proposals, so that
// it does not flap.
type Memory struct {
	ChangedMilli int64 `json:"c,omitempty"` // when its box or owner last changed
	Last         Kind  `json:"k,omitempty"` // how
	QuietMilli   int64 `json:"q,omitempty"` // since when its load has been low; 0: it is not
	Dir          int8  `json:"d,omitempty"` // the way its border last went: ±1
	Step         Load  `json:"s,omitempty"` // the most that its border may shift next
}

// firstStep and leastStep bound the load that one move of a border shifts.
const firstStep, leastStep Load = 150, 15

// step returns how much load a border may shift in direction dir: twice the
// last step if it goes on the same way, half of it if it turns round, and the
// first step again when it has lain still for a long time.
func (m Memory) step(dir int8, still bool) Load {
	switch {
	case m.Dir == 0 || still:
		return firstStep
	case m.Dir == dir:
		return min(2*m.Step, firstStep)
	}
	return m.Step / 2
}
