package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"weft/control/mesh"
	"weft/control/store"
)

// State is what /api/state answers. Lengths are meters, durations
// milliseconds; lists keep the order of the store.
type State struct {
	UnixMilli     int64     `json:"unix_milli"` // when the store was read
	Name          string    `json:"name"`
	Note          string    `json:"note,omitempty"`
	Fault         string    `json:"fault,omitempty"` // why what follows is old
	LayoutVersion uint64    `json:"layout_version"`
	TickHz        uint32    `json:"tick_hz"`
	BoundsM       [4]Meters `json:"bounds_m"` // min x, min y, max x, max y
	Headline      Headline  `json:"headline"`
	Zones         []Zone    `json:"zones"`
	Processes     []Process `json:"processes"`
}

// Headline sums up the shard.
type Headline struct {
	Players           int     `json:"players"` // connections
	Actors            int     `json:"actors"`
	Props             int     `json:"props"`
	Moving            int     `json:"moving"`
	Nodes             int     `json:"nodes"` // ready or draining
	Gateways          int     `json:"gateways"`
	Zones             int     `json:"zones"`
	TickP50MS         float64 `json:"tick_p50_ms"` // of the worst node
	TickP99MS         float64 `json:"tick_p99_ms"`
	TickBudgetMS      float64 `json:"tick_budget_ms"`
	MissedPercent     float64 `json:"missed_percent"` // of the ticks since the reading before
	CrossingsPerS     float64 `json:"crossings_per_s"`
	DurablePerS       float64 `json:"durable_per_s"`
	WriteUnitsPerS    float64 `json:"write_units_per_s"`
	BytesToClientsPer float64 `json:"bytes_to_clients_per_s"`
}

// Zone is a zone with what its owner says of it.
type Zone struct {
	ID       mesh.ZoneID `json:"id"`
	Layer    string      `json:"layer"`
	State    string      `json:"state"`
	BoxM     [4]Meters   `json:"box_m"` // min x, min y, max x, max y
	Owner    mesh.NodeID `json:"owner"`
	Epoch    mesh.Epoch  `json:"epoch"`
	Open     bool        `json:"open"`
	Actors   int         `json:"actors"`
	Props    int         `json:"props"`
	Moving   int         `json:"moving"`
	Asleep   int         `json:"asleep"`
	Outbound int         `json:"outbound"`
	BusyMS   float64     `json:"busy_ms"`
	Density  *Density    `json:"density,omitempty"`
}

// Density is the load over the ground as the planner sees it.
type Density struct {
	XM     []Meters `json:"x_m"`
	YM     []Meters `json:"y_m"`
	Counts []uint16 `json:"counts"` // row by row along X
}

// Process is a node or gateway with what it last said.
type Process struct {
	ID            mesh.NodeID `json:"id"`
	Role          string      `json:"role"`
	State         string      `json:"state"`
	Reported      bool        `json:"reported"`
	SilentMS      int64       `json:"silent_ms"` // since its last new report was first seen
	Zones         int         `json:"zones"`     // by the layout
	Actors        int         `json:"actors"`
	Clients       int         `json:"clients"`
	Capacity      int         `json:"capacity"`
	TickP50MS     float64     `json:"tick_p50_ms"`
	TickP99MS     float64     `json:"tick_p99_ms"`
	TickMaxMS     float64     `json:"tick_max_ms"`
	BusyMS        float64     `json:"busy_ms"`
	TickBudgetMS  float64     `json:"tick_budget_ms"`
	Ticks         uint64      `json:"ticks"`
	TicksMissed   uint64      `json:"ticks_missed"`
	RefusedInputs uint64      `json:"refused_inputs"`
}

// Meters is a coordinate, in JSON with two decimals.
type Meters float64

// MarshalJSON keeps the page's traffic small.
func (m Meters) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%g", math.Round(float64(m)*100)/100), nil
}

func meters(units int32) Meters { return Meters(units) / mesh.UnitsPerMeter }

func boxM(b mesh.Box) [4]Meters {
	return [4]Meters{meters(b.Min.X), meters(b.Min.Y), meters(b.Max.X), meters(b.Max.Y)}
}

func ms(us uint32) float64 { return float64(us) / 1000 }

// reading is what was read of the store at one time.
type reading struct {
	at        time.Time
	bounds    mesh.Box
	state     []byte // JSON of a State; nil before the first that succeeded
	log       []byte // JSON of the newest decisions
	decisions []mesh.Decision
	fault     string
	last      State
}

