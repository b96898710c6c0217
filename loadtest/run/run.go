// Package run plays a scenario against a mesh: it drives the crowd, strikes
// the victims, watches the store, and in the end has the auditor count what
// was lost. Run does that; Command is its command line.
package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/loadtest/audit"
	"weft/loadtest/bot"
	"weft/loadtest/scenario"
	"weft/simnode/client"
	"weft/simnode/world"
)

// Mesh is the running world that a scenario is played against. It was founded
// with the scenario's Shard and Genesis.
type Mesh interface {
	// Join returns where and with which ticket a player connects. It may be
	// called from many goroutines.
	Join(player mesh.PlayerID) (gateways []string, ticket string, err error)
	// Store is the world's replication store. It can be read after Stop too.
	Store() store.Store
	// Kill ends a process at once, Pause stops it where it is, and Resume lets
	// it go on. Resume of one that has ended is no error.
	Kill(id mesh.NodeID) error
	Pause(id mesh.NodeID) error
	Resume(id mesh.NodeID) error
	// Stop puts the world to sleep and returns when all of it is durable.
	Stop(ctx context.Context) error
}

// Options are what a run may be told besides its scenario.
type Options struct {
	// Progress, if set, is called about once a second.
	Progress func(Status)
	// Log, if set, is told what happens, a sentence each time.
	Log func(string)
	// Faults does the scenario's faults while the crowd plays, and returns what
	// they came to; the play ends with it. It must return soon when ctx ends.
	Faults func(ctx context.Context, s *Strikes) *scenario.Drill
	// Dial opens a client's connection; WebSocket if nil.
	Dial func(ctx context.Context, url string) (client.Conn, error)
}

// Status is how far a run has come.
type Status struct {
	Elapsed, Total time.Duration
	Players, Want  int // connected now; in the scenario
	Nodes, Zones   int
	TickP99MS      float64 // of the worst node, in its newest report
}

// The patience of a run.
const (
	sampleEvery  = time.Second
	storeTimeout = 5 * time.Second
	stopTimeout  = 2 * time.Minute
	auditTimeout = 2 * time.Minute
)

// runner is a run in progress.
type runner struct {
	s     *scenario.Scenario
	mesh  Mesh
	opts  Options
	crowd *bot.Crowd
	start time.Time
	watch *watch

	mu      sync.Mutex
	kills   []kill
	dead    map[mesh.NodeID]bool
	resumes sync.WaitGroup // pauses that are to end
	drill   *scenario.Drill
	away    bool // the store, at the last sample
}

type kill struct {
	node   mesh.NodeID
	at     time.Duration
	outage *bot.Outage
}

// Run plays s against m, stops m and returns the report, with the
// expectations judged. If ctx ends early m is stopped and ctx's error returned.
func Run(ctx context.Context, s *scenario.Scenario, m Mesh, opts Options) (*scenario.Report, error) {
	began := time.Now()
	if opts.Log == nil {
		opts.Log = func(string) {}
	}
	if len(s.Faults) > 0 && opts.Faults == nil {
		return nil, errors.Join(fmt.Errorf("%s has faults: play it with weft drill", s.Name), stop(ctx, m))
	}
	layout, err := m.Store().Layout(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the layout: %w", err), stop(ctx, m))
	}
	limits := world.Tavern{}.Limits()
	r := &runner{s: s, mesh: m, opts: opts, dead: map[mesh.NodeID]bool{}, watch: newWatch(layout.Shard.TickHz)}
	r.crowd = bot.New(bot.Config{
		Seed: s.Seed, Shard: layout.Shard, WalkUnits: limits.WalkSpeed, ReachUnits: limits.Reach, Dial: opts.Dial,
		Join: func(_ context.Context, p mesh.PlayerID) ([]string, string, error) { return m.Join(p) },
	}, Specs(s))
	r.play(ctx)
	end := time.Now()
	opts.Log("putting the world to sleep")
	if err := stop(ctx, m); err != nil {
		return nil, fmt.Errorf("stop the world: %w", err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	opts.Log("reconciling the store with what the clients were promised")
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	claims := audit.Claims{Accounts: r.crowd.Accounts()}
	for _, e := range s.Genesis() {
		claims.Genesis = append(claims.Genesis, e.ID)
	}
	found, err := audit.Reconcile(ctx, m.Store(), claims)
	if err != nil {
		return nil, fmt.Errorf("audit the world: %w", err)
	}
	report := r.report(end, found)
	report.WallSeconds = round(time.Since(began).Seconds())
	report.Judge(s.Expect)
	return report, nil
}

func stop(ctx context.Context, m Mesh) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return m.Stop(ctx)
}

// play runs crowd, events and samples until the scenario's end.
func (r *runner) play(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.s.Duration)
	defer cancel()
	r.start = time.Now()
	r.sample(ctx) // what was counted before is not this run's
	var all sync.WaitGroup
	all.Go(func() { r.crowd.Run(ctx) })
	all.Go(func() { r.events(ctx) })
	if len(r.s.Faults) > 0 {
		all.Go(func() {
			defer cancel()
			r.drill = r.opts.Faults(ctx, &Strikes{r})
		})
	}
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			r.sample(ctx)
			r.progress()
		}
	}
	r.sample(context.WithoutCancel(ctx))
	all.Wait()
	r.resumes.Wait()
}

