package sim

import (
	"math/rand/v2"

	"weft/control/mesh"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// play is the scenario of a lockstep run: it looks at the one-zone run, draws
// what each player does, and does the same in all.
type play struct {
	rng     *rand.Rand
	shard   mesh.Shard
	rules   brawl
	genesis []mesh.Entity
	players []mesh.PlayerID
	items   []mesh.EntityID
	ships   []mesh.EntityID
	minds   map[mesh.PlayerID]*player
	acted   map[mesh.EntityID]bool // items that were thrown or dropped since the last tick
	stats   LockstepStats
}

// player is what one of them is about.
type player struct {
	goal    int // a place
	command mesh.Command
	session uint64
	event   uint32
	asleep  bool
}

func newPlay(seed uint64, cfg LockstepConfig) *play {
	p := &play{rng: rand.New(rand.NewPCG(seed, 0x706c6179)), minds: map[mesh.PlayerID]*player{}, acted: map[mesh.EntityID]bool{}}
	bounds := mesh.Box{Max: mesh.Meters(cfg.WidthM, cfg.WidthM, 40)}
	w := cfg.WidthM
	p.shard = mesh.Shard{
		Name: "lockstep", TickHz: instantHz, Seed: seed, Bounds: bounds, Spawn: mesh.Meters(w/2, w/2, 0),
	}
	for _, c := range [][2]int32{{4, 5}, {7, 5}, {5, 7}, {8, 8}} { // tenths of the width
		p.rules.places = append(p.rules.places, mesh.Meters(w*c[0]/10, w*c[1]/10, 0))
	}
	for i, at := range p.rules.places {
		first := cfg.Items * i / len(p.rules.places)
		for _, e := range world.Scatter(seed+uint64(i), cfg.Items*(i+1)/len(p.rules.places)-first, bounds, at, 8*mesh.UnitsPerMeter) {
			e.ID = mesh.MakeEntityID(mesh.KindItem, e.ID.Number()+uint64(first))
			p.items = append(p.items, e.ID)
			p.genesis = append(p.genesis, e)
		}
	}
	for i, e := range world.Cast(seed, cfg.NPCs, bounds, mesh.Vec{}, mesh.UnitsPerMeter*6) {
		e.Pos = bounds.Clamp(e.Pos.Add(p.rules.places[i%len(p.rules.places)]))
		p.genesis = append(p.genesis, e)
	}
	for i := range cfg.Ships {
		id := mesh.MakeEntityID(mesh.KindShip, uint64(i+1))
		at := p.rules.places[i%len(p.rules.places)].Add(mesh.Meters(0, 9, 0))
		p.ships = append(p.ships, id)
		p.genesis = append(p.genesis, mesh.Entity{Pose: mesh.Pose{ID: id, Health: 500, Pos: at}, Data: uint64(i + 1)})
	}
	for i := range cfg.Players {
		p.players = append(p.players, mesh.PlayerID(i+1))
		p.minds[mesh.PlayerID(i+1)] = &player{goal: (i + 1) % len(p.rules.places), session: 1}
	}
	return p
}

// play lets every player steer, and some act, between two ticks.
func (p *play) play(meshes []*instant, tick mesh.Tick) {
	one := meshes[0]
	clear(p.acted)
	for _, id := range p.players {
		mind := p.minds[id]
		me := one.states[mesh.PlayerEntity(id)].Entity
		if mind.asleep {
			if p.rng.IntN(30) == 0 && apart(meshes, me.ID) {
				mind.session, mind.asleep = mind.session+1, false
				p.tell(meshes, id, &wire.Login{Player: id, Session: mind.session})
			}
			continue
		}
		p.steer(mind, me, tick)
		for _, m := range meshes {
			at := m.states[me.ID].node
			m.say(at, &wire.Inputs{Inputs: []wire.Input{{Player: id, Session: mind.session, Command: mind.command}}})
		}
		if p.rng.IntN(200) == 0 && apart(meshes, me.ID) {
			mind.asleep = true
			p.tell(meshes, id, &wire.Logout{Player: id, Session: mind.session, Now: true})
			continue
		}
		if ev, ok := p.event(meshes, mind, me); ok {
			p.act(meshes, id, mind, ev)
		}
	}
}

// tell says something to the node that has a body.
func (p *play) tell(meshes []*instant, id mesh.PlayerID, message wire.PeerMessage) {
	for _, m := range meshes {
		m.say(m.states[mesh.PlayerEntity(id)].node, message)
		m.look()
	}
}

// steer gives a player a direction: about a place, or on to another.
func (p *play) steer(mind *player, me mesh.Entity, tick mesh.Tick) {
	mind.command.Sequence = uint32(tick)
	if p.rng.IntN(6) > 0 {
		return
	}
	if p.rng.IntN(20) == 0 {
		mind.goal = p.rng.IntN(len(p.rules.places))
	}
	mind.command.Yaw = uint16(p.rng.Uint32())
	to := p.rules.places[mind.goal].Sub(me.Pos)
	if far := int32(6 * mesh.UnitsPerMeter); to.X > far || to.X < -far || to.Y > far || to.Y < -far {
		mind.command.MoveX, mind.command.MoveY = heading(to, 127)
		return
	}
	aim := mesh.Vec{X: p.rng.Int32N(200) - 100, Y: p.rng.Int32N(200) - 100}
	mind.command.MoveX, mind.command.MoveY = heading(aim, 127*p.rng.Int32N(2))
}

// event draws what a player does, if anything.
func (p *play) event(meshes []*instant, mind *player, me mesh.Entity) (mesh.Event, bool) {
	one := meshes[0]
	if p.rng.IntN(10) > 0 {
		return mesh.Event{}, false
	}
	ev := mesh.Event{Number: mind.event + 1}
	switch n := p.rng.IntN(12); {
	case n < 2:
		ev.Action, ev.Aim = mesh.ActFire, p.aim(one, me, 36*mesh.UnitsPerMeter)
	case n == 2 && me.Carrier != 0:
		ev.Action = mesh.ActBoard
	case n < 5 && me.Carrier == 0:
		ev.Action, ev.Target = mesh.ActBoard, p.nearest(one, p.ships, me, 0)
	case me.Held != 0 && n < 7:
		ev.Action = mesh.ActDrop
	case me.Held != 0:
		ev.Action, ev.Aim = mesh.ActThrow, p.aim(one, me, 14*mesh.UnitsPerMeter)
	default:
		ev.Action, ev.Target = mesh.ActPickUp, p.nearest(one, p.items, me, p.rng.IntN(3))
	}
	for _, m := range meshes {
		if ev.Target != 0 && m.unsettled(me.ID, ev, p.acted[ev.Target]) {
			return ev, false
		}
	}
	return ev, true
}

// unsettled reports that the layout keeps a player from what it would do in a
// single zone, for the moment. These are the honest limits of the promise: an
// item that crosses is of a new hop, and to be had when the client has seen it;
// nothing enters a retiring zone, neither an item asked for nor who boards; and
// what one throws and another asks for before the next tick is seen too early.
func (m *instant) unsettled(player mesh.EntityID, ev mesh.Event, acted bool) bool {
	from, to := m.states[player].zone, m.states[ev.Target].zone
	if ev.Action == mesh.ActPickUp {
		return m.crossed[ev.Target] || from != to && (acted || m.retiring(from))
	}
	return from != to && (m.crossed[ev.Target] || m.retiring(to))
}

// apart reports that nothing of another zone is near a body, in any mesh: one
// that falls asleep or wakes is gone or there for its own zone at once, and a
// tick later for others.
func apart(meshes []*instant, id mesh.EntityID) bool {
	const near = 15 * mesh.UnitsPerMeter
	for _, m := range meshes {
		me := m.states[id]
		for _, e := range m.states {
			if e.zone != me.zone && e.Flags&mesh.Asleep == 0 && e.Pos.Dist2(me.Pos) < near*near {
				return false
			}
		}
	}
	return true
}

func (m *instant) retiring(id mesh.ZoneID) bool {
	z, _ := m.layout.Zone(id)
	return z.State == mesh.Retiring
}

// aim returns a velocity towards somebody near, or anywhere.
func (p *play) aim(one *instant, me mesh.Entity, speed int32) mesh.Vec {
	to := mesh.Vec{X: p.rng.Int32N(2000) - 1000, Y: p.rng.Int32N(2000) - 1000}
	other := mesh.PlayerEntity(p.players[p.rng.IntN(len(p.players))])
	if p.rng.IntN(6) == 0 {
		other = p.ships[p.rng.IntN(len(p.ships))]
	}
	if e, ok := one.states[other]; ok && other != me.ID && p.rng.IntN(4) > 0 {
		to = e.Pos.Sub(me.Pos)
	}
	n := int64(max(to.X, -to.X)) + int64(max(to.Y, -to.Y)) + 1
	f := func(c int32) int32 { return int32(int64(c) * int64(speed) / n) }
	return mesh.Vec{X: f(to.X), Y: f(to.Y), Z: p.rng.Int32N(4*mesh.UnitsPerMeter) - mesh.UnitsPerMeter}
}

// count notes what became of everybody in the one-zone run.
func (p *play) count(one *instant) {
	for id, e := range one.states {
		if was, ok := one.before[id]; ok && id.Layer() == mesh.Actors && e.Health > was.Health {
			p.stats.Deaths++ // nothing else heals
		}
		if id.Kind() == mesh.KindPlayer && e.Carrier != 0 {
			p.stats.TicksAboard++
		}
	}
}

// nearest returns the one of ids that is nearest to me but for skip others.
func (p *play) nearest(one *instant, ids []mesh.EntityID, me mesh.Entity, skip int) mesh.EntityID {
	var best mesh.EntityID
	taken := map[mesh.EntityID]bool{}
	for range skip + 1 {
		best = 0
		for _, id := range ids {
			if one.states[one.states[id].Carrier].Flags&mesh.Asleep != 0 {
				continue // what a sleeper holds is not seen
			}
			if !taken[id] && (best == 0 || one.states[id].Pos.Dist2(me.Pos) < one.states[best].Pos.Dist2(me.Pos)) {
				best = id
			}
		}
		taken[best] = true
	}
	return best
}

// act sends one event to the player's body in every mesh. An item's hop is
// what the client of that mesh sees.
func (p *play) act(meshes []*instant, id mesh.PlayerID, mind *player, ev mesh.Event) {
	mind.event++
	p.acted[meshes[0].states[mesh.PlayerEntity(id)].Held] = true
	p.stats.Acts++
	for _, m := range meshes {
		e := ev
		if ev.Action == mesh.ActPickUp {
			e.Hop = m.states[ev.Target].Hop
		}
		was := m.states[ev.Target].zone
		m.say(m.states[mesh.PlayerEntity(id)].node, &wire.Act{Player: id, Session: mind.session, Gateway: "gateway", Event: e})
		m.look()
		if was != m.states[ev.Target].zone {
			m.stats.Picks++
		}
	}
	if e := meshes[0].states[mesh.PlayerEntity(id)]; e.Outcome(ev.Number) == mesh.OutcomeOK {
		p.stats.Done[ev.Action]++
	}
}
