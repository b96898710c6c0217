// Package metered counts what a store's writes would cost in DynamoDB, whatever
// the driver, by decorating the port.
//
// By the rules of the Amazon DynamoDB Developer Guide ("Read and write
// operations", "Item sizes and formats"): a write costs one unit for each KiB,
// begun, of the larger of the old and the new item, keys and attribute names
// included; an update costs as much as a write of the whole item; a delete costs
// the old item; a write whose condition is refused costs the item that stood in
// the way; each costs one unit at least. dynamostore makes no transactions,
// which would cost twice as much, and packs what it stores as is counted here.
//
// The size of an old item is the size this handle last wrote or read under its
// key; an item of another handle's counts by the new size alone.
package metered

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// Counts are totals since New.
type Counts struct {
	Writes  uint64 // requests that write, whatever their outcome
	Units   uint64 // of 1 KiB
	Refused uint64 // writes that ended in store.ErrStaleEpoch or store.ErrConflict
}

const (
	unitBytes = 1 << 10
	// itemBytes is the most that an item weighs beside its data: keys, attribute
	// names, numbers; zoneBytes, that of a zone's record, with its owner.
	itemBytes = 64
	zoneBytes = 128
	// maxKnown bounds the sizes remembered; a ring is 256 of them a zone.
	maxKnown = 1 << 17
)

// Store is a store that counts. Reads pass through.
type Store struct {
	store.Store
	writes, units, refused atomic.Uint64

	mu    sync.Mutex
	known map[item]int // bytes
}

// item names one item of the store.
type item struct {
	kind   string
	id     string
	zone   mesh.ZoneID
	number int64
}

var _ store.Store = (*Store)(nil)

// New returns inner with counters. Closing it closes inner.
func New(inner store.Store) *Store { return &Store{Store: inner, known: map[item]int{}} }

// Counts returns the totals so far.
func (s *Store) Counts() Counts {
	return Counts{Writes: s.writes.Load(), Units: s.units.Load(), Refused: s.refused.Load()}
}

// size returns the known size of it.
func (s *Store) size(it item) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[it]
}

// learn sets the size of it; 0 forgets it.
func (s *Store) learn(it item, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes == 0 {
		delete(s.known, it)
		return
	}
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[it] = bytes
}

// count charges a write of data bytes over it, and passes its error on.
func (s *Store) count(it item, data int, err error) error {
	if errors.Is(err, store.ErrTooLarge) {
		return err // nothing was sent
	}
	bytes, old := itemBytes+data, s.size(it)
	if refused(err) && old > 0 {
		s.charge(old, err)
		return err
	}
	s.charge(max(bytes, old), err)
	if err == nil {
		s.learn(it, bytes)
	}
	return err
}

func refused(err error) bool {
	return errors.Is(err, store.ErrStaleEpoch) || errors.Is(err, store.ErrConflict)
}

// countDelete charges the deletion of it, and passes its error on.
func (s *Store) countDelete(it item, err error) error {
	s.charge(s.size(it), err)
	if err == nil {
		s.learn(it, 0)
	}
	return err
}

func (s *Store) charge(bytes int, err error) {
	s.writes.Add(1)
	s.units.Add(uint64(max(1, (bytes+unitBytes-1)/unitBytes)))
	if refused(err) {
		s.refused.Add(1)
	}
}

// encoded is the size of v as dynamostore stores it.
func encoded(v any) int {
	b, _ := json.Marshal(v) // of records that always encode
	return rule.PackedBytes(b)
}

func pointerBytes(p mesh.Pointer) (n int) {
	for _, c := range p.Chunks {
		n += len(c) + 1
	}
	return n
}

func slotItem(zone mesh.ZoneID, position int64) item {
	return item{kind: "slot", zone: zone, number: position % mesh.RingSlots}
}

// Append implements store.Journal.
func (s *Store) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	return s.count(slotItem(zone, slot.Position), len(slot.Data), s.Store.Append(ctx, zone, slot))
}

// ReadSlots implements store.Journal; it learns the sizes of what it reads.
func (s *Store) ReadSlots(ctx context.Context, zone mesh.ZoneID, from int64, limit int) ([]mesh.Slot, error) {
	slots, err := s.Store.ReadSlots(ctx, zone, from, limit)
	for _, sl := range slots {
		s.learn(slotItem(zone, sl.Position), itemBytes+len(sl.Data))
	}
	return slots, err
}

// CreateZone implements store.Ownership.
func (s *Store) CreateZone(ctx context.Context, rec mesh.ZoneRecord) error {
	return s.count(item{kind: "zone", zone: rec.Zone}, zoneBytes+pointerBytes(rec.Pointer), s.Store.CreateZone(ctx, rec))
}

// RaiseEpoch implements store.Ownership. The pointer stays, so the item's size does.
func (s *Store) RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	it := item{kind: "zone", zone: zone}
	return s.count(it, max(0, s.size(it)-itemBytes), s.Store.RaiseEpoch(ctx, zone, from, owner))
}

