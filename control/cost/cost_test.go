package cost

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/scale"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

var fleet = Fleet{
	mesh.RoleNode:    {Kind: Fargate, CPUUnits: 1024, MemoryMiB: 2048},
	mesh.RoleGateway: {Kind: Fargate, CPUUnits: 512, MemoryMiB: 1024, Public: true},
}

func TestHour(t *testing.T) {
	p := Published()
	for _, c := range []struct {
		name string
		m    Machine
		want float64
	}{
		{"a vCPU and two GB", fleet[mesh.RoleNode], 0.03238 + 2*0.00356},
		{"half of that, public", fleet[mesh.RoleGateway], 0.5*0.03238 + 0.00356 + 0.005},
		{"spot", Machine{Kind: FargateSpot, CPUUnits: 1024, MemoryMiB: 2048}, (0.03238 + 2*0.00356) * 0.3},
		{"an instance", Machine{Kind: "c8g.large"}, 0.07976},
		{"nothing at all", Machine{Kind: Fargate}, 0},
	} {
		if got, err := p.Hour(c.m); err != nil || !near(got, c.want) {
			t.Errorf("%s: $%v, %v; want $%v", c.name, got, err, c.want)
		}
	}
	if _, err := p.Hour(Machine{Kind: "x9.mega"}); !errors.Is(err, ErrNoPrice) || !strings.Contains(err.Error(), "WEFT_PRICES") {
		t.Errorf("an unknown instance: %v", err)
	}
}

func TestParse(t *testing.T) {
	p, err := Parse([]byte(`{"date": "2027-01-01", "egress_gb": 0.05, "instance_hour": {"x9.mega": 3}}`))
	if err != nil || p.EgressGB != 0.05 || p.WriteMillion != Published().WriteMillion || p.InstanceHour["x9.mega"] != 3 || p.InstanceHour["c8g.large"] != 0.07976 {
		t.Errorf("%+v, %v", p, err)
	}
	for name, text := range map[string]string{
		"no JSON": "x", "a word": `"x"`, "an unknown price": `{"gold": 1}`, "a negative one": `{"egress_gb": -1}`,
		"too large": `{"egress_gb": 1e999}`, "spot dearer than not": `{"spot_share": 1.5}`, "an instance below zero": `{"instance_hour": {"a": -1}}`,
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrPrices) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, poison := range []float64{math.NaN(), math.Inf(1)} {
		p := Published()
		p.WriteMillion = poison
		if err := p.Validate(); !errors.Is(err, ErrPrices) || !strings.Contains(err.Error(), "write_million") {
			t.Errorf("%v: %v", poison, err)
		}
	}
	if err := Published().Validate(); err != nil {
		t.Error(err)
	}
	if _, err := time.Parse(time.DateOnly, Published().Date); err != nil {
		t.Error(err)
	}
}

func TestBill(t *testing.T) {
	begin := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	u := Use{
		Begin: begin, End: begin.Add(time.Hour), Shard: "weft", Env: "dev",
		Running: []Running{
			{mesh.RoleGateway, fleet[mesh.RoleGateway], 2 * 3600},
			{mesh.RoleNode, Machine{Kind: FargateSpot, CPUUnits: 1024, MemoryMiB: 2048}, 1800},
			{mesh.RoleNode, fleet[mesh.RoleNode], 5 * 3600},
		},
		PlayerSeconds: 800 * 3600, WriteUnits: 2e6, ReadUnits: 4e6, FunctionCalls: 5e6, FunctionGBSeconds: 1000, EgressBytes: 3e9,
		Standing: Standing{Keys: 1, Secrets: 2, Metrics: 10, Alarms: 5, StoredBytes: 1 << 30},
	}
	b, err := Published().Bill(u)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]float64{
		Nodes: 5*0.0395 + 0.5*0.0395*0.3, Gateways: 2 * 0.02475, Store: 1.25 + 0.5, Functions: 1 + 0.0133334, Egress: 0.27,
		Fixed: (0.25 + 1 + 0.8 + 3 + 0.5) / 730,
	} {
		if !near(b.Lines[line], want) {
			t.Errorf("%s: $%v, want $%v", line, b.Lines[line], want)
		}
	}
	var sum float64
	for _, r := range b.Rows {
		sum += r.BilledCost
		if !near(r.BilledCost, r.ConsumedQuantity*r.ListUnitPrice) || r.BillingCurrency != "USD" || r.RegionId != "us-east-1" ||
			!r.ChargePeriodStart.Equal(u.Begin) || !r.ChargePeriodEnd.Equal(u.End) || r.Tags["weft:shard"] != "weft" || !slices.Contains(Lines, r.Tags[LineTag]) {
			t.Errorf("row %+v", r)
		}
	}
	if len(b.Rows) != 13 || !near(sum, b.USD) || b.Rows[0].SkuId != Fargate || b.Rows[1].SkuId != FargateSpot {
		t.Errorf("%d rows of $%v in all, the bill says $%v", len(b.Rows), sum, b.USD)
	}
	if !near(b.PlayerHours, 800) || !near(b.USDPerPlayerHour, (b.USD-0.27)/800) {
		t.Errorf("%v player-hours at $%v", b.PlayerHours, b.USDPerPlayerHour)
	}
	if b, err := Published().Bill(Use{Begin: begin, End: begin.Add(time.Hour)}); err != nil || b.USD != 0 || b.USDPerPlayerHour != 0 || len(b.Rows) != 0 {
		t.Errorf("nothing costs %+v, %v", b, err)
	}
	u.Running[0].Machine.Kind = "x9.mega"
	if b, err := Published().Bill(u); !errors.Is(err, ErrNoPrice) || b.Lines[Gateways] != 0 || b.Lines[Nodes] == 0 {
		t.Errorf("an unknown machine: %v, %v", b.Lines, err)
	}
}

