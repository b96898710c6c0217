package bot

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// Truth is where the players of a swarm were at each tick, by the word of the
// node that simulates them. It is safe for concurrent use.
type Truth struct {
	players int
	mu      sync.Mutex
	ticks   map[mesh.Tick][]place
}

type place struct {
	pos     mesh.Vec
	x, y, z uint16 // as a move says it
	yaw     uint8
	here    bool
}

// NewTruth returns what knows nothing yet of so many players.
func NewTruth(players int) *Truth { return &Truth{players: players, ticks: map[mesh.Tick][]place{}} }

// Add takes in all poses of a tick.
func (t *Truth) Add(tick mesh.Tick, poses []mesh.Pose) {
	all := make([]place, t.players)
	for i := range poses {
		p := &poses[i]
		if n := p.ID.Number(); p.ID.Kind() == mesh.KindPlayer && n >= 1 && n <= uint64(t.players) {
			m := wire.Quantise(*p, 0, false)
			all[n-1] = place{p.Pos, m.X, m.Y, m.Z, m.Yaw, true}
		}
	}
	t.mu.Lock()
	t.ticks[tick] = all
	t.mu.Unlock()
}

// Rates are what a client has a right to: its Near nearest each tick, the Mid
// next every MidTicks, all others every FarTicks.
type Rates struct{ Near, Mid, MidTicks, FarTicks int }

// Dues is what became of the updates that were due. An update of one player to
// another is due once a tick has come, since the other was told last, in which
// its place or look differ from what was told by as much as a move can say, and
// its rank among all by true distance has since stayed within a band for that
// band's period, in ticks: 1 for the near. It is late, and counts as not
// delivered, if the view of the period's last tick does not tell it; then the
// period begins anew. A tick whose view did not come delivers nothing.
type Dues struct {
	Due, Delivered int64
	Missed         Missed
	Wrong          int64 // views that tell other places than the true ones of their tick
	Views          int64
	Bytes          int64
	AgesUS         *hdrhistogram.Histogram // of delivered updates, from the time of the tick that they show
}

// Missed says why what was due was not delivered.
type Missed struct {
	Unshown        int64 // hardly anyone had a view of that tick: the gateway left it out
	Left           int64 // others had, this player not: it reads too slowly
	Near, Mid, Far int64 // the view of that tick does not tell it, by band
}

func (m *Missed) add(o Missed) {
	m.Unshown += o.Unshown
	m.Left += o.Left
	m.Near += o.Near
	m.Mid += o.Mid
	m.Far += o.Far
}

// few is how small a share of the players sees a tick that was left out.
const few = 0.1

// unshown says of each tick whether hardly anyone was shown it.
func (s *Swarm) unshown(from mesh.Tick, ticks int) []bool {
	seen, none := make([]int, ticks), make([]bool, ticks)
	for i := range s.bots {
		for _, g := range s.Glimpses(i) {
			if at := int(g.Tick) - int(from); at >= 0 && at < ticks {
				seen[at]++
			}
		}
	}
	for at := range none {
		none[at] = float64(seen[at]) < few*float64(len(s.bots))
	}
	return none
}

// Audit holds what each player of s was shown of the ticks from the first to
// before the last against the truth.
func (s *Swarm) Audit(truth *Truth, rates Rates, from, to mesh.Tick) (Dues, error) {
	ticks := make([][]place, 0, to-from)
	for t := from; t < to; t++ {
		all := truth.ticks[t]
		if all == nil {
			return Dues{}, fmt.Errorf("the node's frame of tick %d was not seen", t)
		}
		ticks = append(ticks, all)
	}
	var mu sync.Mutex
	sum := Dues{AgesUS: hdrhistogram.New(1, mostMicros, significant)}
	unshown := s.unshown(from, len(ticks))
	next := make(chan int, len(s.bots))
	for i := range s.bots {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			a := audit1{swarm: s, ticks: ticks, unshown: unshown, from: from, rates: rates}
			a.AgesUS = hdrhistogram.New(1, mostMicros, significant)
			for i := range next {
				a.player(i)
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Due += a.Due
			sum.Delivered += a.Delivered
			sum.Missed.add(a.Missed)
			sum.Wrong += a.Wrong
			sum.Views += a.Views
			sum.Bytes += a.Bytes
			sum.AgesUS.Merge(a.AgesUS)
		})
	}
	workers.Wait()
	return sum, nil
}

