package main

import (
	"context"
	"encoding/json"

	"weft/control/bill"
	"weft/control/cost"
	"weft/functions/internal/emf"
	"weft/functions/internal/shard"
)

type handler struct {
	*shard.Shard
	config bill.Config
}

// summary is the last hour's bill, for the log of who called.
type summary struct {
	Hours int     `json:"hours"`
	USD   float64 `json:"usd"`
}

// handle bills the hours that are over. The metrics are of the last one.
func (h *handler) handle(ctx context.Context, _ json.RawMessage) (summary, error) {
	hours, err := bill.Hours(ctx, h.Store, h.config, h.Now())
	if len(hours) == 0 {
		return summary{}, err
	}
	last := hours[len(hours)-1]
	h.Log.Info("bill", "hour", last.Hour, "usd", last.USD, "lines", last.Lines, "player_hours", last.PlayerHours)
	dollars := func(name, line string) emf.Metric {
		return emf.Metric{Name: name, Unit: emf.None, Value: last.Lines[line]}
	}
	h.Emit(
		dollars("NodesUSD", cost.Nodes), dollars("GatewaysUSD", cost.Gateways), dollars("StoreUSD", cost.Store),
		dollars("FunctionsUSD", cost.Functions), dollars("EgressUSD", cost.Egress), dollars("FixedUSD", cost.Fixed),
		emf.Metric{Name: "TotalUSD", Unit: emf.None, Value: last.USD},
		emf.Metric{Name: "StaticPeakUSD", Unit: emf.None, Value: last.StaticPeakUSD},
		emf.Metric{Name: "USDPerPlayerHour", Unit: emf.None, Value: last.USDPerPlayerHour},
		emf.Metric{Name: "PlayerHours", Unit: emf.None, Value: last.PlayerHours},
		emf.Metric{Name: "IdleShare", Unit: emf.None, Value: last.IdleShare},
		emf.Metric{Name: "EgressGB", Unit: emf.Gigabytes, Value: last.EgressGB},
	)
	return summary{len(hours), last.USD}, err
}
