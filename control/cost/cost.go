// Package cost turns what a world uses into dollars. It is pure: begin with
// Prices.Bill for a period that is over, Prices.Fleet for a fleet that stands,
// and Prices.Evening for a crowd that came and went.
package cost

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"weft/control/mesh"
)

// The kinds of machine that are priced by their size; any other kind is an
// instance type with a price of its own.
const (
	Fargate     = "FARGATE"
	FargateSpot = "FARGATE_SPOT"
)

// Machine is what a process runs on.
type Machine struct {
	Kind string
	// CPUUnits, 1024 to a vCPU, and MemoryMiB count for Fargate only.
	CPUUnits, MemoryMiB int
	Public              bool // it has an address in the internet
}

// ErrNoPrice: the table has no price for a kind of machine.
var ErrNoPrice = errors.New("no price")

// Hour returns the dollars of an hour of m, or ErrNoPrice.
func (p Prices) Hour(m Machine) (float64, error) {
	var dollars float64
	switch m.Kind {
	case Fargate, FargateSpot:
		dollars = float64(m.CPUUnits)/1024*p.FargateCPUHour + float64(m.MemoryMiB)/1024*p.FargateGBHour
		if m.Kind == FargateSpot {
			dollars *= p.SpotShare
		}
	default:
		price, ok := p.InstanceHour[m.Kind]
		if !ok {
			return 0, fmt.Errorf("%w for a machine of kind %q in the table of %s; add it to WEFT_PRICES under instance_hour", ErrNoPrice, m.Kind, p.Date)
		}
		dollars = price
	}
	if m.Public {
		dollars += p.AddressHour
	}
	return dollars, nil
}

// Fleet is what processes of each role run on.
type Fleet map[mesh.Role]Machine

// FleetHour returns the dollars of an hour of so many nodes and gateways.
func (p Prices) FleetHour(f Fleet, nodes, gateways int) (float64, error) {
	node, err := p.Hour(f[mesh.RoleNode])
	gateway, err2 := p.Hour(f[mesh.RoleGateway])
	return float64(nodes)*node + float64(gateways)*gateway, errors.Join(err, err2)
}

// LayoutHour returns the dollars of an hour of the nodes that own zones of l.
func (p Prices) LayoutHour(f Fleet, l mesh.Layout) (float64, error) {
	owners := map[mesh.NodeID]bool{}
	for _, z := range l.Zones {
		if !z.Owner.IsZero() {
			owners[z.Owner.Node] = true
		}
	}
	return p.FleetHour(Fleet{mesh.RoleNode: f[mesh.RoleNode], mesh.RoleGateway: f[mesh.RoleNode]}, len(owners), 0)
}

// Running is so many seconds of machines in a role.
type Running struct {
	Role    mesh.Role
	Machine Machine
	Seconds float64
}

// Use is what a world used in a period.
type Use struct {
	Begin, End    time.Time
	Shard, Env    string
	Running       []Running
	PlayerSeconds float64

	WriteUnits, ReadUnits float64
	FunctionCalls         float64
	FunctionGBSeconds     float64
	EgressBytes           float64
	Standing              Standing
}

// Standing is what costs whether anybody plays or not.
type Standing struct {
	Keys, Secrets, Metrics, Alarms int
	StoredBytes                    float64
}

// Row is a line of a bill, with the column names of FOCUS 1.0 (FinOps Open Cost
// and Usage Specification); the columns that a provider alone can know are left out.
type Row struct {
	BilledCost        float64
	BillingCurrency   string
	ChargeCategory    string
	ChargeDescription string
	ChargePeriodStart time.Time
	ChargePeriodEnd   time.Time
	ConsumedQuantity  float64
	ConsumedUnit      string
	ListUnitPrice     float64
	ProviderName      string
	RegionId          string //nolint:revive // the column's name
	ServiceCategory   string
	ServiceName       string
	SkuId             string //nolint:revive // the column's name
	Tags              map[string]string
}

// The lines of a bill, by which Row.Tags[LineTag] names them.
const (
	LineTag   = "weft:line"
	Nodes     = "nodes"
	Gateways  = "gateways"
	Store     = "store"
	Functions = "functions"
	Egress    = "egress"
	Fixed     = "fixed"
)

// Lines lists them in the order in which they are shown.
var Lines = []string{Nodes, Gateways, Store, Functions, Egress, Fixed}

// Bill is what a period cost.
type Bill struct {
	Rows        []Row              `json:"rows"`
	Lines       map[string]float64 `json:"lines"` // dollars
	USD         float64            `json:"usd"`
	PlayerHours float64            `json:"player_hours"`
	// USDPerPlayerHour leaves egress aside; 0 if nobody played.
	USDPerPlayerHour float64 `json:"usd_per_player_hour"`
}

const (
	bytesPerGB    = 1e9 // as egress is billed
	bytesPerGiB   = 1 << 30
	hoursPerMonth = 730
)

