package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
)

func process(id mesh.NodeID, inc mesh.Incarnation, state mesh.ProcessState) mesh.Process {
	return mesh.Process{ID: id, Incarnation: inc, Role: mesh.RoleNode, State: state, Address: string(id) + ":7000", Capacity: 120}
}

func report(id mesh.NodeID, inc mesh.Incarnation, sequence uint64) mesh.Report {
	return mesh.Report{Process: process(id, inc, mesh.Ready), Sequence: sequence, Tick: mesh.Tick(sequence * 20)}
}

// equal fails unless got is want.
func equal[T any](s *suite, what string, got, want T) {
	s.t.Helper()
	if !reflect.DeepEqual(got, want) {
		s.t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// The lists of Control, ordered so that they compare.

func (s *suite) processes() []mesh.Process {
	list := must(s.Processes(s.ctx))(s)
	slices.SortFunc(list, func(a, b mesh.Process) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (s *suite) reports() []mesh.Report {
	list := must(s.Reports(s.ctx))(s)
	slices.SortFunc(list, func(a, b mesh.Report) int { return cmp.Compare(a.Process.ID, b.Process.ID) })
	return list
}

func (s *suite) suspicions() []mesh.Suspicion {
	list := must(s.Suspicions(s.ctx))(s)
	slices.SortFunc(list, func(a, b mesh.Suspicion) int {
		return cmp.Or(cmp.Compare(a.Suspect, b.Suspect), cmp.Compare(a.Witness, b.Witness))
	})
	return list
}

func (s *suite) intents() []mesh.Intent {
	list := must(s.Intents(s.ctx))(s)
	slices.SortFunc(list, func(a, b mesh.Intent) int { return cmp.Compare(a.Token, b.Token) })
	return list
}

func testProcesses(s *suite) {
	if got := s.processes(); len(got) != 0 {
		s.t.Fatalf("an empty store has processes: %+v", got)
	}
	for i, c := range []struct {
		p    mesh.Process
		want error
	}{
		{process("a", 5, mesh.Ready), nil},
		{process("a", 5, mesh.Ready), nil},
		{process("a", 5, mesh.Draining), nil},
		{process("a", 5, mesh.Ready), nil},
		{process("a", 4, mesh.Ready), store.ErrStaleEpoch},
		{process("b", 1, mesh.Ready), nil},
		{process("b", 1, mesh.Stopped), nil},
		{process("b", 1, mesh.Ready), store.ErrStaleEpoch},
		{process("b", 1, mesh.Draining), store.ErrStaleEpoch},
		{process("b", 2, mesh.Ready), nil},
		{process("a", 6, mesh.Stopped), nil},
		{process("a", 5, mesh.Ready), store.ErrStaleEpoch},
		{process("a.b*c>d/e f#g", 1, mesh.Ready), nil},
	} {
		if err := s.PutProcess(s.ctx, c.p); !errors.Is(err, c.want) {
			s.t.Fatalf("step %d, %+v: got error %v, want %v", i, c.p, err, c.want)
		}
	}
	equal(s, "processes", s.processes(), []mesh.Process{process("a", 6, mesh.Stopped), process("a.b*c>d/e f#g", 1, mesh.Ready), process("b", 2, mesh.Ready)})
}

func testRemoveProcess(s *suite) {
	s.ok(s.RemoveProcess(s.ctx, "a", 9))
	for _, id := range []mesh.NodeID{"a", "ab"} {
		s.ok(s.PutProcess(s.ctx, process(id, 3, mesh.Ready)))
		s.ok(s.PutReport(s.ctx, report(id, 3, 1)))
		for _, w := range []mesh.NodeID{"x", "y"} {
			s.ok(s.PutSuspicion(s.ctx, mesh.Suspicion{Suspect: id, Incarnation: 3, Witness: w, Kind: mesh.Broken}))
		}
	}
	s.ok(s.PutSuspicion(s.ctx, mesh.Suspicion{Suspect: "x", Incarnation: 1, Witness: "a"})) // a as witness
	s.is(s.RemoveProcess(s.ctx, "a", 2), store.ErrStaleEpoch)
	if n, r, sus := len(s.processes()), len(s.reports()), len(s.suspicions()); n != 2 || r != 2 || sus != 5 {
		s.t.Fatalf("removal by a lower incarnation left %d processes, %d reports, %d suspicions", n, r, sus)
	}
	// A suspicion that was written of the next life already stays.
	s.ok(s.PutSuspicion(s.ctx, mesh.Suspicion{Suspect: "a", Incarnation: 4, Witness: "y"}))
	s.ok(s.RemoveProcess(s.ctx, "a", 3))
	s.ok(s.RemoveProcess(s.ctx, "a", 3))
	equal(s, "processes", s.processes(), []mesh.Process{process("ab", 3, mesh.Ready)})
	equal(s, "reports", s.reports(), []mesh.Report{report("ab", 3, 1)})
	equal(s, "suspicions", s.suspicions(), []mesh.Suspicion{
		{Suspect: "a", Incarnation: 4, Witness: "y"},
		{Suspect: "ab", Incarnation: 3, Witness: "x", Kind: mesh.Broken}, {Suspect: "ab", Incarnation: 3, Witness: "y", Kind: mesh.Broken},
		{Suspect: "x", Incarnation: 1, Witness: "a"},
	})
	s.ok(s.PutProcess(s.ctx, process("a", 4, mesh.Ready)))
	s.ok(s.PutReport(s.ctx, report("a", 4, 1)))
	s.ok(s.RemoveProcess(s.ctx, "ab", 5)) // by a higher incarnation than stored
	equal(s, "processes", s.processes(), []mesh.Process{process("a", 4, mesh.Ready)})
}

func testReports(s *suite) {
	changed := report("a", 2, 5)
	changed.Tick++
	for i, c := range []struct {
		r    mesh.Report
		want error
	}{
		{report("a", 2, 5), nil},
		{report("a", 2, 5), nil},
		{changed, store.ErrStaleEpoch},
		{report("a", 2, 4), store.ErrStaleEpoch},
		{report("a", 1, 9), store.ErrStaleEpoch},
		{report("a", 2, 7), nil},
		{report("a", 2, 5), store.ErrStaleEpoch},
		{report("a", 3, 1), nil},
		{report("a", 2, 8), store.ErrStaleEpoch},
		{report("b", 1, 1<<63), nil},
		{report("b", 1, 1<<63+1), nil},
		{report("b", 1, 3), store.ErrStaleEpoch},
	} {
		if err := s.PutReport(s.ctx, c.r); !errors.Is(err, c.want) {
			s.t.Fatalf("step %d: got error %v, want %v", i, err, c.want)
		}
	}
	equal(s, "reports", s.reports(), []mesh.Report{report("a", 3, 1), report("b", 1, 1<<63+1)})
}

func testSuspicions(s *suite) {
	ab := mesh.Suspicion{Suspect: "a", Incarnation: 1, Witness: "b", WitnessRole: mesh.RoleGateway, Kind: mesh.Silent, Tick: 9, Number: 1}
	// The same letters in another split are another pair.
	pair := mesh.Suspicion{Suspect: "a#b", Witness: "c", Incarnation: 1}
	other := mesh.Suspicion{Suspect: "a", Witness: "b#c", Incarnation: 1}
	for _, sus := range []mesh.Suspicion{ab, pair, other} {
		s.ok(s.PutSuspicion(s.ctx, sus))
	}
	ab.Number, ab.Kind = 2, mesh.Broken
	s.ok(s.PutSuspicion(s.ctx, ab))
	equal(s, "suspicions", s.suspicions(), []mesh.Suspicion{ab, other, pair})
	s.ok(s.DeleteSuspicion(s.ctx, "a", "b"))
	s.ok(s.DeleteSuspicion(s.ctx, "a", "b"))
	s.ok(s.DeleteSuspicion(s.ctx, "b", "a"))
	equal(s, "suspicions", s.suspicions(), []mesh.Suspicion{other, pair})
}

func testIntents(s *suite) {
	one := mesh.Intent{Token: "t-1", What: "launch", Role: mesh.RoleNode, Target: "n1", State: mesh.IntentWritten, CreatedUnixMilli: 5, Reason: "warm pool"}
	two := mesh.Intent{Token: "t 2.x", What: "stop", Target: "n2", State: mesh.IntentWritten}
	s.ok(s.PutIntent(s.ctx, one))
	s.ok(s.PutIntent(s.ctx, two))
	one.State = mesh.IntentDone
	s.ok(s.PutIntent(s.ctx, one))
	s.ok(s.PutIntent(s.ctx, one))
	equal(s, "intents", s.intents(), []mesh.Intent{two, one})
	s.ok(s.DeleteIntent(s.ctx, two.Token))
	s.ok(s.DeleteIntent(s.ctx, two.Token))
	equal(s, "intents", s.intents(), []mesh.Intent{one})
}

func testDecisions(s *suite) {
	if got := must(s.Decisions(s.ctx, 5))(s); len(got) != 0 {
		s.t.Fatalf("an empty log holds %+v", got)
	}
	var want []mesh.Decision
	for i := range 12 {
		d := mesh.Decision{ID: fmt.Sprintf("2026-01-02T03:04:%02d.%d", i, i), UnixMilli: int64(i), Action: "split", Subject: "zone 1", Reason: "load", Alternatives: []string{"merge: no"}}
		want = append(want, d)
	}
	for i := range want {
		s.ok(s.PutDecision(s.ctx, want[(i*5)%len(want)])) // in any order
	}
	want[3].Reason = "replaced"
	s.ok(s.PutDecision(s.ctx, want[3]))
	slices.Reverse(want)
	equal(s, "all decisions", must(s.Decisions(s.ctx, 100))(s), want)
	equal(s, "newest decisions", must(s.Decisions(s.ctx, 3))(s), want[:3])
	if got := must(s.Decisions(s.ctx, 0))(s); len(got) != 0 {
		s.t.Fatalf("no decisions asked, got %+v", got)
	}
}

func testPlannerState(s *suite) {
	state := func() mesh.PlannerState { s.t.Helper(); return must(s.PlannerState(s.ctx))(s) }
	if got := state(); got.Version != 0 || len(got.Data) != 0 {
		s.t.Fatalf("state before the first write: %+v", got)
	}
	s.is(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 2, Data: []byte("{}")}), store.ErrConflict)
	s.is(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 0, Data: []byte("{}")}), store.ErrConflict)
	for v := uint64(1); v < 5; v++ {
		next := mesh.PlannerState{Version: v, Data: []byte(fmt.Sprintf(`{"v": %d}`, v))}
		s.ok(s.PutPlannerState(s.ctx, next))
		s.is(s.PutPlannerState(s.ctx, next), store.ErrConflict)
		equal(s, "state", state(), next)
	}
	s.is(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 4, Data: []byte("late")}), store.ErrConflict)
	s.ok(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 5}))
	if got := state(); got.Version != 5 || len(got.Data) != 0 {
		s.t.Fatalf("emptied state: %+v", got)
	}
}

