package budget

import (
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
	"weft/simnode/world"
)

// player walks about in its home zone, acts now and then, and moves home.
type player struct {
	id      mesh.PlayerID
	born    mesh.Vec
	gateway *proc
	zone    mesh.ZoneID // where its body is
	home    mesh.ZoneID
	in      bool // logged in
	target  mesh.Vec
	item    mesh.EntityID // to be picked up
	due     mesh.Tick     // of its next event
	open    *mesh.Event
	askedAt mesh.Tick
	number  uint32
	command uint32
}

const (
	// insetM keeps players this far inside their home, so that crossings are
	// those of the load.
	insetM = 8
	// throwMPerS is slow enough that nothing thrown leaves the zone.
	throwMPerS = 4
	// steerTicks and repeatTicks are how often gateways pass commands on and
	// repeat events.
	steerTicks, repeatTicks = 5, 10
)

// populate draws where players are born: evenly, or all in one zone.
func (b *bench) populate() {
	n := int32(b.load.ZonesPerSide)
	for i := range b.load.Players {
		zone := int32(i) % (n * n)
		if b.load.Crowd {
			zone = n*n/2 + n/2
		}
		lo := mesh.Meters(zone%n*b.load.ZoneM, zone/n*b.load.ZoneM, 0)
		p := &player{id: mesh.PlayerID(i + 1), born: lo.Add(b.inside()), due: b.tickNow() + b.pause()}
		p.gateway = b.order[b.load.Nodes+i%b.load.Gateways]
		b.players = append(b.players, p)
	}
}

// inside draws a place inside a zone, from its corner.
func (b *bench) inside() mesh.Vec {
	span := int32(b.load.ZoneM - 2*insetM)
	v := func() int32 { return (insetM * mesh.UnitsPerMeter) + b.rand.Int32N(span*mesh.UnitsPerMeter) }
	return mesh.Vec{X: v(), Y: v()}
}

// pause draws the ticks between two events of a player.
func (b *bench) pause() mesh.Tick {
	return 1 + mesh.Tick(b.rand.ExpFloat64()*tickHz/b.load.EventsPerPlayerHz)
}

func (b *bench) box(zone mesh.ZoneID) mesh.Box {
	z, _ := b.layout.Zone(zone)
	return z.Box
}

// play is one tick of all players.
func (b *bench) play() {
	if len(b.worlds) < len(b.layout.Zones) {
		return
	}
	tick := b.tickNow()
	if !b.load.Crowd && b.rand.Float64() < b.load.CrossingsHz/tickHz {
		p := b.players[b.rand.IntN(len(b.players))]
		p.home, p.target, p.item = b.neighbour(p.home), mesh.Vec{}, 0
	}
	for _, p := range b.players {
		if !p.in {
			if tick%20 == 0 {
				b.say(p, &wire.Login{Player: p.id, Session: 1})
			}
			continue
		}
		body, w, ok := b.body(p)
		if !ok {
			continue // it is on its way between two zones
		}
		b.act(p, &body, w, tick)
		if (tick+mesh.Tick(p.id))%steerTicks == 0 {
			b.steer(p, &body)
		}
	}
}

// body finds the player's body, in the zone where it was or in another.
func (b *bench) body(p *player) (mesh.Entity, *world.World, bool) {
	id := mesh.PlayerEntity(p.id)
	if e, ok := b.worlds[p.zone].Get(id); ok {
		return e, b.worlds[p.zone], true
	}
	for i := range b.layout.Zones {
		zone := b.layout.Zones[i].ID
		if e, ok := b.worlds[zone].Get(id); ok {
			p.zone = zone
			return e, b.worlds[zone], true
		}
	}
	return mesh.Entity{}, nil, false
}

// neighbour draws a zone beside home.
func (b *bench) neighbour(home mesh.ZoneID) mesh.ZoneID {
	n := b.load.ZonesPerSide
	for {
		x, y := int(home-1)%n, int(home-1)/n
		step := []int{-1, 1}[b.rand.IntN(2)]
		if b.rand.IntN(2) == 0 {
			x += step
		} else {
			y += step
		}
		if x >= 0 && x < n && y >= 0 && y < n {
			return mesh.ZoneID(y*n + x + 1)
		}
	}
}

