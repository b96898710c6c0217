package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/simnode/process"
)

const (
	// layoutEvery is how often the version of the layout is read: the one place
	// where a process polls.
	layoutEvery = 500 * time.Millisecond
	// fleetEvery is how often a gateway reads which others there are.
	fleetEvery = 2 * time.Second
	// startPatience is how long a process waits for a store and a shard at its start.
	startPatience = 10 * time.Second
	startEvery    = 100 * time.Millisecond
)

// firstLayout waits for the shard that the process is to work in.
func firstLayout(ctx context.Context, s store.Layouts) (*mesh.Layout, error) {
	patient, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		l, err := readLayout(ctx, s)
		if err == nil && (l.Shard.TickHz == 0 || l.Shard.TickHz > 1000) {
			return nil, fmt.Errorf("the shard says %d ticks a second; it must be 1 to 1000", l.Shard.TickHz)
		}
		if err == nil {
			return l, nil
		}
		pause(patient, startEvery)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case patient.Err() == nil:
		case errors.Is(err, store.ErrNotFound):
			return nil, errors.New("there is no shard in the store of WEFT_STORE yet; create one, or set WEFT_STORE to the store that has it")
		default:
			return nil, fmt.Errorf("the store of WEFT_STORE does not answer (%w); start it, or set WEFT_STORE to one that runs", err)
		}
	}
}

func readLayout(ctx context.Context, s store.Layouts) (*mesh.Layout, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l, err := s.Layout(call)
	return &l, err
}

// watchLayout hands the loop each newer layout: when its version is seen to
// have grown, or at once when fetch says that there is one.
func watchLayout(k *intake, s store.Layouts, have uint64, fetch <-chan struct{}) {
	poll := time.NewTicker(layoutEvery)
	defer poll.Stop()
	away := false // the store, when it was asked last
	for {
		select {
		case <-fetch:
		case <-poll.C:
			call, cancel := context.WithTimeout(k.ctx, callTimeout)
			v, err := s.LayoutVersion(call)
			cancel()
			switch {
			case k.ctx.Err() != nil:
			case err != nil && !away:
				k.log.warn("the store is away; zones stay where they are until it is back", "error", err)
			case err == nil && away:
				k.log.info("the store is back")
			}
			if away = err != nil; err != nil || v <= have {
				continue
			}
		case <-k.ctx.Done():
			return
		}
		l, err := readLayout(k.ctx, s)
		if err != nil || l.Version <= have {
			continue // the next poll tells whether it is still to be fetched
		}
		have = l.Version
		k.put(input{ev: process.Event{Kind: process.EventLayout, Layout: l}})
	}
}

// watchFleet tells the loop every now and then which processes there are.
func watchFleet(k *intake, s store.Control) {
	for k.ctx.Err() == nil {
		call, cancel := context.WithTimeout(k.ctx, callTimeout)
		fleet, err := s.Processes(call)
		cancel()
		if err == nil {
			k.put(input{ev: process.Event{Kind: process.EventFleet, Fleet: fleet}})
		}
		pause(k.ctx, fleetEvery)
	}
}