// testFidelity stores a value in which every field, however deep, is set.
func testFidelity(s *suite) {
	var p mesh.Process
	var r mesh.Report
	var sus mesh.Suspicion
	var in mesh.Intent
	var d mesh.Decision
	var l mesh.Layout
	for _, v := range []any{&p, &r, &sus, &in, &d, &l} {
		fill(reflect.ValueOf(v).Elem(), new(uint64))
	}
	l.Version = 1
	s.ok(s.PutProcess(s.ctx, p))
	equal(s, "process", s.processes(), []mesh.Process{p})
	s.ok(s.PutReport(s.ctx, r))
	equal(s, "report", s.reports(), []mesh.Report{r})
	s.ok(s.PutSuspicion(s.ctx, sus))
	equal(s, "suspicion", s.suspicions(), []mesh.Suspicion{sus})
	s.ok(s.PutIntent(s.ctx, in))
	equal(s, "intent", s.intents(), []mesh.Intent{in})
	s.ok(s.PutDecision(s.ctx, d))
	equal(s, "decision", must(s.Decisions(s.ctx, 1))(s), []mesh.Decision{d})
	s.ok(s.PutLayout(s.ctx, l))
	equal(s, "layout", must(s.Layout(s.ctx))(s), l)
}

// fill sets every field of v to a value of its own.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(*n % 200)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - *n)
	default:
		panic("a kind of field that the suite cannot fill: " + v.Type().String())
	}
}