// MovePointer implements store.Ownership.
func (s *Store) MovePointer(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error {
	return s.count(item{kind: "zone", zone: zone}, zoneBytes+pointerBytes(ptr), s.Store.MovePointer(ctx, zone, epoch, ptr))
}

// RemoveZone implements store.Ownership: each of the zone's items is a delete.
func (s *Store) RemoveZone(ctx context.Context, zone mesh.ZoneID) error {
	err := s.Store.RemoveZone(ctx, zone)
	items := []item{{kind: "zone", zone: zone}, {kind: "pose", zone: zone}}
	for n := range int64(mesh.RingSlots) {
		if it := slotItem(zone, n); s.size(it) > 0 {
			items = append(items, it)
		}
	}
	for _, it := range items {
		_ = s.countDelete(it, err) // err is returned once
	}
	return err
}

// PutChunk implements store.Chunks.
func (s *Store) PutChunk(ctx context.Context, key string, data []byte) error {
	return s.count(item{kind: "chunk", id: key}, len(key)+rule.PackedBytes(data), s.Store.PutChunk(ctx, key, data))
}

// Chunk implements store.Chunks; it learns the size of what it reads.
func (s *Store) Chunk(ctx context.Context, key string) ([]byte, error) {
	data, err := s.Store.Chunk(ctx, key)
	if err == nil {
		s.learn(item{kind: "chunk", id: key}, itemBytes+len(key)+rule.PackedBytes(data))
	}
	return data, err
}

// DeleteChunk implements store.Chunks.
func (s *Store) DeleteChunk(ctx context.Context, key string) error {
	return s.countDelete(item{kind: "chunk", id: key}, s.Store.DeleteChunk(ctx, key))
}

// PutPoses implements store.Poses.
func (s *Store) PutPoses(ctx context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error {
	return s.count(item{kind: "pose", zone: zone}, len(rec.Data), s.Store.PutPoses(ctx, zone, rec))
}

// RaisePoses implements store.Poses: the data stay, and are paid for again.
func (s *Store) RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (mesh.PoseRecord, error) {
	rec, err := s.Store.RaisePoses(ctx, zone, epoch)
	return rec, s.count(item{kind: "pose", zone: zone}, len(rec.Data), err)
}

// PutLayout implements store.Layouts: the body under a fresh key, the head that
// names it, and the deletion of the body before.
func (s *Store) PutLayout(ctx context.Context, l mesh.Layout) error {
	err := s.Store.PutLayout(ctx, l)
	if err == nil {
		body := item{kind: "layout body"}
		if s.size(body) > 0 {
			_ = s.countDelete(body, nil)
		}
		_ = s.count(body, encoded(l), nil)
	}
	return s.count(item{kind: "layout head"}, 0, err)
}

// PutProcess implements store.Control.
func (s *Store) PutProcess(ctx context.Context, p mesh.Process) error {
	return s.count(item{kind: "process", id: string(p.ID)}, encoded(p), s.Store.PutProcess(ctx, p))
}

// RemoveProcess implements store.Control: the process, its report and the
// suspicions against it.
func (s *Store) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	err := s.Store.RemoveProcess(ctx, id, inc)
	if err == nil {
		_ = s.countDelete(item{kind: "report", id: string(id)}, nil)
		for _, it := range s.against(id) {
			_ = s.countDelete(it, nil)
		}
	}
	return s.countDelete(item{kind: "process", id: string(id)}, err)
}

// against returns the suspicions known against a process.
func (s *Store) against(id mesh.NodeID) (items []item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for it := range s.known {
		if it.kind == "suspicion" && strings.HasPrefix(it.id, string(id)+"\x00") {
			items = append(items, it)
		}
	}
	return items
}

// PutReport implements store.Control.
func (s *Store) PutReport(ctx context.Context, r mesh.Report) error {
	return s.count(item{kind: "report", id: string(r.Process.ID)}, encoded(r), s.Store.PutReport(ctx, r))
}

// PutSuspicion implements store.Control.
func (s *Store) PutSuspicion(ctx context.Context, sus mesh.Suspicion) error {
	return s.count(item{kind: "suspicion", id: string(sus.Suspect + "\x00" + sus.Witness)}, encoded(sus), s.Store.PutSuspicion(ctx, sus))
}

// DeleteSuspicion implements store.Control.
func (s *Store) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	return s.countDelete(item{kind: "suspicion", id: string(suspect + "\x00" + witness)}, s.Store.DeleteSuspicion(ctx, suspect, witness))
}

// PutIntent implements store.Control.
func (s *Store) PutIntent(ctx context.Context, i mesh.Intent) error {
	return s.count(item{kind: "intent", id: i.Token}, encoded(i), s.Store.PutIntent(ctx, i))
}

// DeleteIntent implements store.Control.
func (s *Store) DeleteIntent(ctx context.Context, token string) error {
	return s.countDelete(item{kind: "intent", id: token}, s.Store.DeleteIntent(ctx, token))
}

// PutDecision implements store.Control.
func (s *Store) PutDecision(ctx context.Context, d mesh.Decision) error {
	return s.count(item{kind: "decision", id: d.ID}, encoded(d), s.Store.PutDecision(ctx, d))
}

// PutPlannerState implements store.Control.
func (s *Store) PutPlannerState(ctx context.Context, p mesh.PlannerState) error {
	return s.count(item{kind: "planner"}, rule.PackedBytes(p.Data), s.Store.PutPlannerState(ctx, p))
}
