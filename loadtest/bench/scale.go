package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/simnode/gateway"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
	"weft/simnode/world"
)

var scale = Row{
	Name: "scale",
	What: "cost per player with 1, 2, 4, 8 and 16 nodes: processes where cores allow, else the cores in virtual time",
	Bars: []Bar{
		{Figure: "16 nodes over 1", Unit: "times the cost per player", Told: true},
		{Figure: "node", Unit: "µs a player and tick, 16 nodes", Told: true},
		{Figure: "gateway", Unit: "µs an entity and tick", Told: true},
		{Figure: "process", Unit: "µs a player and tick, of 200 on one node with sockets and store", Told: true},
	},
	Measure: measureScale,
	Parts:   map[string]Part{playersPart: runPlayers},
	Once:    true,
}

// scaleHz and the density of the crowd: one player on 400 m².
const (
	scaleHz    = 20
	scalePerM2 = 400
	leastCPU   = 100 * time.Millisecond // the operating system counts in steps of ten
)

// measureScale walks the same crowd, as dense, over ever more nodes, and more
// players over the same.
func measureScale(ctx context.Context, o Options) (Sample, error) {
	nodes, players, ticks := []int{1, 2, 4, 8, 16}, []int{250, 500, 1000, 2000, 4000}, mesh.Tick(100)
	if o.Small {
		nodes, players, ticks = []int{1, 4}, []int{40}, 10
	}
	most := players[len(players)-1]
	figures := map[string]float64{}
	byNodes := Plot{Title: "Work of all nodes per player and tick", XName: "players", YName: "µs", LogX: true}
	replica := Plot{Title: "Work of a gateway without clients, which follows all", XName: "players", YName: "ms a tick", Lines: []string{"gateway"}, LogX: true}
	for _, n := range players {
		byNodes.X, replica.X = append(byNodes.X, float64(n)), append(replica.X, float64(n))
	}
	var gateways []Reading
	for _, n := range nodes {
		var line []Reading
		for _, p := range players {
			c, err := walkLattice(ctx, n, p, max(ticks, ticks*mesh.Tick(most/4)/mesh.Tick(p)))
			if err != nil {
				return Sample{}, fmt.Errorf("%d players on %d nodes: %w", p, n, err)
			}
			o.Say("%d players on %d nodes: %.2f µs a player and tick, a gateway %.2f ms a tick", p, n, c.player, c.gateway*float64(p)/1000)
			line = append(line, Reading(c.player))
			if n == nodes[len(nodes)-1] {
				gateways = append(gateways, Reading(c.gateway*float64(p)/1000))
				figures["node"], figures["gateway"] = c.player, c.gateway
			}
			if p == most {
				figures[fmt.Sprintf("%d nodes", n)] = c.player
			}
		}
		byNodes.Lines, byNodes.Y = append(byNodes.Lines, fmt.Sprintf("%d nodes", n)), append(byNodes.Y, line)
	}
	replica.Y = [][]Reading{gateways}
	first, last := figures[fmt.Sprintf("%d nodes", nodes[0])], figures[fmt.Sprintf("%d nodes", nodes[len(nodes)-1])]
	figures["16 nodes over 1"] = last / max(first, 1e-9)
	for _, n := range []int{1, 2} {
		if n > runtime.NumCPU() || o.Small && n > 1 {
			continue
		}
		us, err := walkProcesses(ctx, o, n)
		if err != nil {
			return Sample{}, err
		}
		figures[fmt.Sprintf("%d nodes as processes", n)] = us
		if n == 1 {
			figures["process"] = us
		}
	}
	return Sample{Figures: figures, Plots: []Plot{byNodes, replica}}, nil
}

// scaleScenario is the crowd on processes.
const scaleScenario = `
name: scale
seed: 7
tick_hz: 20
world: {size_m: [283, 283, 20]}
gateways: 1
players:
  - {count: 200, asleep: true, join: {at: 0s, over: 4s}, behave: roam}
duration: 20s
policy: static
zones: ZONES
node_actors: 1000
expect:
  disconnects: 0
  entities_lost: 0
`

// walkProcesses returns the work of all node processes, per player and tick in
// microseconds, sockets and store calls included.
func walkProcesses(ctx context.Context, o Options, nodes int) (float64, error) {
	players, duration := 0, time.Duration(0)
	if o.Small {
		players, duration = 10, smallPlay
	}
	w, err := playWhole(ctx, o, "scale", strings.Replace(scaleScenario, "ZONES", fmt.Sprint(nodes), 1), players, duration, hooks{})
	if err == nil {
		err = w.verdicts()
	}
	if err != nil {
		return 0, err
	}
	return w.nodes / 100 * 1e6 / scaleHz / float64(max(w.report.Players.Peak, 1)), nil
}

// latticeCost is in microseconds a tick: of all nodes together for each player,
// and of a gateway for each entity that it follows.
type latticeCost struct{ player, gateway float64 }

