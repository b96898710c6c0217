package sim

import (
	"strings"
	"testing"
)

// TestPlannerSeeds runs the real planner, two of them, one on each side of
// every race, instead of the director who knows everything.
func TestPlannerSeeds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Planners = 2
	var total Stats
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		r := Run(seed, cfg)
		total.Acked += r.Stats.Acked
		total.Takeovers += r.Stats.Takeovers
		total.Layouts += r.Stats.Layouts
		if r.Violation != "" {
			t.Fatalf("seed %d at %v: %s\nreplay: go test ./loadtest/sim -run TestPlannerSeeds -first %d -seeds 1\n%s",
				seed, r.At, r.Violation, seed, strings.Join(r.Trace, "\n"))
		}
	}
	t.Logf("%+v", total)
}
