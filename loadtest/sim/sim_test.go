package sim

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", 50, "how many seeds to run")
	first = flag.Uint64("first", 1, "the first seed")
)

// TestSeeds runs what the command does.
func TestSeeds(t *testing.T) { runSeeds(t, *seeds, ConfigOf) }

// always returns cfg for every seed.
func always(cfg Config) func(uint64) Config { return func(uint64) Config { return cfg } }

// runSeeds runs so many seeds, until one finds a violation, and looks whether
// they did what they are for.
func runSeeds(t *testing.T, seeds int, config func(uint64) Config) {
	var total Stats
	for seed := *first; seed < *first+uint64(seeds); seed++ {
		r := Run(seed, config(seed))
		total.Add(r.Stats)
		if r.Violation != "" {
			t.Fatalf("seed %d at %v: %s\nreplay: go test ./loadtest/sim -run '%s$' -first %d -seeds 1\n%s",
				seed, r.At, r.Violation, t.Name(), seed, strings.Join(r.Trace, "\n"))
		}
	}
	t.Logf("%+v", total)
	if s := total; seeds >= 10 && min(s.Acked, s.Picks, s.Boarded, s.Impacts, s.Crossings, s.Takeovers, s.Layouts, s.Refused, s.Kills, s.Pauses, s.Outages, s.Partitions, s.Blinds) == 0 {
		t.Error("something that these runs are for did not happen")
	}
	if config(7).Sleep && seeds >= 10 && min(total.Sleeps, total.Wakes, total.LaidDown) == 0 {
		t.Error("the world did not sleep and wake")
	}
}

// TestSameSeedSameRun: the order of a map must never show in what is said.
func TestSameSeedSameRun(t *testing.T) {
	cfg := DefaultConfig()
	cfg.FaultFor, cfg.SettleFor = 10*time.Second, time.Second
	a, b := Run(*first, cfg), Run(*first, cfg)
	if a.Hash != b.Hash || a.Stats != b.Stats {
		t.Errorf("seed %d: two runs differ:\n%x %+v\n%x %+v", *first, a.Hash, a.Stats, b.Hash, b.Stats)
	}
	if c := Run(*first+1, cfg); c.Hash == a.Hash {
		t.Error("another seed gives the same run: the hash sees nothing")
	}
}
