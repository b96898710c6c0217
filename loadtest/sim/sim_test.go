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

func TestSeeds(t *testing.T) {
	var total Stats
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		r := Run(seed, DefaultConfig())
		total.Acked += r.Stats.Acked
		total.Picks += r.Stats.Picks
		total.Takeovers += r.Stats.Takeovers
		total.Layouts += r.Stats.Layouts
		if r.Violation != "" {
			t.Errorf("seed %d at %v: %s\nreplay: go test ./loadtest/sim -run TestSeeds -first %d -seeds 1\n%s",
				seed, r.At, r.Violation, seed, strings.Join(r.Trace, "\n"))
			return
		}
	}
	t.Logf("%+v", total)
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
