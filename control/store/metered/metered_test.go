package metered_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/control/store/metered"
	"weft/control/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return metered.New(memstore.New()) })
}

func TestCounts(t *testing.T) {
	const kib = 1 << 10
	s, ctx := metered.New(memstore.New()), t.Context()
	slot := func(position int64, epoch mesh.Epoch, bytes int) func() error {
		return func() error {
			return s.Append(ctx, 1, mesh.Slot{Position: position, Epoch: epoch, Data: make([]byte, bytes)})
		}
	}
	poses := func(tick mesh.Tick, bytes int) func() error {
		return func() error {
			return s.PutPoses(ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: tick, Data: make([]byte, bytes)})
		}
	}
	var total metered.Counts
	for _, c := range []struct {
		name    string
		write   func() error
		err     error
		units   uint64
		refused uint64
	}{
		{"a small slot", slot(0, 1, 10), nil, 1, 0},
		{"just within a unit", slot(1, 1, kib-64), nil, 1, 0},
		{"just beyond", slot(2, 1, kib-63), nil, 2, 0},
		{"a large one", slot(3, 1, 10*kib), nil, 11, 0},
		{"a small one over the large", slot(3+mesh.RingSlots, 1, 10), nil, 11, 0},
		{"a small one over the small", slot(3+2*mesh.RingSlots, 1, 10), nil, 1, 0},
		{"refused", slot(3, 1, 5*kib), store.ErrStaleEpoch, 6, 1},
		{"refused where a large one is", poses(5, 20*kib), nil, 21, 0},
		{"refused by a larger", poses(4, 0), store.ErrStaleEpoch, 21, 1},
		{"raised with its data", func() error { _, err := s.RaisePoses(ctx, 1, 2); return err }, nil, 21, 0},
		{"a chunk", func() error { return s.PutChunk(ctx, "k", make([]byte, 3*kib)) }, nil, 4, 0},
		{"its deletion", func() error { return s.DeleteChunk(ctx, "k") }, nil, 4, 0},
		{"its deletion again", func() error { return s.DeleteChunk(ctx, "k") }, nil, 1, 0},
		{"a lost compare-and-set", func() error { return s.PutPlannerState(ctx, mesh.PlannerState{Version: 7}) }, store.ErrConflict, 1, 1},
	} {
		before := s.Counts()
		if err := c.write(); !errors.Is(err, c.err) {
			t.Fatalf("%s: got error %v", c.name, err)
		}
		after := s.Counts()
		got := metered.Counts{Writes: after.Writes - before.Writes, Units: after.Units - before.Units, Refused: after.Refused - before.Refused}
		if want := (metered.Counts{Writes: 1, Units: c.units, Refused: c.refused}); got != want {
			t.Errorf("%s: counted %+v, want %+v", c.name, got, want)
		}
		total = after
	}
	if err := s.Append(ctx, 1, mesh.Slot{Position: 9, Data: make([]byte, store.MaxSlotBytes+1)}); !errors.Is(err, store.ErrTooLarge) {
		t.Fatal(err)
	}
	if _, err := s.ReadSlots(ctx, 1, 0, 9); err != nil {
		t.Fatal(err)
	}
	if got := s.Counts(); got != total {
		t.Errorf("what was never sent, or only read, counted: %+v, was %+v", got, total)
	}
}

// A handle that loads a zone knows what its first lap of the ring overwrites.
func TestReadingLearnsSizes(t *testing.T) {
	inner, ctx := memstore.New(), t.Context()
	if err := inner.Append(ctx, 1, mesh.Slot{Position: 0, Epoch: 1, Data: make([]byte, 4000)}); err != nil {
		t.Fatal(err)
	}
	s := metered.New(inner)
	if _, err := s.ReadSlots(ctx, 1, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, 1, mesh.Slot{Position: mesh.RingSlots, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if got := s.Counts().Units; got != 4 {
		t.Errorf("counted %d units, want 4", got)
	}
}
