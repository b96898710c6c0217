package gateway

import (
	"weft/control/mesh"
	"weft/simnode/process"
)

// showing is when clients are shown something: once a tick, as soon as the
// frames of the tick are there of every zone from which frames come, so that
// none goes by unseen and nobody waits for longer than for the last of them.
type showing struct {
	shownOf mesh.Tick // the highest tick of a frame that was shown
	shownAt mesh.Tick // when clients were last shown anything
	late    bool      // the last tick was, by lateShowing
	unseen  uint32    // late ticks in a row that were not shown
	telling *news     // what is told now: what changed since these clients were last told
	// owed is what each turn has not been told of, where clients are shown
	// something every few ticks only, in turns.
	owed   []news
	turnAt []uint32 // by turn, the step of its last views
}

const (
	// lateShowing, in ticks, is how late makes a gateway leave frames out.
	lateShowing = 1.5
	// maxUnseen bounds how many late ticks in a row are not shown.
	maxUnseen = 4
	// quietTicks is for how long a zone's next frame is waited for.
	quietTicks = 2
)

// showWhole shows what there is if the frame of f was the last of its tick.
func (g *Gateway) showWhole(f *feed) {
	if g.late || f.tick <= g.shownOf {
		return
	}
	for _, o := range g.feeds {
		if o.tick < f.tick && o.shown != 0 && o.shown == o.epoch && g.now <= o.heardAt+quietTicks {
			return
		}
	}
	g.showAll(f.tick)
}

// showLate, at a tick, shows what there is if frames that were waited for did
// not come. If the tick is very late the next one is due already: its views
// follow at once and tell all that those of this one would. Clients to whom the
// views of a burst were sent would seem not to take them.
func (g *Gateway) showLate(ev process.Event) {
	g.late = float64(ev.LateUS)*float64(g.tickHz()) >= lateShowing*1e6
	switch {
	case g.late && g.unseen < maxUnseen:
		g.unseen++
		return
	case !g.late && g.now <= g.shownAt+1:
		g.unseen = 0
		return
	}
	g.unseen = 0
	tick := g.shownOf
	for _, f := range g.feeds {
		tick = max(tick, f.tick)
	}
	g.showAll(tick)
}

// showAll sends each client whose turn it is the view of what frames up to tick
// have told. Steps grow by what ticks do, so that rates hold if some are not shown.
func (g *Gateway) showAll(tick mesh.Tick) {
	g.view.arena = g.view.arena[:0]
	before := g.step
	g.step += uint32(min(max(tick, g.shownOf+1)-g.shownOf, mesh.Tick(g.cfg.FarEveryTicks)))
	if g.shownOf == 0 {
		g.step = before + 1
	}
	g.shownOf, g.shownAt = tick, g.now
	if len(g.clients) == 0 || g.layout == nil {
		return
	}
	if g.gridStale {
		g.grid.sort(&g.replica)
		g.gridStale = false
	}
	g.encode()
	g.forgetGroups()
	if g.stirred {
		g.stirred = false
		clear(g.dues)
	}
	g.owe()
	turns := g.cfg.ViewEveryTicks
	for i, c := range g.clients {
		if g.passes(i) {
			continue
		}
		turn := c.phase % turns
		view := (uint64(g.step) + turn) / turns
		if view == (uint64(before)+turn)/turns {
			continue
		}
		if g.telling = &g.news; turns > 1 {
			g.telling = &g.owed[turn]
		}
		g.rouse(c)
		if len(g.telling.pages) > 0 {
			c.restless = g.telling.merge(c.pages)
		} else if c.restless {
			c.restless = c.pages.restless()
		}
		if c.playing && (view+c.phase/turns)%uint64(c.stride) == 0 {
			g.show1(c)
		}
		g.rest(c)
	}
	for turn := range turns {
		if (uint64(g.step)+turn)/turns != (uint64(before)+turn)/turns {
			g.turnAt[turn] = g.step
			if turns > 1 {
				g.owed[turn].forget()
			}
		}
	}
	g.news.forget()
}

// owe makes what is new part of what each turn has not been told of.
func (g *Gateway) owe() {
	for i := range g.owed {
		g.owed[i].grow(len(g.entities))
		g.owed[i].add(&g.news)
	}
}
