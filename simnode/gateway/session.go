package gateway

import (
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// client is one connection and the session that it carries.
type client struct {
	id      process.ClientID
	player  mesh.PlayerID
	body    mesh.EntityID
	slot    uint32 // of the body, if it is shown; else any
	session uint64
	index   int    // in Gateway.clients
	phase   uint64 // spreads what is done every few ticks over the ticks
	upAt    mesh.Tick
	playing bool // its body stands and it was welcomed

	// login: the body has to be asked for, since loginAt every so often.
	login   bool
	loginAt mesh.Tick
	lost    bool // the body is in no frame, since lostAt
	lostAt  mesh.Tick

	route   route
	command mesh.Command
	steered bool // command holds one
	repeats int  // how often the command is still sent although it does not change
	sentAt  mesh.Tick

	last   uint32 // the highest event number accepted
	gap    bool   // the one after it was dropped for its rate, and will be repeated
	events []openEvent

	commandTokens, eventTokens int       // in 1/tickHz of a message
	tokensAt                   mesh.Tick // of the last refill
	resting                    bool
	viewer
}

// route is where a body's authority is: what is not durable there yet is sent
// again when it changes.
type route struct {
	zone  mesh.ZoneID
	epoch mesh.Epoch
	hop   uint32
}

// openEvent is a durable event without an Ack.
type openEvent struct {
	event  mesh.Event
	sentAt mesh.Tick
	sent   bool
}

// leaving is a session whose client is gone and whose body should know it.
type leaving struct {
	player  mesh.PlayerID
	session uint64
	now     bool
	at      mesh.Tick
	tries   int
}

const (
	standingRepeats = 3  // of a command that stops a body
	logoutTries     = 30 // of a logout whose effect is not seen, one a second
	goneTries       = 3  // of the logout of a body that no frame shows
	maxLeaving      = 1 << 14
)

// clientUp logs a player in.
func (g *Gateway) clientUp(ev process.Event) {
	refuse := func(reason wire.ByeReason, resume bool, text string) {
		g.effect(process.Effect{Kind: process.EffectClientClose, Client: ev.Client,
			ServerMessage: push(&g.byes, wire.Bye{Reason: reason, Resume: resume, Text: text})})
	}
	player := ev.Hello.Player
	old := g.byPlayer[player]
	switch {
	case g.draining:
		refuse(wire.ByeDraining, true, "this gateway stops")
		return
	case player == 0:
		refuse(wire.ByeMalformed, false, "player 0 is nobody")
		return
	case old != nil && old.session > ev.Fresh:
		refuse(wire.ByeReplaced, false, "the player is connected already")
		return
	case old == nil && len(g.clients) >= g.cfg.MaxClients:
		refuse(wire.ByeFull, true, "this gateway has no place")
		return
	case g.pending >= g.cfg.MaxPending && (old == nil || old.playing):
		refuse(wire.ByeFull, true, "too many players are logging in")
		return
	}
	if old != nil {
		g.bye(old, wire.ByeReplaced, false, "the player connected again")
	}
	g.leaving = slices.DeleteFunc(g.leaving, func(l leaving) bool { return l.player == player })
	g.joined++
	c := &client{
		id: ev.Client, player: player, body: mesh.PlayerEntity(player), session: ev.Fresh,
		index: len(g.clients), phase: uint64(g.joined), upAt: g.now,
	}
	c.viewer.begin(c.phase)
	c.commandTokens, c.eventTokens = g.burst(g.cfg.CommandsPerSecond), g.burst(g.cfg.EventsPerSecond)
	c.tokensAt = g.now
	g.clients, g.dues = append(g.clients, c), append(g.dues, 0)
	g.byID[c.id], g.byPlayer[player] = c, c
	g.pending++
	g.relogin(c)
}

// relogin asks every owner for c's body, now and until one has it.
func (g *Gateway) relogin(c *client) {
	c.login, c.loginAt = true, g.now
	m := push(&g.logins, wire.Login{Player: c.player, Session: c.session})
	for _, o := range g.owners {
		g.sendOwner(o, m)
	}
}

func (g *Gateway) loggedIn(m *wire.LoggedIn) {
	c := g.byPlayer[m.Player]
	if c == nil || m.Session < c.session {
		return
	}
	if m.Session > c.session {
		g.bye(c, wire.ByeReplaced, false, "the player logged in elsewhere")
		return
	}
	if f := g.feed(m.Zone); f == nil || m.Epoch < f.epoch {
		return
	}
	c.login = false
	if c.playing {
		return
	}
	c.playing, c.last = true, m.LastEvent
	g.pending--
	g.tell(c, push(&g.welcomes, wire.Welcome{
		Session: c.session, Entity: c.body, LastEvent: m.LastEvent,
		TickHz: g.layout.Shard.TickHz, OriginUnixMilli: g.layout.Shard.OriginUnixMilli, Tick: g.now, KeepAliveMilli: uint32(g.cfg.KeepAliveTicks * 1000 / uint64(g.tickHz())),
		Gateways: g.gatewaysFor(c.player),
	}))
}

// bye ends c's connection and session.
func (g *Gateway) bye(c *client, reason wire.ByeReason, resume bool, text string) {
	g.effect(process.Effect{Kind: process.EffectClientClose, Client: c.id,
		ServerMessage: push(&g.byes, wire.Bye{Reason: reason, Resume: resume, Text: text})})
	if reason == wire.ByeReplaced {
		g.unlist(c)
		return
	}
	g.remove(c, false)
}

// remove forgets c and tells its body, at once if the client said goodbye.
func (g *Gateway) remove(c *client, now bool) {
	g.unlist(c)
	if len(g.leaving) < maxLeaving {
		g.leaving = append(g.leaving, leaving{player: c.player, session: c.session, now: now, at: g.now})
		g.logout(&g.leaving[len(g.leaving)-1])
	}
}

func (g *Gateway) unlist(c *client) {
	last := len(g.clients) - 1
	g.clients[c.index] = g.clients[last]
	g.clients[c.index].index = c.index
	g.clients[last] = nil
	g.dues[c.index] = g.dues[last]
	g.clients, g.dues = g.clients[:last], g.dues[:last]
	delete(g.byID, c.id)
	if g.byPlayer[c.player] == c {
		delete(g.byPlayer, c.player)
	}
	if !c.playing {
		g.pending--
	}
	for i := range c.pages {
		c.pages[i].known.each(c.pages[i].number, g.forget)
	}
	for _, slot := range c.leaves {
		g.forget(slot)
	}
	c.pages, c.leaves, c.knows = nil, nil, 0
}

// logout tells every owner, since the body may be crossing.
func (g *Gateway) logout(l *leaving) {
	l.at = g.now
	l.tries++
	m := push(&g.logouts, wire.Logout{Player: l.player, Session: l.session, Now: l.now})
	for _, o := range g.owners {
		g.sendOwner(o, m)
	}
}

// repeatLogouts repeats them, as they may be lost, until the body is seen to
// stand idle or is gone.
func (g *Gateway) repeatLogouts() {
	g.leaving = slices.DeleteFunc(g.leaving, func(l leaving) bool {
		e, ok := g.find(mesh.PlayerEntity(l.player))
		done := ok && !l.now && e.pose.Flags&mesh.Idle != 0 || !ok && l.tries >= goneTries
		return l.tries >= logoutTries || done && g.now > l.at+2
	})
	for i := range g.leaving {
		if l := &g.leaving[i]; g.now >= l.at+20 {
			g.logout(l)
		}
	}
}

// tickHz returns the rate of the shard's ticks.
func (g *Gateway) tickHz() int {
	if g.layout == nil || g.layout.Shard.TickHz == 0 {
		return 20
	}
	return int(g.layout.Shard.TickHz)
}

// burst is one second's worth of tokens.
func (g *Gateway) burst(perSecond int) int { return perSecond * g.tickHz() }

// spend takes a message off tokens. It reports whether it may pass; a client
// that went too far is sent away.
func (g *Gateway) spend(c *client, tokens *int, perSecond int) bool {
	g.refill(c)
	*tokens -= g.tickHz()
	if *tokens >= 0 {
		return true
	}
	g.record.counters.RefusedInputs++
	if *tokens < -g.burst(perSecond)*g.cfg.FloodSeconds {
		g.bye(c, wire.ByeFlood, false, fmt.Sprintf("more than %d messages a second", perSecond))
	}
	return false
}

// refill adds what the ticks since the last refill brought.
func (g *Gateway) refill(c *client) {
	ticks := int(min(g.now-c.tokensAt, mesh.Tick(g.tickHz())))
	c.tokensAt = g.now
	c.commandTokens = min(c.commandTokens+ticks*g.cfg.CommandsPerSecond, g.burst(g.cfg.CommandsPerSecond))
	c.eventTokens = min(c.eventTokens+ticks*g.cfg.EventsPerSecond, g.burst(g.cfg.EventsPerSecond))
}

func (g *Gateway) fromClient(id process.ClientID, m wire.ClientMessage) {
	c := g.byID[id]
	if c == nil {
		return
	}
	g.wake(c)
	switch m := m.(type) {
	case *wire.Steer:
		g.steer(c, m.Command)
	case *wire.Do:
		g.do(c, m.Event)
	case *wire.Goodbye:
		g.effect(process.Effect{Kind: process.EffectClientClose, Client: c.id})
		g.remove(c, true)
	default:
		g.record.counters.RefusedInputs++
		g.bye(c, wire.ByeMalformed, false, "only the first message is a hello")
	}
}

func (g *Gateway) steer(c *client, cmd mesh.Command) {
	if !g.spend(c, &c.commandTokens, g.cfg.CommandsPerSecond) {
		return
	}
	if x, y := int(cmd.MoveX), int(cmd.MoveY); x*x+y*y > 127*127 {
		g.record.counters.RefusedInputs++
		return
	}
	if c.steered && int32(cmd.Sequence-c.command.Sequence) <= 0 {
		return
	}
	same := c.steered && cmd.MoveX == c.command.MoveX && cmd.MoveY == c.command.MoveY && cmd.Yaw == c.command.Yaw
	c.command, c.steered = cmd, true
	if !same {
		c.repeats = standingRepeats
		c.sentAt = 0
	}
}

func moving(c mesh.Command) bool { return c.MoveX != 0 || c.MoveY != 0 }

// do takes in a durable event: the next one, or one that is repeated since its
// Ack was lost.
func (g *Gateway) do(c *client, ev mesh.Event) {
	if !g.spend(c, &c.eventTokens, g.cfg.EventsPerSecond) {
		c.gap = true
		return
	}
	if c.gap && ev.Number > c.last+1 {
		g.record.counters.RefusedInputs++
		return
	}
	aim := g.cfg.AimMPerS * mesh.UnitsPerMeter
	within := func(v int32) bool { return v >= -aim && v <= aim }
	text := ""
	switch {
	case !c.playing:
		text = "an event before the welcome"
	case ev.Action < mesh.ActDrop || ev.Action > mesh.ActBoard:
		text = "an unknown action"
	case !within(ev.Aim.X) || !within(ev.Aim.Y) || !within(ev.Aim.Z):
		text = fmt.Sprintf("an aim faster than %d m/s", g.cfg.AimMPerS)
	case ev.Number == 0 || ev.Number > c.last+1:
		text = fmt.Sprintf("event %d after event %d", ev.Number, c.last)
	}
	if text != "" {
		g.record.counters.RefusedInputs++
		g.bye(c, wire.ByeMalformed, false, text)
		return
	}
	if i := slices.IndexFunc(c.events, func(o openEvent) bool { return o.event.Number == ev.Number }); i >= 0 {
		return // it is on its way, and repeated
	}
	if ev.Number <= c.last && c.last-ev.Number >= mesh.EventWindow {
		g.record.counters.RefusedInputs++
		return // nobody remembers its outcome
	}
	if len(c.events) >= mesh.EventWindow {
		g.record.counters.RefusedInputs++
		g.bye(c, wire.ByeFlood, false, fmt.Sprintf("more than %d events without an answer", mesh.EventWindow))
		return
	}
	c.last, c.gap = max(c.last, ev.Number), c.gap && ev.Number <= c.last
	at := len(c.events)
	for at > 0 && c.events[at-1].event.Number > ev.Number {
		at--
	}
	c.events = slices.Insert(c.events, at, openEvent{event: ev})
	g.sendEvents(c, false)
}

// sendEvents sends the events that were not sent yet or long ago; all of them
// when the body has another authority than before.
func (g *Gateway) sendEvents(c *client, all bool) {
	f := g.feed(c.route.zone)
	if f == nil {
		return
	}
	for i := range c.events {
		o := &c.events[i]
		if !all && o.sent && g.now < o.sentAt+mesh.Tick(g.cfg.EventEveryTicks) {
			continue
		}
		o.sent, o.sentAt = true, g.now
		g.sendOwner(f.owner, push(&g.acts, wire.Act{Player: c.player, Session: c.session, Gateway: g.self.ID, Event: o.event}))
	}
}

func (g *Gateway) ack(m *wire.Ack) {
	c := g.byPlayer[m.Player]
	if c == nil || c.session != m.Session {
		return
	}
	for i := range c.events {
		if c.events[i].event.Number == m.Event {
			c.events = append(c.events[:i], c.events[i+1:]...)
			break
		}
	}
	g.tell(c, push(&g.acks, wire.EventAck{Event: m.Event, Outcome: m.Outcome, Entity: m.Entity, Hop: m.Hop}))
}

// play does a tick's work for c, views left out: login, route,
// command and events. It may send c away.
func (g *Gateway) play(c *client) {
	if !c.playing && g.now > c.upAt+mesh.Tick(g.cfg.LoginTimeoutTicks) {
		g.bye(c, wire.ByeFull, true, "no node took the player in; try again in a minute")
		return
	}
	changed := c.playing && g.follow(c)
	if c.login && g.now >= c.loginAt+mesh.Tick(g.cfg.LoginEveryTicks) {
		g.relogin(c)
	}
	if !c.playing || c.route.zone == 0 {
		return
	}
	if len(c.events) > 0 {
		g.sendEvents(c, changed)
	}
	g.input(c, changed)
}

// follow finds where c's body is and reports whether its authority changed.
func (g *Gateway) follow(c *client) bool {
	slot, ok := g.bodyOf(c)
	if !ok || len(g.entities[slot].claims) == 0 {
		if !c.lost {
			c.lost, c.lostAt = true, g.now
		}
		if g.now > c.lostAt+mesh.Tick(g.cfg.LostTicks) {
			c.login = true
		}
		return false
	}
	c.lost = false
	e := &g.entities[slot]
	r := route{e.best.zone, e.best.epoch, e.pose.Hop}
	if r == c.route {
		return false
	}
	if r.zone == c.route.zone && r.epoch != c.route.epoch {
		g.relogin(c)
	}
	c.route = r
	return true
}

// input hands c's command to the zone of its body if it is due: when it is new,
// when the authority changed, and again while the body moves; a command to
// stand is repeated a few times in case it was lost, and now and then so that
// the body's owner knows that somebody is there.
func (g *Gateway) input(c *client, changed bool) {
	due := g.now >= c.sentAt+mesh.Tick(g.cfg.InputEveryTicks)
	switch {
	case changed:
		c.repeats = max(c.repeats, 1)
	case c.sentAt == 0:
	case g.now >= g.attendAt(c):
	case !due || !moving(c.command) && c.repeats == 0:
		return
	}
	if f := g.feed(c.route.zone); f != nil {
		c.sentAt = g.now
		c.repeats = max(c.repeats-1, 0)
		f.inputs = append(f.inputs, wire.Input{Player: c.player, Session: c.session, Command: c.command})
	}
}

// sendInputs sends each zone its batch.
func (g *Gateway) sendInputs() {
	for _, f := range g.feeds {
		for batch := f.inputs; len(batch) > 0; {
			n := min(len(batch), wire.MaxInputs)
			g.sendOwner(f.owner, push(&g.inputs, wire.Inputs{Zone: f.zone, Inputs: batch[:n]}))
			batch = batch[n:]
		}
		f.inputs = f.inputs[:0]
	}
}

func (g *Gateway) beginDrain() {
	if g.draining {
		return
	}
	g.draining, g.self.State = true, mesh.Draining
	ticks := int(g.cfg.DrainTicks)
	g.drainShare = max(1, (len(g.clients)+ticks-1)/ticks)
}

// drain sends an even share of the clients to their next gateway.
func (g *Gateway) drain() {
	if !g.draining {
		return
	}
	for range min(g.drainShare, len(g.clients)) {
		g.bye(g.clients[len(g.clients)-1], wire.ByeDraining, true, "this gateway stops; go to the next")
	}
}
