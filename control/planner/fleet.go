package planner

import (
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/control/scale"
)

// What an intent is about.
const (
	launch = "launch"
	drain  = "drain"
	stop   = "stop"
)

const (
	launchesAtOnce = 8
	retryFirst     = time.Second
	retryLongest   = 30 * time.Second
)

// fleet launches, drains and stops processes.
func (p *pass) fleet() {
	p.tally()
	starting, blocked := p.launches()
	p.ends()
	if p.asleep != "" {
		p.layDown()
		return
	}
	want := p.cfg.Fleet.Want(p.demand())
	p.size(mesh.RoleNode, want.Nodes, want.NodesReason, starting[mesh.RoleNode], blocked[mesh.RoleNode])
	p.size(mesh.RoleGateway, want.Gateways, want.GatewaysReason, starting[mesh.RoleGateway], blocked[mesh.RoleGateway])
}

func (p *pass) demand() scale.Demand {
	d := scale.Demand{PolicyNodes: p.policy.NodesNeeded(p.layout), PropsNodes: p.propsWanted}
	busy := map[*process]bool{}
	for i, z := range p.layout.Zones {
		if z.Layer == mesh.Actors {
			d.Load += int64(p.zones[i].Load)
			if q := p.owner(i); q != nil && !q.draining {
				busy[q] = true
			}
		}
	}
	d.Busy = len(busy)
	for _, q := range p.procs {
		if q.props && !busy[q] && q.dead == "" && !q.draining {
			d.PropsNodes++
		}
		if q.Role == mesh.RoleGateway && q.dead == "" && q.report != nil {
			d.Clients += min(max(q.report.Clients, 0), maxActors)
		}
	}
	return d
}

// launches follows the launches under way. It returns how many processes of
// each role are still starting, and for which roles a failure forbids more.
func (p *pass) launches() (starting map[mesh.Role]int, blocked map[mesh.Role]bool) {
	starting, blocked = map[mesh.Role]int{}, map[mesh.Role]bool{}
	again := map[mesh.Role]int{}
	for _, i := range p.s.Intents {
		if i.What != launch {
			continue
		}
		age := time.Duration(p.now-i.CreatedUnixMilli) * time.Millisecond
		ended := p.s.InstancesKnown && i.State == mesh.IntentDone && !p.running[i.Target]
		switch {
		case p.byID[i.Target] != nil:
			p.next.Failures[i.Role] = 0
			p.quiet = append(p.quiet, Action{Do: DropIntent, Intent: i})
		case i.State == mesh.IntentFailed:
			if age < retryAfter(p.next.Failures[i.Role]) {
				blocked[i.Role] = true
			} else {
				again[i.Role] = 1
				p.quiet = append(p.quiet, Action{Do: DropIntent, Intent: i})
			}
		case ended || age > p.cfg.LaunchTimeout:
			reason := fmt.Sprintf("it has not made itself known for %s", p.cfg.LaunchTimeout)
			if ended {
				reason = "it ended before it made itself known; its own words say why"
			}
			blocked[i.Role] = true
			i.State, i.Reason, i.CreatedUnixMilli = mesh.IntentFailed, reason, p.now
			p.intend("failed", i)
			if !ended {
				p.intend(stop, p.intent(stop, i.Role, i.Target, reason))
			}
		default:
			starting[i.Role]++
		}
	}
	for role := range again {
		p.next.Failures[role] = min(p.next.Failures[role]+1, 16)
	}
	return starting, blocked
}

// retryAfter is how long to wait after a failure that followed n others.
func retryAfter(n int) time.Duration {
	return min(retryFirst<<min(max(n, 0), 8), retryLongest)
}

func (p *pass) intent(what string, role mesh.Role, target mesh.NodeID, reason string) mesh.Intent {
	return mesh.Intent{
		Token: what + "-" + string(target), What: what, Role: role, Target: target,
		State: mesh.IntentWritten, CreatedUnixMilli: p.now, Reason: reason,
	}
}

