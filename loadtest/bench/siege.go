package bench

import (
	"context"
	"time"

	"weft/loadtest/scenario"
)

var siege = Row{
	Name: "siege",
	What: "2,000 players storm a city of 1 km²: 10,000 props fall, 500 arrows in the air",
	Bars: []Bar{
		{Figure: "tick p99", Unit: "ms", Limit: 50},
		{Figure: "lost", Unit: "entities and events", Limit: 0},
		{Figure: "disconnects", Unit: "players", Limit: 0},
		{Figure: "players", Unit: "at once", Limit: 2000, AtLeast: true},
		{Figure: "moving", Unit: "props at once", Limit: 10_500, AtLeast: true},
	},
	Measure: measureScenario("siege", 20),
	Parts:   map[string]Part{playersPart: runPlayers},
}

var shard5000 = Row{
	Name: "shard-5000",
	What: "5,000 connected players wandering over the world on 4 nodes, 5 views a second",
	Bars: []Bar{
		{Figure: "tick p99", Unit: "ms", Limit: 50},
		{Figure: "disconnects", Unit: "players", Limit: 0},
		{Figure: "lost", Unit: "entities and events", Limit: 0},
		{Figure: "players", Unit: "at once", Limit: 5000, AtLeast: true},
		{Figure: "nodes", Unit: "that own a zone", Limit: 4, AtLeast: true},
	},
	Measure: measureScenario("shard-5000", 40),
	Parts:   map[string]Part{playersPart: runPlayers},
}

// smallPlay is how long a scenario plays that is only checked.
const smallPlay = 2 * time.Second

// measureScenario plays a scenario that ships; small with so many players.
func measureScenario(name string, small int) func(context.Context, Options) (Sample, error) {
	return func(ctx context.Context, o Options) (Sample, error) {
		text, err := scenario.Source(name)
		if err != nil {
			return Sample{}, err
		}
		players, duration := 0, time.Duration(0)
		if o.Small {
			players, duration = small, smallPlay
		}
		w, err := playWhole(ctx, o, name, string(text), players, duration, hooks{})
		if err == nil && o.Small {
			err = w.verdicts()
		}
		if err != nil {
			return Sample{}, err
		}
		return Sample{Figures: w.figures(), Notes: append(w.report.Offences, w.report.BotFaults...)}, nil
	}
}
