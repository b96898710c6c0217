package storetest

import (
	"errors"
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

const ring = mesh.RingSlots

// appends is a script of appends to zone 1 with their outcomes.
func (s *suite) appends(script []appendStep) {
	s.t.Helper()
	for i, c := range script {
		if err := s.Append(s.ctx, 1, c.slot); !errors.Is(err, c.want) {
			s.t.Fatalf("append %d, %+v: got error %v, want %v", i, c.slot, err, c.want)
		}
	}
}

// reads fails unless ReadSlots(from, limit) of zone 1 returns want.
func (s *suite) reads(from int64, limit int, want ...mesh.Slot) {
	s.t.Helper()
	got := must(s.ReadSlots(s.ctx, 1, from, limit))(s)
	if !slices.EqualFunc(got, want, rule.SameSlot) {
		s.t.Fatalf("slots from %d, at most %d:\n got %s\nwant %s", from, limit, slotsString(got), slotsString(want))
	}
}

func slotsString(slots []mesh.Slot) (text string) {
	for _, s := range slots {
		text += fmt.Sprintf("[%d epoch %d seal %t %.16q] ", s.Position, s.Epoch, s.Seal, s.Data)
	}
	return text
}

type appendStep = struct {
	slot mesh.Slot
	want error
}

func testAppend(s *suite) {
	s.appends([]appendStep{
		{slot(0, 1, "a"), nil},
		{slot(7, 1, "b"), nil}, // the store does not ask for order, the owner keeps it
		{slot(ring, 1, "c"), nil},
		{slot(2*ring, 1, "d"), nil},
		{slot(0, 1, "a"), store.ErrStaleEpoch},
		{slot(ring, 1, "c"), store.ErrStaleEpoch},
		{slot(4*ring, 1, "e"), store.ErrStaleEpoch},   // leaps over 3·ring
		{slot(ring+8, 1, "f"), store.ErrStaleEpoch},   // over nothing
		{slot(2*ring+7, 1, "g"), store.ErrStaleEpoch}, // leaps over ring+7
		{slot(ring+7, 1, "h"), nil},
	})
	s.reads(2*ring, 10, slot(2*ring, 1, "d"))
	s.reads(ring+7, 10, slot(ring+7, 1, "h"))
	if err := s.Append(s.ctx, 1, slot(-1, 1, "x")); err == nil {
		s.t.Fatal("a negative position was taken")
	}
	s.ok(s.Append(s.ctx, 2, slot(0, 1, "another zone")))
	s.reads(2*ring, 10, slot(2*ring, 1, "d"))
}

func testAppendEpochs(s *suite) {
	s.appends([]appendStep{
		{slot(3, 2, "a"), nil},
		{slot(3+ring, 1, "late owner"), store.ErrStaleEpoch},
		{slot(3, 3, "another at my place"), store.ErrStaleEpoch},
		{mesh.Slot{Position: 3 + ring, Epoch: 5, Seal: true}, nil},
		{slot(3+2*ring, 4, "b"), store.ErrStaleEpoch},
		{slot(3+2*ring, 5, "c"), nil},
		{slot(4, 1, "the ring slot beside is free"), nil},
	})
	s.reads(3+2*ring, 1, slot(3+2*ring, 5, "c"))
}

func testAppendRepeats(s *suite) {
	seal := mesh.Slot{Position: 9, Epoch: 2, Seal: true}
	s.appends([]appendStep{
		{slot(8, 1, "a"), nil},
		{slot(8, 1, "a"), nil},
		{slot(8, 1, "b"), store.ErrStaleEpoch},
		{slot(8, 2, "a"), store.ErrStaleEpoch},
		{mesh.Slot{Position: 8, Epoch: 1, Seal: true, Data: []byte("a")}, store.ErrStaleEpoch},
		{slot(8, 1, ""), store.ErrStaleEpoch},
		{seal, nil},
		{seal, nil},
		{mesh.Slot{Position: 9, Epoch: 2}, store.ErrStaleEpoch},
		{slot(8+ring, 1, "c"), nil},
		{slot(8, 1, "a"), store.ErrStaleEpoch}, // a late copy of the first
		{slot(8+ring, 1, "c"), nil},
	})
	s.reads(8+ring, 5, slot(8+ring, 1, "c"), seal) // a higher epoch is seen
	s.reads(9, 5, seal)
}

func testRing(s *suite) {
	first := int64(ring - 5) // fills the ring's end, then its beginning, then its end again
	var want []mesh.Slot
	for p := range int64(3) {
		s.ok(s.Append(s.ctx, 1, slot(p, 1, "old")))
	}
	for p := first; p < first+8; p++ {
		sl := slot(p, 1, fmt.Sprint("event ", p))
		s.ok(s.Append(s.ctx, 1, sl))
		want = append(want, sl)
	}
	s.reads(first, 100, want...)
	s.reads(first, 7, want[:7]...)
	s.reads(first+4, 3, want[4:7]...)
	s.reads(first+8, 100)
}

func testReadSlots(s *suite) {
	s.reads(0, 10)
	for _, p := range []int64{0, 1, 2, 4, 5} {
		s.ok(s.Append(s.ctx, 1, slot(p, 3, "x")))
	}
	s.reads(0, 10, slot(0, 3, "x"), slot(1, 3, "x"), slot(2, 3, "x"))
	s.reads(1, 1, slot(1, 3, "x"))
	s.reads(3, 10)
	s.reads(4, 10, slot(4, 3, "x"), slot(5, 3, "x"))
	s.reads(0, 0)
	s.reads(0, -1)
	s.reads(-3, 5)
	s.reads(0, 1<<30, slot(0, 3, "x"), slot(1, 3, "x"), slot(2, 3, "x"))
	if got := must(s.ReadSlots(s.ctx, 99, 0, 10))(s); len(got) != 0 {
		s.t.Fatalf("slots of a zone without any: %v", got)
	}
}

func testReadSlotsHigherEpoch(s *suite) {
	for p := range int64(4) {
		s.ok(s.Append(s.ctx, 1, slot(p, 2, "x")))
	}
	// Position 2 was trimmed and overwritten, by the same epoch: the read ends.
	s.ok(s.Append(s.ctx, 1, slot(2+ring, 2, "round")))
	s.reads(0, 10, slot(0, 2, "x"), slot(1, 2, "x"))
	// Position 1 was overwritten by a higher epoch: the loader must see that.
	s.ok(s.Append(s.ctx, 1, slot(1+ring, 4, "taken over")))
	s.reads(0, 10, slot(0, 2, "x"), slot(1+ring, 4, "taken over"))
	s.reads(0, 2, slot(0, 2, "x"), slot(1+ring, 4, "taken over"))
	s.reads(0, 1, slot(0, 2, "x"))
	// With nothing before it, whatever is there is seen.
	s.reads(2, 10, slot(2+ring, 2, "round"))
	s.reads(1, 10, slot(1+ring, 4, "taken over"))
	s.reads(1+ring, 10, slot(1+ring, 4, "taken over"), slot(2+ring, 2, "round"))
	s.reads(2+ring, 10, slot(2+ring, 2, "round"))
}

func testSizes(s *suite) {
	s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
	full := mesh.Slot{Position: 0, Epoch: 1, Data: filled(store.MaxSlotBytes)}
	s.ok(s.Append(s.ctx, 1, full))
	s.is(s.Append(s.ctx, 1, mesh.Slot{Position: 1, Epoch: 1, Data: filled(store.MaxSlotBytes + 1)}), store.ErrTooLarge)
	s.ok(s.Append(s.ctx, 1, mesh.Slot{Position: 1, Epoch: 1, Data: filled(store.MaxSlotBytes)}))
	s.reads(0, 5, full, mesh.Slot{Position: 1, Epoch: 1, Data: full.Data})

	poses := mesh.PoseRecord{Epoch: 1, Tick: 1, Data: filled(store.MaxPoseBytes)}
	s.ok(s.PutPoses(s.ctx, 1, poses))
	s.is(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 2, Data: filled(store.MaxPoseBytes + 1)}), store.ErrTooLarge)
	if got := must(s.RaisePoses(s.ctx, 1, 2))(s); got.Tick != 1 || len(got.Data) != store.MaxPoseBytes {
		s.t.Fatalf("poses at the limit came back with tick %d and %d bytes", got.Tick, len(got.Data))
	}

	s.ok(s.PutChunk(s.ctx, "full", filled(store.MaxChunkBytes)))
	s.is(s.PutChunk(s.ctx, "over", filled(store.MaxChunkBytes+1)), store.ErrTooLarge)
	if got := must(s.Chunk(s.ctx, "full"))(s); len(got) != store.MaxChunkBytes {
		s.t.Fatalf("a chunk at the limit came back with %d bytes", len(got))
	}
	_, err := s.Chunk(s.ctx, "over")
	s.is(err, store.ErrNotFound)

	s.ok(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 1, Data: filled(store.MaxRecordBytes)}))
	s.is(s.PutPlannerState(s.ctx, mesh.PlannerState{Version: 2, Data: filled(store.MaxRecordBytes + 1)}), store.ErrTooLarge)
	huge := mesh.Layout{Version: 1, Zones: make([]mesh.Zone, 4000)}
	s.is(s.PutLayout(s.ctx, huge), store.ErrTooLarge)
	if v := must(s.LayoutVersion(s.ctx))(s); v != 0 {
		s.t.Fatalf("an oversized layout left version %d", v)
	}
	large := mesh.Layout{Version: 1, Zones: make([]mesh.Zone, 1200)}
	s.ok(s.PutLayout(s.ctx, large))
	if l := must(s.Layout(s.ctx))(s); len(l.Zones) != len(large.Zones) {
		s.t.Fatalf("a layout of %d zones came back with %d", len(large.Zones), len(l.Zones))
	}
}