// walkLattice runs the cores of so many nodes, a zone each, side by side, with
// players who walk about, every message encoded and decoded, and a gateway that
// follows all and has no clients.
func walkLattice(ctx context.Context, nodes, players int, ticks mesh.Tick) (latticeCost, error) {
	b := &border{ctx: ctx, store: memstore.New(), tick: 100, joined: map[process.ClientID]bool{}}
	side := int32(1)
	for side*side < int32(players*scalePerM2) {
		side++
	}
	shard := mesh.Shard{Name: "lattice", TickHz: scaleHz, Seed: 7, Bounds: mesh.Box{Max: mesh.Meters(side, side, 20)}, Spawn: mesh.Meters(side/2, side/2, 0)}
	boxes := []mesh.Box{shard.Bounds}
	for axis := 0; len(boxes) < nodes; axis = 1 - axis { // each in half, and again
		for _, box := range boxes {
			middle := (box.Min.X + box.Max.X) / 2
			if axis == 1 {
				middle = (box.Min.Y + box.Max.Y) / 2
			}
			low, high := box.Cut(axis, middle)
			boxes = append(boxes[1:], low, high)
		}
	}
	cfg := node.DefaultConfig()
	cfg.World = world.Config{TickHz: scaleHz, Bounds: shard.Bounds, Seed: shard.Seed, Spawn: shard.Spawn}
	layout := &mesh.Layout{Version: 1, NextZone: mesh.ZoneID(nodes + 1), Shard: shard}
	bodies := world.Scatter(shard.Seed, players, shard.Bounds, mesh.Vec{}, 0)
	for i, box := range boxes {
		self := mesh.Process{ID: mesh.NodeID(fmt.Sprintf("n%d", i)), Incarnation: 1, Role: mesh.RoleNode, Address: "x"}
		b.selves, b.cores = append(b.selves, self), append(b.cores, node.New(cfg, self, world.Tavern{}))
		layout.Zones = append(layout.Zones, mesh.Zone{ID: mesh.ZoneID(i + 1), Box: box, Owner: self.Owner(), Epoch: 1})
		state := replication.NewState()
		for p := range players {
			id := mesh.PlayerID(p + 1)
			if i == 0 {
				state.Born[id] = struct{}{}
			}
			if box.Contains(bodies[p].Pos) {
				e := world.Tavern{}.Born(id, bodies[p].Pos, 0)
				e.Pos, e.Flags = bodies[p].Pos, mesh.Asleep
				state.Entities[e.ID] = e
			}
		}
		key := fmt.Sprintf("genesis-%d", i)
		err := errors.Join(b.store.PutChunk(ctx, key, state.Encode(nil)), b.store.CreateZone(ctx, mesh.ZoneRecord{
			Zone: mesh.ZoneID(i + 1), Owner: self.Owner(), Epoch: 1, Pointer: mesh.Pointer{Position: -1, Chunks: []string{key}}}))
		if err != nil {
			return latticeCost{}, err
		}
	}
	self := mesh.Process{ID: gatewayName, Incarnation: 1, Role: mesh.RoleGateway, Address: "x"}
	b.selves, b.cores = append(b.selves, self), append(b.cores, gateway.New(gateway.DefaultConfig(1), self))
	b.open(layout)
	b.inputs(players, true)
	if b.run(30, true); b.fault != nil {
		return latticeCost{}, b.fault
	}
	b.inputs(players, false)
	b.run(5, true)
	return b.weigh(players, ticks)
}

// inputs logs every player in, or steers them all somewhere, through whoever
// has the body: the others do not listen.
func (b *border) inputs(players int, login bool) {
	b.steered++
	for to := range b.cores[:len(b.cores)-1] {
		var batch []wire.Input
		for p := range players {
			id := mesh.PlayerID(p + 1)
			if login {
				b.put(to, process.Event{Kind: process.EventPeer, Peer: gatewayName, Message: &wire.Login{Player: id, Session: 1}})
				continue
			}
			turn := uint32(p)*2654435761 + b.steered*40503
			c := mesh.Command{Sequence: b.steered, MoveX: int8(turn>>8%77) - 38, MoveY: int8(turn>>16%77) - 38}
			batch = append(batch, wire.Input{Player: id, Session: 1, Command: c})
		}
		for ; len(batch) > 0; batch = batch[min(len(batch), wire.MaxInputs):] {
			b.put(to, process.Event{Kind: process.EventPeer, Peer: gatewayName, Message: &wire.Inputs{Inputs: batch[:min(len(batch), wire.MaxInputs)]}})
		}
	}
}

// weigh runs so many ticks and shares their work out.
func (b *border) weigh(players int, ticks mesh.Tick) (c latticeCost, err error) {
	var spent [2]time.Duration // nodes, gateway
	b.spent = &spent
	before, walked, places := b.tick, 0, b.places()
	from, err := UseOf(os.Getpid())
	if err != nil {
		return c, err
	}
	for b.tick < before+ticks {
		if b.tick%10 == 0 {
			b.inputs(players, false)
		}
		b.run(1, true)
	}
	to, err := UseOf(os.Getpid())
	for id, p := range b.places() {
		if q, ok := places[id]; ok && p.Dist2(q) > (mesh.UnitsPerMeter/4)*(mesh.UnitsPerMeter/4) {
			walked++
		}
	}
	if walked < players/2 || len(places) != players {
		err = errors.Join(err, fmt.Errorf("of %d players %d are awake and %d walked", players, len(places), walked))
	}
	// What the clock says of either, cut down to what the process had of its core.
	share := 1.0
	if used := to.CPU - from.CPU; used > leastCPU {
		share = min(1, float64(used)/float64(max(spent[0]+spent[1], 1)))
	}
	each := func(d time.Duration) float64 {
		return share * float64(d.Microseconds()) / float64(ticks) / float64(players)
	}
	return latticeCost{each(spent[0]), each(spent[1])}, errors.Join(err, b.fault)
}
