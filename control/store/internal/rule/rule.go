// Package rule holds the conditions of the store port as pure functions, so
// that every driver refuses alike: those that read before they write decide by
// them, and the one whose conditions the service evaluates explains its
// refusals by them.
//
// A function takes what is stored (ok: anything is) and what is to be written;
// write says to write it, and neither write nor an error means that it is there already.
package rule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
)

// Limits on what the port leaves open.
const (
	// MaxKeyBytes bounds every id, token and chunk key.
	MaxKeyBytes = 512
	// MaxPointerChunks bounds the list of chunks in a pointer.
	MaxPointerChunks = 512
)

// Ring returns the ring slot of position p ≥ 0.
func Ring(p int64) int { return int(p % mesh.RingSlots) }

// Span returns how many slots ReadSlots looks at: none at a negative position,
// and never more than the ring has.
func Span(from int64, limit int) int {
	if from < 0 {
		return 0
	}
	return max(0, min(limit, mesh.RingSlots))
}

// Contiguous applies the rule of ReadSlots to the next ring slot read: whether
// stored belongs to the result, and whether the read goes on after it.
func Contiguous(sofar []mesh.Slot, from int64, stored mesh.Slot) (take, more bool) {
	if stored.Position == from+int64(len(sofar)) {
		return true, true
	}
	notLower := func(s mesh.Slot) bool { return s.Epoch >= stored.Epoch }
	return !slices.ContainsFunc(sofar, notLower), false
}

// Append decides Journal.Append; slot has passed Slot.
func Append(stored mesh.Slot, ok bool, slot mesh.Slot) (write bool, err error) {
	switch {
	case ok && SameSlot(stored, slot):
		return false, nil
	case !ok && slot.Position < mesh.RingSlots,
		ok && stored.Position == slot.Position-mesh.RingSlots && stored.Epoch <= slot.Epoch:
		return true, nil
	case !ok:
		return false, fmt.Errorf("%w: position %d of epoch %d follows nothing", store.ErrStaleEpoch, slot.Position, slot.Epoch)
	}
	return false, fmt.Errorf("%w: position %d of epoch %d refused by position %d of epoch %d",
		store.ErrStaleEpoch, slot.Position, slot.Epoch, stored.Position, stored.Epoch)
}

// SameSlot reports that a and b are the very same slot.
func SameSlot(a, b mesh.Slot) bool {
	return a.Position == b.Position && a.Epoch == b.Epoch && a.Seal == b.Seal && bytes.Equal(a.Data, b.Data)
}

// RaiseEpoch decides Ownership.RaiseEpoch.
func RaiseEpoch(stored mesh.ZoneRecord, ok bool, from mesh.Epoch, owner mesh.Owner) (write bool, err error) {
	switch {
	case !ok:
		return false, fmt.Errorf("%w: the zone has no record", store.ErrNotFound)
	case stored.Epoch == from:
		return true, nil
	case stored.Epoch == from+1 && stored.Owner.Same(owner):
		return false, nil
	}
	return false, fmt.Errorf("%w: the zone's epoch is %d, not %d", store.ErrConflict, stored.Epoch, from)
}

// CreateZone decides Ownership.CreateZone.
func CreateZone(stored mesh.ZoneRecord, ok bool, rec mesh.ZoneRecord) (write bool, err error) {
	switch {
	case !ok:
		return true, nil
	case stored.Owner == rec.Owner && stored.Epoch == rec.Epoch &&
		stored.Pointer.Position == rec.Pointer.Position && slices.Equal(stored.Pointer.Chunks, rec.Pointer.Chunks):
		return false, nil
	}
	return false, fmt.Errorf("%w: zone %d exists", store.ErrConflict, rec.Zone)
}

// MovePointer decides Ownership.MovePointer.
func MovePointer(stored mesh.ZoneRecord, ok bool, epoch mesh.Epoch, ptr mesh.Pointer) (write bool, err error) {
	switch {
	case !ok:
		return false, fmt.Errorf("%w: the zone has no record", store.ErrStaleEpoch)
	case stored.Epoch != epoch:
		return false, fmt.Errorf("%w: the zone's epoch is %d, not %d", store.ErrStaleEpoch, stored.Epoch, epoch)
	case ptr.Position > stored.Pointer.Position:
		return true, nil
	case ptr.Position == stored.Pointer.Position && slices.Equal(ptr.Chunks, stored.Pointer.Chunks):
		return false, nil
	}
	return false, fmt.Errorf("%w: the pointer is at %d, not before %d", store.ErrStaleEpoch, stored.Pointer.Position, ptr.Position)
}

