package cost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Prices are what a provider asks, in dollars; the names say for what. A month
// is one of 730 hours.
type Prices struct {
	// Date is when they were read off, as 2006-01-02; Region is where they hold.
	Date   string `json:"date"`
	Region string `json:"region"`

	FargateCPUHour float64 `json:"fargate_cpu_hour"` // a vCPU, Linux on ARM
	FargateGBHour  float64 `json:"fargate_gb_hour"`
	// SpotShare is the part of the price that Fargate Spot costs.
	SpotShare float64 `json:"spot_share"`
	// InstanceHour is by instance type, on demand.
	InstanceHour map[string]float64 `json:"instance_hour"`
	AddressHour  float64            `json:"address_hour"` // a public IPv4 address

	WriteMillion        float64 `json:"write_million"` // DynamoDB write units, on demand
	ReadMillion         float64 `json:"read_million"`
	StoredGBMonth       float64 `json:"stored_gb_month"`
	FunctionCallMillion float64 `json:"function_call_million"`
	FunctionGBSecond    float64 `json:"function_gb_second"` // ARM
	EgressGB            float64 `json:"egress_gb"`          // to the internet

	KeyMonth    float64 `json:"key_month"` // of KMS
	SecretMonth float64 `json:"secret_month"`
	MetricMonth float64 `json:"metric_month"` // a name with its dimensions
	AlarmMonth  float64 `json:"alarm_month"`
}

// Published returns the list prices of us-east-1 as they were read off at Date:
// on demand, without the free tier, ARM. Whoever pays others overrides them
// with Parse.
func Published() Prices {
	return Prices{
		Date: "2026-11-22", Region: "us-east-1",
		FargateCPUHour: 0.03238, FargateGBHour: 0.00356, SpotShare: 0.3,
		InstanceHour: map[string]float64{"c8g.medium": 0.03988, "c8g.large": 0.07976, "c8g.xlarge": 0.15952, "c7i.large": 0.08925},
		AddressHour:  0.005,
		WriteMillion: 0.625, ReadMillion: 0.125, StoredGBMonth: 0.25,
		FunctionCallMillion: 0.20, FunctionGBSecond: 0.0000133334,
		EgressGB: 0.09, KeyMonth: 1, SecretMonth: 0.40, MetricMonth: 0.30, AlarmMonth: 0.10,
	}
}

// ErrPrices is wrapped by every fault of a table of prices.
var ErrPrices = errors.New("invalid prices")

// Parse returns the published prices with those of text, a JSON object, in
// their place. Fields that do not exist, and prices that cannot be, are
// ErrPrices.
func Parse(text []byte) (Prices, error) {
	p := Published()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Prices{}, fmt.Errorf("%w: %w", ErrPrices, err)
	}
	return p, p.Validate()
}

// Validate reports the prices of p that cannot be.
func (p Prices) Validate() error {
	prices := map[string]float64{
		"fargate_cpu_hour": p.FargateCPUHour, "fargate_gb_hour": p.FargateGBHour, "spot_share": p.SpotShare, "address_hour": p.AddressHour,
		"write_million": p.WriteMillion, "read_million": p.ReadMillion, "stored_gb_month": p.StoredGBMonth,
		"function_call_million": p.FunctionCallMillion, "function_gb_second": p.FunctionGBSecond, "egress_gb": p.EgressGB,
		"key_month": p.KeyMonth, "secret_month": p.SecretMonth, "metric_month": p.MetricMonth, "alarm_month": p.AlarmMonth,
	}
	for kind, price := range p.InstanceHour {
		prices["instance_hour "+kind] = price
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(prices)) {
		if v := prices[name]; !(v >= 0) || math.IsInf(v, 0) {
			faults = append(faults, fmt.Errorf("%w: %s is %v; it must be a number of dollars from 0 on", ErrPrices, name, v))
		}
	}
	if p.SpotShare > 1 {
		faults = append(faults, fmt.Errorf("%w: spot_share is %v; it must be a part of the price, at most 1", ErrPrices, p.SpotShare))
	}
	return errors.Join(faults...)
}
