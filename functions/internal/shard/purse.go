package shard

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store"
	"weft/control/store/metered"
)

// Purse counts what this execution environment used until it is booked in the
// planner's state. What is open when the environment ends is lost: a call or two.
type Purse struct {
	units func() (reads, writes uint64) // since the beginning

	mu            sync.Mutex
	open          planner.Spent
	reads, writes uint64 // of units, in open already
}

// Call counts one call of the function that took d.
func (p *Purse) Call(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open.Calls++
	p.open.Millis += uint64(max((d+time.Millisecond-1)/time.Millisecond, 1)) // as they are billed
}

// Open implements reconcile.Expenses.
func (p *Purse) Open() planner.Spent {
	p.mu.Lock()
	defer p.mu.Unlock()
	reads, writes := p.units()
	p.open.ReadUnits += reads - p.reads
	p.open.WriteUnits += writes - p.writes
	p.reads, p.writes = reads, writes
	return p.open
}

// Booked implements reconcile.Expenses.
func (p *Purse) Booked(s planner.Spent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = p.open.Minus(s)
}

// Timed returns f with its calls counted.
func Timed[In, Out any](p *Purse, f func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		began := time.Now()
		defer func() { p.Call(time.Since(began)) }()
		return f(ctx, in)
	}
}

// counted is a store that counts units: writes as metered does, reads of control
// records and the layout by their JSON, 4 KiB a unit, which is more than the
// store packs them to.
type counted struct {
	*metered.Store
	reads atomic.Uint64
}

func count(st store.Store) *counted { return &counted{Store: metered.New(st)} }

func (c *counted) units() (reads, writes uint64) { return c.reads.Load(), c.Counts().Units }

const readUnitBytes = 4 << 10

func read[T any](c *counted, v T, err error) (T, error) {
	text, _ := json.Marshal(v)
	c.reads.Add(uint64(max(len(text)+readUnitBytes-1, readUnitBytes) / readUnitBytes))
	return v, err
}

func (c *counted) Processes(ctx context.Context) ([]mesh.Process, error) {
	v, err := c.Store.Processes(ctx)
	return read(c, v, err)
}

func (c *counted) Reports(ctx context.Context) ([]mesh.Report, error) {
	v, err := c.Store.Reports(ctx)
	return read(c, v, err)
}

func (c *counted) Suspicions(ctx context.Context) ([]mesh.Suspicion, error) {
	v, err := c.Store.Suspicions(ctx)
	return read(c, v, err)
}

func (c *counted) Intents(ctx context.Context) ([]mesh.Intent, error) {
	v, err := c.Store.Intents(ctx)
	return read(c, v, err)
}

func (c *counted) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	v, err := c.Store.PlannerState(ctx)
	return read(c, v, err)
}

func (c *counted) Layout(ctx context.Context) (mesh.Layout, error) {
	v, err := c.Store.Layout(ctx)
	c.reads.Add(1) // its head
	return read(c, v, err)
}

func (c *counted) LayoutVersion(ctx context.Context) (uint64, error) {
	v, err := c.Store.LayoutVersion(ctx)
	return read(c, v, err)
}

func (c *counted) Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	v, err := c.Store.Zone(ctx, zone)
	return read(c, v, err)
}
