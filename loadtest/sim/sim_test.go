package sim

import (
	"flag"
	"strings"
	"testing"
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
