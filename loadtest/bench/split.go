package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/loadtest/run"
	"weft/loadtest/stage"
)

var split400 = Row{
	Name: "split-400",
	What: "a tavern of 400 on one node, cut over five warm ones",
	Bars: []Bar{
		{Figure: "decision to last crossing", Unit: "s", Limit: 2},
		{Figure: "stall p99", Unit: "ms", Limit: 100},
		{Figure: "moved", Unit: "players", Limit: 250, AtLeast: true},
		{Figure: "nodes", Unit: "that own a zone", Limit: 6, AtLeast: true},
		{Figure: "lost", Unit: "entities and events", Limit: 0},
	},
	Measure: measureSplit,
	Parts:   map[string]Part{playersPart: runPlayers},
}

// splitScenario is a tavern on one node that is not full, with five more that
// are warm: nothing is cut until the bar is lowered.
const splitScenario = `
name: split-400
seed: 7
tick_hz: 20
world: {size_m: [400, 400, 100]}
items: 400
gateways: 1
players:
  - {count: 400, join: {at: 0s, over: 5s}, behave: wander}
events:
  - {at: 6s, gather: {fraction: 1.0, at_m: [200, 200, 0], radius_m: 12, within: 5s}}
duration: 19s
policy: kdsplit
node_actors: 500
min_nodes: 6
max_nodes: 6
cooldown: 60s
expect:
  players.joined: 400
  disconnects: 0
  entities_lost: 0
  entities_duplicated: 0
  durable_lost: 0
`

const (
	cutAfter    = 14 * time.Second // since the play began: everybody is in and mills about
	cutPatience = 10 * time.Second
	cutLook     = 10 * time.Millisecond
	// atHomeUnits is how far outside its zone a body may be that is not to cross:
	// the hysteresis of a border and the way of a few ticks.
	atHomeUnits = mesh.UnitsPerMeter
)

// cut is the crossing of a crowd into the zones of one plan.
type cut struct {
	mesh  stage.Mesh
	done  bool
	took  time.Duration
	moved int
}

func measureSplit(ctx context.Context, o Options) (Sample, error) {
	c := cut{}
	players, duration, after, text := 0, time.Duration(0), cutAfter, splitScenario
	if o.Small {
		players, duration, after = 24, 4*time.Second, 2*time.Second
		text = strings.NewReplacer("node_actors: 500", "node_actors: 30", "at: 6s", "at: 1s").Replace(text)
	}
	w, err := playWhole(ctx, o, "split-400", text, players, duration, hooks{status: func(ctx context.Context, m stage.Mesh, st run.Status) error {
		if c.done || st.Elapsed < after {
			return nil
		}
		c.mesh, c.done = m, true
		return c.make(ctx)
	}})
	switch {
	case err != nil:
		return Sample{}, err
	case !c.done:
		return Sample{}, errors.New("the play was over before the cut")
	case o.Small && c.moved == 0:
		return Sample{}, errors.New("nobody crossed")
	}
	if o.Small {
		err = w.verdicts()
	}
	figures := w.figures()
	figures["decision to last crossing"], figures["moved"] = c.took.Seconds(), float64(c.moved)
	return Sample{Figures: figures, Notes: append(w.report.Offences, w.report.BotFaults...)}, err
}

// make lowers the bar, so that the next plan cuts the crowd over all nodes, and
// waits until nobody is any more in a zone that is not its own.
func (c *cut) make(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cutPatience)
	defer cancel()
	watching, end := context.WithCancel(ctx)
	eyes, err := c.mesh.Watch(watching)
	if err != nil {
		end()
		return err
	}
	defer func() { end(); eyes.Wait() }()
	ticker := time.NewTicker(cutLook)
	defer ticker.Stop()
	before := map[mesh.EntityID]mesh.ZoneID{}
	for len(before) == 0 {
		select {
		case <-ctx.Done():
			return errors.New("nobody is seen before the cut")
		case <-ticker.C:
			eyes.Each(func(zone mesh.ZoneID, p *mesh.Pose) {
				if p.ID.Player() != 0 {
					before[p.ID] = zone
				}
			})
		}
	}
	version, err := c.mesh.Store().LayoutVersion(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.mesh.Replan(func(p *planner.Config) { p.HighLoad, p.RoomLoad, p.LowLoad = 180, 150, 100 }); err != nil {
		return err
	}
	var layout mesh.Layout
	moved := map[mesh.EntityID]bool{}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s after the decision there are bodies in zones that are not theirs", cutPatience)
		case <-ticker.C:
		}
		if layout.Version <= version {
			if layout, err = c.mesh.Store().Layout(ctx); err != nil {
				return err
			}
			if layout.Version <= version {
				continue
			}
		}
		astray, seen := 0, 0
		eyes.Each(func(zone mesh.ZoneID, p *mesh.Pose) {
			if p.ID.Player() == 0 {
				return
			}
			if seen++; zone != before[p.ID] {
				moved[p.ID] = true
			}
			if z, ok := layout.Zone(zone); !ok || p.Flags&mesh.Outbound != 0 || z.Box.Outside(p.Pos) > atHomeUnits {
				astray++
			}
		})
		if astray == 0 && seen == len(before) {
			c.took, c.moved = time.Since(began), len(moved)
			return nil
		}
	}
}
