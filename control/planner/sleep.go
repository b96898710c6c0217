package planner

import (
	"fmt"
	"slices"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
)

// What an intent says that is no act on a process but a word to the planner.
const (
	wake    = "wake"
	stopped = "stopped"
	bare    = "bare"
)

// WakeIntent is written by whoever lets a player in: somebody is about to be
// here. It replaces an earlier one.
func WakeIntent(now time.Time, reason string) mesh.Intent {
	return mesh.Intent{Token: wake, What: wake, State: mesh.IntentDone, CreatedUnixMilli: now.UnixMilli(), Reason: reason}
}

// StoppedIntent is written to put the world to sleep whoever is here, and to
// keep it so until the intent of this Token is deleted.
func StoppedIntent(now time.Time, reason string) mesh.Intent {
	return mesh.Intent{Token: stopped, What: stopped, State: mesh.IntentDone, CreatedUnixMilli: now.UnixMilli(), Reason: reason}
}

// BareIntent is written by a sweep that found a stopped world bare: nothing runs,
// and nothing is kept ready. It replaces an earlier one.
func BareIntent(now time.Time) mesh.Intent {
	return mesh.Intent{Token: bare, What: bare, State: mesh.IntentDone, CreatedUnixMilli: now.UnixMilli(), Reason: "a sweep found nothing that runs or is kept ready"}
}

// Bare reports whether a sweep has found the world bare since it was told to stop.
func Bare(intents []mesh.Intent) bool {
	var told, found int64
	for _, i := range intents {
		switch i.What {
		case stopped:
			told = i.CreatedUnixMilli
		case bare:
			found = i.CreatedUnixMilli
		}
	}
	return told > 0 && found > told
}

// DrainIntent asks that p be emptied and leave, for a reason that the planner
// cannot see. It is the same for whoever asks.
func DrainIntent(p mesh.Process, now time.Time, reason string) mesh.Intent {
	return mesh.Intent{
		Token: drain + "-" + string(p.ID), What: drain, Role: p.Role, Target: p.ID,
		State: mesh.IntentWritten, CreatedUnixMilli: now.UnixMilli(), Reason: reason,
	}
}

// Leaving reports whether p is being drained or stopped already.
func Leaving(intents []mesh.Intent, p mesh.Process) bool {
	return p.State != mesh.Ready || slices.ContainsFunc(intents, func(i mesh.Intent) bool { return i.Target == p.ID && (i.What == drain || i.What == stop) })
}

// Woken reports when a wake among the intents was written, if there is one,
// and whether the world was told to stop.
func Woken(intents []mesh.Intent) (at time.Time, told bool) {
	for _, i := range intents {
		switch i.What {
		case wake:
			at = time.UnixMilli(i.CreatedUnixMilli)
		case stopped:
			told = true
		}
	}
	return at, told
}

// sleepOrWake decides whether the world sleeps. Somebody is here while a
// gateway that lives has clients, or a wake is young.
func (p *pass) sleepOrWake() {
	written, told := Woken(p.s.Intents)
	here := false
	if !written.IsZero() {
		seen := Seen{Sequence: uint64(written.UnixMilli()), Milli: p.now}
		if old := p.s.State.Woken; old.Sequence == seen.Sequence {
			seen.Milli = min(old.Milli, p.now)
		}
		p.next.Woken = seen
		here = p.now-seen.Milli < p.cfg.WakeFor.Milliseconds()
	}
	for _, q := range p.procs {
		here = here || q.Role == mesh.RoleGateway && q.dead == "" && q.report != nil && q.report.Clients > 0
	}
	patience := p.cfg.SleepAfter.Milliseconds()
	switch {
	case here:
	case p.s.State.QuietMilli > 0:
		p.next.QuietMilli = min(p.s.State.QuietMilli, p.now)
	case p.s.State.RunMilli == 0 && len(p.procs) == 0: // it was never awake
		p.next.QuietMilli = p.now - patience
	default:
		p.next.QuietMilli = p.now
	}
	switch {
	case told:
		p.asleep = "it was told to stop"
	case patience > 0 && !here && p.now-p.next.QuietMilli >= patience:
		p.asleep = fmt.Sprintf("nobody has been here for %s", p.cfg.SleepAfter)
	}
	switch {
	case p.asleep != "" && !p.layout.Asleep:
		p.change(partition.Change{Kind: partition.Sleep, Reason: p.asleep, Alternatives: []string{"keep a node and a gateway running: they cost the same whether somebody comes or not"}})
	case p.asleep == "" && p.layout.Asleep:
		p.change(partition.Change{Kind: partition.Wake, Reason: "somebody is here or expected"})
	}
}

// layDown drains whoever is left: nodes after the last gateway, so that no
// client is left alone with a world that stands still.
func (p *pass) layDown() {
	role := mesh.RoleNode
	for _, q := range p.procs {
		if q.Role == mesh.RoleGateway && q.dead == "" {
			role = mesh.RoleGateway
		}
	}
	for _, q := range p.procs {
		if q.Role == role && q.ready() {
			p.intend(drain, p.intent(drain, role, q.ID, "the world sleeps: "+p.asleep))
		}
	}
}
