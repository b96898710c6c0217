package edge

import (
	"slices"
	"time"

	"weft/control/mesh"
)

// pace says when each tick is due and keeps the statistics of the last ticks.
// Ticks are due at absolute times, so nothing drifts; a wall clock that is set
// back is followed slowly, since the ticks of a shard never go back.
type pace struct {
	shard    mesh.Shard
	interval time.Duration
	phase    time.Duration // every tick is due so much after its time
	next     mesh.Tick
	anchor   time.Time // carries the monotonic clock
	wall     time.Time // what the wall said at anchor, as far as it is believed

	window []sample // the last windowSeconds of ticks, in a ring
	count  uint64   // ticks run since the beginning
	missed uint64
	busy   time.Duration // work since the last tick was over
	sorted []uint32
}

// sample is one tick.
type sample struct{ latencyUS, busyUS uint32 }

const (
	windowSeconds = 10
	maxWindow     = 1200
	// maxCatchUp is how many late ticks are run in a burst before the rest is skipped.
	maxCatchUp = 4
	// clockJump is how far ahead the wall may go before it is followed at once:
	// the machine slept. Less is made up for by a fraction of each tick.
	clockJump = 2 * time.Second
)

func newPace(shard mesh.Shard, phase time.Duration, now time.Time) *pace {
	p := &pace{shard: shard, interval: shard.TickInterval(), phase: phase, anchor: now, wall: now.Round(0)}
	p.next = shard.TickAt(now.Add(-phase)) + 1
	p.window = make([]sample, 0, min(windowSeconds*int(shard.TickHz), maxWindow))
	p.sorted = make([]uint32, 0, cap(p.window))
	return p
}

// at is the shard's time at now.
func (p *pace) at(now time.Time) time.Time { return p.wall.Add(now.Sub(p.anchor)) }

// wait returns how long it is from now until the next tick is due; negative: it is late.
func (p *pace) wait(now time.Time) time.Duration { return p.due().Sub(p.at(now)) }

func (p *pace) due() time.Time { return p.shard.TimeOf(p.next).Add(p.phase) }

// begin returns the tick to run at now, how many were left out before it and
// how late it is. It must be due.
func (p *pace) begin(now time.Time) (tick mesh.Tick, skipped int, late time.Duration) {
	p.follow(now)
	if due := p.shard.TickAt(p.at(now).Add(-p.phase)); due > p.next+maxCatchUp {
		skipped = int(due - p.next)
		p.next = due
	}
	late = max(-p.wait(now), 0)
	p.missed += uint64(skipped)
	if late > p.interval {
		p.missed++
	}
	return p.next, skipped, late
}

// follow takes over what the wall clock was set by.
func (p *pace) follow(now time.Time) {
	off := now.Round(0).Sub(p.at(now))
	if off < clockJump {
		step := p.interval / 50
		off = min(max(off, -step), step)
	}
	p.wall = p.wall.Add(off)
}

// end notes that the tick of begin is over.
func (p *pace) end(now time.Time) {
	s := sample{latencyUS: us(-p.wait(now)), busyUS: us(p.busy)}
	p.busy = 0
	if len(p.window) < cap(p.window) {
		p.window = append(p.window, s)
	} else {
		p.window[p.count%uint64(len(p.window))] = s
	}
	p.count++
	p.next++
}

// report fills in the fields about ticks.
func (p *pace) report(r *mesh.Report) {
	r.TickBudgetUS, r.TicksMissed, r.Ticks = us(p.interval), p.missed, p.count
	n := len(p.window)
	if n == 0 {
		return
	}
	p.sorted = p.sorted[:0]
	var busy uint64
	for _, s := range p.window {
		p.sorted = append(p.sorted, s.latencyUS)
		busy += uint64(s.busyUS)
	}
	slices.Sort(p.sorted)
	r.TickP50US, r.TickP99US, r.TickMaxUS = p.sorted[n/2], p.sorted[n*99/100], p.sorted[n-1]
	r.BusyUS = uint32(busy / uint64(n))
}

func us(d time.Duration) uint32 { return uint32(min(max(d.Microseconds(), 0), 1<<32-1)) }
