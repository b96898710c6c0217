package sim

import (
	"time"

	"weft/control/mesh"
	"weft/simnode/replication"
	"weft/simnode/world"
)

// Faults are what may go wrong, as shares of calls or as events per minute.
type Faults struct {
	Loss, Repeat, Delay             float64 // of messages
	DelayUpTo                       time.Duration
	StoreLost, StoreLate, StoreSlow float64 // of store calls
	StoreSlowUpTo                   time.Duration
	LoadSlow                        float64 // of the calls of a takeover: the owner before goes on writing meanwhile
	LoadSlowUpTo                    time.Duration
	PlannerDies                     float64 // of layout changes, between two writes
	RaisedTwice                     float64 // of takeovers
	ClockDrift                      float64 // spread of clock rates

	KillsPerMinute, PausesPerMinute, GatewayKillsPerMinute float64
	ResetsPerMinute, PartitionsPerMinute, OutagesPerMinute float64
	BlindsPerMinute                                        float64 // a process reads an old layout for a while
	SnapshotsFailPerMinute                                 float64 // chunks and pointers have no answer for a while
	SnapshotsFailUpTo                                      time.Duration
	SlowClientsPerMinute                                   float64 // clients that do not read what may be left out
	SlowClientUpTo                                         time.Duration
	PauseUpTo, PartitionUpTo, OutageUpTo, BlindUpTo        time.Duration
}

// AllFaults switches everything on.
func AllFaults() Faults {
	return Faults{
		Loss: 0.01, Repeat: 0.02, Delay: 0.05, DelayUpTo: 400 * time.Millisecond,
		StoreLost: 0.01, StoreLate: 0.03, StoreSlow: 0.03, StoreSlowUpTo: 300 * time.Millisecond,
		LoadSlow: 0.2, LoadSlowUpTo: 2 * time.Second,
		PlannerDies: 0.1, RaisedTwice: 0.2, ClockDrift: 0.01,
		KillsPerMinute: 10, PausesPerMinute: 10, GatewayKillsPerMinute: 2,
		ResetsPerMinute: 10, PartitionsPerMinute: 4, OutagesPerMinute: 2,
		PauseUpTo: 6 * time.Second, PartitionUpTo: 5 * time.Second, OutageUpTo: 4 * time.Second,
		BlindsPerMinute: 20, BlindUpTo: 4 * time.Second,
		SnapshotsFailPerMinute: 2, SnapshotsFailUpTo: 20 * time.Second,
		SlowClientsPerMinute: 30, SlowClientUpTo: 5 * time.Second,
	}
}

// NoFaults leaves the changes of layout only.
func NoFaults() Faults { return Faults{} }

func (s *Sim) scheduleFaults() {
	f := &s.cfg.Faults
	s.poisson(f.KillsPerMinute, s.killNode)
	s.poisson(f.PausesPerMinute, s.pauseNode)
	s.poisson(f.GatewayKillsPerMinute, s.killGateway)
	s.poisson(f.ResetsPerMinute, s.resetLink)
	s.poisson(f.PartitionsPerMinute, s.partition)
	s.poisson(f.OutagesPerMinute, s.outage)
	s.poisson(f.BlindsPerMinute, s.blindfold)
	s.poisson(f.SnapshotsFailPerMinute, s.failSnapshots)
	s.poisson(f.SlowClientsPerMinute, s.slowClient)
}

// poisson calls do at random times while faults last.
func (s *Sim) poisson(perMinute float64, do func()) {
	if perMinute <= 0 {
		return
	}
	s.after(time.Duration(s.rng.ExpFloat64()*float64(time.Minute)/perMinute), func() {
		if s.faulting {
			do()
			s.poisson(perMinute, do)
		}
	})
}

func (s *Sim) randomNode() *proc {
	nodes := s.live(mesh.RoleNode)
	if len(nodes) < 2 {
		return nil
	}
	return nodes[s.rng.IntN(len(nodes))]
}

// killNode ends a node; a new one comes, half the time under its old name.
func (s *Sim) killNode() {
	p := s.randomNode()
	if p == nil {
		return
	}
	s.stats.Kills++
	s.note("kill %s", p.self.ID)
	s.kill(p)
	id := p.self.ID
	if s.chance(0.5) {
		id += "x"
	} else {
		s.stats.Restarts++
	}
	if s.cfg.Planners > 0 && id != p.self.ID {
		return // the planner launches what it needs
	}
	s.after(s.between(100*time.Millisecond, 4*time.Second), func() { s.start(id, mesh.RoleNode) })
}

func (s *Sim) killGateway() {
	gateways := s.live(mesh.RoleGateway)
	if len(gateways) < 2 {
		return
	}
	p := gateways[s.rng.IntN(len(gateways))]
	s.note("kill %s", p.self.ID)
	s.stats.Kills++
	s.kill(p)
	s.after(s.between(100*time.Millisecond, 4*time.Second), func() { s.start(p.self.ID, mesh.RoleGateway) })
}

func (s *Sim) pauseNode() {
	p := s.randomNode()
	if p == nil || p.pausing {
		return
	}
	s.stats.Pauses++
	d := s.between(200*time.Millisecond, s.cfg.Faults.PauseUpTo)
	s.note("pause %s for %v", p.self.ID, d)
	p.pausing = true
	s.after(d, func() { s.resume(p) })
}

