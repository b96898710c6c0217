package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"weft/control/mesh"
	"weft/control/store/natsstore"
	"weft/loadtest/audit"
	"weft/simnode/replication"
)

var journal = Row{
	Name: "journal",
	What: "durable events a second, receipt to acknowledgement at a node, group commit on the embedded store",
	Bars: []Bar{
		{Figure: "events", Unit: "a second", Limit: 20_000, AtLeast: true},
		{Figure: "p99", Unit: "ms", Limit: 20},
		{Figure: "p50", Unit: "ms", Told: true},
		{Figure: "appends", Unit: "a second", Told: true},
		{Figure: "most", Unit: "events a second", Told: true},
		{Figure: "most p99", Unit: "ms", Told: true},
		{Figure: "node", Unit: "% of a core", Told: true},
		{Figure: "store", Unit: "% of a core", Told: true},
	},
	Measure: measureJournal,
	Parts:   map[string]Part{"node": journalNode},
}

// journalOrder is what the part is told.
type journalOrder struct {
	URL     string
	Players int
	Rate    int // events a second that come in; 0: each player's next as soon as it has the last answer
	Warm    time.Duration
	Measure time.Duration
}

// journalCount is what the part found.
type journalCount struct {
	Acked      int // in the time measured
	Seconds    float64
	P50, P99   time.Duration
	Appends    int
	HeldBack   int                      // that could not come in, since the player's last had no answer
	LastEvents map[mesh.PlayerID]uint32 // the last that was acknowledged; nothing is open
}

// measureJournal runs the core of a node in a process of its own against the
// store that weft embeds, in this one. Players, each with a bottle, let go of it
// and pick it up again, at a fixed rate, each event as its message comes in; it
// counts when its acknowledgement is encoded. What was acknowledged must be in
// the store. Then as many as can be.
func measureJournal(ctx context.Context, o Options) (_ Sample, err error) {
	order := journalOrder{Players: 2000, Rate: 20_500, Warm: 2 * time.Second, Measure: 6 * time.Second}
	if o.Small {
		order.Players, order.Rate, order.Warm, order.Measure = 50, 500, 100*time.Millisecond, 200*time.Millisecond
	}
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return Sample{}, err
	}
	defer os.RemoveAll(dir)
	server, err := natsstore.StartServer(dir, natsstore.ServerOptions{Token: "journal"})
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	store, err := server.Open(ctx)
	if err != nil {
		return Sample{}, err
	}
	defer store.Close()
	order.URL = server.URL()
	if err := layJournal(ctx, store, order.Players); err != nil {
		return Sample{}, err
	}
	count, node, keeper, err := runJournal(ctx, store, order)
	if err != nil {
		return Sample{}, err
	}
	if err := succeed(ctx, store); err != nil {
		return Sample{}, err
	}
	order.Rate = 0
	if !o.Small {
		order.Measure /= 2
	}
	most, _, _, err := runJournal(ctx, store, order)
	if err != nil {
		return Sample{}, err
	}
	return Sample{Figures: map[string]float64{
		"events": float64(count.Acked) / count.Seconds, "p50": count.P50.Seconds() * 1000, "p99": count.P99.Seconds() * 1000,
		"appends": float64(count.Appends) / count.Seconds, "node": node, "store": keeper,
		"most": float64(most.Acked) / most.Seconds, "most p99": most.P99.Seconds() * 1000,
	}, Notes: []string{fmt.Sprintf("%d events were held back by their players' last", count.HeldBack)}}, nil
}

