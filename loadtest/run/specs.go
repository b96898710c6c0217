package run

import (
	"math/rand/v2"
	"time"

	"weft/control/mesh"
	"weft/loadtest/bot"
	"weft/loadtest/scenario"
)

// Figures of the copies of a trace: how far each is shifted in place, how far
// in time, and how long a trace rests before it begins again.
const (
	jitterM     = 0.75
	jitterS     = 4.0
	traceRestS  = 2
	seedOfTrace = 0x7472616365
)

// Specs returns the players of s, numbered from 1 on, group by group.
func Specs(s *scenario.Scenario) []bot.Spec {
	var specs []bot.Spec
	add := func(spec bot.Spec) {
		spec.Player = mesh.PlayerID(len(specs) + 1)
		specs = append(specs, spec)
	}
	for _, g := range s.Groups {
		if g.Trace == nil {
			for i := range g.Count {
				add(bot.Spec{JoinAt: g.JoinAt + g.JoinOver*time.Duration(i)/time.Duration(g.Count), Still: g.Behave == scenario.Stand, Roam: g.Behave == scenario.Roam,
					Shuttle: g.Behave == scenario.Shuttle, PlaneX: scenario.Vec(s.SpawnM).X})
			}
			continue
		}
		rng := rand.New(rand.NewPCG(s.Seed, seedOfTrace))
		for range g.Copies {
			dx, dy := jitterM*(2*rng.Float64()-1), jitterM*(2*rng.Float64()-1)
			shift := time.Duration(jitterS * rng.Float64() * float64(time.Second))
			for i := range g.Trace.People {
				add(bot.Spec{Path: path(s, &g.Trace.People[i], g.Trace.Length, g.OriginM, dx, dy, shift)})
			}
		}
	}
	return specs
}

// path returns where a person of a trace is, time and again.
func path(s *scenario.Scenario, p *scenario.Person, length time.Duration, origin [3]float64, dx, dy float64, shift time.Duration) func(time.Duration) (mesh.Vec, bool) {
	bounds := mesh.Box{Max: scenario.Vec(s.SizeM)}
	round := length + traceRestS*time.Second
	return func(at time.Duration) (mesh.Vec, bool) {
		if at < shift {
			return mesh.Vec{}, false
		}
		x, y, ok := p.Place((at - shift) % round)
		return bounds.Clamp(scenario.Vec([3]float64{origin[0] + x + dx, origin[1] + y + dy, origin[2]})), ok
	}
}