// Bill prices u. ErrNoPrice names the machines that the table does not know;
// the bill is then without them.
func (p Prices) Bill(u Use) (Bill, error) {
	b := Bill{Lines: map[string]float64{}, PlayerHours: u.PlayerSeconds / 3600}
	for _, l := range Lines {
		b.Lines[l] = 0
	}
	add := func(line, category, service, sku, description, unit string, quantity, price float64) {
		if quantity == 0 {
			return
		}
		r := Row{
			BilledCost: quantity * price, BillingCurrency: "USD", ChargeCategory: "Usage", ChargeDescription: description,
			ChargePeriodStart: u.Begin.UTC(), ChargePeriodEnd: u.End.UTC(),
			ConsumedQuantity: quantity, ConsumedUnit: unit, ListUnitPrice: price,
			ProviderName: "AWS", RegionId: p.Region, ServiceCategory: category, ServiceName: service, SkuId: sku,
			Tags: map[string]string{LineTag: line, "weft:shard": u.Shard, "weft:env": u.Env},
		}
		b.Rows = append(b.Rows, r)
		b.Lines[line] += r.BilledCost
	}
	var faults []error
	running := slices.Clone(u.Running)
	slices.SortFunc(running, func(x, y Running) int {
		return cmp.Or(cmp.Compare(x.Role, y.Role), cmp.Compare(x.Machine.Kind, y.Machine.Kind))
	})
	for _, r := range running {
		price, err := p.Hour(r.Machine)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		line, service := Nodes, "Amazon EC2"
		if r.Role == mesh.RoleGateway {
			line = Gateways
		}
		if r.Machine.Kind == Fargate || r.Machine.Kind == FargateSpot {
			service = "AWS Fargate"
		}
		add(line, "Compute", service, r.Machine.Kind, fmt.Sprintf("%ss on %s", r.Role, r.Machine.Kind), "Hours", r.Seconds/3600, price)
	}
	hours := u.End.Sub(u.Begin).Hours()
	months := hours / hoursPerMonth
	add(Store, "Databases", "Amazon DynamoDB", "WriteRequestUnits", "units written", "Units", u.WriteUnits, p.WriteMillion/1e6)
	add(Store, "Databases", "Amazon DynamoDB", "ReadRequestUnits", "units read", "Units", u.ReadUnits, p.ReadMillion/1e6)
	add(Functions, "Compute", "AWS Lambda", "Requests", "calls of functions", "Requests", u.FunctionCalls, p.FunctionCallMillion/1e6)
	add(Functions, "Compute", "AWS Lambda", "Duration", "time of functions", "GB-Seconds", u.FunctionGBSeconds, p.FunctionGBSecond)
	add(Egress, "Networking", "AWS Data Transfer", "Egress", "bytes to clients", "GB", u.EgressBytes/bytesPerGB, p.EgressGB)
	add(Fixed, "Databases", "Amazon DynamoDB", "Storage", "bytes stored", "GB-Months", u.Standing.StoredBytes/bytesPerGiB*months, p.StoredGBMonth)
	add(Fixed, "Security", "AWS KMS", "Keys", "keys", "Months", float64(u.Standing.Keys)*months, p.KeyMonth)
	add(Fixed, "Security", "AWS Secrets Manager", "Secrets", "secrets", "Months", float64(u.Standing.Secrets)*months, p.SecretMonth)
	add(Fixed, "Management and Governance", "Amazon CloudWatch", "Metrics", "metrics", "Months", float64(u.Standing.Metrics)*months, p.MetricMonth)
	add(Fixed, "Management and Governance", "Amazon CloudWatch", "Alarms", "alarms", "Months", float64(u.Standing.Alarms)*months, p.AlarmMonth)
	for _, l := range Lines {
		b.USD += b.Lines[l]
	}
	if b.PlayerHours > 0 {
		b.USDPerPlayerHour = (b.USD - b.Lines[Egress]) / b.PlayerHours
	}
	return b, errors.Join(faults...)
}

// Sample is a fleet as it stood for some seconds.
type Sample struct {
	Seconds                  float64
	Nodes, Gateways, Clients int
}

// Evening compares a fleet that followed its crowd with one that stood all the
// time as large as the first was at its peak.
type Evening struct {
	USD           float64
	StaticPeakUSD float64
	PlayerHours   float64
}

// Evening prices samples.
func (p Prices) Evening(f Fleet, samples []Sample) (Evening, error) {
	var e Evening
	var hours float64
	nodes, gateways := 0, 0
	for _, s := range samples {
		if !(s.Seconds > 0) || math.IsInf(s.Seconds, 0) {
			continue
		}
		dollars, err := p.FleetHour(f, s.Nodes, s.Gateways)
		if err != nil {
			return Evening{}, err
		}
		h := s.Seconds / 3600
		hours += h
		e.USD += dollars * h
		e.PlayerHours += float64(s.Clients) * h
		nodes, gateways = max(nodes, s.Nodes), max(gateways, s.Gateways)
	}
	dollars, err := p.FleetHour(f, nodes, gateways)
	e.StaticPeakUSD = dollars * hours
	return e, err
}