// act does the player's next event when it is due. Who has empty hands goes to
// the nearest item of its zone and picks it up.
func (b *bench) act(p *player, body *mesh.Entity, w *world.World, tick mesh.Tick) {
	if p.open != nil {
		if tick >= p.askedAt+repeatTicks {
			b.ask(p, tick)
		}
		return
	}
	if tick < p.due {
		return
	}
	ev := mesh.Event{Number: p.number + 1}
	switch {
	case body.Held != 0 && b.rand.IntN(2) == 0:
		ev.Action = mesh.ActDrop
	case body.Held != 0:
		ev.Action = mesh.ActThrow
		ev.Aim = mesh.Vec{X: (b.rand.Int32N(2*throwMPerS+1) - throwMPerS) * mesh.UnitsPerMeter, Y: throwMPerS * mesh.UnitsPerMeter / 2}
	default:
		item, ok := w.Get(p.item)
		if !ok || item.Carrier != 0 {
			if item, ok = nearest(w, body.Pos); !ok {
				return
			}
			p.item, p.target = item.ID, item.Pos
		}
		if item.Pos.Dist2(body.Pos) > 2*mesh.UnitsPerMeter*mesh.UnitsPerMeter {
			return // not there yet
		}
		ev.Action, ev.Target, ev.Hop = mesh.ActPickUp, item.ID, item.Hop
	}
	p.item, p.target = 0, mesh.Vec{}
	p.number++
	p.open = &ev
	if p.due += b.pause(); p.due < tick {
		p.due = tick // as often as the load says, though the way was long
	}
	b.ask(p, tick)
}

// nearest finds the free item that lies nearest to at.
func nearest(w *world.World, at mesh.Vec) (best mesh.Entity, found bool) {
	w.Each(func(e *mesh.Entity) bool {
		if e.ID.Kind() == mesh.KindItem && e.Carrier == 0 && e.Flags == 0 && (!found || e.Pos.Dist2(at) < best.Pos.Dist2(at)) {
			best, found = *e, true
		}
		return true
	})
	return best, found
}

func (b *bench) ask(p *player, tick mesh.Tick) {
	p.askedAt = tick
	b.say(p, &wire.Act{Player: p.id, Session: 1, Gateway: p.gateway.self.ID, Event: *p.open})
}

// steer walks towards the target, at home and always on the move.
func (b *bench) steer(p *player, body *mesh.Entity) {
	if p.target == (mesh.Vec{}) || p.item == 0 && p.target.Dist2(body.Pos) < 2*mesh.UnitsPerMeter*mesh.UnitsPerMeter {
		p.target = b.box(p.home).Min.Add(b.inside())
	}
	d := p.target.Sub(body.Pos)
	far := max(d.X, -d.X, d.Y, -d.Y, 1)
	p.command++
	yaw := uint16(b.rand.Uint32())
	b.say(p, &wire.Inputs{Zone: p.zone, Inputs: []wire.Input{{Player: p.id, Session: 1, Command: mesh.Command{
		Sequence: p.command, MoveX: int8(int64(d.X) * 60 / int64(far)), MoveY: int8(int64(d.Y) * 60 / int64(far)), Yaw: yaw,
	}}}})
}

// say sends a message of the player's gateway to the owner of its zone.
func (b *bench) say(p *player, m wire.PeerMessage) {
	z, _ := b.layout.Zone(p.zone)
	to := b.procs[z.Owner.Node]
	data := wire.AppendPeer(nil, m)
	b.after(time.Millisecond, func() { b.arrive(p.gateway, to, data) })
}

// told takes what a node says to a gateway about a player.
func (b *bench) told(m wire.PeerMessage) {
	switch m := m.(type) {
	case *wire.LoggedIn:
		b.players[m.Player-1].in = true
	case *wire.Ack:
		p := b.players[m.Player-1]
		if p.open == nil || p.open.Number != m.Event {
			return
		}
		b.result.Events++
		if p.open.Action == mesh.ActPickUp && m.Outcome == mesh.OutcomeOK {
			b.result.Picked++
		}
		p.open = nil
	}
}
