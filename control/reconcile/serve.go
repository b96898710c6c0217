package reconcile

import (
	"context"
	"errors"
	"sync"
	"time"

	"weft/control/store"
)

// Run reconciles until ctx ends. It returns an error only if d is wrong.
func Run(ctx context.Context, d Deps) error {
	r, err := New(d)
	if err != nil {
		return err
	}
	r.Serve(ctx)
	return nil
}

// Serve runs Once whenever the change stream tells of something, no more often
// than MinInterval (ReportInterval if it is reports only), and each Backstop
// in any case, until ctx ends. Errors are logged and met by another run.
func (r *Reconciler) Serve(ctx context.Context) {
	urgent, reports := make(chan struct{}, 1), make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.watch(ctx, urgent, reports) })
	failing := false // what goes on failing is said once
	for ctx.Err() == nil {
		began := time.Now()
		_, err := r.Once(ctx)
		due := began.Add(r.d.Backstop)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, store.ErrConflict):
			due = began.Add(r.d.MinInterval)
			r.d.Log.Debug("another run was faster", "err", err)
		case failing:
			r.d.Log.Debug("reconcile", "err", err)
		default:
			r.d.Log.Error("reconcile", "err", err)
		}
		failing = err != nil && !errors.Is(err, store.ErrConflict)
		r.wait(ctx, began, due, urgent, reports)
	}
}

// wait returns when a run is due, or sooner as changes come in.
func (r *Reconciler) wait(ctx context.Context, began, due time.Time, urgent, reports <-chan struct{}) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
			timer.Reset(time.Until(due))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-urgent:
			sooner(began.Add(r.d.MinInterval))
		case <-reports:
			sooner(began.Add(r.d.ReportInterval))
		}
	}
}

// watch turns changes into wakes, and watches again when the stream breaks.
func (r *Reconciler) watch(ctx context.Context, urgent, reports chan<- struct{}) {
	wake := func(c chan<- struct{}) {
		select {
		case c <- struct{}{}:
		default: // one is waiting already
		}
	}
	broken := false
	for {
		err := r.d.Store.Watch(ctx, func() { broken = false; wake(urgent) }, func(c store.Change) {
			if c.Kind == store.ReportChanged {
				wake(reports)
			} else {
				wake(urgent)
			}
		})
		if ctx.Err() != nil {
			return
		}
		if !broken { // what goes on failing is said once
			r.d.Log.Warn("the change stream broke; watching again", "err", err)
		}
		broken = true
		timer := time.NewTimer(r.d.Backstop)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
