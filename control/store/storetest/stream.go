package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
)

// watcher runs Watch and keeps what it was told.
type watcher struct {
	told chan store.Change
	end  func() error // cancels, waits for Watch to return, gives its error
}

func (s *suite) watch() watcher {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	w := watcher{told: make(chan store.Change, 1000)}
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Watch(ctx, func() { close(ready) }, func(c store.Change) { w.told <- c }) }()
	w.end = func() error { cancel(); return <-done }
	select {
	case <-ready:
	case err := <-done:
		cancel()
		s.t.Fatalf("watch ended before it was ready: %v", err)
	}
	return w
}

// expect waits until every one of changes was told, in any order, and fails on
// one that is not among them.
func (w watcher) expect(s *suite, changes ...store.Change) {
	s.t.Helper()
	missing := map[store.Change]bool{}
	for _, c := range changes {
		missing[c] = true
	}
	known := maps.Clone(missing)
	for len(missing) > 0 {
		select {
		case c := <-w.told:
			if !known[c] {
				s.t.Fatalf("told of %+v, which did not happen", c)
			}
			delete(missing, c)
		case <-s.ctx.Done():
			s.t.Fatalf("never told of %v", missing)
		}
	}
}

func (s *suite) writeEachKind() []store.Change {
	s.t.Helper()
	s.ok(s.PutProcess(s.ctx, process("a.b", 1, mesh.Ready)))
	s.ok(s.PutReport(s.ctx, report("a c", 1, 1)))
	s.ok(s.PutSuspicion(s.ctx, mesh.Suspicion{Suspect: "s>", Witness: "w", Incarnation: 1}))
	s.ok(s.PutIntent(s.ctx, mesh.Intent{Token: "t*"}))
	return []store.Change{
		{Kind: store.ProcessChanged, ID: "a.b"}, {Kind: store.ReportChanged, ID: "a c"},
		{Kind: store.SuspicionChanged, ID: "s>"}, {Kind: store.IntentChanged, ID: "t*"},
	}
}

func testWatch(s *suite) {
	s.ok(s.PutProcess(s.ctx, process("before", 1, mesh.Ready)))
	w := s.watch()
	changes := s.writeEachKind()
	w.expect(s, changes...)

	// Other records and refused writes are silent, deletions too.
	s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Epoch: 1}))
	s.ok(s.Append(s.ctx, 1, slot(0, 1, "x")))
	s.ok(s.PutDecision(s.ctx, mesh.Decision{ID: "d"}))
	s.ok(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 1}))
	s.is(s.PutProcess(s.ctx, process("before", 0, mesh.Ready)), store.ErrStaleEpoch)
	s.ok(s.DeleteIntent(s.ctx, "t*"))
	s.ok(s.DeleteSuspicion(s.ctx, "s>", "w"))
	s.ok(s.RemoveProcess(s.ctx, "before", 1))
	s.ok(s.PutIntent(s.ctx, mesh.Intent{Token: "last"}))
	for {
		c := <-w.told
		if c.ID == "last" {
			break
		}
		if c.ID == "before" || !slices.Contains(changes, c) {
			s.t.Fatalf("told of %+v, which is no write of a control record", c)
		}
	}
	// A record that changes again is told again.
	s.ok(s.PutReport(s.ctx, report("a c", 1, 2)))
	w.expect(s, store.Change{Kind: store.ReportChanged, ID: "a c"})
	if err := w.end(); !errors.Is(err, context.Canceled) {
		s.t.Fatalf("watch ended with %v", err)
	}

	// Watches leave nothing behind. An HTTP client's idle connections may stay.
	before := []goleak.Option{
		goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
	for i := range 3 {
		w := s.watch()
		s.ok(s.PutIntent(s.ctx, mesh.Intent{Token: "again", CreatedUnixMilli: int64(i)}))
		w.expect(s, store.Change{Kind: store.IntentChanged, ID: "again"})
		if err := w.end(); !errors.Is(err, context.Canceled) {
			s.t.Fatalf("watch ended with %v", err)
		}
	}
	if err := goleak.Find(before...); err != nil {
		s.t.Fatal(err)
	}
}

