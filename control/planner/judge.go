package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weft/control/mesh"
)

// judge decides which processes are gone: by their own word, by the
// launcher's, by their reports, by the suspicions of others.
func (p *pass) judge() {
	// A planner that did not run cannot say that others were silent: of a pause
	// between two runs, half a timeout counts.
	timeout := p.cfg.ReportTimeout.Milliseconds()
	forgive := int64(0)
	if p.s.State.RunMilli > 0 {
		forgive = max(p.now-p.s.State.RunMilli-timeout/2, 0)
	}
	for _, q := range p.procs {
		seen := Seen{Incarnation: q.Incarnation, Milli: p.now}
		if q.report != nil {
			seen.Sequence = q.report.Sequence
		}
		if old, ok := p.s.State.Seen[q.ID]; ok && old.Incarnation == seen.Incarnation && old.Sequence == seen.Sequence {
			seen.Milli = min(old.Milli+forgive, p.now)
		}
		p.next.Seen[q.ID] = seen
		silent := p.now - seen.Milli
		switch {
		case q.State == mesh.Stopped:
			q.dead = "it has said goodbye"
		case p.s.InstancesKnown && !p.running[q.ID]:
			q.dead = "its process has ended"
		case silent > timeout:
			q.dead, q.silence = fmt.Sprintf("no report for %.1f s", float64(silent)/1000), true
		}
	}
	p.hear()
	for _, q := range p.procs {
		if q.dead != "" {
			q.draining = false
		} else if q.draining {
			since, ok := p.s.State.Draining[q.ID]
			if !ok {
				since = p.now
			}
			p.next.Draining[q.ID] = since
		}
	}
}

// charge is what is said against one process.
type charge struct {
	suspect                  *process
	broken, silent, refusing []*process
}

func (c charge) witnesses() int { return len(c.broken) + len(c.silent) + len(c.refusing) }

func (c charge) gateways() (n int) {
	for _, w := range slices.Concat(c.broken, c.silent, c.refusing) {
		if w.Role == mesh.RoleGateway {
			n++
		}
	}
	return n
}

// hear weighs the suspicions. Those with the most witnesses are heard first,
// since the word of a process that is itself taken for gone counts nothing:
// when two accuse each other, one of them stays. The last living process of a
// role is never given up for suspicion: there would be nobody to take its
// place. A node wrongly accused costs a migration, so one broken connection is
// enough; a gateway costs all its clients their connection, so it takes two.
func (p *pass) hear() {
	charges := p.charges()
	slices.SortStableFunc(charges, func(a, b charge) int {
		return cmp.Or(cmp.Compare(b.witnesses(), a.witnesses()), cmp.Compare(b.gateways(), a.gateways()), cmp.Compare(a.suspect.ID, b.suspect.ID))
	})
	living := map[mesh.Role]int{}
	for _, q := range p.procs {
		if q.dead == "" {
			living[q.Role]++
		}
	}
	for _, c := range charges {
		q := c.suspect
		dead := func(w *process) bool { return w.dead != "" && w != q }
		c.broken, c.silent, c.refusing = slices.DeleteFunc(c.broken, dead), slices.DeleteFunc(c.silent, dead), slices.DeleteFunc(c.refusing, dead)
		q.refuses = q.refuses || len(c.refusing) > 0
		others := living[mesh.RoleNode] + living[mesh.RoleGateway] - 1
		if living[q.Role] <= 1 {
			continue
		}
		two := max(min(others, 2), 1) // two witnesses where two exist
		enough := 1
		if q.Role == mesh.RoleGateway {
			enough = two
		}
		switch {
		case len(c.broken) >= enough:
			q.dead = "its connection to " + names(c.broken) + " broke"
		case len(c.silent) >= two:
			q.dead, q.silence = "it is silent to "+names(c.silent), true
		default:
			continue
		}
		living[q.Role]--
	}
}

// charges gathers the suspicions that count: of a living suspect's present
// incarnation, from a known process, not yet aged. The rest is dropped.
func (p *pass) charges() []charge {
	bySuspect := map[mesh.NodeID]int{}
	var out []charge
	for _, s := range p.s.Suspicions {
		key := string(s.Suspect) + "/" + string(s.Witness)
		seen := Seen{Incarnation: s.Incarnation, Sequence: s.Number, Milli: p.now}
		if old, ok := p.s.State.Suspicions[key]; ok && old.Incarnation == s.Incarnation && old.Sequence == s.Number {
			seen.Milli = min(old.Milli, p.now)
		}
		p.next.Suspicions[key] = seen // also of one that is dropped, in case it stays
		q, w := p.byID[s.Suspect], p.byID[s.Witness]
		if p.now-seen.Milli > p.cfg.SuspicionLife.Milliseconds() || q != nil && q.Incarnation > s.Incarnation {
			p.quiet = append(p.quiet, Action{Do: DropSuspicion, Suspicion: s})
			continue
		}
		if q == nil || w == nil || q.Incarnation != s.Incarnation || q.dead != "" || w.dead != "" || q == w && s.Kind != mesh.Refusing {
			continue
		}
		i, ok := bySuspect[q.ID]
		if !ok {
			i = len(out)
			bySuspect[q.ID] = i
			out = append(out, charge{suspect: q})
		}
		switch s.Kind {
		case mesh.Broken:
			out[i].broken = with(out[i].broken, w)
		case mesh.Silent:
			out[i].silent = with(out[i].silent, w)
		case mesh.Refusing:
			out[i].refusing = with(out[i].refusing, w)
		}
	}
	return out
}

// with returns ws with w among them.
func with(ws []*process, w *process) []*process {
	if slices.Contains(ws, w) {
		return ws
	}
	return append(ws, w)
}

func names(ps []*process) string {
	var out []string
	for _, q := range ps {
		out = append(out, string(q.ID))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " and ")
}