// testOwnership scribbles on what went in and on what came out.
func testOwnership(s *suite) {
	scribble := func(b []byte) {
		for i := range b {
			b[i] = '!'
		}
	}
	for range 2 {
		data := []byte("data")
		s.ok(s.Append(s.ctx, 1, mesh.Slot{Position: 0, Epoch: 1, Data: data}))
		scribble(data)
		scribble(must(s.ReadSlots(s.ctx, 1, 0, 1))(s)[0].Data)
		s.reads(0, 1, slot(0, 1, "data"))

		data = []byte("data")
		s.ok(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 1, Data: data}))
		scribble(data)
		scribble(must(s.RaisePoses(s.ctx, 1, 1))(s).Data)
		s.posesAre(mesh.PoseRecord{Epoch: 1, Tick: 1, Data: []byte("data")})

		data = []byte("data")
		s.ok(s.PutChunk(s.ctx, "k", data))
		scribble(data)
		scribble(must(s.Chunk(s.ctx, "k"))(s))
		equal(s, "chunk", string(must(s.Chunk(s.ctx, "k"))(s)), "data")
	}
	chunks := []string{"a", "b"}
	rec := mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: 3, Chunks: chunks}}
	s.ok(s.CreateZone(s.ctx, rec))
	chunks[0] = "!"
	must(s.Zone(s.ctx, 1))(s).Pointer.Chunks[1] = "!"
	rec.Pointer.Chunks = []string{"a", "b"}
	s.zoneIs(rec)

	r := report("a", 1, 1)
	r.Zones = []mesh.ZoneLoad{{Zone: 1, OutboundTo: []mesh.ZoneID{2}, Density: mesh.Density{XEdges: []int32{1, 2}, YEdges: []int32{3, 4}, Counts: []uint16{5}}}}
	want := report("a", 1, 1)
	want.Zones = []mesh.ZoneLoad{{Zone: 1, OutboundTo: []mesh.ZoneID{2}, Density: mesh.Density{XEdges: []int32{1, 2}, YEdges: []int32{3, 4}, Counts: []uint16{5}}}}
	s.ok(s.PutReport(s.ctx, r))
	for _, mine := range []mesh.Report{r, s.reports()[0]} {
		mine.Zones[0].OutboundTo[0], mine.Zones[0].Density.XEdges[0], mine.Zones[0].Density.Counts[0] = 99, 99, 99
		mine.Zones[0].Zone = 99
		equal(s, "report", s.reports(), []mesh.Report{want})
	}
	l := mesh.Layout{Version: 1, Zones: []mesh.Zone{{ID: 1}}}
	s.ok(s.PutLayout(s.ctx, l))
	l.Zones[0].ID = 99
	must(s.Layout(s.ctx))(s).Zones[0].ID = 98
	equal(s, "zone of the layout", must(s.Layout(s.ctx))(s).Zones[0].ID, 1)
}
