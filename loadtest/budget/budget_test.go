package budget

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/control/store"
)

// A quarter of the design's load must cost at most a quarter of its budget, and
// be that load.
func TestQuarterOfTheDesign(t *testing.T) {
	l := Design()
	l.Players, l.Items, l.ZonesPerSide, l.Nodes, l.Gateways, l.CrossingsHz = 200, 5000, 4, 2, 1, 1.25
	l.Warmup, l.Measure = 10*time.Second, time.Minute
	r, err := Run(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + r.Table(LimitUnits/4))
	if r.Units() > LimitUnits/4 {
		t.Errorf("%.1f write units a second, the budget is %d", r.Units(), LimitUnits/4)
	}
	seconds := l.Measure.Seconds()
	for what, c := range map[string]struct{ got, want float64 }{
		"events":    {float64(r.Events) / seconds, 20},
		"pick-ups":  {float64(r.Picked) / seconds, 10},
		"crossings": {float64(r.Crossed) / seconds, 1.25},
		"poses":     {r.PerSecond(Poses), 16},
		"snapshots": {float64(r.Snapshots) / seconds, 16. / 60},
	} {
		if c.got < c.want*0.75 || c.got > c.want*1.35 {
			t.Errorf("%s: %.2f a second, the load is %.2f", what, c.got, c.want)
		}
	}
	if refused := r.Spent[Poses].Refused + r.Spent[Snapshots].Refused + r.Spent[Journal].Refused; refused > 0 {
		t.Errorf("%d writes were refused, though every owner is alone", refused)
	}
}

// Everything in one zone: no item comes near the store's limit, though a slow
// store has much go into one slot.
func TestCrowdFitsTheItems(t *testing.T) {
	crowd := Design()
	crowd.ZonesPerSide, crowd.ZoneM, crowd.Nodes, crowd.Gateways, crowd.Crowd, crowd.Warmup = 1, 128, 1, 1, true, 0
	busy, long := crowd, crowd
	busy.EventsPerPlayerHz, busy.StoreLatency, busy.Measure = 1, 400*time.Millisecond, 12*time.Second
	long.Players, long.Measure = 10, 62*time.Second
	for name, c := range map[string]struct {
		load        Load
		kind        Kind
		least, most int
	}{
		"poses":     {busy, Poses, 12_000, store.MaxPoseBytes},
		"slots":     {busy, Journal, 12_000, store.MaxSlotBytes},
		"snapshots": {long, Snapshots, 200_000, store.MaxChunkBytes},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Run(c.load)
			if err != nil {
				t.Fatal(err)
			}
			if b := r.Spent[c.kind].LargestBytes; b < c.least || b > c.most {
				t.Errorf("the largest item has %d bytes, want %d to %d\n%s", b, c.least, c.most, r.Table(LimitUnits))
			} else {
				t.Logf("the largest item has %d bytes", b)
			}
		})
	}
}

// The same seed measures the same.
func TestSameSeedSameResult(t *testing.T) {
	l := Design()
	l.Players, l.Items, l.ZonesPerSide, l.Nodes = 20, 200, 2, 2
	l.Warmup, l.Measure = 5*time.Second, 10*time.Second
	a, err := Run(l)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Run(l)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Fatalf("%v\n%+v\n%+v", err, a, b)
	}
	l.Seed++
	if c, err := Run(l); err != nil || reflect.DeepEqual(a.Spent, c.Spent) {
		t.Fatalf("another seed measures the same, %v", err)
	}
}

func TestCommand(t *testing.T) {
	c := Command{Players: 20, Items: 200, Side: 2, Nodes: 2, Gateways: 1, Events: 0.1, Crossings: 1, Measure: 10 * time.Second, Seed: 1, LimitUnits: 200}
	for limit, want := range map[float64]int{200: 0, 1: ExitOver} {
		var out strings.Builder
		c.LimitUnits = limit
		status, err := c.Main(&out)
		if status != want || err != nil || !strings.Contains(out.String(), "| poses | 4.0 |") {
			t.Errorf("limit %v: status %d, error %v\n%s", limit, status, err, &out)
		}
	}
}

// BenchmarkDesign measures the design's whole load: some 20 s of a core.
func BenchmarkDesign(b *testing.B) {
	for b.Loop() {
		r, err := Run(Design())
		if err != nil {
			b.Fatal(err)
		}
		for k := range Kinds {
			b.ReportMetric(r.PerSecond(k), k.String()+"-units/s")
		}
		b.ReportMetric(r.Units(), "units/s")
		b.ReportMetric(0, "ns/op")
	}
}
