package sim

import (
	"strings"
	"testing"
	"time"
)

// TestOutage has the store away for three hours, in a world that is small enough
// to be tried every time; `weft loadtest sim --outage 3h` is the whole thing.
func TestOutage(t *testing.T) {
	cfg := DefaultOutageConfig()
	cfg.Nodes, cfg.Gateways, cfg.Players, cfg.Items, cfg.Away = 2, 1, 6, 30, 2*time.Hour
	if *seeds < 10 { // as under the race detector
		cfg.Away = 5 * time.Minute
	}
	r, f := Outage(*first, cfg)
	t.Log(f)
	if r.Violation != "" {
		t.Fatalf("seed %d at %v: %s\n%s", r.Seed, r.At, r.Violation, strings.Join(r.Trace, "\n"))
	}
}
