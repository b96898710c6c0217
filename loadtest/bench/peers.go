package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"weft/loadtest/peers"
)

// beside is measured with programs of others, which are fetched from npm: it is
// not part of --all.
var beside = Row{
	Name: "peers",
	What: "rooms of 200, 400 and 800 who all walk and are told of all at 20 Hz, on Weft (gateway and node) and on Colyseus, one after the other",
	Bars: []Bar{
		{Figure: "800: weft of colyseus", Unit: "% of its servers' CPU", Limit: 100},
		{Figure: "400: weft of colyseus", Unit: "% of its servers' CPU", Told: true},
		{Figure: "200: weft of colyseus", Unit: "% of its servers' CPU", Told: true},
	},
	Measure: measurePeers,
	Parts:   map[string]Part{swarmPart: runSwarm},
}

// peerSizes are the crowds.
var peerSizes = []int{200, 400, 800}

func measurePeers(ctx context.Context, o Options) (s Sample, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return s, err
	}
	s.Figures = map[string]float64{}
	for _, size := range peerSizes {
		n, window := size, roomWindow
		if o.Small {
			n, window = 20, smallWindow
		}
		theirs, err := measureColyseus(ctx, filepath.Join(cache, "weft", "colyseus"), n, window, o)
		if err != nil {
			return s, err
		}
		row := room{players: n, radiusM: 24, everyone: true}
		ours, err := row.measure("peers")(ctx, o)
		if err != nil {
			return s, err
		}
		for name, v := range ours.Figures {
			s.Figures[fmt.Sprintf("%d: weft %s", size, name)] = v
		}
		for name, v := range theirs {
			s.Figures[fmt.Sprintf("%d: colyseus %s", size, name)] = v
		}
		s.Figures[fmt.Sprintf("%d: weft of colyseus", size)] = 100 * ours.Figures["servers cpu"] / max(theirs["servers cpu"], 0.01)
		for _, f := range []string{"servers cpu", "delivered", "age p99", "bytes per client"} {
			s.Notes = append(s.Notes, fmt.Sprintf("%d clients, %s: weft %.4g, colyseus %.4g", n, f, ours.Figures[f], theirs[f]))
			o.Say("%s", s.Notes[len(s.Notes)-1])
		}
	}
	return s, nil
}

func measureColyseus(ctx context.Context, dir string, n int, window time.Duration, o Options) (f map[string]float64, err error) {
	r, err := peers.Colyseus(ctx, dir, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	pause := settle
	if o.Small {
		pause = settle / 6
	}
	if err := wait(ctx, pause); err != nil {
		return nil, err
	}
	server, err1 := CPU(r.Server())
	clients, err2 := CPU(r.Clients())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	seen, err := r.Watch(window)
	if err != nil {
		return nil, err
	}
	f = map[string]float64{
		"delivered": 100 * float64(seen.Delivered) / float64(max(seen.Due, 1)), "age p50": seen.AgeP50, "age p99": seen.AgeP99, "age max": seen.AgeMax,
		"bytes per client": float64(seen.Bytes) / float64(n) / window.Seconds() / 1000, "ticks a second": float64(seen.Ticks) / window.Seconds(),
	}
	if f["servers cpu"], err1 = server(); err1 != nil {
		return nil, err1
	}
	f["client cpu"], err2 = clients()
	if seen.Due == 0 || seen.Ended > 0 {
		err2 = errors.Join(err2, fmt.Errorf("Colyseus: %d updates were due, %d connections broke", seen.Due, seen.Ended)) //nolint:staticcheck // a name
	}
	return f, err2
}
