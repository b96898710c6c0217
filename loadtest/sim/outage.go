package sim

import (
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/simnode/node"
)

// OutageConfig is a run in which the store is away for long and nothing else
// is wrong: players go on playing all the while, under two real planners.
type OutageConfig struct {
	Config
	Away time.Duration
}

// DefaultOutageConfig is the world of DefaultConfig.
func DefaultOutageConfig() OutageConfig {
	cfg := DefaultConfig()
	cfg.Faults, cfg.Planners, cfg.Leaving, cfg.MaxOpen = NoFaults(), 2, 0, mesh.EventWindow
	return OutageConfig{Config: cfg, Away: 3 * time.Hour}
}

// OutageFigures are what an outage cost, and what held meanwhile.
type OutageFigures struct {
	AwayS          float64 `json:"away_s"`
	Disconnects    int     `json:"disconnects"`
	ViewsPerSecond float64 `json:"views_per_player_second"` // while the store was away
	AckedMeanwhile int     `json:"acknowledged_meanwhile"`  // after what was on its way when it went
	EventsHeld     int     `json:"events_held"`             // sent by players and unanswered when it came back
	RecordsHeld    int     `json:"records_held_most"`       // of one zone
	OthersHeld     int     `json:"others_held_most"`        // of one zone: store calls, crossings, impacts and such
	OthersHalfway  int     `json:"others_held_by_half_time"`
	Takeovers      int     `json:"takeovers"`
	SettledS       float64 `json:"settled_s"` // after the store's return, until every held event was acknowledged
}

const (
	outageBefore  = 20 * time.Second // in which the players get in and begin
	outageGrace   = 2 * time.Second  // for answers that were on their way
	outageSettles = 60 * time.Second // within which all that was held must be settled
)

// Outage takes the store away and brings it back. Besides what Run checks:
// nobody is disconnected, nothing durable is acknowledged meanwhile, queues
// keep to their limits and stop growing, views go on, and what was held is
// settled a minute after the store is back.
func Outage(seed uint64, cfg OutageConfig) (Result, OutageFigures) {
	f := OutageFigures{AwayS: cfg.Away.Seconds()}
	cfg.FaultFor = outageBefore + cfg.Away + outageSettles
	s := begin(seed, cfg.Config)
	defer s.close()
	s.runUntil(outageBefore)
	s.disk.down = true
	s.note("store down")
	s.runUntil(outageBefore + outageGrace)
	before := s.stats
	hold := func(until time.Duration) {
		for s.now < until && s.violation == "" {
			s.runUntil(min(s.now+time.Second, until))
			s.queues(&f)
		}
	}
	hold(outageBefore + cfg.Away/2)
	f.OthersHalfway = f.OthersHeld
	hold(outageBefore + cfg.Away)
	f.AckedMeanwhile = s.stats.Acked - before.Acked
	f.ViewsPerSecond = float64(s.stats.Views-before.Views) / (cfg.Away - outageGrace).Seconds() / float64(max(len(s.clients), 1))
	held := map[*client]uint32{}
	for _, c := range s.clients {
		f.EventsHeld += len(c.open)
		held[c] = c.next
	}
	s.note("store up")
	s.disk.down = false
	back := s.now
	for f.SettledS = -1; s.now < back+outageSettles && s.violation == ""; {
		s.runUntil(s.now + 100*time.Millisecond)
		if f.SettledS < 0 && s.settled(held) {
			f.SettledS = (s.now - back).Seconds()
		}
	}
	f.Disconnects, f.Takeovers = s.stats.Disconnects-before.Disconnects, s.stats.Takeovers-before.Takeovers
	s.judgeOutage(&f)
	s.calm()
	s.runUntil(cfg.FaultFor + cfg.SettleFor)
	return s.result(seed), f
}

// queues notes how much any zone holds.
func (s *Sim) queues(f *OutageFigures) {
	for _, p := range s.live(mesh.RoleNode) {
		p.node.Inspect(func(z node.ZoneView) {
			f.RecordsHeld, f.OthersHeld = max(f.RecordsHeld, z.Waiting), max(f.OthersHeld, z.Held)
		})
	}
}

// settled reports that every event below held is acknowledged.
func (s *Sim) settled(held map[*client]uint32) bool {
	for _, c := range s.clients {
		if len(c.open) > 0 && c.open[0].Number < held[c] {
			return false
		}
	}
	return true
}

// mostHeld is the limit of a zone's queue of records, and of all else that it
// may hold: each has a limit of its own that is lower.
const mostHeld = 8192

func (s *Sim) judgeOutage(f *OutageFigures) {
	switch {
	case f.Disconnects > 0:
		s.fail("%d clients were disconnected", f.Disconnects)
	case f.AckedMeanwhile > 0:
		s.fail("%d durable events were acknowledged while there was no store", f.AckedMeanwhile)
	case f.RecordsHeld > mostHeld || f.OthersHeld > mostHeld:
		s.fail("a zone holds %d records and %d else", f.RecordsHeld, f.OthersHeld)
	case f.OthersHeld > f.OthersHalfway+64:
		s.fail("a zone holds %d, and held %d at half time: it grows", f.OthersHeld, f.OthersHalfway)
	case f.EventsHeld == 0:
		s.fail("no player had an event that was held: the run proves nothing")
	case f.ViewsPerSecond < 8:
		s.fail("%.1f views a player-second: the world stood still", f.ViewsPerSecond)
	case f.SettledS < 0:
		s.fail("what was held is not settled after %v", outageSettles)
	}
}

// String is the line that the command prints.
func (f OutageFigures) String() string {
	return fmt.Sprintf("store away for %.0f s: %d disconnects, %.1f views a player-second, %d acknowledged meanwhile, %d events held, "+
		"at most %d records and %d else in a zone (%d by half time), %d takeovers, settled after %.1f s",
		f.AwayS, f.Disconnects, f.ViewsPerSecond, f.AckedMeanwhile, f.EventsHeld, f.RecordsHeld, f.OthersHeld, f.OthersHalfway, f.Takeovers, f.SettledS)
}
