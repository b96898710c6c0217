package gateway

import "weft/control/mesh"

// A client at rest is one to whom nothing happens until a known tick: it
// stands, knows all that there is to know, and nothing in the replica has
// changed. It is passed over until then, or until something stirs.

// resting is who is at rest.
type resting struct {
	dues  []mesh.Tick // parallel to Gateway.clients: nothing is done for one before, unless something stirred
	never bool        // for tests: nobody rests
}

// passes reports whether there is nothing to do for client i, unless something
// stirred since.
func (g *Gateway) passes(i int) bool { return g.dues[i] > g.now }

// wake has c played and shown something again.
func (g *Gateway) wake(c *client) { g.dues[c.index] = 0 }

// rouse makes c, if it rested, what it would be had every view been looked at.
func (g *Gateway) rouse(c *client) {
	if c.resting {
		c.resting = false
		c.farAt = g.turnAt[c.phase%g.cfg.ViewEveryTicks]
		c.midAt = g.midStep(c, c.farAt)
	}
}

// rest, after c's view, lets it rest if it can.
func (g *Gateway) rest(c *client) {
	busy := g.stirred || g.unplayed || g.never || !c.playing || c.login || c.lost || c.route.zone == 0 ||
		c.sentAt == 0 || c.repeats > 0 || moving(c.command) || len(c.events) > 0 ||
		!c.placed || c.restless || c.stride > 1 || len(c.leaves) > 0 || len(c.pending) > 0 || c.rankedOf != g.grid.version
	for i := 0; i < len(c.zones) && !busy; i++ {
		busy = c.zones[i].epoch != c.zones[i].feed.shown
	}
	if busy {
		g.wake(c)
		return
	}
	c.resting = true
	g.dues[c.index] = min(g.aliveAt(c), g.attendAt(c))
}

// aliveAt returns when c is shown a view at the latest: KeepAliveTicks after
// the last, or, the first time, as much sooner as it takes to come to c's own
// turn, so that those who were told something together are not for ever.
func (g *Gateway) aliveAt(c *client) mesh.Tick {
	if c.toldAt == 0 {
		return 0
	}
	return c.turn(c.toldAt, g.cfg.KeepAliveTicks, aliveGrain)
}

// attendAt likewise returns when the owner of a standing body is told that its
// client is there.
func (g *Gateway) attendAt(c *client) mesh.Tick {
	return c.turn(c.sentAt, g.cfg.AttendEveryTicks, attendGrain)
}

// Turns are so many ticks apart: each tick in which there is anything to write wakes
// whoever writes and reads it.
const aliveGrain, attendGrain = 5, 20

// turn returns c's last turn, which comes every so many ticks, that is no later
// than as many after at.
func (c *client) turn(at mesh.Tick, every, grain uint64) mesh.Tick {
	return at + mesh.Tick(every-(uint64(at)+c.phase*grain)%every)
}

// peak is the most that one step has taken of the memory that steps share, since
// it was last looked at.
type peak struct {
	out, effects int
	lookAt       mesh.Tick
}

const (
	slimTicks = 40
	slack     = 4 // times what was needed may be kept
	keptBytes = 64 << 10
	kept      = 256
)

// slim gives back what only a burst needed, such as the first views of a crowd.
func (g *Gateway) slim() {
	if g.now < g.peak.lookAt {
		return
	}
	if cap(g.view.out) > max(slack*g.peak.out, keptBytes) {
		g.view.out = nil
	}
	if cap(g.effects) > max(slack*g.peak.effects, kept) {
		g.effects = nil
	}
	g.peak = peak{lookAt: g.now + slimTicks}
}
