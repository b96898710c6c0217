package sim

import "testing"

// share is how many of the seeds a kind of run gets that TestSeeds has too.
func share() int { return (*seeds + 4) / 5 }

// TestPlannerSeeds runs the real planner, two of them, one on each side of
// every race, instead of the director who knows everything.
func TestPlannerSeeds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Planners = 2
	runSeeds(t, share(), always(cfg))
}

// TestSleepSeeds has everybody leave until the world sleeps, and come back,
// while nodes die and planners race.
func TestSleepSeeds(t *testing.T) { runSeeds(t, share(), always(SleepConfig())) }
