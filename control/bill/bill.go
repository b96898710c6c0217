// Package bill prices what the planner has metered, hour by hour, into one
// record each. Begin with Hours.
package bill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"weft/control/cost"
	"weft/control/mesh"
	"weft/control/planner"
)

// Store is what bills need of the replication store.
type Store interface {
	PlannerState(ctx context.Context) (mesh.PlannerState, error)
	PutDecision(ctx context.Context, d mesh.Decision) error
	Decisions(ctx context.Context, limit int) ([]mesh.Decision, error)
}

// Config says what the metered things are.
type Config struct {
	Prices     cost.Prices
	Shard, Env string
	// Machine returns what a process of that role and kind runs on; the kind is
	// as the process gave it, perhaps empty.
	Machine func(r mesh.Role, kind string) cost.Machine
	// FunctionGB is the memory of the functions.
	FunctionGB float64
	Standing   cost.Standing
}

// layoutReadsPerHour is how often a process reads the layout's version, at one
// unit: each 500 ms.
const layoutReadsPerHour = 7200

// Record is the data of a bill's decision.
type Record struct {
	cost.Bill
	Hour time.Time `json:"hour"` // its beginning
	// StaticPeakUSD is what the hour would have cost with a fleet that is always
	// as large as the day's peak, everything else alike.
	StaticPeakUSD float64 `json:"static_peak_usd"`
	// IdleShare is the part of the nodes' time in which they owned no zone.
	IdleShare float64 `json:"idle_share"`
	EgressGB  float64 `json:"egress_gb"`
	PriceDate string  `json:"price_date"`
}

// Action is that of a bill among the decisions.
const Action = "bill"

// lookedThrough is among how many of the newest decisions a bill is looked for.
const lookedThrough = 512

// Hours bills the hours that are over at now, that have not been billed, and
// whose sums the planner still keeps, and returns them, the latest last. A record
// that is written again is the same, so it is safe to run twice, late, at once
// and after a failure.
// Machines without a price are left out of the bill, which is written all the
// same, and are an error.
func Hours(ctx context.Context, st Store, c Config, now time.Time) ([]Record, error) {
	stored, err := st.PlannerState(ctx)
	if err != nil {
		return nil, fmt.Errorf("planner state: %w", err)
	}
	var state planner.State
	if len(stored.Data) > 0 {
		if err := json.Unmarshal(stored.Data, &state); err != nil {
			return nil, fmt.Errorf("planner state: %w", err)
		}
	}
	newest, err := st.Decisions(ctx, lookedThrough)
	if err != nil {
		return nil, fmt.Errorf("decisions: %w", err)
	}
	billed := map[string]bool{}
	for _, d := range newest {
		billed[d.ID] = true
	}
	var out []Record
	var faults []error
	for _, h := range state.Meter.Hours {
		if h.Hour >= now.Unix()/3600 || billed[id(time.Unix((h.Hour+1)*3600, 0))] {
			continue
		}
		r, err := c.price(h, state.Meter.DayPeak())
		faults = append(faults, err)
		if err := put(ctx, st, r); err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, errors.Join(faults...)
}

// price makes the record of an hour.
func (c Config) price(h planner.Hour, peak planner.Peak) (Record, error) {
	begin := time.Unix(h.Hour*3600, 0).UTC()
	u := cost.Use{
		Begin: begin, End: begin.Add(time.Hour), Shard: c.Shard, Env: c.Env,
		PlayerSeconds: float64(h.ClientMillis) / 1000,
		WriteUnits:    float64(h.WriteUnits + h.Functions.WriteUnits), ReadUnits: float64(h.Functions.ReadUnits),
		FunctionCalls: float64(h.Functions.Calls), FunctionGBSeconds: float64(h.Functions.Millis) / 1000 * c.FunctionGB,
		EgressBytes: float64(h.ClientBytes), Standing: c.Standing,
	}
	var nodes float64
	for key, millis := range h.Processes {
		name, kind, _ := strings.Cut(key, " ")
		role := mesh.RoleNode
		if name == mesh.RoleGateway.String() {
			role = mesh.RoleGateway
		} else {
			nodes += float64(millis)
		}
		u.ReadUnits += float64(millis) / 3.6e6 * layoutReadsPerHour
		u.Running = append(u.Running, cost.Running{Role: role, Machine: c.Machine(role, kind), Seconds: float64(millis) / 1000})
	}
	b, err := c.Prices.Bill(u)
	r := Record{Bill: b, Hour: begin, EgressGB: float64(h.ClientBytes) / 1e9, PriceDate: c.Prices.Date}
	if nodes > 0 {
		r.IdleShare = max(0, 1-float64(h.BusyMillis)/nodes)
	}
	fleet := cost.Fleet{mesh.RoleNode: c.Machine(mesh.RoleNode, ""), mesh.RoleGateway: c.Machine(mesh.RoleGateway, "")}
	static, err2 := c.Prices.FleetHour(fleet, peak.Nodes, peak.Gateways)
	r.StaticPeakUSD = r.USD - r.Lines[cost.Nodes] - r.Lines[cost.Gateways] + static
	if err != nil || err2 != nil {
		err = fmt.Errorf("hour %s: %w", begin.Format(time.RFC3339), errors.Join(err, err2))
	}
	return r, err
}

// id is that of the bill of the hour that ended then.
func id(end time.Time) string { return fmt.Sprintf("%014d-bill", end.UnixMilli()) }

func put(ctx context.Context, st Store, r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	end := r.Hour.Add(time.Hour)
	d := mesh.Decision{
		ID: id(end), UnixMilli: end.UnixMilli(), Action: Action, Subject: r.Hour.Format("2006-01-02T15Z"),
		Reason: fmt.Sprintf("$%.4f, of which egress $%.4f, for %.1f player-hours: $%.6f each, egress aside; a fleet of the day's peak would have cost $%.4f",
			r.USD, r.Lines[cost.Egress], r.PlayerHours, r.USDPerPlayerHour, r.StaticPeakUSD),
		Data: string(data),
	}
	if err := st.PutDecision(ctx, d); err != nil {
		return fmt.Errorf("the bill of %s: %w", d.Subject, err)
	}
	return nil
}

// Of returns the record of a decision, and whether it is a bill.
func Of(d mesh.Decision) (Record, bool) {
	var r Record
	return r, d.Action == Action && json.Unmarshal([]byte(d.Data), &r) == nil
}
