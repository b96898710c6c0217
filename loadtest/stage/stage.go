// Package stage puts a scenario on: it gives a mesh of this machine what
// control does not know (what the world holds at first, tickets, the map), and
// runs load against it. Config is for programs that only want the world.
package stage

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"weft/control/dashboard"
	"weft/control/local"
	"weft/control/mesh"
	"weft/control/store"
	"weft/loadtest/scenario"
	"weft/simnode/edge"
	"weft/simnode/replication"
	"weft/simnode/ticket"
)

// Arguments of this program that make it a node or a gateway.
const (
	NodeCommand    = "simnode"
	GatewayCommand = "gateway"
)

// ticketLife is how long a ticket of Join admits.
const ticketLife = 10 * time.Minute

// Config returns a mesh for the world of s. Its processes are this very
// program, which must understand NodeCommand and GatewayCommand. The caller
// fills in directory, page and log.
func Config(s *scenario.Scenario) (local.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return local.Config{}, fmt.Errorf("cannot find this program to start nodes with: %w", err)
	}
	all, spawn := s.Genesis(), scenario.Vec(s.SpawnM)
	return local.Config{
		Shard: s.Shard(time.Now()), Policy: s.Policy, Zones: s.Zones, NodeActors: s.NodeActors, Cooldown: s.Cooldown, Gateways: s.Gateways, GatewayClients: s.GatewayClients, ViewHz: s.ViewHz, MinNodes: s.MinNodes, MaxNodes: s.MaxNodes,
		ActorCostUS: s.ActorCostUS, NodeCPU: int(s.NodeCPU*1000 + 0.5),
		Chunks: func(zone mesh.Box) [][]byte { return chunks(all, zone, spawn) },
		Command: func(r mesh.Role) []string {
			if r == mesh.RoleGateway {
				return []string{self, GatewayCommand}
			}
			return []string{self, NodeCommand}
		},
		Tickets: tickets, Map: observe,
	}, nil
}

// chunks returns the snapshot of a zone that holds those of all that are in it.
// The zone with the spawn is the cradle, whose roster names all players.
func chunks(all []mesh.Entity, zone mesh.Box, spawn mesh.Vec) [][]byte {
	state, cradle := replication.NewState(), zone.Contains(spawn)
	for _, e := range all {
		if zone.Contains(e.Pos) {
			state.Entities[e.ID] = e
		}
		if p := e.ID.Player(); p != 0 && cradle {
			state.Born[p] = struct{}{}
		}
	}
	return replication.Chunks(state.Encode(nil), store.MaxChunkBytes)
}

func tickets(w local.World) (func(mesh.PlayerID, []mesh.NodeID) string, error) {
	booth, err := ticket.NewBooth(w.Key, w.Shard.Name)
	if err != nil {
		return nil, err
	}
	return func(p mesh.PlayerID, gateways []mesh.NodeID) string {
		return booth.Mint(ticket.Claims{Player: p, Gateways: gateways, Expires: time.Now().Add(ticketLife)})
	}, nil
}

// eye is a map feed that watches the frames of all zones.
type eye struct{ *edge.Observer }

func observe(ctx context.Context, w local.World) (dashboard.MapFeed, func(), error) {
	o, err := edge.Observe(ctx, w.Store, w.Key, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	return eye{o}, o.Wait, nil
}

// Watch returns what is seen of m's whole world, from now until ctx ends. Wait
// for that.
func (m Mesh) Watch(ctx context.Context) (*edge.Observer, error) {
	w := m.World()
	return edge.Observe(ctx, w.Store, w.Key, slog.New(slog.DiscardHandler))
}

// Points implements dashboard.MapFeed.
func (e eye) Points(dst []dashboard.Point, limit int) ([]dashboard.Point, int) {
	total := 0
	e.Each(func(zone mesh.ZoneID, p *mesh.Pose) {
		if total++; len(dst) < limit {
			dst = append(dst, dashboard.Point{ID: p.ID, Zone: zone, Flags: p.Flags, Pos: p.Pos})
		}
	})
	return dst, total
}

// Mesh is a mesh of this machine as a run wants it.
type Mesh struct {
	*local.Mesh
	log *logFile
}

// Join implements run.Mesh.
func (m Mesh) Join(player mesh.PlayerID) (gateways []string, ticket string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), joinPatience)
	defer cancel()
	in, err := m.Mesh.Join(ctx, player)
	return in.Gateways, in.Ticket, err
}

const joinPatience = 2 * time.Second

// Store implements run.Mesh.
func (m Mesh) Store() store.Store { return m.Mesh.Store() }
