package scale

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

var limits = Limits{MinNodes: 1, MaxNodes: 8, WarmNodes: 1, NodeLoad: 800, MinGateways: 2, MaxGateways: 4, ClientsPerGateway: 100}

func TestWant(t *testing.T) {
	for _, c := range []struct {
		name     string
		d        Demand
		change   func(*Limits)
		nodes    int
		gateways int
		reason   string
	}{
		{"an empty world", Demand{Busy: 1, PolicyNodes: 1}, nil, 2, 2, "warm 1"},
		{"a crowd", Demand{Load: 3300, Busy: 1, PolicyNodes: 1, Clients: 250}, nil, 6, 3, "load of 3.30 nodes wants 5"},
		{"cut finer than the load asks", Demand{Load: 500, Busy: 4}, nil, 5, 2, "4 own zones"},
		{"one node a zone", Demand{PolicyNodes: 4}, nil, 5, 2, "the layout needs 4"},
		{"props", Demand{Load: 100, Busy: 1, PropsNodes: 1}, nil, 3, 2, "props 1"},
		{"too big a crowd", Demand{Load: 1_000_000, Clients: 5000}, nil, 8, 4, "at most 8 allowed"},
		{"a budget", Demand{Load: 5000, Clients: 200}, func(l *Limits) {
			l.BudgetMicrosPerHour, l.NodeMicrosPerHour, l.GatewayMicrosPerHour = 100, 20, 10
		}, 4, 2, "the budget pays for 4"},
		{"a budget below the least", Demand{Load: 5000}, func(l *Limits) { l.BudgetMicrosPerHour, l.NodeMicrosPerHour = 1, 20 }, 1, 2, "pays for 1"},
		{"nonsense", Demand{Load: -5, Clients: -7, Busy: 1}, nil, 2, 2, ""},
	} {
		l := limits
		if c.change != nil {
			c.change(&l)
		}
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		w := l.Want(c.d)
		if w.Nodes != c.nodes || w.Gateways != c.gateways || !strings.Contains(w.NodesReason, c.reason) {
			t.Errorf("%s: %+v, want %d nodes and %d gateways because %q", c.name, w, c.nodes, c.gateways, c.reason)
		}
	}
}

func TestValidate(t *testing.T) {
	err := Limits{MinNodes: 3, MaxNodes: 2, WarmNodes: -1, MaxGateways: 1, BudgetMicrosPerHour: -1}.Validate()
	for _, fault := range []string{"max nodes is 2", "warm nodes is -1", "node load is 0", "clients per gateway is 0", "must not be negative"} {
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q is missing in %v", fault, err)
		}
	}
}

func TestSurplusTakesIdleOnesOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []Member
		idle := 0
		for i := range rapid.IntRange(0, 12).Draw(t, "members") {
			m := Member{ID: mesh.NodeID([]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}[i]), Idle: rapid.Bool().Draw(t, "idle"), Clients: rapid.IntRange(0, 3).Draw(t, "clients")}
			members = append(members, m)
			if m.Idle {
				idle++
			}
		}
		want := rapid.IntRange(0, 12).Draw(t, "want")
		got := Surplus(members, want)
		if len(got) != max(min(len(members)-want, idle), 0) {
			t.Fatalf("%d of %d go though %d are wanted and %d idle", len(got), len(members), want, idle)
		}
		most := 0
		for _, m := range members {
			if slices.Contains(got, m.ID) {
				most = max(most, m.Clients)
				if !m.Idle {
					t.Fatalf("%s is not idle", m.ID)
				}
			}
		}
		for _, m := range members {
			if m.Idle && m.Clients < most && !slices.Contains(got, m.ID) {
				t.Fatalf("%s has fewer clients than one that goes", m.ID)
			}
		}
	})
}