func (p *pass) intend(name string, i mesh.Intent, alternatives ...string) {
	p.fleetActions = append(p.fleetActions, Action{Do: Intend, Intent: i, Name: name, Subject: fmt.Sprintf("%s %s", i.Role, i.Target), Reason: i.Reason, Alternatives: alternatives})
}

// size brings the fleet of a role to want: launches at once, drains what has
// been too many for a cooldown.
func (p *pass) size(role mesh.Role, want int, reason string, starting int, blocked bool) {
	var members []scale.Member
	for _, q := range p.procs {
		if q.Role != role || !q.ready() {
			continue
		}
		m := scale.Member{ID: q.ID, Idle: role == mesh.RoleGateway || q.zones == 0}
		if q.report != nil {
			m.Clients = q.report.Clients
		}
		members = append(members, m)
	}
	have := len(members) + starting
	for n := range want - have {
		if blocked || n >= launchesAtOnce {
			break
		}
		id := mesh.NodeID(fmt.Sprintf("%s-%d", role, p.next.NextNumber))
		p.next.NextNumber++
		p.intend(launch, p.intent(launch, role, id, fmt.Sprintf("%d of %d %ss are there or coming: %s", have+n, want, role, reason)))
	}
	if have <= want {
		return
	}
	since, ok := p.s.State.Surplus[role]
	if !ok {
		since = p.now
	}
	p.next.Surplus[role] = since
	if p.now-since < p.cfg.Cooldown.Milliseconds() {
		return
	}
	for _, id := range scale.Surplus(members, want) {
		p.intend(drain, p.intent(drain, role, id, fmt.Sprintf("%d %ss are there and %d are wanted for %s now: %s", have, role, want, p.cfg.Cooldown, reason)))
	}
}

// ends sees processes off: stops what is gone or overstays its drain, and
// removes the records of what has stopped and owns nothing.
func (p *pass) ends() {
	owns := map[mesh.Owner]bool{}
	for _, l := range []*mesh.Layout{&p.s.Layout, &p.layout} {
		for _, z := range l.Zones {
			owns[mesh.Owner{Node: z.Owner.Node, Incarnation: z.Owner.Incarnation}] = true
		}
	}
	for _, q := range p.procs {
		stopping, stopped := false, p.s.InstancesKnown && !p.running[q.ID]
		for _, i := range q.intents {
			if i.What == stop {
				stopping, stopped = true, stopped || i.State == mesh.IntentDone
			}
		}
		mine := owns[mesh.Owner{Node: q.ID, Incarnation: q.Incarnation}]
		patience := p.cfg.StopGrace.Milliseconds()
		switch {
		case q.dead == "" && q.draining && (!mine || p.asleep != "") && !stopping && p.now-p.next.Draining[q.ID] >= p.cfg.DrainTimeout.Milliseconds():
			p.intend(stop, p.intent(stop, q.Role, q.ID, fmt.Sprintf("it has not stopped %s after it was asked to", p.cfg.DrainTimeout)))
		case q.dead == "" || q.held:
		case stopped && !mine && q.State == mesh.Stopped:
			p.quiet = append(p.quiet, Action{Do: Bury, Process: q.Process})
		case stopping || stopped || q.State == mesh.Stopped && p.now-p.next.Seen[q.ID].Milli < patience:
		default:
			p.intend(stop, p.intent(stop, q.Role, q.ID, q.dead))
		}
	}
}

// housekeep forgets what has served.
func (p *pass) housekeep() {
	p.sweep()
	for _, i := range p.s.Intents {
		if (i.What == drain || i.What == stop) && i.State != mesh.IntentWritten && p.byID[i.Target] == nil {
			p.quiet = append(p.quiet, Action{Do: DropIntent, Intent: i})
		}
	}
	for id, s := range p.s.State.Silenced {
		if _, ok := p.next.Silenced[id]; !ok && p.now-s.Milli < p.cfg.SilenceEvery.Milliseconds() {
			p.next.Silenced[id] = s
		}
	}
}
