package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

// The patience of a drill.
const (
	recovery  = 30 * time.Second       // until the mesh is whole again
	spacing   = 2 * time.Second        // between two faults at the least
	lookEvery = 100 * time.Millisecond // while something is awaited
	calm      = 3 * time.Second        // after the last fault
	settling  = 60 * time.Second       // until no event from before an outage waits
)

// drill is one in progress.
type drill struct {
	s       *scenario.Scenario
	mesh    stage.Mesh
	proxies *proxies // of a drill of links
	records string   // where nodes keep their writes

	*run.Strikes
	figures    scenario.Drill
	recoveries []time.Duration
}

// env is what processes are told besides what they always are.
func (d *drill) env(s launch.Spec) (env []string) {
	if s.Role != mesh.RoleNode {
		return nil
	}
	if slices.ContainsFunc(d.s.Faults, func(t scenario.Trial) bool { return t.Do == scenario.PauseNode }) {
		env = append(env, "WEFT_RECORD_WRITES="+d.records)
	}
	if d.proxies != nil {
		env = append(env, d.proxies.env(s.Node)...)
	}
	return env
}

// faults does all trials.
func (d *drill) faults(ctx context.Context, s *run.Strikes) *scenario.Drill {
	d.Strikes = s
	for _, t := range s.Trials() {
		if wait(ctx, time.Until(s.Start().Add(t.At))) != nil {
			break
		}
		if err := d.whole(ctx, time.Now(), nil); err != nil {
			d.Note("the mesh was not whole before %s: %v", t.Do, err)
		}
		for i := range t.Times {
			began := time.Now()
			if err := d.trial(ctx, t, i); err != nil {
				if ctx.Err() != nil {
					break
				}
				d.figures.Unrecovered++
				d.Note("%s %d of %d: %v", t.Do, i+1, t.Times, err)
			}
			d.figures.Faults++
			if wait(ctx, spacing-time.Since(began)) != nil {
				break
			}
		}
	}
	_ = wait(ctx, calm)
	d.figures.RecoveryMS = run.Extremes(d.recoveries)
	return &d.figures
}

func (d *drill) trial(ctx context.Context, t scenario.Trial, i int) error {
	switch t.Do {
	case scenario.KillNode:
		return d.kill(ctx, mesh.RoleNode, i)
	case scenario.KillGateway:
		return d.kill(ctx, mesh.RoleGateway, i)
	case scenario.PauseNode:
		return d.pause(ctx, i)
	case scenario.Links:
		return d.links(ctx, t, i)
	case scenario.StoreDown:
		return d.outage(ctx, t.For)
	}
	return fmt.Errorf("nobody knows how to %s", t.Do)
}

// victim is the busiest and any in turn.
func (d *drill) victim(ctx context.Context, role mesh.Role, i int) (run.Victim, error) {
	f := scenario.Fault{Role: role, Victim: scenario.Random}
	if i%2 == 0 && role == mesh.RoleNode {
		f.Victim = scenario.Busiest
	}
	return d.Victim(ctx, f, uint64(i)+1)
}

func (d *drill) kill(ctx context.Context, role mesh.Role, i int) error {
	v, err := d.victim(ctx, role, i)
	if err != nil {
		return err
	}
	at := time.Now()
	if _, err := d.Kill(v); err != nil {
		return err
	}
	return d.whole(ctx, at, map[mesh.NodeID]bool{v.ID: true})
}

// whole waits until every zone is open under an owner that lives and is none
// of the gone, a node is to spare, and all gateways are there. That took since
// the time at.
func (d *drill) whole(ctx context.Context, at time.Time, gone map[mesh.NodeID]bool) error {
	err := d.await(ctx, gone, false)
	if err == nil && len(gone) > 0 {
		d.recoveries = append(d.recoveries, time.Since(at))
	}
	return err
}

// await waits until the mesh is whole, or its zones are.
func (d *drill) await(ctx context.Context, gone map[mesh.NodeID]bool, zonesOnly bool) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		why := d.lacks(ctx, gone, zonesOnly)
		if why == nil {
			return nil
		}
		if wait(ctx, lookEvery) != nil {
			return fmt.Errorf("not whole after %s: %w", recovery, why)
		}
	}
}

