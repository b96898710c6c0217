package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"weft/control/mesh"
	"weft/control/reconcile"
	"weft/functions/internal/emf"
	"weft/functions/internal/shard"
	"weft/functions/internal/targets"
)

// sweeper is reconcile.Reconciler.
type sweeper interface {
	Sweep(ctx context.Context) (reconcile.Swept, error)
}

type handler struct {
	*shard.Shard
	sweeper sweeper
	targets *targets.Keeper
}

// summary is what a sweep found, for the log of who called.
type summary struct {
	Decisions int `json:"decisions"`
	Orphans   int `json:"orphans"`
}

// handle sweeps, whatever the event says. An error comes again from the
// runtime, or with the next minute.
func (h *handler) handle(ctx context.Context, _ json.RawMessage) (summary, error) {
	swept, err := h.sweeper.Sweep(ctx)
	h.Count(swept.Decisions)
	s := summary{Decisions: len(swept.Decisions), Orphans: len(swept.Instances) + len(swept.Processes)}
	if s.Orphans > 0 {
		h.Log.Warn("orphans", "instances", len(swept.Instances), "records", len(swept.Processes))
	}
	return s, errors.Join(err, h.targets.Sync(ctx), h.gauge(ctx))
}

// gauge emits how the fleet stands.
func (h *handler) gauge(ctx context.Context) error {
	processes, err := h.Store.Processes(ctx)
	if err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	reports, err := h.Store.Reports(ctx)
	if err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	said := map[mesh.Owner]mesh.Report{}
	for _, r := range reports {
		said[mesh.Owner{Node: r.Process.ID, Incarnation: r.Process.Incarnation}] = r
	}
	var nodes, gateways, players int
	var worst float64
	for _, p := range processes {
		if p.State == mesh.Stopped {
			continue
		}
		r := said[mesh.Owner{Node: p.ID, Incarnation: p.Incarnation}]
		if p.Role == mesh.RoleGateway {
			gateways++
			players += max(r.Clients, 0)
			continue
		}
		nodes++
		worst = max(worst, load(p, r))
	}
	h.Emit(
		emf.Metric{Name: "Players", Unit: emf.Count, Value: float64(players)},
		emf.Metric{Name: "Nodes", Unit: emf.Count, Value: float64(nodes)},
		emf.Metric{Name: "Gateways", Unit: emf.Count, Value: float64(gateways)},
		emf.Metric{Name: "WorstLoad", Unit: emf.None, Value: worst},
	)
	return nil
}

// load is the larger of a node's tick over its budget and of its actors over
// what it declares to carry.
func load(p mesh.Process, r mesh.Report) float64 {
	actors := 0
	for _, z := range r.Zones {
		actors += max(z.Actors, 0)
	}
	l := 0.0
	if p.Capacity > 0 {
		l = float64(actors) / float64(p.Capacity)
	}
	if r.TickBudgetUS > 0 {
		l = max(l, float64(r.BusyUS)/float64(r.TickBudgetUS))
	}
	return l
}
