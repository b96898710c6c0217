package edge

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/simnode/process"
)

func TestPerformEveryOperation(t *testing.T) {
	s := memstore.New()
	owner := mesh.Owner{Node: "a", Incarnation: 1}
	if err := s.CreateZone(t.Context(), mesh.ZoneRecord{Zone: 1, Owner: owner, Epoch: 3, Pointer: mesh.Pointer{Position: -1}}); err != nil {
		t.Fatal(err)
	}
	slot := mesh.Slot{Position: 0, Epoch: 3, Data: []byte("x")}
	self := mesh.Process{ID: "a", Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready}
	pointer := mesh.Pointer{Position: 0, Chunks: []string{"z1/k"}}
	poses := mesh.PoseRecord{Epoch: 3, Tick: 5, Data: []byte("p")}
	raised := mesh.PoseRecord{Epoch: 4, Tick: 5, Data: []byte("p")}
	for i, c := range []struct {
		request process.Request
		want    process.Answer
	}{
		{process.Request{Op: process.OpAppend, Zone: 1, Slot: slot}, process.Answer{}},
		{process.Request{Op: process.OpReadSlots, Zone: 1, Limit: 9}, process.Answer{Slots: []mesh.Slot{slot}}},
		{process.Request{Op: process.OpPutChunk, Key: "z1/k", Data: []byte("c")}, process.Answer{}},
		{process.Request{Op: process.OpChunk, Key: "z1/k"}, process.Answer{Data: []byte("c")}},
		{process.Request{Op: process.OpChunkKeys, Key: "z1/"}, process.Answer{Keys: []string{"z1/k"}}},
		{process.Request{Op: process.OpMovePointer, Zone: 1, Epoch: 3, Pointer: pointer}, process.Answer{}},
		{process.Request{Op: process.OpZone, Zone: 1}, process.Answer{Record: mesh.ZoneRecord{Zone: 1, Owner: owner, Epoch: 3, Pointer: pointer}}},
		{process.Request{Op: process.OpDeleteChunk, Key: "z1/k"}, process.Answer{}},
		{process.Request{Op: process.OpPutPoses, Zone: 1, Poses: poses}, process.Answer{}},
		{process.Request{Op: process.OpRaisePoses, Zone: 1, Epoch: 4}, process.Answer{Poses: raised}},
		{process.Request{Op: process.OpPutProcess, Process: self}, process.Answer{}},
		{process.Request{Op: process.OpPutReport, Report: &mesh.Report{Process: self, Sequence: 1}}, process.Answer{}},
		{process.Request{Op: process.OpPutSuspicion, Suspicion: mesh.Suspicion{Suspect: "b", Witness: "a"}}, process.Answer{}},
		{process.Request{Op: process.OpMovePointer, Zone: 1, Epoch: 2, Pointer: pointer}, process.Answer{Verdict: process.Stale}},
		{process.Request{Op: process.OpZone, Zone: 9}, process.Answer{Verdict: process.NotFound}},
		{process.Request{Op: process.OpAppend, Zone: 1, Slot: mesh.Slot{Position: 1, Epoch: 3, Data: make([]byte, store.MaxSlotBytes+1)}}, process.Answer{Verdict: process.TooLarge}},
		{process.Request{Op: 200}, process.Answer{Verdict: process.Unavailable}},
	} {
		c.request.ID = uint64(i) + 1
		a := Perform(t.Context(), s, c.request)
		if (a.Err != "") != (a.Verdict != process.OK) {
			t.Errorf("request %d: verdict %d says %q", i, a.Verdict, a.Err)
		}
		a.Err = ""
		c.want.ID, c.want.Op, c.want.Zone = c.request.ID, c.request.Op, c.request.Zone
		if !reflect.DeepEqual(a, c.want) {
			t.Errorf("request %d (%+v):\ngot  %+v\nwant %+v", i, c.request, a, c.want)
		}
	}
}

// failing is a store whose Append does what the test says.
type failing struct {
	store.Store
	append func(context.Context) error
}

func (f failing) Append(ctx context.Context, _ mesh.ZoneID, _ mesh.Slot) error { return f.append(ctx) }

func TestVerdicts(t *testing.T) {
	for err, want := range map[error]process.Verdict{
		nil:                          process.OK,
		store.ErrStaleEpoch:          process.Stale,
		store.ErrConflict:            process.Conflict,
		store.ErrNotFound:            process.NotFound,
		store.ErrTooLarge:            process.TooLarge,
		store.ErrUnavailable:         process.Unavailable,
		errors.New("who knows what"): process.Unavailable,
		errors.Join(store.ErrUnavailable, store.ErrConflict): process.Unavailable, // the outcome is unknown
	} {
		f := failing{append: func(context.Context) error {
			if err == nil {
				return nil
			}
			return fmt.Errorf("append: %w", err)
		}}
		if a := Perform(t.Context(), f, process.Request{Op: process.OpAppend}); a.Verdict != want {
			t.Errorf("%v is %d, want %d", err, a.Verdict, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := failing{append: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		if a := Perform(t.Context(), f, process.Request{Op: process.OpAppend}); a.Verdict != process.Unavailable || time.Since(began) != callTimeout {
			t.Errorf("a store that hangs: %d after %v", a.Verdict, time.Since(began))
		}
	})
}