// runJournal runs the part once and looks in the store for what it was promised.
func runJournal(ctx context.Context, store *natsstore.Store, order journalOrder) (count journalCount, node, keeper float64, err error) {
	part, err := Start(ctx, "journal", "node", order)
	if err != nil {
		return count, 0, 0, err
	}
	var ready string
	if err := part.Hear(&ready); err != nil {
		return count, 0, 0, errors.Join(err, part.Close())
	}
	nodeUsed, err := CPU(part.PID())
	if err != nil {
		return count, 0, 0, errors.Join(err, part.Close())
	}
	storeUsed, err := CPU(os.Getpid())
	if err != nil {
		return count, 0, 0, errors.Join(err, part.Close())
	}
	heard := part.Hear(&count)
	node, err = nodeUsed()
	keeper, err2 := storeUsed()
	if err := errors.Join(heard, err, err2, part.Close()); err != nil {
		return count, 0, 0, err
	}
	state, _, err := audit.Load(ctx, store, mesh.Cradle)
	if err != nil {
		return count, 0, 0, err
	}
	for p, last := range count.LastEvents {
		body := state.Entities[mesh.PlayerEntity(p)]
		item := state.Entities[bottleOf(p)]
		holds := body.Held == item.ID && item.Carrier == body.ID
		if body.LastEvent != last || last > 0 && body.Outcome(last) != mesh.OutcomeOK || holds != (last%2 == 0) {
			return count, 0, 0, fmt.Errorf("player %d was told of event %d; the store has %d, outcome %d, bottle in hand %v",
				p, last, body.LastEvent, body.Outcome(last), holds)
		}
	}
	if count.Acked == 0 || len(count.LastEvents) != order.Players {
		return count, 0, 0, fmt.Errorf("%d events of %d players acknowledged", count.Acked, len(count.LastEvents))
	}
	return count, node, keeper, nil
}

// succeed gives the zone to the node's next life.
func succeed(ctx context.Context, s *natsstore.Store) error {
	layout, err := s.Layout(ctx)
	if err != nil {
		return err
	}
	z := &layout.Zones[0]
	z.Owner.Incarnation++
	if err := s.RaiseEpoch(ctx, z.ID, z.Epoch, z.Owner); err != nil {
		return err
	}
	layout.Version++
	z.Epoch++
	return s.PutLayout(ctx, layout)
}

func bottleOf(p mesh.PlayerID) mesh.EntityID { return mesh.MakeEntityID(mesh.KindItem, uint64(p)) }

// layJournal writes a world of one zone: players asleep, each with a bottle in
// hand, on a lawn with room for each.
func layJournal(ctx context.Context, s *natsstore.Store, players int) error {
	owner := mesh.Owner{Node: "journal", Incarnation: 1}
	box := mesh.Box{Max: mesh.Meters(400, 400, 50)}
	state := replication.NewState()
	for i := range players {
		p := mesh.PlayerID(i + 1)
		at := mesh.Meters(int32(20+i%60*6), int32(20+i/60*6), 0)
		body := mesh.Entity{Pose: mesh.Pose{ID: mesh.PlayerEntity(p), Health: 100, Flags: mesh.Asleep, Pos: at}, Held: bottleOf(p)}
		state.Entities[body.ID] = body
		state.Entities[body.Held] = mesh.Entity{Pose: mesh.Pose{ID: body.Held, Carrier: body.ID, Pos: at}}
		state.Born[p] = struct{}{}
	}
	pointer := mesh.Pointer{Position: -1}
	for i, part := range replication.Chunks(state.Encode(nil), 256<<10) {
		key := fmt.Sprintf("z1/genesis-%d", i)
		if err := s.PutChunk(ctx, key, part); err != nil {
			return err
		}
		pointer.Chunks = append(pointer.Chunks, key)
	}
	return errors.Join(
		s.CreateZone(ctx, mesh.ZoneRecord{Zone: mesh.Cradle, Owner: owner, Epoch: 1, Pointer: pointer}),
		s.PutLayout(ctx, mesh.Layout{Version: 1, NextZone: 2, Shard: mesh.Shard{
			Name: "journal", TickHz: 20, OriginUnixMilli: time.Now().Add(-time.Hour).UnixMilli(), Bounds: box, Spawn: mesh.Meters(10, 10, 0),
		}, Zones: []mesh.Zone{{ID: mesh.Cradle, Box: box, Owner: owner, Epoch: 1}}}),
	)
}
