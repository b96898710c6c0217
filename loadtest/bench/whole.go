package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

// playersPart is the part that plays a scenario's players; see playWhole.
const playersPart = "players"

// casting is what the players are told.
type casting struct {
	Scenario string        `json:"scenario"` // YAML
	Players  int           `json:"players"`  // 0 is the scenario's
	Duration time.Duration `json:"duration"`
	Address  stage.Address `json:"address"`
}

// word is what the players say: one field of it.
type word struct {
	Status *run.Status      `json:"status,omitempty"`
	Log    string           `json:"log,omitempty"`
	Stop   bool             `json:"stop,omitempty"` // put the world to sleep, and answer
	Report *scenario.Report `json:"report,omitempty"`
}

func (c casting) load() (*scenario.Scenario, error) {
	s, err := scenario.Parse("scenario.yaml", []byte(c.Scenario), nil)
	if err != nil {
		return nil, err
	}
	s, _ = s.Resized(c.Players, c.Duration)
	for i := range s.Groups {
		s.Groups[i].JoinOver = min(s.Groups[i].JoinOver, s.Duration/2)
	}
	return s, nil
}

// runPlayers is the players' program.
func runPlayers(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ear, mouth := json.NewDecoder(in), json.NewEncoder(out)
	var c casting
	if err := ear.Decode(&c); err != nil {
		return err
	}
	s, err := c.load()
	if err != nil {
		return err
	}
	words := make(chan word, 64) // Progress and Log come from several goroutines
	written := make(chan error, 1)
	go func() {
		var err error
		for w := range words {
			err = errors.Join(err, mouth.Encode(w))
		}
		written <- err
	}()
	m, err := stage.Visit(ctx, c.Address, func(context.Context) error {
		words <- word{Stop: true}
		var done bool
		return ear.Decode(&done)
	})
	if err != nil {
		return err
	}
	report, err := run.Run(ctx, s, m, run.Options{
		Progress: func(s run.Status) { words <- word{Status: &s} },
		Log:      func(text string) { words <- word{Log: text} },
	})
	if err == nil {
		words <- word{Report: report}
	}
	close(words)
	return errors.Join(err, <-written, m.Close())
}

// whole is a scenario that was played by players in a process of their own.
type whole struct {
	report *scenario.Report
	// CPU in percent of a core, from when all players were in until the end or
	// the scenario's disperse.
	gateways, nodes, players, rest float64
}

// hooks are what a row does while a scenario plays.
type hooks struct {
	status func(context.Context, stage.Mesh, run.Status) error // called each second
}

// playWhole puts s on, with the players' part of the row.
func playWhole(ctx context.Context, o Options, row, text string, players int, duration time.Duration, h hooks) (w whole, err error) {
	c := casting{Scenario: text, Players: players, Duration: duration}
	s, err := c.load()
	if err != nil {
		return w, err
	}
	m, err := stage.Start(ctx, s, stage.Options{Errs: os.Stderr})
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	c.Address = m.Address()
	p, err := Start(ctx, row, playersPart, c)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	calm := s.Duration
	for _, e := range s.Events {
		if e.Disperse != nil {
			calm = min(calm, e.At)
		}
	}
	var end func() error
	finish := func() error {
		if end == nil {
			return nil
		}
		f := end
		end = func() error { return nil }
		return f()
	}
	for {
		var heard word
		if err := p.Hear(&heard); err != nil {
			return w, fmt.Errorf("the players ended without a report: %w", err)
		}
		switch {
		case heard.Log != "":
			o.Say("%s", heard.Log)
		case heard.Status != nil:
			st := *heard.Status
			if st.Players == st.Want && end == nil {
				if end, err = w.meter(p.PID()); err != nil {
					return w, err
				}
			}
			if st.Elapsed >= calm {
				if err := finish(); err != nil {
					return w, err
				}
			}
			if h.status != nil {
				if err := h.status(ctx, m, st); err != nil {
					return w, err
				}
			}
		case heard.Stop:
			if err := finish(); err != nil {
				return w, err
			}
			if err := m.Stop(ctx); err != nil {
				return w, err
			}
			if err := p.Tell(true); err != nil {
				return w, err
			}
		case heard.Report != nil:
			w.report = heard.Report
			return w, nil
		}
	}
}

// meter begins to measure; the returned function ends it.
func (w *whole) meter(players int) (func() error, error) {
	gateways, err1 := Children(stage.GatewayCommand)
	nodes, err2 := Children(stage.NodeCommand)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	into := []struct {
		cpu  *float64
		pids []int
	}{{&w.gateways, gateways}, {&w.nodes, nodes}, {&w.players, []int{players}}, {&w.rest, []int{os.Getpid()}}}
	var ends []func() (float64, error)
	for _, i := range into {
		end, err := CPU(i.pids...)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
	}
	return func() (err error) {
		for k, end := range ends {
			var e error
			*into[k].cpu, e = end()
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

// verdicts are the expectations that failed, as an error: a wrong answer has no
// speed. Those of time are the row's to judge.
func (w *whole) verdicts() error {
	var wrong []error
	for _, v := range w.report.Expect {
		if !v.OK && !strings.Contains(v.Check, "_ms") {
			wrong = append(wrong, fmt.Errorf("%s: got %v", v.Check, v.Got))
		}
	}
	for _, text := range append(w.report.Offences, w.report.BotFaults...) {
		wrong = append(wrong, errors.New(text))
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	return nil
}

// figures are what every whole system is told by.
func (w *whole) figures() map[string]float64 {
	r := w.report
	return map[string]float64{
		"tick p99": r.TickMS.P99, "tick p50": r.TickMS.P50, "tick max": r.TickMS.Max, "players": float64(r.Players.Peak),
		"disconnects": float64(r.Players.Disconnects), "lost": float64(r.Entities.Lost + r.Entities.Duplicated + r.Durable.Lost),
		"acknowledged": float64(r.Durable.Acknowledged), "age p50": r.UpdateAgeMS.P50, "age p99": r.UpdateAgeMS.P99,
		"ack p99": r.Durable.AckMS.P99, "moving": float64(r.Props.MovingPeak), "crossings": float64(r.Crossings.Count),
		"stall p50": r.Crossings.StallMS.P50, "stall p99": r.Crossings.StallMS.P99, "nodes": float64(r.Nodes.Peak),
		"bytes per client": r.ClientBytesPerS.P50, "ticks missed": float64(r.TicksMissed),
		"gateway cpu": w.gateways, "node cpu": w.nodes, "player cpu": w.players, "planner and store cpu": w.rest,
	}
}
