package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"weft/loadtest/bot"
	"weft/loadtest/scenario"
)

// Strikes is a run that plays, for whoever does its faults.
type Strikes struct{ r *runner }

// Trials are the faults to be done.
func (s *Strikes) Trials() []scenario.Trial { return s.r.s.Faults }

// Mesh is where the scenario plays, Crowd who plays it, Start when it began.
func (s *Strikes) Mesh() Mesh        { return s.r.mesh }
func (s *Strikes) Crowd() *bot.Crowd { return s.r.crowd }
func (s *Strikes) Start() time.Time  { return s.r.start }

// Victim chooses one by f; another salt chooses another.
func (s *Strikes) Victim(ctx context.Context, f scenario.Fault, salt uint64) (Victim, error) {
	return s.r.victim(ctx, &f, salt)
}

// Kill ends v as a crash would, and has the bots watch how its zones come
// back; the outage is nil for a gateway.
func (s *Strikes) Kill(v Victim) (*bot.Outage, error) { return s.r.kill(v) }

// Note tells of something that did not go by the script: it is in the report.
func (s *Strikes) Note(f string, args ...any) { s.r.fault(fmt.Sprintf(f, args...)) }

// Log tells what happens.
func (s *Strikes) Log(f string, args ...any) { s.r.opts.Log(fmt.Sprintf(f, args...)) }

// Extremes is the distribution of ds in milliseconds, by nearest rank; all zero of none.
func Extremes(ds []time.Duration) scenario.Extremes {
	if len(ds) == 0 {
		return scenario.Extremes{}
	}
	ds = slices.Sorted(slices.Values(ds))
	at := func(percent int) float64 {
		return round(float64(ds[(len(ds)*percent+99)/100-1].Microseconds()) / 1000)
	}
	return scenario.Extremes{P50: at(50), P99: at(99), Max: at(100)}
}

func spreadOf(kills []kill, end time.Time) scenario.Extremes {
	var ds []time.Duration
	for _, k := range kills {
		ds = append(ds, k.outage.FirstTick(end))
	}
	return Extremes(ds)
}
