package metered_test

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
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

// noise does not pack.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b) //nolint:errcheck // it never fails
	return b
}

// The rules are those of the DynamoDB Developer Guide: see the package.
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
		{"refused: what is there counts, not what was to be", slot(3, 1, 5*kib), store.ErrStaleEpoch, 1, 1},
		{"refused where nothing is known", slot(9+mesh.RingSlots, 1, 5*kib), store.ErrStaleEpoch, 6, 1},
		{"150 KiB", slot(5, 1, 150*kib-64), nil, 150, 0},
		{"over which 155 are refused", slot(5, 1, 155*kib-64), store.ErrStaleEpoch, 150, 1},
		{"and then succeed", slot(5+mesh.RingSlots, 1, 155*kib-64), nil, 155, 0},
		{"a repeat of them", slot(5+mesh.RingSlots, 1, 155*kib-64), nil, 155, 0},
		{"poses", poses(5, 20*kib), nil, 21, 0},
		{"poses refused", poses(4, 0), store.ErrStaleEpoch, 21, 1},
		{"raised with their data", func() error { _, err := s.RaisePoses(ctx, 1, 2); return err }, nil, 21, 0},
		{"a chunk", func() error { return s.PutChunk(ctx, "k", noise(3*kib)) }, nil, 4, 0},
		{"its deletion", func() error { return s.DeleteChunk(ctx, "k") }, nil, 4, 0},
		{"its deletion again", func() error { return s.DeleteChunk(ctx, "k") }, nil, 1, 0},
		{"a chunk that packs", func() error { return s.PutChunk(ctx, "k", make([]byte, 100*kib)) }, nil, 1, 0},
		{"a zone", func() error {
			return s.CreateZone(ctx, mesh.ZoneRecord{Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: -1, Chunks: []string{strings.Repeat("k", 500), strings.Repeat("l", 500)}}})
		}, nil, 2, 0},
		{"its epoch: an update costs the whole item", func() error { return s.RaiseEpoch(ctx, 1, 1, mesh.Owner{Node: "n"}) }, nil, 2, 0},
		{"its epoch again, refused", func() error { return s.RaiseEpoch(ctx, 1, 1, mesh.Owner{Node: "m"}) }, store.ErrConflict, 2, 1},
		{"its pointer, over the longer one", func() error { return s.MovePointer(ctx, 1, 2, mesh.Pointer{Position: 3}) }, nil, 2, 0},
		{"its pointer, short by now", func() error { return s.MovePointer(ctx, 1, 2, mesh.Pointer{Position: 4}) }, nil, 1, 0},
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
	several := func(name string, writes, units uint64, f func() error) {
		t.Helper()
		before := s.Counts()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if total = s.Counts(); total.Writes-before.Writes != writes || total.Units-before.Units != units {
			t.Errorf("%s: %d writes of %d units, want %d of %d", name, total.Writes-before.Writes, total.Units-before.Units, writes, units)
		}
	}
	layout := func(version uint64, name string) func() error {
		return func() error { return s.PutLayout(ctx, mesh.Layout{Version: version, Shard: mesh.Shard{Name: name}}) }
	}
	name := base64.StdEncoding.EncodeToString(noise(6 * kib))
	several("a layout: body and head", 2, 8, layout(1, name))
	several("the next: its body and head, and the old body deleted", 3, 9, layout(2, ""))
	several("a process with its report", 2, 2, func() error {
		p := mesh.Process{ID: "n", Incarnation: 1}
		return errors.Join(s.PutProcess(ctx, p), s.PutReport(ctx, mesh.Report{Process: p}))
	})
	several("two who suspect it", 2, 2, func() error {
		return errors.Join(s.PutSuspicion(ctx, mesh.Suspicion{Suspect: "n", Witness: "a"}), s.PutSuspicion(ctx, mesh.Suspicion{Suspect: "n", Witness: "b"}))
	})
	several("all four removed", 4, 4, func() error { return s.RemoveProcess(ctx, "n", 1) })
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
