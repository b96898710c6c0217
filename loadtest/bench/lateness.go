package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store/natsstore"
	"weft/simnode/edge"
	"weft/simnode/replication"
)

var gcLateness = Row{
	Name: "gc-lateness",
	What: "a node at 30 Hz with a world of 1 GB: from a tick's due time until it is done, across collections",
	Bars: []Bar{
		{Figure: "p99", Unit: "ms", Limit: 5},
		{Figure: "p99 without", Unit: "ms, where nothing is collected", Told: true},
		{Figure: "p50", Unit: "ms", Told: true},
		{Figure: "slowest", Unit: "ms", Told: true},
		{Figure: "missed", Unit: "ticks", Told: true},
		{Figure: "collections", Unit: "in the time measured", Limit: 5, AtLeast: true},
		{Figure: "collecting", Unit: "ms each, from begin to end", Told: true},
		{Figure: "heap", Unit: "GB", Limit: 1, AtLeast: true},
	},
	Measure: measureLateness,
	Parts:   map[string]Part{"node": latenessNode},
}

// latenessOrder is what the part is told.
type latenessOrder struct {
	URL   string
	Every time.Duration // between two collections
}

// latenessHeap is what the part tells of its memory, whenever it is asked.
type latenessHeap struct {
	Bytes       uint64 // live, after the last collection
	Collections uint64
	Collecting  time.Duration // all of them, from begin to end
}

// measureLateness runs a whole node in a process of its own: sockets, loop and
// pace. Its world is people asleep where they stood, items about them, and
// guests who walk. At first nothing is collected, then every two seconds, as in a
// busy process. Reports tell how late ticks were done, work included, of the last ten seconds.
func measureLateness(ctx context.Context, o Options) (_ Sample, err error) {
	sleepers, items, guests, window := 2_600_000, 20_000, 300, 26*time.Second
	order := latenessOrder{Every: 2 * time.Second}
	if o.Small {
		sleepers, items, guests, window, order.Every = 2000, 200, 20, 1500*time.Millisecond, 100*time.Millisecond
	}
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return Sample{}, err
	}
	defer os.RemoveAll(dir)
	server, err := natsstore.StartServer(dir, natsstore.ServerOptions{Token: "lateness"})
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	store, err := server.Open(ctx)
	if err != nil {
		return Sample{}, err
	}
	defer store.Close()
	layout, chunks, err := layLateness(ctx, store, sleepers, items, guests)
	if err != nil {
		return Sample{}, err
	}
	runtime.GC() // what the world was made of
	order.URL = server.URL()
	part, err := Start(ctx, "gc-lateness", "node", order)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	if err := give(ctx, store, layout, chunks); err != nil {
		return Sample{}, err
	}
	want := mesh.ZoneLoad{Actors: guests, Props: items, Asleep: sleepers}
	if err := opened(ctx, store, want, !o.Small); err != nil {
		return Sample{}, err
	}
	o.Say("the world is loaded; measuring for %v", window)
	quiet, err := watchLateness(ctx, store, part, window/2, want)
	if err != nil {
		return Sample{}, err
	}
	if err := part.Tell("collect"); err != nil {
		return Sample{}, err
	}
	s, err := watchLateness(ctx, store, part, window, want)
	if err != nil {
		return Sample{}, err
	}
	if s.Figures["collections"] == 0 {
		return Sample{}, errors.New("nothing was collected")
	}
	s.Figures["p99 without"] = quiet.Figures["p99"]
	return s, nil
}

