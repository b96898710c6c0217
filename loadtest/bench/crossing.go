package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

var crossing = Row{
	Name: "crossing",
	What: "a player walks over a border, 50 others watching on each side",
	Bars: []Bar{
		{Figure: "cpu", Unit: "µs a crossing", Limit: 150},
		{Figure: "first tick", Unit: "ticks", Limit: 3},
		{Figure: "first tick p99", Unit: "ticks", Told: true},
		{Figure: "lost", Unit: "entities and events", Limit: 0},
		{Figure: "crossings", Unit: "of the whole system", Limit: 100, AtLeast: true},
	},
	Measure: measureCrossing,
	Parts:   map[string]Part{playersPart: runPlayers},
}

// crossingScenario is a border with 50 who stand on each side and ten who run
// over it and back, on the embedded store.
const crossingScenario = `
name: crossing
seed: 7
tick_hz: 20
world: {size_m: [100, 100, 20]}
gateways: 1
players:
  - {count: 100, join: {at: 0s, over: 2s}, behave: stand}
  - {count: 10, join: {at: 2s, over: 1s}, behave: shuttle}
duration: 30s
policy: static
zones: 4
node_actors: 200
expect:
  players.joined: 110
  disconnects: 0
  entities_lost: 0
  entities_duplicated: 0
  durable_lost: 0
`

// measureCrossing reads the wall time off the whole system: how long a client
// has no news of its own body when that crosses, which ends with the first tick
// of the new owner. The work is that of the cores: see handOver.
func measureCrossing(ctx context.Context, o Options) (Sample, error) {
	cpu, err := handOver(ctx, o)
	if err != nil {
		return Sample{}, err
	}
	text, players, duration := crossingScenario, 0, time.Duration(0)
	if o.Small {
		text, players, duration = strings.ReplaceAll(text, "at: 2s", "at: 0s"), 22, smallPlay*3/2
	}
	w, err := playWhole(ctx, o, "crossing", text, players, duration, hooks{})
	if err != nil {
		return Sample{}, err
	}
	if err := w.verdicts(); err != nil {
		return Sample{}, err
	}
	stall := w.report.Crossings.StallMS
	if stall.P50 == 0 {
		return Sample{}, fmt.Errorf("of %d crossings none was seen: nobody ran over the border", w.report.Crossings.Count)
	}
	const tickMS = 50
	figures := w.figures()
	figures["cpu"], figures["first tick"], figures["first tick p99"] = cpu, stall.P50/tickMS, stall.P99/tickMS
	return Sample{Figures: figures}, nil
}
