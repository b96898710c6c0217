// Package shard is what every function knows of its shard: its options, its
// store, its log and its metrics. Open reads them from the environment, once in
// the life of an execution environment.
package shard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"weft/control/launch/label"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/reconcile"
	"weft/control/store"
	"weft/control/store/dynamostore"
	"weft/functions/internal/emf"
)

// Shard is one shard, as a function sees it.
type Shard struct {
	Options options.Function
	Store   store.Store
	Log     *slog.Logger
	Purse   *Purse
	AWS     aws.Config
	Now     func() time.Time

	mu  sync.Mutex
	out io.Writer
}

// Open reads the environment and opens the shard's store. Needs are as in
// options.ReadFunction. The error is a sentence for whoever deployed it.
func Open(ctx context.Context, needs ...string) (*Shard, error) {
	o, err := options.ReadFunction(os.Environ(), needs...)
	if err != nil {
		return nil, err
	}
	prefix, region, err := o.Tables()
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, fmt.Errorf("AWS settings cannot be loaded: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no region is given; add ?region=NAME to WEFT_STORE or set AWS_REGION")
	}
	s := New(o, dynamostore.New(cfg, dynamostore.Options{Prefix: prefix}), os.Stdout, time.Now)
	s.AWS = cfg
	return s, nil
}

// New returns a shard on st that writes log and metrics to out.
func New(o options.Function, st store.Store, out io.Writer, now func() time.Time) *Shard {
	counted := count(st)
	return &Shard{
		Options: o, Store: counted, Purse: &Purse{units: counted.units}, Now: now, out: out,
		Log: slog.New(slog.NewJSONHandler(out, nil)).With("shard", o.Shard, "env", o.Env),
	}
}

// Launcher opens the launcher that WEFT_LAUNCHER names, by one of the drivers,
// which are what this function links.
func (s *Shard) Launcher(ctx context.Context, drivers ...launchurl.Driver) (launchurl.Opened, error) {
	return launchurl.Open(ctx, s.Options.Launcher, launchurl.Options{Owner: label.Owner{Shard: s.Options.Shard, Env: s.Options.Env}}, drivers...)
}

// Reconciler returns one that launches by l.
func (s *Shard) Reconciler(l launchurl.Opened) (*reconcile.Reconciler, error) {
	return reconcile.New(reconcile.Deps{
		Config: s.Options.Planner(), Store: s.Store, Launcher: l.Launcher, FleetComplete: l.Complete, Tend: l.Tend, Release: l.Release,
		Now: s.Now, Log: s.Log, Expenses: s.Purse,
	})
}

// Main opens what a function needs and serves its calls with what open returns,
// for as long as the execution environment lives.
func Main[In, Out any](open func(context.Context) (*Shard, func(context.Context, In) (Out, error), error)) {
	s, handle, err := open(context.Background())
	if err != nil {
		slog.New(slog.NewJSONHandler(os.Stdout, nil)).Error("the function cannot start", "err", err)
		os.Exit(1)
	}
	lambda.Start(Timed(s.Purse, handle))
}

// Count emits how many decisions there were of the kinds that operators watch,
// if there was any.
func (s *Shard) Count(decisions []mesh.Decision) {
	n := map[string]float64{}
	for _, d := range decisions {
		n[d.Action]++
	}
	if n["takeover"]+n["launch"]+n["failed"] > 0 {
		s.Emit(
			emf.Metric{Name: "Takeovers", Unit: emf.Count, Value: n["takeover"]},
			emf.Metric{Name: "Launches", Unit: emf.Count, Value: n["launch"]},
			emf.Metric{Name: "Refusals", Unit: emf.Count, Value: n["failed"]},
		)
	}
}

// Emit writes metrics into the log. Names are few: each costs, see emf.Metric.
func (s *Shard) Emit(metrics ...emf.Metric) {
	line, err := emf.Encode(s.Now(), "Weft", []emf.Dimension{{Name: "Env", Value: s.Options.Env}, {Name: "Shard", Value: s.Options.Shard}}, metrics)
	if err != nil {
		s.Log.Error("metrics are lost", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.out.Write(line); err != nil {
		s.Log.Error("metrics are lost", "err", err)
	}
}