// TestBudget is the promise of docs/design.md: the load that it budgets for
// costs no more than $0.0015 a player-hour, egress aside.
func TestBudget(t *testing.T) {
	const (
		players, nodeActors     = 800, 250
		writeUnitsPerSecond     = 200.0
		layoutReadsPerSecond    = 2.0  // of each process
		planReadUnits           = 25.0 // of a run of replan: a hundred kilobytes of records
		plansPerSecond          = 3.0
		planGBSeconds           = 0.1 * 0.25
		keys, secrets, metrics  = 1, 2, 20
		alarms, storedGigabytes = 15, 1
	)
	limits := scale.Limits{MinNodes: 1, MaxNodes: 64, WarmNodes: 1, NodeLoad: 800, MinGateways: 2, MaxGateways: 8, ClientsPerGateway: 1000}
	want := limits.Want(scale.Demand{Load: players * 1000 / nodeActors, Clients: players})
	hour := time.Hour.Seconds()
	b, err := Published().Bill(Use{
		End: time.Time{}.Add(time.Hour), PlayerSeconds: players * hour,
		Running: []Running{
			{mesh.RoleNode, fleet[mesh.RoleNode], float64(want.Nodes) * hour},
			{mesh.RoleGateway, fleet[mesh.RoleGateway], float64(want.Gateways) * hour},
		},
		WriteUnits: writeUnitsPerSecond * hour, ReadUnits: (layoutReadsPerSecond*float64(want.Nodes+want.Gateways) + plansPerSecond*planReadUnits) * hour,
		FunctionCalls: plansPerSecond * hour, FunctionGBSeconds: plansPerSecond * planGBSeconds * hour,
		Standing: Standing{keys, secrets, metrics, alarms, storedGigabytes * bytesPerGiB},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes, %d gateways: $%.4f an hour, $%.6f a player-hour: %v", want.Nodes, want.Gateways, b.USD, b.USDPerPlayerHour, b.Lines)
	if b.USDPerPlayerHour > 0.0015 || b.USDPerPlayerHour == 0 {
		t.Errorf("$%.6f a player-hour; the budget is $0.0015", b.USDPerPlayerHour)
	}
}

func TestEvening(t *testing.T) {
	p := Published()
	e, err := p.Evening(fleet, []Sample{
		{3600, 0, 0, 0}, {1800, 2, 2, 100}, {3600, 5, 2, 800}, {1800, 2, 2, 100}, {13 * 3600, 0, 0, 0}, {-1, 9, 9, 9}, {math.NaN(), 9, 9, 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	node, gateway := 0.0395, 0.02475
	if want := 2*node + 2*gateway + 5*node + 2*gateway; !near(e.USD, want) {
		t.Errorf("$%v, want $%v", e.USD, want)
	}
	if want := 16 * (5*node + 2*gateway); !near(e.StaticPeakUSD, want) {
		t.Errorf("a static fleet: $%v, want $%v", e.StaticPeakUSD, want)
	}
	if !near(e.PlayerHours, 900) {
		t.Errorf("%v player-hours", e.PlayerHours)
	}
	if _, err := p.Evening(Fleet{}, []Sample{{60, 1, 1, 1}}); !errors.Is(err, ErrNoPrice) {
		t.Errorf("machines of no kind: %v", err)
	}
}

func TestLayoutHour(t *testing.T) {
	owner := func(n mesh.NodeID) mesh.Owner { return mesh.Owner{Node: n} }
	l := mesh.Layout{Zones: []mesh.Zone{{Owner: owner("a")}, {Owner: owner("b")}, {Owner: owner("a")}, {}}}
	if got, err := Published().LayoutHour(fleet, l); err != nil || !near(got, 2*0.0395) {
		t.Errorf("two owners: $%v, %v", got, err)
	}
}

// TestIdle: a world that nobody plays costs no more than $10 a month: what
// stands, a sweep each minute and a bill each hour.
func TestIdle(t *testing.T) {
	const sweeps, bills = 60 * hoursPerMonth, hoursPerMonth
	b, err := Published().Bill(Use{
		End:           time.Time{}.Add(hoursPerMonth * time.Hour),
		WriteUnits:    2*sweeps + bills,
		ReadUnits:     12*sweeps + 300*bills,
		FunctionCalls: sweeps + bills, FunctionGBSeconds: (sweeps + bills) * 0.3 * 0.25,
		Standing: Standing{Keys: 1, Secrets: 1, Metrics: 20, Alarms: 15, StoredBytes: bytesPerGiB},
	})
	if err != nil || b.USD > 10 || b.USD < 1 {
		t.Errorf("$%.2f a month, %v: %v", b.USD, err, b.Lines)
	}
	for _, r := range b.Rows {
		t.Logf("%-28s %12.1f %-10s $%.4f", r.ChargeDescription, r.ConsumedQuantity, r.ConsumedUnit, r.BilledCost)
	}
}
