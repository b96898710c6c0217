package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"weft/control/mesh"
	"weft/control/store"
)

const (
	racers = 6
	rounds = 8
)

// race runs f by several racers at once, each on one of the suite's handles,
// and fails if any of them does.
func (s *suite) race(f func(st store.Store, racer int) error) {
	s.t.Helper()
	errs := make(chan error, racers)
	for r := range racers {
		go func() { errs <- f(s.handles[r%len(s.handles)], r) }()
	}
	for range racers {
		if err := <-errs; err != nil {
			s.t.Error(err)
		}
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func runConcurrent(t *testing.T, open func(t *testing.T) []store.Store) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"layouts: successes equal the final version", raceLayouts},
		{"planner state: successes equal the final version", racePlanner},
		{"epochs: one owner an epoch", raceEpochs},
		{"pointers: never back", racePointers},
		{"appends: one of those at a place wins, and its repeats", raceAppends},
		{"poses: never back", racePoses},
		{"zones: created once", raceCreate},
		{"processes: a removal never takes the next life", raceRemoval},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(begin(t, open(t)...)) })
	}
}

func raceLayouts(s *suite) {
	var wins atomic.Uint64
	s.race(func(st store.Store, racer int) error {
		for range rounds {
			v, err := st.LayoutVersion(s.ctx)
			if err != nil {
				return err
			}
			l := mesh.Layout{Version: v + 1, Shard: mesh.Shard{Name: fmt.Sprint(racer)}}
			if err := st.PutLayout(s.ctx, l); err == nil {
				wins.Add(1)
				// What is read now is mine or later, and whole.
				if l, err := st.Layout(s.ctx); err != nil || l.Version < v+1 || l.Version == v+1 && l.Shard.Name != fmt.Sprint(racer) {
					return fmt.Errorf("racer %d won version %d and read %+v, %v", racer, v+1, l, err)
				}
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	})
	equal(s, "final version", must(s.LayoutVersion(s.ctx))(s), wins.Load())
	equal(s, "final layout", must(s.Layout(s.ctx))(s).Version, wins.Load())
}

func racePlanner(s *suite) {
	var wins atomic.Uint64
	s.race(func(st store.Store, racer int) error {
		for range rounds {
			was, err := st.PlannerState(s.ctx)
			if err != nil {
				return err
			}
			next := mesh.PlannerState{Version: was.Version + 1, Data: append(was.Data, byte(racer))}
			if err := st.PutPlannerState(s.ctx, next); err == nil {
				wins.Add(1)
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
		return nil
	})
	final := must(s.PlannerState(s.ctx))(s)
	if final.Version != wins.Load() || uint64(len(final.Data)) != wins.Load() {
		s.t.Fatalf("%d successes, but version %d with %d entries", wins.Load(), final.Version, len(final.Data))
	}
}

func raceEpochs(s *suite) {
	s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Pointer: mesh.Pointer{Position: -1}}))
	var mu sync.Mutex
	owners := map[mesh.Epoch]mesh.NodeID{}
	s.race(func(st store.Store, racer int) error {
		me := owner(mesh.NodeID(fmt.Sprint(racer)), 1)
		for range rounds {
			rec, err := st.Zone(s.ctx, 1)
			if err != nil {
				return err
			}
			switch err := st.RaiseEpoch(s.ctx, 1, rec.Epoch, me); {
			case err == nil:
				mu.Lock()
				was, taken := owners[rec.Epoch+1]
				owners[rec.Epoch+1] = me.Node
				mu.Unlock()
				if taken && was != me.Node {
					return fmt.Errorf("epoch %d was given to %s and to %s", rec.Epoch+1, was, me.Node)
				}
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
		return nil
	})
	rec := must(s.Zone(s.ctx, 1))(s)
	if int(rec.Epoch) != len(owners) || owners[rec.Epoch] != rec.Owner.Node {
		s.t.Fatalf("final record %+v, won epochs %v", rec, owners)
	}
}

func racePointers(s *suite) {
	s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
	var wins, highest atomic.Int64
	s.race(func(st store.Store, racer int) error {
		seen := int64(-1)
		for i := range int64(rounds) {
			p := i*racers + int64(racer)
			err := st.MovePointer(s.ctx, 1, 1, mesh.Pointer{Position: p, Chunks: []string{fmt.Sprint("of ", p)}})
			if err == nil {
				wins.Add(1)
				for h := highest.Load(); p > h && !highest.CompareAndSwap(h, p); h = highest.Load() {
				}
			} else if !errors.Is(err, store.ErrStaleEpoch) {
				return err
			}
			rec, err := st.Zone(s.ctx, 1)
			if err != nil {
				return err
			}
			if at := rec.Pointer.Position; at < seen || at < p || rec.Pointer.Chunks[0] != fmt.Sprint("of ", at) {
				return fmt.Errorf("pointer %+v after %d and %d", rec.Pointer, seen, p)
			}
			seen = rec.Pointer.Position
		}
		return nil
	})
	if at := must(s.Zone(s.ctx, 1))(s).Pointer.Position; at != highest.Load() || wins.Load() == 0 {
		s.t.Fatalf("final pointer %d, highest success %d of %d", at, highest.Load(), wins.Load())
	}
}

func raceAppends(s *suite) {
	for position := range int64(rounds) {
		var wins atomic.Int64
		var winner atomic.Pointer[mesh.Slot]
		s.race(func(st store.Store, racer int) error {
			mine := slot(position, 1, fmt.Sprint("of ", racer/2)) // racers 2n and 2n+1 repeat each other
			err := st.Append(s.ctx, 1, mine)
			if err == nil {
				wins.Add(1)
				winner.Store(&mine)
				return nil
			}
			if !errors.Is(err, store.ErrStaleEpoch) {
				return err
			}
			return nil
		})
		if wins.Load() != 2 {
			s.t.Fatalf("%d successes at position %d, want the winner and its repeat", wins.Load(), position)
		}
		s.reads(position, 1, *winner.Load())
	}
}

func racePoses(s *suite) {
	s.race(func(st store.Store, racer int) error {
		for i := range rounds {
			rec := mesh.PoseRecord{Epoch: 1, Tick: mesh.Tick(i*racers + racer), Data: []byte(fmt.Sprint(i*racers + racer))}
			if err := st.PutPoses(s.ctx, 1, rec); err != nil && !errors.Is(err, store.ErrStaleEpoch) {
				return err
			}
			now, err := st.RaisePoses(s.ctx, 1, 1)
			if err != nil {
				return err
			}
			if now.Tick < rec.Tick || string(now.Data) != fmt.Sprint(now.Tick) {
				return fmt.Errorf("poses of tick %d (%s) after tick %d", now.Tick, now.Data, rec.Tick)
			}
		}
		return nil
	})
	s.posesAre(mesh.PoseRecord{Epoch: 1, Tick: rounds*racers - 1, Data: []byte(fmt.Sprint(rounds*racers - 1))})
}

func raceCreate(s *suite) {
	for zone := range mesh.ZoneID(rounds) {
		var wins atomic.Int64
		s.race(func(st store.Store, racer int) error {
			err := st.CreateZone(s.ctx, mesh.ZoneRecord{Zone: zone + 1, Epoch: mesh.Epoch(racer)})
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, store.ErrConflict) {
				return err
			}
			return nil
		})
		equal(s, "successes", wins.Load(), 1)
	}
}

func raceRemoval(s *suite) {
	for life := mesh.Incarnation(1); life < 2*rounds; life += 2 {
		s.ok(s.PutProcess(s.ctx, process("a", life, mesh.Ready)))
		s.ok(s.PutReport(s.ctx, report("a", life, 1)))
		s.race(func(st store.Store, racer int) error {
			switch {
			case racer%2 == 0:
				if err := st.RemoveProcess(s.ctx, "a", life); !errors.Is(err, store.ErrStaleEpoch) {
					return err
				}
				return nil
			case racer == 1:
				return st.PutProcess(s.ctx, process("a", life+1, mesh.Ready))
			case racer == 3:
				return st.PutReport(s.ctx, report("a", life+1, 1))
			}
			return nil
		})
		equal(s, "processes", s.processes(), []mesh.Process{process("a", life+1, mesh.Ready)})
		if r := s.reports(); len(r) != 1 || r[0].Process.Incarnation != life+1 {
			s.t.Fatalf("reports after the removal of incarnation %d: %+v", life, r)
		}
	}
}

// testFenced takes a zone over through b under the eyes of a, whose every
// write must then be refused however much it remembers of the store.
func testFenced(a, b *suite) {
	a.ok(a.CreateZone(a.ctx, mesh.ZoneRecord{Zone: 1, Owner: owner("a", 1), Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
	for p := range int64(ring) {
		if p < 6 || p > ring-4 { // enough to lap the ring with few writes
			a.ok(a.Append(a.ctx, 1, slot(p, 1, "a")))
		}
	}
	a.ok(a.PutPoses(a.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 5, Data: []byte("a")}))
	a.ok(b.RaiseEpoch(b.ctx, 1, 1, owner("b", 1)))
	b.zoneIs(mesh.ZoneRecord{Zone: 1, Owner: owner("b", 1), Epoch: 2, Pointer: mesh.Pointer{Position: -1}})
	b.reads(0, ring, slot(0, 1, "a"), slot(1, 1, "a"), slot(2, 1, "a"), slot(3, 1, "a"), slot(4, 1, "a"), slot(5, 1, "a"))
	b.ok(b.Append(b.ctx, 1, mesh.Slot{Position: ring, Epoch: 2, Seal: true}))
	must(b.RaisePoses(b.ctx, 1, 2))(b)
	for name, err := range map[string]error{
		"append at the seal":   a.Append(a.ctx, 1, slot(ring, 1, "a")),
		"append after it":      a.Append(a.ctx, 1, slot(2*ring, 1, "a")),
		"poses":                a.PutPoses(a.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 6, Data: []byte("a")}),
		"pointer":              a.MovePointer(a.ctx, 1, 1, mesh.Pointer{Position: 3}),
		"poses raised by less": func() error { _, err := a.RaisePoses(a.ctx, 1, 1); return err }(),
	} {
		if !errors.Is(err, store.ErrStaleEpoch) {
			a.t.Errorf("%s of the old owner: got error %v", name, err)
		}
	}
	// The zone goes, and comes back as if new: nothing remembered may matter.
	b.ok(b.RemoveZone(b.ctx, 1))
	a.is(a.Append(a.ctx, 1, slot(2*ring, 2, "x")), store.ErrStaleEpoch)
	a.ok(a.Append(a.ctx, 1, slot(0, 1, "new")))
	b.ok(b.Append(b.ctx, 1, slot(ring, 1, "newer")))
	a.ok(a.Append(a.ctx, 1, slot(2*ring, 1, "newest")))
	b.reads(2*ring, 1, slot(2*ring, 1, "newest"))
	a.ok(a.PutPoses(a.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 1, Data: []byte("new")}))
	b.posesAre(mesh.PoseRecord{Epoch: 1, Tick: 1, Data: []byte("new")})
}