// resume lets a process go on: what came meanwhile waits in its sockets.
func (s *Sim) resume(p *proc) {
	if !p.pausing {
		return
	}
	p.pausing = false
	queue := p.queue
	p.queue = nil
	for _, ev := range queue {
		s.deliver(p, ev)
	}
}

func (s *Sim) resetLink() {
	p, q := s.randomNode(), s.procs[s.rng.IntN(len(s.procs))]
	if p == nil || p == q || !q.alive {
		return
	}
	s.net.reset(s, p, q, s.between(50*time.Millisecond, 2*time.Second))
}

// partition cuts one process off from another, one way or both.
func (s *Sim) partition() {
	p, q := s.randomNode(), s.procs[s.rng.IntN(len(s.procs))]
	if p == nil || p == q || !q.alive {
		return
	}
	s.stats.Partitions++
	s.note("partition %s %s", p.self.ID, q.self.ID)
	a, b := [2]mesh.NodeID{p.self.ID, q.self.ID}, [2]mesh.NodeID{q.self.ID, p.self.ID}
	s.net.cut[a] = true
	if s.chance(0.5) {
		s.net.cut[b] = true
	}
	s.after(s.between(100*time.Millisecond, s.cfg.Faults.PartitionUpTo), func() {
		delete(s.net.cut, a)
		delete(s.net.cut, b)
	})
}

func (s *Sim) outage() {
	if s.disk.down {
		return
	}
	s.stats.Outages++
	s.note("store down")
	s.disk.down = true
	s.after(s.between(200*time.Millisecond, s.cfg.Faults.OutageUpTo), func() {
		s.note("store up")
		s.disk.down = false
	})
}

// failSnapshots lets no snapshot through, so that rings fill.
func (s *Sim) failSnapshots() {
	s.note("no snapshots")
	s.disk.noSnapshots = true
	s.after(s.between(5*time.Second, s.cfg.Faults.SnapshotsFailUpTo), func() { s.disk.noSnapshots = false })
}

// blindfold shows a process an old layout: it may go on as the owner of what
// another has taken over, and only the store can tell it.
func (s *Sim) blindfold() {
	p := s.procs[s.rng.IntN(len(s.procs))]
	if !p.alive || p.blind {
		return
	}
	s.stats.Blinds++
	s.note("%s reads an old layout", p.self.ID)
	p.blind = true
	s.after(s.between(200*time.Millisecond, s.cfg.Faults.BlindUpTo), func() { p.blind = false })
}

// slowClient lets a client read too slowly for a while: views that tell of nobody
// who comes or goes are left out, and its gateway hears of it.
func (s *Sim) slowClient() {
	c := s.clients[s.rng.IntN(len(s.clients))]
	if c.slow {
		return
	}
	c.slow = true
	s.after(s.between(200*time.Millisecond, s.cfg.Faults.SlowClientUpTo), func() { c.slow = false })
}

// calm ends the faults.
func (s *Sim) calm() {
	s.note("faults end")
	s.faulting = false
	s.disk.down, s.disk.noSnapshots = false, false
	s.net.cut = map[[2]mesh.NodeID]bool{}
	for _, p := range s.procs {
		p.blind = false
		s.resume(p)
	}
	for _, c := range s.clients {
		c.slow = false
	}
	for len(s.live(mesh.RoleNode)) < 2 && !s.cfg.Sleep {
		s.start("spare", mesh.RoleNode)
	}
}

// genesis writes the first layout, a grid of four zones, and where the items lie.
func (s *Sim) genesis() {
	s.net.cut = map[[2]mesh.NodeID]bool{}
	b := s.shard.Bounds
	west, east := b.Cut(0, b.Max.X/2)
	sw, nw := west.Cut(1, b.Max.Y/2)
	se, ne := east.Cut(1, b.Max.Y/2)
	l := mesh.Layout{Version: 1, Shard: s.shard, NextZone: 5}
	items := world.Scatter(s.shard.Seed, s.cfg.Items, b, s.shard.Spawn, b.Max.X/2)
	for i := range s.cfg.Ships { // about the middle, where four zones meet
		items = append(items, mesh.Entity{Pose: mesh.Pose{
			ID: mesh.MakeEntityID(mesh.KindShip, uint64(i+1)), Health: 500, Pos: s.shard.Spawn.Add(mesh.Meters(int32(8*i-8), 5, 0)),
		}})
	}
	for i, box := range []mesh.Box{sw, nw, se, ne} {
		id := mesh.ZoneID(i + 1)
		l.Zones = append(l.Zones, mesh.Zone{ID: id, Box: box})
		state := replication.NewState()
		for _, e := range items {
			if box.Contains(e.Pos) {
				state.Entities[e.ID] = e
			}
		}
		key := "z" + string(rune('0'+id)) + "/genesis"
		must(s.store.PutChunk(ctx, key, state.Encode(nil)))
		must(s.store.CreateZone(ctx, mesh.ZoneRecord{Zone: id, Pointer: mesh.Pointer{Position: -1, Chunks: []string{key}}}))
	}
	must(s.store.PutLayout(ctx, l))
	for _, e := range items {
		s.check.items = append(s.check.items, e.ID)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
