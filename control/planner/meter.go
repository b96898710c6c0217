package planner

import (
	"cmp"
	"slices"

	"weft/control/mesh"
)

const (
	milliPerHour = 3_600_000
	milliPerDay  = 24 * milliPerHour
	// keptHours is how many hours' sums are kept, this one included: bills may
	// be that late.
	keptHours = 3
	// countedMilli is the longest pause between two runs that is charged: who ran
	// in a longer one is not known.
	countedMilli = 150_000
)

// Spent is what functions used, as those who run them count it.
type Spent struct {
	Calls      uint64 `json:"calls,omitempty"`
	Millis     uint64 `json:"ms,omitempty"` // of their time
	ReadUnits  uint64 `json:"reads,omitempty"`
	WriteUnits uint64 `json:"writes,omitempty"`
}

// Plus returns the sum of s and t.
func (s Spent) Plus(t Spent) Spent {
	return Spent{s.Calls + t.Calls, s.Millis + t.Millis, s.ReadUnits + t.ReadUnits, s.WriteUnits + t.WriteUnits}
}

// Minus returns what s has more than t, which is part of it.
func (s Spent) Minus(t Spent) Spent {
	return Spent{s.Calls - t.Calls, s.Millis - t.Millis, s.ReadUnits - t.ReadUnits, s.WriteUnits - t.WriteUnits}
}

// Meter is what the world has used, for bills.
type Meter struct {
	Hours []Hour `json:"hours,omitempty"` // the last few, oldest first
	Today Peak   `json:"today,omitzero"`  // of the UTC day
	Prior Peak   `json:"prior,omitzero"`  // of the last day before it that had a run
	// Counted are the counters of each process as they were added up last.
	Counted map[mesh.NodeID]Counted `json:"counted,omitempty"`
}

// Hour is what one hour of the wall clock used.
type Hour struct {
	Hour         int64            `json:"h"`                   // since 1970
	Processes    map[string]int64 `json:"processes,omitempty"` // milliseconds, by RunningKey
	BusyMillis   int64            `json:"busy,omitempty"`      // of nodes that own a zone
	ClientMillis int64            `json:"clients,omitempty"`
	WriteUnits   uint64           `json:"units,omitempty"` // of processes, as they report them
	ClientBytes  uint64           `json:"egress,omitempty"`
	PeerBytes    uint64           `json:"peers,omitempty"`
	Functions    Spent            `json:"functions,omitzero"`
}

// Peak is the largest fleet of a day.
type Peak struct {
	Day      int64 `json:"d"` // since 1970
	Nodes    int   `json:"n"`
	Gateways int   `json:"g"`
	Clients  int   `json:"c"`
}

// Counted is the part of a process's counters that is in the sums.
type Counted struct {
	Incarnation mesh.Incarnation `json:"i"`
	WriteUnits  uint64           `json:"u,omitempty"`
	ClientBytes uint64           `json:"c,omitempty"`
	PeerBytes   uint64           `json:"p,omitempty"`
}

// RunningKey is by what Hour.Processes sums: a role, and the kind of machine
// as the process gave it, which may be empty.
func RunningKey(r mesh.Role, kind string) string { return r.String() + " " + kind }

// meter adds what the time since the last run used. A run whose State is not
// stored is counted by the next one.
func (p *pass) meter() {
	old := p.s.State.Meter
	m := Meter{Hours: slices.Clone(old.Hours), Today: old.Today, Prior: old.Prior, Counted: map[mesh.NodeID]Counted{}}
	if at := p.now / milliPerHour; len(m.Hours) == 0 || m.Hours[len(m.Hours)-1].Hour < at {
		m.Hours = append(m.Hours, Hour{Hour: at})
	}
	m.Hours = m.Hours[max(len(m.Hours)-keptHours, 0):]
	h := &m.Hours[len(m.Hours)-1]
	sums := map[string]int64{}
	for key, millis := range h.Processes {
		sums[key] = millis
	}
	h.Processes = sums
	elapsed := int64(0)
	if p.s.State.RunMilli > 0 {
		elapsed = min(max(p.now-p.s.State.RunMilli, 0), countedMilli)
	}
	now := Peak{Day: p.now / milliPerDay}
	run := func(role mesh.Role, kind string) {
		h.Processes[RunningKey(role, kind)] += elapsed
		if role == mesh.RoleGateway {
			now.Gateways++
		} else {
			now.Nodes++
		}
	}
	busy := map[mesh.NodeID]bool{}
	for i := range p.s.Layout.Zones {
		busy[p.s.Layout.Zones[i].Owner.Node] = true
	}
	for _, q := range p.procs {
		if c, ok := p.count(h, q); ok {
			m.Counted[q.ID] = c
		}
		if q.dead != "" {
			continue
		}
		run(q.Role, q.Kind)
		switch {
		case q.Role == mesh.RoleNode && busy[q.ID]:
			h.BusyMillis += elapsed
		case q.Role == mesh.RoleGateway && q.report != nil:
			clients := min(max(q.report.Clients, 0), maxActors)
			h.ClientMillis += elapsed * int64(clients)
			now.Clients += clients
		}
	}
	for _, i := range p.s.Intents { // what is starting runs, and is paid, already
		if i.What == launch && i.State == mesh.IntentDone && p.byID[i.Target] == nil {
			run(i.Role, "")
		}
	}
	h.Functions = h.Functions.Plus(p.s.Spent)
	if m.Today.Day != now.Day && m.Today != (Peak{}) {
		m.Prior, m.Today = m.Today, Peak{}
	}
	m.Today = Peak{now.Day, max(m.Today.Nodes, now.Nodes), max(m.Today.Gateways, now.Gateways), max(m.Today.Clients, now.Clients)}
	p.next.Meter = m
}

// count adds what q's counters have grown by. Those that went back, and all of
// them when nothing is remembered, are taken as a new beginning.
func (p *pass) count(h *Hour, q *process) (Counted, bool) {
	was, known := p.s.State.Meter.Counted[q.ID]
	if q.report == nil {
		return was, known
	}
	c := Counted{q.Incarnation, q.report.Counters.StoreWriteUnits, q.report.Counters.BytesToClients, q.report.Counters.BytesToPeers}
	if known && was.Incarnation != c.Incarnation || !known && p.s.State.RunMilli > 0 {
		was = Counted{}
	} else if !known {
		return c, true // the state is new: nobody knows what of it was billed
	}
	grown := func(now, before uint64) uint64 {
		if now < before {
			return 0
		}
		return now - before
	}
	h.WriteUnits += grown(c.WriteUnits, was.WriteUnits)
	h.ClientBytes += grown(c.ClientBytes, was.ClientBytes)
	h.PeerBytes += grown(c.PeerBytes, was.PeerBytes)
	return c, true
}

// Of returns the sums of an hour since 1970, and whether they are kept.
func (m Meter) Of(hour int64) (Hour, bool) {
	i, ok := slices.BinarySearchFunc(m.Hours, hour, func(h Hour, hour int64) int { return cmp.Compare(h.Hour, hour) })
	if !ok {
		return Hour{}, false
	}
	return m.Hours[i], true
}

// DayPeak returns the largest fleet of today and the day before.
func (m Meter) DayPeak() Peak {
	return Peak{m.Today.Day, max(m.Today.Nodes, m.Prior.Nodes), max(m.Today.Gateways, m.Prior.Gateways), max(m.Today.Clients, m.Prior.Clients)}
}