func testTwoWatchers(s *suite) {
	v, w := s.watch(), s.watch()
	changes := s.writeEachKind()
	v.expect(s, changes...)
	if err := v.end(); !errors.Is(err, context.Canceled) {
		s.t.Fatalf("watch ended with %v", err)
	}
	s.ok(s.PutIntent(s.ctx, mesh.Intent{Token: "after the first ended"}))
	w.expect(s, append(changes, store.Change{Kind: store.IntentChanged, ID: "after the first ended"})...)
	if err := w.end(); !errors.Is(err, context.Canceled) {
		s.t.Fatalf("watch ended with %v", err)
	}
}

func testWatchOther(a, b *suite) {
	w := a.watch()
	changes := b.writeEachKind()
	w.expect(a, changes...)
	if err := w.end(); !errors.Is(err, context.Canceled) {
		a.t.Fatalf("watch ended with %v", err)
	}
}

// testCancelled calls every method with a context that has ended.
func testCancelled(s *suite) {
	s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
	s.ok(s.PutChunk(s.ctx, "k", []byte("x")))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	for name, err := range cancelledCalls(ctx, s.Store) {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s: got error %v, want store unavailable and context canceled", name, err)
		}
	}
	if err := s.Watch(ctx, func() {}, func(store.Change) {}); !errors.Is(err, context.Canceled) {
		s.t.Errorf("Watch: got error %v", err)
	}
	// What was not written is not there, and the store still works.
	s.zoneIs(mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: -1}})
	s.reads(0, 5)
	must(s.Chunk(s.ctx, "k"))(s)
	if v := must(s.LayoutVersion(s.ctx))(s); v != 0 {
		s.t.Errorf("layout version %d", v)
	}
}

func cancelledCalls(ctx context.Context, st store.Store) map[string]error {
	second := func(_ any, err error) error { return err }
	return map[string]error{
		"Append":          st.Append(ctx, 1, slot(0, 1, "x")),
		"ReadSlots":       second(st.ReadSlots(ctx, 1, 0, 5)),
		"CreateZone":      st.CreateZone(ctx, mesh.ZoneRecord{Zone: 2}),
		"Zone":            second(st.Zone(ctx, 1)),
		"RaiseEpoch":      st.RaiseEpoch(ctx, 1, 1, owner("a", 1)),
		"MovePointer":     st.MovePointer(ctx, 1, 1, mesh.Pointer{Position: 1}),
		"RemoveZone":      st.RemoveZone(ctx, 1),
		"PutChunk":        st.PutChunk(ctx, "new", nil),
		"Chunk":           second(st.Chunk(ctx, "k")),
		"ChunkKeys":       second(st.ChunkKeys(ctx, "")),
		"DeleteChunk":     st.DeleteChunk(ctx, "k"),
		"PutPoses":        st.PutPoses(ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 1}),
		"RaisePoses":      second(st.RaisePoses(ctx, 1, 1)),
		"Layout":          second(st.Layout(ctx)),
		"LayoutVersion":   second(st.LayoutVersion(ctx)),
		"PutLayout":       st.PutLayout(ctx, mesh.Layout{Version: 1}),
		"PutProcess":      st.PutProcess(ctx, process("a", 1, mesh.Ready)),
		"Processes":       second(st.Processes(ctx)),
		"RemoveProcess":   st.RemoveProcess(ctx, "a", 1),
		"PutReport":       st.PutReport(ctx, report("a", 1, 1)),
		"Reports":         second(st.Reports(ctx)),
		"PutSuspicion":    st.PutSuspicion(ctx, mesh.Suspicion{Suspect: "a", Witness: "b"}),
		"Suspicions":      second(st.Suspicions(ctx)),
		"DeleteSuspicion": st.DeleteSuspicion(ctx, "a", "b"),
		"PutIntent":       st.PutIntent(ctx, mesh.Intent{Token: "t"}),
		"Intents":         second(st.Intents(ctx)),
		"DeleteIntent":    st.DeleteIntent(ctx, "t"),
		"PutDecision":     st.PutDecision(ctx, mesh.Decision{ID: "d"}),
		"Decisions":       second(st.Decisions(ctx, 5)),
		"PlannerState":    second(st.PlannerState(ctx)),
		"PutPlannerState": st.PutPlannerState(ctx, mesh.PlannerState{Version: 1}),
	}
}
