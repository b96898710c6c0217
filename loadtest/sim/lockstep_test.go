package sim

import (
	"slices"
	"testing"
)

// TestMeshEqualsMonolith runs each seed on a node with one zone, and beside it
// on meshes of 1, 2, 5 and 16 nodes that split and merge on the way.
func TestMeshEqualsMonolith(t *testing.T) {
	var total LockstepStats
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		out := Lockstep(seed, lockstepNodes, DefaultLockstepConfig())
		if out.Difference != "" {
			t.Fatalf("seed %d, %d nodes, tick %d: %s\nreplay: go test ./loadtest/sim -run '%s$' -first %d -seeds 1",
				seed, out.Nodes, out.Tick, out.Difference, t.Name(), seed)
		}
		total.Add(out.Stats)
	}
	t.Logf("%+v", total)
	if s := total; *seeds >= 10 && min(s.Crossings/1000, s.Aboard, s.Impacts, s.Picks, s.Splits, s.Merges, s.Removed, s.Deaths, s.TicksAboard, slices.Min(s.Done[1:])) == 0 {
		t.Error("something that these runs are for did not happen")
	}
}
