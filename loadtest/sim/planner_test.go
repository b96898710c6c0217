package sim

import "testing"

// TestPlannerSeeds runs the real planner, two of them, one on each side of
// every race, instead of the director who knows everything.
func TestPlannerSeeds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Planners = 2
	runSeeds(t, cfg)
}

// TestSleepSeeds has everybody leave until the world sleeps, and come back,
// while nodes die and planners race.
func TestSleepSeeds(t *testing.T) { runSeeds(t, SleepConfig()) }