// sample reads the store once. A store that does not answer is asked again at
// the next.
func (r *runner) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	s := r.mesh.Store()
	layout, err1 := s.Layout(ctx)
	reports, err2 := s.Reports(ctx)
	processes, err3 := s.Processes(ctx)
	err := cmp.Or(err1, err2, err3)
	r.mu.Lock()
	defer r.mu.Unlock()
	if away := err != nil && ctx.Err() == nil; away != r.away {
		if r.away = away; away {
			r.opts.Log(fmt.Sprintf("the store cannot be read: %v", err))
		}
	}
	if err != nil {
		return
	}
	r.watch.sample(layout, reports, processes)
}

func (r *runner) progress() {
	if r.opts.Progress == nil {
		return
	}
	r.mu.Lock()
	st := Status{Nodes: r.watch.nodes, Zones: r.watch.zones, TickP99MS: r.watch.tickP99MS}
	r.mu.Unlock()
	st.Elapsed, st.Total = time.Since(r.start), r.s.Duration
	st.Players, st.Want = r.crowd.Connected(), r.s.Players()
	r.opts.Progress(st)
}

// events makes everything happen at its time.
func (r *runner) events(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for i, e := range r.s.Events {
		timer.Reset(time.Until(r.start.Add(e.At)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		salt := uint64(i) + 1
		switch {
		case e.Gather != nil:
			g := e.Gather
			r.opts.Log(fmt.Sprintf("%.0f %% of the crowd gather at %v m", 100*g.Fraction, g.AtM))
			r.crowd.Gather(g.Fraction, salt, scenario.Vec(g.AtM), int32(g.RadiusM*mesh.UnitsPerMeter), g.Within)
		case e.Act != nil:
			r.opts.Log(fmt.Sprintf("%.0f %% of the crowd begin to act", 100*e.Act.Fraction))
			r.crowd.Act(e.Act.Fraction, salt, e.Act.Do, e.Act.For)
		case e.Disperse != nil:
			r.opts.Log("the crowd disperses")
			r.crowd.Disperse()
		case e.Kill != nil:
			r.strike(ctx, e.Kill, salt, true)
		case e.Pause != nil:
			r.strike(ctx, e.Pause, salt, false)
		}
	}
}

// strike kills or pauses a victim.
func (r *runner) strike(ctx context.Context, f *scenario.Fault, salt uint64, killed bool) {
	v, err := r.victim(ctx, f, salt)
	if err != nil {
		r.opts.Log(fmt.Sprintf("nobody was struck: %v", err))
		r.fault(fmt.Sprintf("at %.1f s nobody was struck: %v", time.Since(r.start).Seconds(), err))
		return
	}
	if killed {
		if _, err := r.kill(v); err != nil {
			r.fault(err.Error())
		}
		return
	}
	if f.Role == mesh.RoleNode {
		r.crowd.Struck(v.Zones)
	}
	if err := r.mesh.Pause(v.ID); err != nil {
		r.fault(fmt.Sprintf("%s could not be paused: %v", v.ID, err))
		return
	}
	r.opts.Log(fmt.Sprintf("paused %s for %s", v.ID, f.For))
	r.resumes.Go(func() {
		timer := time.NewTimer(f.For)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		if err := r.mesh.Resume(v.ID); err != nil {
			r.fault(fmt.Sprintf("%s could not be resumed: %v", v.ID, err))
		}
	})
}

// kill ends v. The outage is nil for a gateway.
func (r *runner) kill(v Victim) (outage *bot.Outage, err error) {
	if v.Role == mesh.RoleNode {
		outage = r.crowd.Struck(v.Zones)
	}
	at := time.Since(r.start)
	if err := r.mesh.Kill(v.ID); err != nil {
		return nil, fmt.Errorf("%s could not be killed: %w", v.ID, err)
	}
	r.opts.Log(fmt.Sprintf("killed %s", v.ID))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead[v.ID] = true
	r.watch.killed(v.Role)
	if outage != nil {
		r.kills = append(r.kills, kill{v.ID, at, outage})
	}
	return outage, nil
}

// fault notes something that did not go by the script.
func (r *runner) fault(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch.faults = append(r.watch.faults, text)
}

// errNobody: there is no process that the fault can strike.
var errNobody = errors.New("there is no such process")

// Victim is a process to strike, with the zones that it owns.
type Victim struct {
	mesh.Process
	Zones map[mesh.ZoneID]mesh.Epoch
}

// victim chooses whom to strike among those that own a zone, or among ready
// gateways. The same seed chooses the same from the same fleet.
func (r *runner) victim(ctx context.Context, f *scenario.Fault, salt uint64) (Victim, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	s := r.mesh.Store()
	layout, err1 := s.Layout(ctx)
	reports, err2 := s.Reports(ctx)
	processes, err3 := s.Processes(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Victim{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	candidates := map[mesh.NodeID]mesh.Process{}
	for _, p := range processes {
		owns := slices.ContainsFunc(layout.Zones, func(z mesh.Zone) bool { return z.Owner.Same(p.Owner()) })
		if !r.dead[p.ID] && p.Role == f.Role && p.State != mesh.Stopped && (owns || f.Role == mesh.RoleGateway && p.State == mesh.Ready) {
			candidates[p.ID] = p
		}
	}
	if len(candidates) == 0 {
		return Victim{}, errNobody
	}
	preferred := maps.Clone(candidates)
	maps.DeleteFunc(preferred, func(_ mesh.NodeID, p mesh.Process) bool { return f.On != "" && f.On != runsOn(p) })
	if len(preferred) > 0 {
		candidates = preferred
	}
	ids := slices.Sorted(maps.Keys(candidates))
	id := ids[rand.New(rand.NewPCG(r.s.Seed, salt)).IntN(len(ids))]
	if f.Victim == scenario.Busiest {
		id = busiest(ids, reports)
	}
	v := Victim{candidates[id], map[mesh.ZoneID]mesh.Epoch{}}
	for _, z := range layout.Zones {
		if z.Owner.Node == id {
			v.Zones[z.ID] = z.Epoch
		}
	}
	return v, nil
}

// runsOn says what p is in the cloud, by what it is priced as; empty elsewhere.
func runsOn(p mesh.Process) string {
	switch {
	case p.Kind == "":
		return ""
	case strings.HasPrefix(p.Kind, "FARGATE"):
		return scenario.Task
	}
	return scenario.Instance
}

// busiest returns the candidate with the most actors, the first of equals.
func busiest(candidates []mesh.NodeID, reports []mesh.Report) mesh.NodeID {
	actors := map[mesh.NodeID]int{}
	for _, r := range reports {
		for _, z := range r.Zones {
			actors[r.Process.ID] += z.Actors
		}
	}
	best := candidates[0]
	for _, id := range candidates {
		if actors[id] > actors[best] {
			best = id
		}
	}
	return best
}

// report puts together what bots, store and audit say.
func (r *runner) report(end time.Time, found audit.Result) *scenario.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, w := r.crowd.Tally(), r.watch
	quantiles := func(s bot.Spread) scenario.Quantiles {
		return scenario.Quantiles{P50: round(s.P50), P99: round(s.P99)}
	}
	report := &scenario.Report{
		Scenario: r.s.Name, Seed: r.s.Seed, TickHz: r.s.TickHz,
		Players:   scenario.Players{Joined: t.Joined, Peak: t.Peak, Disconnects: t.Disconnects, Resumed: t.Resumed, Rejected: t.Rejected},
		ResumeMS:  quantiles(t.Resume),
		Crossings: scenario.Crossings{StallMS: scenario.Extremes{P50: round(t.Stall.P50), P99: round(t.Stall.P99), Max: round(t.Stall.Max)}},
		Recovery:  []scenario.Recovery{},
		Entities:  scenario.Entities{Expected: found.Expected, Lost: found.Lost, Duplicated: found.Duplicated + found.Unknown},
		Durable:   scenario.Durable{Acknowledged: found.Acknowledged, Lost: found.EventsLost, AckMS: quantiles(t.Ack)},

		UpdateAgeMS: quantiles(t.Age), ClientBytesPerS: quantiles(t.BytesPerS),
		Offences: found.Offences, BotFaults: append(t.Faults, w.faults...),
	}
	w.fill(report, end.Sub(r.start))
	if report.Drill = r.drill; report.Drill != nil {
		report.Drill.FirstTickMS = spreadOf(r.kills, end)
	}
	for _, k := range r.kills {
		report.Recovery = append(report.Recovery, scenario.Recovery{
			Node: string(k.node), KilledAtS: round(k.at.Seconds()),
			FirstTickMS:      round(float64(k.outage.FirstTick(end).Microseconds()) / 1000),
			ClientStallMSP99: round(k.outage.Stalls().P99),
		})
	}
	return report
}
