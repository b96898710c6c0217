package sim

import (
	"weft/control/mesh"
	"weft/simnode/node"
	"weft/simnode/wire"
)

// events count how often each event that passes a border is applied. Crossings
// are counted by the books, at the append that takes them in.
type events struct {
	s       *Sim
	impacts map[impactID]mesh.Epoch
	blasts  map[blastID]node.Taken
	decided map[mesh.EntityID]decided
}

// impactID is an impact on one stretch of its way: those passed on get another.
type impactID struct {
	to, from mesh.ZoneID
	epoch    mesh.Epoch // of from
	number   uint64
}

// blastID is the effect of a rocket on an entity: it bursts once in the life of
// the world, whoever simulates it.
type blastID struct{ rocket, target mesh.EntityID }

// decided is what is durably known of a player's events.
type decided struct{ last, outcomes uint32 }

func newEvents(s *Sim) events {
	return events{s, map[impactID]mesh.Epoch{}, map[blastID]node.Taken{}, map[mesh.EntityID]decided{}}
}

// took: no impact is taken twice, be it by one owner or by two; and no burst is
// felt twice over a border, wherever its target has gone and whoever lost the
// rocket meanwhile. Nothing is excepted: also what a crash undoes, or an owner
// that was replaced takes, counts.
func (v *events) took(t node.Taken) {
	if t.Applied {
		v.applied(t)
		return
	}
	id := impactID{t.Zone, t.From, t.FromEpoch, t.Number}
	if before, ok := v.impacts[id]; ok {
		v.s.fail("impact %d of zone %d (epoch %d) on %x is taken twice by zone %d, under epochs %d and %d",
			t.Number, t.From, t.FromEpoch, uint64(t.Impact.Target), t.Zone, before, t.Epoch)
		return
	}
	v.impacts[id] = t.Epoch
}

func (v *events) applied(t node.Taken) {
	v.s.stats.Impacts++
	if t.Impact.Source.Kind() != mesh.KindRocket {
		return
	}
	blast := blastID{t.Impact.Source, t.Impact.Target}
	before, ok := v.blasts[blast]
	if !ok {
		v.blasts[blast] = t
		return
	}
	// A rocket that hits its target strikes it and bursts beside it, in one tick.
	if before.Zone != t.Zone || before.Epoch != t.Epoch || before.Tick != t.Tick {
		v.s.fail("rocket %x bursts twice on %x: in zone %d at tick %d and in zone %d at tick %d",
			uint64(blast.rocket), uint64(blast.target), before.Zone, before.Tick, t.Zone, t.Tick)
	}
}

// told: the burst of a rocket is told when its end is durable.
func (v *events) told(m *wire.Impacts) {
	for _, i := range m.Impacts {
		if i.Source.Kind() == mesh.KindRocket && v.s.check.books.homes[i.Source] > 0 {
			v.s.fail("zone %d tells zone %d of the burst of rocket %x, which durably flies", m.From, m.To, uint64(i.Source))
		}
	}
}

// put: a player's events (pick-up, boarding, drop, throw, shot) are decided one
// after the other, each once: no durable record of the body knows fewer of
// them than one before, or another outcome of one.
func (v *events) put(e *mesh.Entity) {
	if e.ID.Kind() != mesh.KindPlayer {
		return
	}
	was := v.decided[e.ID]
	now := mesh.Entity{LastEvent: was.last, Outcomes: was.outcomes}
	for n := range uint32(mesh.EventWindow) {
		if n >= was.last {
			break
		}
		a, b := now.Outcome(was.last-n), e.Outcome(was.last-n)
		if e.LastEvent < was.last || a != mesh.OutcomeNone && b != mesh.OutcomeNone && a != b {
			v.s.fail("%x has decided event %d as %d, and then, at hop %d, as %d", uint64(e.ID), was.last-n, a, e.Hop, b)
			return
		}
	}
	v.decided[e.ID] = decided{e.LastEvent, e.Outcomes}
}