// audit1 is one worker's part of an audit.
type audit1 struct {
	Dues
	swarm   *Swarm
	ticks   [][]place
	unshown []bool // by tick
	from    mesh.Tick
	rates   Rates

	pairs  []pair
	dist   []int64
	sorted []int64
}

// pair is one player as seen by another.
type pair struct {
	told  int32    // tick of the last word
	since [3]int32 // 1 + the tick since which it is due, by band or nearer; 0 is not
}

func (a *audit1) player(me int) {
	n := len(a.swarm.bots)
	a.pairs = slices.Grow(a.pairs[:0], n)[:n]
	a.dist = slices.Grow(a.dist[:0], n)[:n]
	clear(a.pairs)
	shown := make([]*Glimpse, len(a.ticks))
	glimpses := a.swarm.Glimpses(me)
	for i := range glimpses {
		if at := int(glimpses[i].Tick) - int(a.from); at >= 0 && at < len(shown) && shown[at] == nil {
			shown[at] = &glimpses[i]
			a.Views++
			a.Bytes += int64(glimpses[i].Bytes)
		}
	}
	period := [3]int32{1, int32(a.rates.MidTicks), int32(a.rates.FarTicks)}
	for at, now := range a.ticks {
		near, mid := a.bands(now, me)
		g, count, sum := shown[at], int64(0), uint64(0)
		for p := range a.pairs {
			if p == me || !now[p].here || !a.ticks[a.pairs[p].told][p].here {
				continue
			}
			q := &a.pairs[p]
			was := &a.ticks[q.told][p]
			changed := was.x != now[p].x || was.y != now[p].y || was.z != now[p].z || was.yaw != now[p].yaw
			if g != nil && g.Told[p/64]&(1<<(p%64)) != 0 {
				sum += Print(p, now[p].x, now[p].y, now[p].z)
				if changed {
					count++
				}
				*q = pair{told: int32(at)}
				continue
			}
			band := 2
			if d := a.dist[p]; d <= near {
				band = 0
			} else if d <= mid {
				band = 1
			}
			for b := range q.since {
				if b < band || !changed {
					q.since[b] = 0
				} else if q.since[b] == 0 {
					q.since[b] = int32(at) + 1
				}
			}
			if changed && int32(at)+1-q.since[band]+1 >= period[band] {
				a.Due++
				q.since = [3]int32{}
				switch {
				case g == nil && a.unshown[at]:
					a.Missed.Unshown++
				case g == nil:
					a.Missed.Left++
				case band == 0:
					a.Missed.Near++
				case band == 1:
					a.Missed.Mid++
				default:
					a.Missed.Far++
				}
			}
		}
		if g == nil {
			continue
		}
		if sum != g.Sum {
			a.Wrong++
		}
		a.Due += count
		a.Delivered += count
		if count > 0 {
			age := g.AtUS - int64(a.swarm.cfg.Shard.TimeOf(g.Tick).Sub(time.UnixMilli(a.swarm.cfg.Shard.OriginUnixMilli))/time.Microsecond)
			_ = a.AgesUS.RecordValues(min(max(age, 0), mostMicros), count) // in range: never fails
		}
	}
}

// bands fills dist and returns how far the near and the middle ones of me lie, squared.
func (a *audit1) bands(now []place, me int) (near, mid int64) {
	const all = int64(1)<<62 - 1
	if a.rates.Near >= len(now)-1 {
		clear(a.dist)
		return all, all
	}
	a.sorted = a.sorted[:0]
	for p := range now {
		a.dist[p] = all
		if p != me && now[p].here {
			a.dist[p] = now[me].pos.Dist2(now[p].pos)
			a.sorted = append(a.sorted, a.dist[p])
		}
	}
	mid = lowest(a.sorted, a.rates.Near+a.rates.Mid)
	return lowest(a.sorted[:min(a.rates.Near+a.rates.Mid, len(a.sorted))], a.rates.Near), mid
}

// lowest puts the n lowest of d first, and returns the highest of them, or more
// than any if there are no more (quickselect; Hoare 1961).
func lowest(d []int64, n int) int64 {
	if n >= len(d) {
		return 1<<62 - 2
	}
	lo, hi := 0, len(d)-1
	for lo < hi {
		pivot := d[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for d[i] < pivot {
				i++
			}
			for d[j] > pivot {
				j--
			}
			if i <= j {
				d[i], d[j] = d[j], d[i]
				i++
				j--
			}
		}
		switch {
		case n-1 <= j:
			hi = j
		case n-1 >= i:
			lo = i
		default:
			return d[n-1]
		}
	}
	return d[n-1]
}
