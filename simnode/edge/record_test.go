package edge

import (
	"os"
	"reflect"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
)

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	self := mesh.Process{ID: "node-1", Incarnation: 7}
	if got, err := ReadRecord(dir, self.ID, self.Incarnation); got != nil || err != nil {
		t.Errorf("nobody recorded: %v, %v", got, err)
	}
	k, err := newDiary(dir, self)
	if err != nil {
		t.Fatal(err)
	}
	want := []process.Request{
		{ID: 1, Op: process.OpAppend, Zone: 3, Slot: mesh.Slot{Position: 4, Epoch: 5, Data: []byte{0, 1}}},
		{ID: 2, Op: process.OpMovePointer, Zone: 3, Epoch: 5, Pointer: mesh.Pointer{Position: 4, Chunks: []string{"a"}}},
		{ID: 3, Op: process.OpPutPoses, Zone: 3, Poses: mesh.PoseRecord{Epoch: 5, Tick: 9, Data: []byte{2}}},
		{ID: 4, Op: process.OpRaisePoses, Zone: 3, Epoch: 5},
	}
	for i := range want {
		k.keep(&want[i])
	}
	k.keep(&process.Request{Op: process.OpPutChunk, Key: "not fenced"})
	// A process that is stopped in the middle of a write.
	if _, err := k.file.WriteString(`{"ID":5,"Op`); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(dir, self.ID, self.Incarnation)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v", err, got)
	}
	k.left = 10 // and one that has written all it may
	k.keep(&want[0])
	k.close()
	if info, err := os.Stat(RecordFile(dir, self.ID, self.Incarnation)); err != nil || k.left != 0 || info.Size() > 2000 {
		t.Errorf("%v: %d bytes, %d left", err, info.Size(), k.left)
	}
	(*diary)(nil).keep(&want[0])
	if k, err := newDiary("", self); k != nil || err != nil {
		t.Error(k, err)
	}
	if _, err := newDiary("/nowhere/at/all", self); err == nil {
		t.Error("a diary without a directory")
	}
}