// PutPoses decides Poses.PutPoses.
func PutPoses(stored mesh.PoseRecord, ok bool, rec mesh.PoseRecord) (write bool, err error) {
	switch {
	case !ok, rec.Epoch > stored.Epoch, rec.Epoch == stored.Epoch && rec.Tick > stored.Tick:
		return true, nil
	case rec.Epoch == stored.Epoch && rec.Tick == stored.Tick && bytes.Equal(rec.Data, stored.Data):
		return false, nil
	}
	return false, fmt.Errorf("%w: poses of epoch %d tick %d are stored, not before epoch %d tick %d",
		store.ErrStaleEpoch, stored.Epoch, stored.Tick, rec.Epoch, rec.Tick)
}

// RaisePoses decides Poses.RaisePoses.
func RaisePoses(stored mesh.PoseRecord, ok bool, epoch mesh.Epoch) (write bool, err error) {
	if ok && stored.Epoch > epoch {
		return false, fmt.Errorf("%w: poses of epoch %d are stored, above %d", store.ErrStaleEpoch, stored.Epoch, epoch)
	}
	return !ok || stored.Epoch < epoch, nil
}

// PutProcess decides Control.PutProcess.
func PutProcess(stored mesh.Process, ok bool, p mesh.Process) (write bool, err error) {
	switch {
	case ok && stored.Incarnation > p.Incarnation:
		return false, fmt.Errorf("%w: process %s lives on as incarnation %d, after %d", store.ErrStaleEpoch, p.ID, stored.Incarnation, p.Incarnation)
	case ok && stored.Incarnation == p.Incarnation && stored.State == mesh.Stopped:
		return false, fmt.Errorf("%w: incarnation %d of process %s has stopped", store.ErrStaleEpoch, p.Incarnation, p.ID)
	}
	return true, nil
}

// RemoveProcess decides Control.RemoveProcess; write means delete.
func RemoveProcess(stored mesh.Process, ok bool, inc mesh.Incarnation) (write bool, err error) {
	if ok && stored.Incarnation > inc {
		return false, fmt.Errorf("%w: process %s lives on as incarnation %d, after %d", store.ErrStaleEpoch, stored.ID, stored.Incarnation, inc)
	}
	return ok, nil
}

// PutReport decides Control.PutReport; body is r as Encode returns it.
func PutReport(stored mesh.Report, ok bool, r mesh.Report, storedBody, body []byte) (write bool, err error) {
	was, is := stored.Process.Incarnation, r.Process.Incarnation
	switch {
	case !ok, is > was, is == was && r.Sequence > stored.Sequence:
		return true, nil
	case is == was && r.Sequence == stored.Sequence && bytes.Equal(storedBody, body):
		return false, nil
	}
	return false, fmt.Errorf("%w: report %d of incarnation %d of %s is stored, not before report %d of %d",
		store.ErrStaleEpoch, stored.Sequence, was, r.Process.ID, r.Sequence, is)
}

// NextVersion decides the compare-and-set of a versioned record; 0 is none.
func NextVersion(what string, stored, next uint64) error {
	if next == 0 || stored != next-1 {
		return fmt.Errorf("%w: the %s is at version %d, so %d cannot follow", store.ErrConflict, what, stored, next)
	}
	return nil
}

// Slot refuses what no store takes: too much data, or a negative position.
func Slot(s mesh.Slot) error {
	if s.Position < 0 {
		return fmt.Errorf("slot at negative position %d", s.Position)
	}
	return size("slot", len(s.Data), store.MaxSlotBytes)
}

// Pointer bounds the chunks that a pointer names.
func Pointer(p mesh.Pointer) error {
	if err := size("pointer", len(p.Chunks), MaxPointerChunks); err != nil {
		return err
	}
	for _, key := range p.Chunks {
		if err := Key(key); err != nil {
			return err
		}
	}
	return nil
}

// Poses bounds rec.
func Poses(rec mesh.PoseRecord) error { return size("poses", len(rec.Data), store.MaxPoseBytes) }

// Chunk bounds a chunk and its key.
func Chunk(key string, data []byte) error {
	if err := Key(key); err != nil {
		return err
	}
	return size("chunk", len(data), store.MaxChunkBytes)
}

// PlannerState bounds s.
func PlannerState(s mesh.PlannerState) error {
	return size("planner state", len(s.Data), store.MaxRecordBytes)
}

// Key refuses empty and overlong ids, tokens and chunk keys.
func Key[S ~string](keys ...S) error {
	for _, key := range keys {
		if key == "" {
			return fmt.Errorf("empty key")
		}
		if err := size("key", len(key), MaxKeyBytes); err != nil {
			return err
		}
	}
	return nil
}

// Encode returns the stored form of a record of Layouts or Control.
func Encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return body, size(fmt.Sprintf("%T", v), len(body), store.MaxRecordBytes)
}

// Decode is the inverse of Encode.
func Decode[T any](body []byte) (v T, err error) {
	if err = json.Unmarshal(body, &v); err != nil {
		err = fmt.Errorf("damaged record %T: %w", v, err)
	}
	return v, err
}

func size(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%w: %s of %d, at most %d", store.ErrTooLarge, what, n, limit)
	}
	return nil
}
