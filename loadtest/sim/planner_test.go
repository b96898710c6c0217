package sim

import "testing"

// TestPlannerSeeds runs the real planner, two of them, one on each side of
// every race, instead of the director who knows everything.
func TestPlannerSeeds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Planners = 2
	runSeeds(t, cfg)
}
