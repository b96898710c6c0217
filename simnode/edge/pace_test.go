package edge

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

var epoch = time.UnixMilli(1_790_000_000_000)

func paceAt(hz uint32, phase time.Duration) *pace {
	return newPace(mesh.Shard{OriginUnixMilli: epoch.Add(-time.Hour).UnixMilli(), TickHz: hz}, phase, epoch)
}

func TestTicksComeInOrderAndOnTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hz := rapid.SampledFrom([]uint32{1, 10, 20, 30, 60}).Draw(t, "hz")
		p := paceAt(hz, rapid.SampledFrom([]time.Duration{0, time.Second / time.Duration(2*hz)}).Draw(t, "phase"))
		now, last, ran, missed := epoch, p.next-1, uint64(0), uint64(0)
		for range 200 {
			now = now.Add(max(p.wait(now), 0)) // as the loop waits
			tick, skipped, late := p.begin(now)
			if tick != last+1+mesh.Tick(skipped) {
				t.Fatalf("tick %d with %d skipped after %d", tick, skipped, last)
			}
			if late != now.Sub(p.due()) || late < 0 || late > (maxCatchUp+1)*p.interval+time.Millisecond { // TickAt counts milliseconds
				t.Fatalf("tick %d is late by %v", tick, late)
			}
			if missed += uint64(skipped); late > p.interval {
				missed++
			}
			work := time.Duration(rapid.Int64Range(0, int64(8*p.interval)).Draw(t, "work"))
			now = now.Add(work)
			p.busy += work
			p.end(now)
			last, ran = tick, ran+1
		}
		var r mesh.Report
		p.report(&r)
		if r.Ticks != ran || r.TicksMissed != missed || r.TickP50US > r.TickP99US || r.TickP99US > r.TickMaxUS {
			t.Fatalf("%d ticks, %d missed: %+v", ran, missed, r)
		}
	})
}

func TestReportOfTicks(t *testing.T) {
	p := paceAt(20, 0)
	now := epoch
	for i := range 400 { // the window is the last 200: 198 of 3 ms and 2 of 40
		now = now.Add(p.wait(now))
		p.begin(now)
		work := 3 * time.Millisecond
		if i < 200 || i%100 == 0 {
			work = 40 * time.Millisecond
		}
		now = now.Add(work)
		p.busy += work
		p.end(now)
	}
	var r mesh.Report
	p.report(&r)
	want := mesh.Report{TickBudgetUS: 50_000, TickP50US: 3000, TickP99US: 40_000, TickMaxUS: 40_000, BusyUS: (198*3000 + 2*40_000) / 200, Ticks: 400}
	if r.TickP50US != want.TickP50US || r.TickP99US != want.TickP99US || r.TickMaxUS != want.TickMaxUS ||
		r.BusyUS != want.BusyUS || r.Ticks != want.Ticks || r.TickBudgetUS != want.TickBudgetUS || r.TicksMissed != 0 {
		t.Errorf("got %+v, want %+v", r, want)
	}
	if n := testing.AllocsPerRun(100, func() { p.report(&r); p.end(now) }); n != 0 {
		t.Errorf("a tick allocates %v times", n)
	}
}

// TestClockSet sets the wall clock, which is what follow looks at, apart from
// the monotonic one.
func TestClockSet(t *testing.T) {
	for _, c := range []struct {
		name string
		set  time.Duration
		want time.Duration // what is believed at once
	}{
		{"ahead by a little", 10 * time.Millisecond, time.Millisecond},
		{"back by an hour", -time.Hour, -time.Millisecond},
		{"ahead by an hour", time.Hour, time.Hour},
	} {
		p := paceAt(20, 0)
		p.wall = p.wall.Add(-c.set) // as if the wall had been set by so much
		before := p.at(epoch)
		p.follow(epoch)
		if got := p.at(epoch).Sub(before); got != c.want {
			t.Errorf("%s: follows by %v, want %v", c.name, got, c.want)
		}
	}
}
