package bot

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Spread is a measure's distribution, in milliseconds unless it says
// otherwise; all zero if nothing was measured.
type Spread struct {
	P50, P99, Max float64
	Count         int64
}

// The range of histograms; what exceeds it counts as the most.
const (
	mostMicros  = int64(10 * time.Minute / time.Microsecond)
	mostBytes   = 1 << 30
	significant = 3
	stripes     = 16
)

// histogram is safe for concurrent use.
type histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newHistogram(most int64) *histogram {
	return &histogram{h: hdrhistogram.New(1, most, significant)}
}

func (h *histogram) add(v int64) {
	h.mu.Lock()
	_ = h.h.RecordValue(min(max(v, 0), h.h.HighestTrackableValue())) // in range: never fails
	h.mu.Unlock()
}

func (h *histogram) addTime(d time.Duration) { h.add(int64(d / time.Microsecond)) }

// spread returns the distribution with values divided by unit.
func (h *histogram) spread(unit float64) Spread {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.h.TotalCount() == 0 {
		return Spread{}
	}
	return Spread{
		P50: float64(h.h.ValueAtQuantile(50)) / unit, P99: float64(h.h.ValueAtQuantile(99)) / unit,
		Max: float64(h.h.Max()) / unit, Count: h.h.TotalCount(),
	}
}

// striped is a histogram for what is recorded at every view.
type striped [stripes]*histogram

func newStriped(most int64) (s striped) {
	for i := range s {
		s[i] = newHistogram(most)
	}
	return s
}

func (s *striped) spread(unit float64) Spread {
	all := newHistogram(s[0].h.HighestTrackableValue())
	for _, h := range s {
		h.mu.Lock()
		all.h.Merge(h.h)
		h.mu.Unlock()
	}
	return all.spread(unit)
}