// sighting is when a process's report was first seen to have changed.
type sighting struct {
	incarnation mesh.Incarnation
	sequence    uint64
	at          time.Time
}

// read returns the cached reading if it is fresh, or reads the store. When
// that fails the old reading is kept, with the fault.
func (s *Server) read(ctx context.Context) reading {
	s.loading.Lock()
	defer s.loading.Unlock()
	s.mu.Lock()
	cached := s.cached
	s.mu.Unlock()
	now := time.Now()
	if now.Sub(cached.at) < readEvery*9/10 {
		return cached
	}
	// One caller's going away must not spoil the reading for the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	next, err := s.load(ctx, now)
	if err != nil {
		next = cached
		next.at = now
		next.fault = faultText(err)
		if next.state != nil {
			next.last.Fault = next.fault
			next.state = marshal(next.last)
		}
	}
	s.mu.Lock()
	s.cached = next
	s.mu.Unlock()
	return next
}

func faultText(err error) string {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "The world has not been created yet."
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return "The replication store does not answer; what you see is the last that was known."
	}
	return "The replication store cannot be read: " + err.Error()
}

func (s *Server) load(ctx context.Context, now time.Time) (reading, error) {
	layout, err := s.cfg.Records.Layout(ctx)
	if err != nil {
		return reading{}, err
	}
	processes, err := s.cfg.Records.Processes(ctx)
	if err != nil {
		return reading{}, err
	}
	reports, err := s.cfg.Records.Reports(ctx)
	if err != nil {
		return reading{}, err
	}
	decisions, err := s.cfg.Records.Decisions(ctx, MaxDecisions)
	if err != nil {
		return reading{}, err
	}
	st := s.assemble(&layout, processes, reports, now)
	return reading{
		at: now, bounds: layout.Shard.Bounds, state: marshal(st), last: st,
		log: marshal(decisions[:min(50, len(decisions))]), decisions: decisions,
	}, nil
}

// marshal encodes what always encodes: structs of numbers and strings.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b)
}

func (s *Server) assemble(l *mesh.Layout, processes []mesh.Process, reports []mesh.Report, now time.Time) State {
	st := State{
		UnixMilli: now.UnixMilli(), Name: l.Shard.Name, LayoutVersion: l.Version, TickHz: l.Shard.TickHz,
		BoundsM: boxM(l.Shard.Bounds), Zones: make([]Zone, 0, len(l.Zones)), Processes: make([]Process, 0, len(processes)),
	}
	if s.cfg.Note != nil {
		st.Note = s.cfg.Note()
	}
	byID := make(map[mesh.NodeID]*mesh.Report, len(reports))
	loads := map[mesh.ZoneID]*mesh.ZoneLoad{}
	for i := range reports {
		r := &reports[i]
		byID[r.Process.ID] = r
		for j := range r.Zones {
			z := &r.Zones[j]
			if k := l.Index(z.Zone); k >= 0 && l.Zones[k].Owner.Same(r.Process.Owner()) {
				loads[z.Zone] = z
			}
		}
	}
	owned := map[mesh.NodeID]int{}
	for _, z := range l.Zones {
		owned[z.Owner.Node]++
		st.Zones = append(st.Zones, zone(z, loads[z.ID]))
	}
	for _, p := range processes {
		st.Processes = append(st.Processes, s.process(p, byID[p.ID], owned[p.ID], now))
	}
	s.forget(processes)
	st.Headline = headline(&st)
	s.rates.take(&st.Headline, reports, now)
	return st
}

func zone(z mesh.Zone, load *mesh.ZoneLoad) Zone {
	out := Zone{ID: z.ID, Layer: z.Layer.String(), State: z.State.String(), BoxM: boxM(z.Box), Owner: z.Owner.Node, Epoch: z.Epoch}
	if load == nil {
		return out
	}
	out.Open = load.Open && load.Epoch == z.Epoch
	out.Actors, out.Props, out.Moving, out.Asleep = load.Actors, load.Props, load.Moving, load.Asleep
	out.Outbound, out.BusyMS = load.Outbound, ms(load.BusyUS)
	d := load.Density
	if nx, ny := len(d.XEdges)-1, len(d.YEdges)-1; nx > 0 && ny > 0 && len(d.Counts) == nx*ny {
		out.Density = &Density{XM: edges(d.XEdges), YM: edges(d.YEdges), Counts: d.Counts}
	}
	return out
}

