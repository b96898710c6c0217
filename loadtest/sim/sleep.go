package sim

import (
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/simnode/node"
	"weft/simnode/replication"
)

// wakesWithin is how long it may take from somebody's coming to a world that
// sleeps until everybody is in, once faults have ended.
const wakesWithin = 20 * time.Second

// SleepConfig is a world in which everybody leaves twice, under two planners:
// once they are called back at any moment of its falling asleep, once it
// sleeps through the end of the faults.
func SleepConfig() Config {
	cfg := DefaultConfig()
	cfg.Planners, cfg.Sleep, cfg.FaultFor = 2, true, 45*time.Second
	return cfg
}

// scheduleSleep sends everybody away twice, and back.
func (s *Sim) scheduleSleep() {
	leave := func() { s.note("everybody leaves"); s.absent = true }
	come := func() { s.note("everybody comes back"); s.absent = false }
	s.after(s.between(3*time.Second, 5*time.Second), leave)
	s.after(s.between(12*time.Second, 24*time.Second), come)
	s.after(s.between(26*time.Second, 29*time.Second), leave)
	back := s.cfg.FaultFor + s.between(0, 5*time.Second)
	s.after(back, come)
	s.after(back+wakesWithin, func() {
		for _, c := range s.clients {
			if !c.welcome || c.at == nil {
				s.fail("player %d is not in %v after everybody came back", c.player, wakesWithin)
			}
		}
	})
	s.every(100*time.Millisecond, 0, func() {
		if s.down = s.absent && len(s.live(mesh.RoleNode))+len(s.live(mesh.RoleGateway)) == 0; s.down && !s.wasDown {
			s.stats.LaidDown++
			s.note("nothing runs any more")
		}
		s.wasDown = s.down
	})
}

// ring tells the planner that somebody is about to be here, as join does.
func (s *Sim) ring() {
	if !s.cfg.Sleep || s.disk.down {
		return
	}
	must(s.store.PutIntent(ctx, planner.WakeIntent(s.wall(), "a player comes")))
}

// slept holds what a planner did to the layout against the promise that nobody
// takes over in a world that sleeps. An epoch raised by one that had read the
// layout before is to be adopted, as ever.
func (s *Sim) slept(old, l mesh.Layout) {
	switch {
	case !old.Asleep && l.Asleep:
		s.stats.Sleeps++
	case old.Asleep && !l.Asleep:
		s.stats.Wakes++
	case old.Asleep:
		for _, z := range l.Zones {
			if was, ok := old.Zone(z.ID); ok && was.Epoch != z.Epoch && s.raised[z.ID] {
				s.fail("zone %d is taken over by %s while the world sleeps", z.ID, z.Owner.Node)
			}
		}
	}
}

// rested holds what a node of a world that sleeps leaves behind against what it
// last simulated: nobody took its zones over, so all must be in the store.
func (c *checker) rested(p *proc) {
	l, err := c.s.store.Layout(ctx)
	if err != nil || !l.Asleep || p.node == nil {
		return
	}
	p.node.Inspect(func(z node.ZoneView) {
		rec, err := c.s.store.Zone(ctx, z.ID)
		if err != nil || rec.Epoch != z.Epoch || !z.Open {
			return // another's by now, or never looked into
		}
		kept, err := c.s.store.RaisePoses(ctx, z.ID, rec.Epoch) // as it is
		must(err)
		poses, err := replication.DecodePoses(kept.Data)
		must(err)
		at := map[mesh.EntityID]mesh.Pose{}
		for _, pose := range poses {
			at[pose.ID] = pose
		}
		z.World.Each(func(e *mesh.Entity) bool {
			d, ok := c.books.zones[z.ID].state.Entities[e.ID]
			was := d.Pose
			if pose, moved := at[e.ID]; moved && pose.Hop == d.Hop && kept.Tick >= d.Placed {
				was = pose
			}
			if e.Carrier == 0 && (!ok || was.Pos != e.Pos || was.Vel != e.Vel || was.Health != e.Health || d.LastEvent != e.LastEvent) {
				c.s.fail("%s rests and leaves entity %x of zone %d at %v, it was at %v", p.self.ID, uint64(e.ID), z.ID, was.Pos, e.Pos)
			}
			return c.s.violation == ""
		})
	})
}