// lacks says what the mesh lacks to be whole.
func (d *drill) lacks(ctx context.Context, gone map[mesh.NodeID]bool, zonesOnly bool) error {
	st := d.mesh.Store()
	layout, err1 := st.Layout(ctx)
	reports, err2 := st.Reports(ctx)
	processes, err3 := st.Processes(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	living, owns := map[mesh.NodeID]mesh.Process{}, map[mesh.NodeID]bool{}
	gateways := 0
	for _, p := range processes {
		if p.State == mesh.Ready && !gone[p.ID] {
			living[p.ID] = p
			if p.Role == mesh.RoleGateway {
				gateways++
			}
		}
	}
	for _, z := range layout.Zones {
		p, ok := living[z.Owner.Node]
		if !ok || p.Incarnation != z.Owner.Incarnation {
			return fmt.Errorf("zone %d is of %s, which is gone", z.ID, z.Owner.Node)
		}
		owns[p.ID] = true
		if !open(reports, z) {
			return fmt.Errorf("zone %d is not open at %s", z.ID, p.ID)
		}
	}
	spare := slices.ContainsFunc(processes, func(p mesh.Process) bool {
		_, lives := living[p.ID]
		return lives && p.Role == mesh.RoleNode && !owns[p.ID]
	})
	switch {
	case zonesOnly:
	case !spare:
		return errors.New("there is no node to spare")
	case gateways < d.s.Gateways:
		return fmt.Errorf("there are %d gateways of %d", gateways, d.s.Gateways)
	}
	return nil
}

// open reports whether z's owner says that it is open under its epoch.
func open(reports []mesh.Report, z mesh.Zone) bool {
	return slices.ContainsFunc(reports, func(r mesh.Report) bool {
		return r.Process.Owner().Same(z.Owner) && slices.ContainsFunc(r.Zones, func(l mesh.ZoneLoad) bool {
			return l.Zone == z.ID && l.Open && l.Epoch >= z.Epoch
		})
	})
}

// outage takes the store away for a while.
func (d *drill) outage(ctx context.Context, over time.Duration) error {
	const grace = 500 * time.Millisecond // for answers that are on their way
	before, err := d.sight(ctx)
	if err != nil {
		return err
	}
	down := time.Now()
	d.mesh.StoreDown()
	d.Log("the store is down for %s", over)
	err = wait(ctx, grace)
	first := d.Crowd().Tally()
	err = errors.Join(err, wait(ctx, over-time.Since(down)))
	last := d.Crowd().Tally()
	players := max(d.Crowd().Connected(), 1)
	o := &d.figures.Outage
	for try := 0; ; try++ { // another program's connection may sit on the port for a moment
		up := d.mesh.StoreUp()
		if up == nil {
			break
		}
		if try == 20 || wait(context.WithoutCancel(ctx), 250*time.Millisecond) != nil {
			return errors.Join(err, up)
		}
	}
	back := time.Now()
	o.Seconds += back.Sub(down).Seconds()
	o.Held += d.Crowd().Open(back)
	o.Acknowledged += int(last.Ack.Count - first.Ack.Count)
	o.ViewsPerPlayerS = float64(last.Age.Count-first.Age.Count) / (over - grace).Seconds() / float64(players)
	d.Log("the store is back; %d events wait", o.Held)
	for err == nil && d.Crowd().Open(back) > 0 && time.Since(back) < settling {
		err = wait(ctx, lookEvery)
	}
	o.SettleS = max(o.SettleS, time.Since(back).Seconds())
	if err == nil {
		err = d.whole(ctx, back, map[mesh.NodeID]bool{"": true})
	}
	after, sightErr := d.sight(ctx)
	for zone, owner := range before.owners {
		if now, ok := after.owners[zone]; ok && !now.Same(owner) {
			o.Takeovers++
		}
	}
	for p, missed := range before.missed {
		o.NodeTicksMissed += max(after.missed[p], missed) - missed
	}
	return errors.Join(err, sightErr)
}

// sight is the state of the fleet at a moment.
type sight struct {
	owners    map[mesh.ZoneID]mesh.Owner
	missed    map[mesh.NodeID]uint64 // ticks, of nodes
	crossings uint64
}

func (d *drill) sight(ctx context.Context) (sight, error) {
	out := sight{owners: map[mesh.ZoneID]mesh.Owner{}, missed: map[mesh.NodeID]uint64{}}
	layout, err1 := d.mesh.Store().Layout(ctx)
	reports, err2 := d.mesh.Store().Reports(ctx)
	for _, z := range layout.Zones {
		out.owners[z.ID] = z.Owner
	}
	for _, r := range reports {
		if r.Process.Role == mesh.RoleNode {
			out.missed[r.Process.ID] = r.TicksMissed
			out.crossings += r.Counters.Crossings
		}
	}
	return out, errors.Join(err1, err2)
}

// wait waits; its error is that of ctx.
func wait(ctx context.Context, over time.Duration) error {
	if over <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(over)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