func edges(units []int32) []Meters {
	out := make([]Meters, len(units))
	for i, u := range units {
		out[i] = meters(u)
	}
	return out
}

func (s *Server) process(p mesh.Process, r *mesh.Report, zones int, now time.Time) Process {
	out := Process{ID: p.ID, Role: p.Role.String(), State: p.State.String(), Zones: zones, Capacity: p.Capacity}
	if r == nil || r.Process.Incarnation != p.Incarnation {
		return out
	}
	last, ok := s.seen[p.ID]
	if !ok || last.incarnation != p.Incarnation || last.sequence != r.Sequence {
		last = sighting{p.Incarnation, r.Sequence, now}
		s.seen[p.ID] = last
	}
	out.Reported, out.SilentMS = true, now.Sub(last.at).Milliseconds()
	out.Clients, out.Ticks, out.TicksMissed = r.Clients, r.Ticks, r.TicksMissed
	out.TickP50MS, out.TickP99MS, out.TickMaxMS = ms(r.TickP50US), ms(r.TickP99US), ms(r.TickMaxUS)
	out.BusyMS, out.TickBudgetMS, out.RefusedInputs = ms(r.BusyUS), ms(r.TickBudgetUS), r.Counters.RefusedInputs
	for _, z := range r.Zones {
		out.Actors += z.Actors
	}
	return out
}

// forget drops the sightings of processes that are gone.
func (s *Server) forget(processes []mesh.Process) {
	if len(s.seen) <= 2*len(processes)+16 {
		return
	}
	stays := map[mesh.NodeID]bool{}
	for _, p := range processes {
		stays[p.ID] = true
	}
	for id := range s.seen {
		if !stays[id] {
			delete(s.seen, id)
		}
	}
}

func headline(st *State) Headline {
	var h Headline
	for _, z := range st.Zones {
		h.Actors += z.Actors
		h.Props += z.Props
		h.Moving += z.Moving
		if z.State == mesh.Active.String() {
			h.Zones++
		}
	}
	for _, p := range st.Processes {
		if p.State == mesh.Stopped.String() {
			continue
		}
		if p.Role == mesh.RoleGateway.String() {
			h.Gateways++
			h.Players += p.Clients
			continue
		}
		h.Nodes++
		if p.Zones > 0 && p.TickP99MS >= h.TickP99MS {
			h.TickP50MS, h.TickP99MS = p.TickP50MS, p.TickP99MS
		}
		h.TickBudgetMS = max(h.TickBudgetMS, p.TickBudgetMS)
	}
	return h
}

// rates turns counters that grow in the life of a process into rates between
// two readings; what a process counted before it was first seen is left out.
type rates struct {
	at   time.Time
	last map[mesh.NodeID]mesh.Report
}

func (r *rates) take(h *Headline, reports []mesh.Report, now time.Time) {
	var crossings, durable, units, bytes, ticks, missed uint64
	next := make(map[mesh.NodeID]mesh.Report, len(reports))
	for _, p := range reports {
		id := p.Process.ID
		p.Zones = nil
		next[id] = p
		q, ok := r.last[id]
		if !ok || q.Process.Incarnation != p.Process.Incarnation || p.Sequence < q.Sequence {
			continue
		}
		crossings += p.Counters.Crossings - q.Counters.Crossings
		durable += p.Counters.DurableEvents - q.Counters.DurableEvents
		units += p.Counters.StoreWriteUnits - q.Counters.StoreWriteUnits
		bytes += p.Counters.BytesToClients - q.Counters.BytesToClients
		if p.Process.Role == mesh.RoleNode {
			ticks += p.Ticks - q.Ticks
			missed += p.TicksMissed - q.TicksMissed
		}
	}
	if seconds := now.Sub(r.at).Seconds(); r.last != nil && seconds > 0 {
		per := func(n uint64) float64 { return math.Round(float64(n)/seconds*10) / 10 }
		h.CrossingsPerS, h.DurablePerS, h.WriteUnitsPerS, h.BytesToClientsPer = per(crossings), per(durable), per(units), per(bytes)
		if ticks+missed > 0 {
			h.MissedPercent = math.Round(float64(missed)/float64(ticks+missed)*1000) / 10
		}
	}
	r.at, r.last = now, next
}