// watchLateness reads the node's reports for as long as window.
func watchLateness(ctx context.Context, store *natsstore.Store, part *Process, window time.Duration, want mesh.ZoneLoad) (Sample, error) {
	var before, after latenessHeap
	if err := errors.Join(part.Tell("heap"), part.Hear(&before)); err != nil {
		return Sample{}, err
	}
	first, err := soleReport(ctx, store)
	if err != nil {
		return Sample{}, err
	}
	worst, last := first, first
	worst.TickP99US, worst.TickMaxUS = 0, 0
	var p50 []float64
	for began := time.Now(); time.Since(began) < window; {
		if err := wait(ctx, 300*time.Millisecond); err != nil {
			return Sample{}, err
		}
		r, err := soleReport(ctx, store)
		if err != nil {
			return Sample{}, err
		}
		settled := time.Since(began) > min(window/2, 11*time.Second) // reports look back ten seconds
		if r.Sequence == last.Sequence || !settled {
			continue
		}
		last = r
		worst.TickP99US, worst.TickMaxUS = max(worst.TickP99US, r.TickP99US), max(worst.TickMaxUS, r.TickMaxUS)
		p50 = append(p50, float64(r.TickP50US)/1000)
	}
	if err := errors.Join(part.Tell("heap"), part.Hear(&after)); err != nil {
		return Sample{}, err
	}
	n := after.Collections - before.Collections
	if z := last.Zones; len(p50) == 0 || len(z) != 1 || z[0].Actors != want.Actors || z[0].Asleep != want.Asleep || last.Ticks == first.Ticks {
		return Sample{}, fmt.Errorf("%d reports, %d collections, zones %+v: that is not the world that was to tick", len(p50), n, last.Zones)
	}
	return Sample{Figures: map[string]float64{
		"p99": float64(worst.TickP99US) / 1000, "slowest": float64(worst.TickMaxUS) / 1000, "p50": Median(p50),
		"missed": float64(last.TicksMissed - first.TicksMissed), "collections": float64(n),
		"collecting": (after.Collecting - before.Collecting).Seconds() * 1000 / max(float64(n), 1), "heap": float64(after.Bytes) / 1e9,
	}, Notes: []string{fmt.Sprintf("%d sleepers, %d items, %d guests who walk; the worst p99 of any ten seconds", want.Asleep, want.Props, want.Actors)}}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func soleReport(ctx context.Context, store *natsstore.Store) (mesh.Report, error) {
	reports, err := store.Reports(ctx)
	if err == nil && len(reports) != 1 {
		err = fmt.Errorf("%d nodes report, not one", len(reports))
	}
	if err != nil {
		return mesh.Report{}, err
	}
	return reports[0], nil
}

// layLateness writes the chunks of the world's snapshot and a layout that nobody owns.
func layLateness(ctx context.Context, s *natsstore.Store, sleepers, items, guests int) (mesh.Layout, []string, error) {
	box := mesh.Box{Max: mesh.Meters(4000, 4000, 50)}
	at := func(i, of int) mesh.Vec { // evenly
		side := 1
		for side*side < of {
			side++
		}
		return mesh.Vec{X: int32(int64(i%side)*3990*mesh.UnitsPerMeter/int64(side)) + 1280, Y: int32(int64(i/side)*3990*mesh.UnitsPerMeter/int64(side)) + 1280}
	}
	state := replication.NewState()
	for i := range sleepers {
		e := mesh.Entity{Pose: mesh.Pose{ID: mesh.PlayerEntity(mesh.PlayerID(i + 1)), Health: 100, Flags: mesh.Asleep, Pos: at(i, sleepers)}}
		state.Entities[e.ID] = e
		state.Born[mesh.PlayerID(i+1)] = struct{}{}
	}
	for i := range items {
		e := mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, uint64(i+1)), Pos: at(i, items)}}
		state.Entities[e.ID] = e
	}
	for i := range guests {
		e := mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindNPC, uint64(i+1)), Health: 100, Pos: at(i, guests)}}
		state.Entities[e.ID] = e
	}
	var keys []string
	for i, part := range replication.Chunks(state.Encode(nil), 256<<10) {
		keys = append(keys, fmt.Sprintf("z1/genesis-%d", i))
		if err := s.PutChunk(ctx, keys[i], part); err != nil {
			return mesh.Layout{}, nil, err
		}
	}
	layout := mesh.Layout{Version: 1, NextZone: 2, Shard: mesh.Shard{
		Name: "lateness", TickHz: 30, OriginUnixMilli: time.Now().Add(-time.Hour).UnixMilli(), Bounds: box, Spawn: mesh.Meters(2000, 2000, 0),
	}, Zones: []mesh.Zone{{ID: mesh.Cradle, Box: box, Epoch: 1}}}
	return layout, keys, s.PutLayout(ctx, layout)
}

// give waits for the node and makes it the owner of the only zone.
func give(ctx context.Context, s *natsstore.Store, layout mesh.Layout, chunks []string) error {
	for range 300 {
		processes, err := s.Processes(ctx)
		if err != nil {
			return err
		}
		if len(processes) == 1 {
			owner := processes[0].Owner()
			layout.Version, layout.Zones[0].Owner = 2, owner
			return errors.Join(s.CreateZone(ctx, mesh.ZoneRecord{
				Zone: mesh.Cradle, Owner: owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1, Chunks: chunks},
			}), s.PutLayout(ctx, layout))
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the node did not make itself known")
}

// opened waits until the node reports the zone open with everyone in it and, to
// settle, until its first snapshot, of its seal alone, is out of its reports.
func opened(ctx context.Context, s *natsstore.Store, want mesh.ZoneLoad, settle bool) error {
	open, position := 0, int64(-1)
	for range 600 {
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		reports, err := s.Reports(ctx)
		if err != nil {
			return err
		}
		rec, err := s.Zone(ctx, mesh.Cradle)
		if err != nil {
			return err
		}
		position = rec.Pointer.Position
		if len(reports) == 1 && len(reports[0].Zones) == 1 {
			if z := reports[0].Zones[0]; z.Open && z.Actors == want.Actors && z.Asleep == want.Asleep && (position >= 0 || !settle) {
				if open++; open >= 60 || !settle {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("the world was not loaded in time; the snapshot is of position %d", position)
}

// latenessNode runs a node, collects garbage, and tells of its memory when asked.
func latenessNode(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	words := json.NewDecoder(in)
	var order latenessOrder
	if err := words.Decode(&order); err != nil {
		return err
	}
	o, err := options.ReadNode([]string{"WEFT_STORE=" + order.URL, "WEFT_SHARD_KEY=" + strings.Repeat("5a", 32), "WEFT_NODE_ID=lateness"})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- edge.RunNode(ctx, o) }()
	asked := make(chan string)
	go func() {
		var word string
		for words.Decode(&word) == nil {
			asked <- word
		}
		close(asked)
	}()
	var heap latenessHeap
	var due <-chan time.Time // the next collection
	for {
		select {
		case <-due:
			began := time.Now()
			runtime.GC()
			heap.Collecting += time.Since(began)
		case word, more := <-asked:
			if !more {
				cancel()
				<-ended
				return nil
			}
			if word == "collect" {
				ticker := time.NewTicker(order.Every)
				defer ticker.Stop()
				due = ticker.C
				continue
			}
			sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
			metrics.Read(sample)
			heap.Bytes, heap.Collections = sample[0].Value.Uint64(), sample[1].Value.Uint64()
			if err := json.NewEncoder(out).Encode(heap); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}
