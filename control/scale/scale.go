// Package scale decides how many nodes and gateways a world needs and which of
// them may go. It is pure: see Limits.Want and Limits.Surplus.
package scale

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"weft/control/mesh"
)

// Limits bound a fleet. The zero value of a budget or price is no limit.
type Limits struct {
	MinNodes, MaxNodes       int
	WarmNodes                int   // nodes kept ready without a zone, so that no takeover or split waits for a launch
	NodeLoad                 int64 // thousandths of a node: so much load, on average, before one more is launched
	MinGateways, MaxGateways int
	ClientsPerGateway        int

	BudgetMicrosPerHour  int64 // millionths of a dollar an hour for nodes and gateways together
	NodeMicrosPerHour    int64 // what one node costs
	GatewayMicrosPerHour int64
}

// Validate reports every fault of l.
func (l Limits) Validate() error {
	var errs []error
	check := func(ok bool, f string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(f, a...))
		}
	}
	check(l.MinNodes >= 0 && l.MaxNodes >= max(l.MinNodes, 1), "max nodes is %d; it must be at least 1 and at least min nodes, %d", l.MaxNodes, l.MinNodes)
	check(l.WarmNodes >= 0, "warm nodes is %d; it must not be negative", l.WarmNodes)
	check(l.NodeLoad > 0, "node load is %d thousandths; it must be positive", l.NodeLoad)
	check(l.MinGateways >= 0 && l.MaxGateways >= max(l.MinGateways, 1), "max gateways is %d; it must be at least 1 and at least min gateways, %d", l.MaxGateways, l.MinGateways)
	check(l.ClientsPerGateway > 0, "clients per gateway is %d; it must be positive", l.ClientsPerGateway)
	check(l.BudgetMicrosPerHour >= 0 && l.NodeMicrosPerHour >= 0 && l.GatewayMicrosPerHour >= 0, "budget and prices must not be negative")
	return errors.Join(errs...)
}

// Demand is what a fleet has to carry.
type Demand struct {
	Load        int64 // thousandths of a node, over all Actors zones
	Busy        int   // nodes that own an Actors zone now
	PolicyNodes int   // what the layout needs whatever its load
	PropsNodes  int   // nodes that own, or should own, zones of the Props layer
	Clients     int
}

// Want is the size of fleet that a demand calls for, and why.
type Want struct {
	Nodes, Gateways             int
	NodesReason, GatewaysReason string
}

// Want returns the fleet that d calls for within l.
func (l Limits) Want(d Demand) Want {
	byLoad := int(min((max(d.Load, 0)+l.NodeLoad-1)/l.NodeLoad, int64(l.MaxNodes)))
	carrying := max(byLoad, d.Busy, d.PolicyNodes)
	nodes := max(carrying+d.PropsNodes+l.WarmNodes, l.MinNodes)
	w := Want{Nodes: nodes, Gateways: max(l.MinGateways, (max(d.Clients, 0)+l.ClientsPerGateway-1)/l.ClientsPerGateway)}
	w.NodesReason = fmt.Sprintf("load of %d.%02d nodes wants %d, %d own zones, the layout needs %d, props %d, warm %d",
		d.Load/1000, d.Load%1000/10, byLoad, d.Busy, d.PolicyNodes, d.PropsNodes, l.WarmNodes)
	w.GatewaysReason = fmt.Sprintf("%d clients at %d a gateway, at least %d", d.Clients, l.ClientsPerGateway, l.MinGateways)
	if w.Nodes > l.MaxNodes {
		w.Nodes = l.MaxNodes
		w.NodesReason += fmt.Sprintf("; at most %d allowed", l.MaxNodes)
	}
	if w.Gateways > l.MaxGateways {
		w.Gateways = l.MaxGateways
		w.GatewaysReason += fmt.Sprintf("; at most %d allowed", l.MaxGateways)
	}
	if l.BudgetMicrosPerHour > 0 && l.NodeMicrosPerHour > 0 {
		left := l.BudgetMicrosPerHour - int64(w.Gateways)*l.GatewayMicrosPerHour
		if fit := int(max(left/l.NodeMicrosPerHour, int64(min(l.MinNodes, w.Nodes)))); w.Nodes > fit {
			w.Nodes = fit
			w.NodesReason += fmt.Sprintf("; the budget pays for %d", fit)
		}
	}
	return w
}

// Member is a process that could go.
type Member struct {
	ID      mesh.NodeID
	Idle    bool // a node without zones; gateways always may go
	Clients int
}

// Surplus returns which members to drain so that want remain: idle ones only,
// those with the fewest clients first, then the last by id. It may return fewer
// than are too many, never more.
func Surplus(members []Member, want int) []mesh.NodeID {
	n := len(members) - want
	if n <= 0 {
		return nil
	}
	idle := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return !m.Idle })
	slices.SortFunc(idle, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Clients, b.Clients), cmp.Compare(len(b.ID), len(a.ID)), cmp.Compare(b.ID, a.ID))
	})
	var out []mesh.NodeID
	for _, m := range idle[:min(n, len(idle))] {
		out = append(out, m.ID)
	}
	return out
}
