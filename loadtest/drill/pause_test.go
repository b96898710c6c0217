package drill

import (
	"context"
	"testing"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/loadtest/scenario"
	"weft/simnode/process"
)

// lax is a store without a fence.
type lax struct{ store.Store }

func (lax) Append(context.Context, mesh.ZoneID, mesh.Slot) error                     { return nil }
func (lax) MovePointer(context.Context, mesh.ZoneID, mesh.Epoch, mesh.Pointer) error { return nil }
func (lax) PutPoses(context.Context, mesh.ZoneID, mesh.PoseRecord) error             { return nil }
func (lax) RaisePoses(context.Context, mesh.ZoneID, mesh.Epoch) (r mesh.PoseRecord, err error) {
	return
}

// Each stale write is refused or changes nothing; without a fence, each one
// that would is a violation.
func TestReplay(t *testing.T) {
	ctx := t.Context()
	st := memstore.New()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(st.CreateZone(ctx, mesh.ZoneRecord{Zone: 1, Epoch: 2, Pointer: mesh.Pointer{Position: -1}}))
	written := mesh.Slot{Position: 0, Epoch: 1, Data: []byte("old")}
	must(st.Append(ctx, 1, written))
	must(st.Append(ctx, 1, mesh.Slot{Position: 1, Epoch: 2, Seal: true}))
	_, err := st.RaisePoses(ctx, 1, 2)
	must(err)
	requests := []process.Request{
		{Op: process.OpAppend, Zone: 1, Slot: written},
		{Op: process.OpAppend, Zone: 1, Slot: mesh.Slot{Position: 0, Epoch: 1, Data: []byte("other")}},
		{Op: process.OpAppend, Zone: 1, Slot: mesh.Slot{Position: 1, Epoch: 1, Data: []byte("late")}},
		{Op: process.OpMovePointer, Zone: 1, Epoch: 1, Pointer: mesh.Pointer{Position: 5}},
		{Op: process.OpPutPoses, Zone: 1, Poses: mesh.PoseRecord{Epoch: 1, Tick: 99}},
		{Op: process.OpRaisePoses, Zone: 1, Epoch: 1},
	}
	for _, c := range []struct {
		store store.Store
		want  scenario.Replay
	}{
		{st, scenario.Replay{Tried: 6, Refused: 5, Identical: 1}},
		{lax{st}, scenario.Replay{Tried: 6, Identical: 1, Violations: 5}},
	} {
		var got scenario.Replay
		notes := 0
		p := replay{c.store, &got, func(string, ...any) { notes++ }}
		for _, r := range requests {
			must(p.again(ctx, r))
		}
		if got != c.want || notes != got.Violations {
			t.Errorf("%+v with %d notes, want %+v", got, notes, c.want)
		}
	}
}
