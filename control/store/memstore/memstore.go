// Package memstore is the reference driver of the store port: maps under one
// lock. Equal calls in equal order give equal answers, it starts no goroutine
// and never asks the time, so a simulation in virtual time can run on it; such
// a simulation reads changes by [Store.Changes] instead of Watch, which blocks.
package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// Store is a store in memory. Closing it does nothing: its contents live as
// long as the value, whoever uses it.
type Store struct {
	mu         sync.Mutex
	zones      map[mesh.ZoneID]mesh.ZoneRecord
	rings      map[mesh.ZoneID]*ring
	poses      map[mesh.ZoneID]mesh.PoseRecord
	chunks     map[string][]byte
	layout     []byte // encoded
	version    uint64 // of layout
	processes  map[mesh.NodeID]mesh.Process
	reports    map[mesh.NodeID]report
	suspicions map[accusation]mesh.Suspicion
	intents    map[string]mesh.Intent
	decisions  []mesh.Decision // by ID
	planner    mesh.PlannerState
	feeds      map[*Changes]struct{}
}

type ring [mesh.RingSlots]struct {
	mesh.Slot
	used bool
}

type report struct {
	mesh.Report
	body []byte
}

type accusation struct{ suspect, witness mesh.NodeID }

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		zones:      map[mesh.ZoneID]mesh.ZoneRecord{},
		rings:      map[mesh.ZoneID]*ring{},
		poses:      map[mesh.ZoneID]mesh.PoseRecord{},
		chunks:     map[string][]byte{},
		processes:  map[mesh.NodeID]mesh.Process{},
		reports:    map[mesh.NodeID]report{},
		suspicions: map[accusation]mesh.Suspicion{},
		intents:    map[string]mesh.Intent{},
		feeds:      map[*Changes]struct{}{},
	}
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// begin takes the lock, unless ctx has ended.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	s.mu.Lock()
	return nil
}

// Append implements store.Journal.
func (s *Store) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	if err := rule.Slot(slot); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r := s.rings[zone]
	if r == nil {
		r = new(ring)
	}
	at := &r[rule.Ring(slot.Position)]
	write, err := rule.Append(at.Slot, at.used, slot)
	if !write {
		return err
	}
	slot.Data = bytes.Clone(slot.Data)
	at.Slot, at.used, s.rings[zone] = slot, true, r
	return nil
}

// ReadSlots implements store.Journal.
func (s *Store) ReadSlots(ctx context.Context, zone mesh.ZoneID, from int64, limit int) ([]mesh.Slot, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	r := s.rings[zone]
	if r == nil {
		return nil, nil
	}
	var slots []mesh.Slot
	for range rule.Span(from, limit) {
		at := r[rule.Ring(from+int64(len(slots)))]
		if !at.used {
			break
		}
		take, more := rule.Contiguous(slots, from, at.Slot)
		if take {
			at.Slot.Data = bytes.Clone(at.Slot.Data)
			slots = append(slots, at.Slot)
		}
		if !more {
			break
		}
	}
	return slots, nil
}

// CreateZone implements store.Ownership.
func (s *Store) CreateZone(ctx context.Context, rec mesh.ZoneRecord) error {
	if err := rule.Pointer(rec.Pointer); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	stored, ok := s.zones[rec.Zone]
	if write, err := rule.CreateZone(stored, ok, rec); !write {
		return err
	}
	rec.Pointer.Chunks = slices.Clone(rec.Pointer.Chunks)
	s.zones[rec.Zone] = rec
	return nil
}

// Zone implements store.Ownership.
func (s *Store) Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	if err := s.begin(ctx); err != nil {
		return mesh.ZoneRecord{}, err
	}
	defer s.mu.Unlock()
	rec, ok := s.zones[zone]
	if !ok {
		return rec, fmt.Errorf("%w: zone %d", store.ErrNotFound, zone)
	}
	rec.Pointer.Chunks = slices.Clone(rec.Pointer.Chunks)
	return rec, nil
}

// RaiseEpoch implements store.Ownership.
func (s *Store) RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	rec, ok := s.zones[zone]
	write, err := rule.RaiseEpoch(rec, ok, from, owner)
	if write {
		rec.Epoch, rec.Owner = from+1, owner
		s.zones[zone] = rec
	}
	return err
}

// MovePointer implements store.Ownership.
func (s *Store) MovePointer(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error {
	if err := rule.Pointer(ptr); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	rec, ok := s.zones[zone]
	write, err := rule.MovePointer(rec, ok, epoch, ptr)
	if write {
		rec.Pointer = mesh.Pointer{Position: ptr.Position, Chunks: slices.Clone(ptr.Chunks)}
		s.zones[zone] = rec
	}
	return err
}

// RemoveZone implements store.Ownership.
func (s *Store) RemoveZone(ctx context.Context, zone mesh.ZoneID) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.rings, zone)
	delete(s.poses, zone)
	delete(s.zones, zone)
	return nil
}

// PutChunk implements store.Chunks.
func (s *Store) PutChunk(ctx context.Context, key string, data []byte) error {
	if err := rule.Chunk(key, data); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.chunks[key] = bytes.Clone(data)
	return nil
}

// Chunk implements store.Chunks.
func (s *Store) Chunk(ctx context.Context, key string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	data, ok := s.chunks[key]
	if !ok {
		return nil, fmt.Errorf("%w: chunk %q", store.ErrNotFound, key)
	}
	return bytes.Clone(data), nil
}

// ChunkKeys implements store.Chunks.
func (s *Store) ChunkKeys(ctx context.Context, prefix string) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var keys []string
	for key := range s.chunks {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// DeleteChunk implements store.Chunks.
func (s *Store) DeleteChunk(ctx context.Context, key string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.chunks, key)
	return nil
}

// PutPoses implements store.Poses.
func (s *Store) PutPoses(ctx context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error {
	if err := rule.Poses(rec); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	stored, ok := s.poses[zone]
	write, err := rule.PutPoses(stored, ok, rec)
	if write {
		rec.Data = bytes.Clone(rec.Data)
		s.poses[zone] = rec
	}
	return err
}

// RaisePoses implements store.Poses.
func (s *Store) RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (mesh.PoseRecord, error) {
	if err := s.begin(ctx); err != nil {
		return mesh.PoseRecord{}, err
	}
	defer s.mu.Unlock()
	stored, ok := s.poses[zone]
	write, err := rule.RaisePoses(stored, ok, epoch)
	if err != nil {
		return mesh.PoseRecord{}, err
	}
	if write {
		stored.Epoch = epoch
		s.poses[zone] = stored
	}
	stored.Data = bytes.Clone(stored.Data)
	return stored, nil
}

// Layout implements store.Layouts.
func (s *Store) Layout(ctx context.Context) (mesh.Layout, error) {
	if err := s.begin(ctx); err != nil {
		return mesh.Layout{}, err
	}
	defer s.mu.Unlock()
	if s.version == 0 {
		return mesh.Layout{}, fmt.Errorf("%w: the shard has no layout yet", store.ErrNotFound)
	}
	return rule.Decode[mesh.Layout](s.layout)
}

// LayoutVersion implements store.Layouts.
func (s *Store) LayoutVersion(ctx context.Context) (uint64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	return s.version, nil
}

// PutLayout implements store.Layouts.
func (s *Store) PutLayout(ctx context.Context, l mesh.Layout) error {
	body, err := rule.Encode(l)
	if err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := rule.NextVersion("layout", s.version, l.Version); err != nil {
		return err
	}
	s.layout, s.version = body, l.Version
	return nil
}

// ordered returns the values of m by key, so that equal histories read equal.
func ordered[K comparable, V any](m map[K]V, compare func(a, b K) int) []V {
	keys := slices.SortedFunc(maps.Keys(m), compare)
	values := make([]V, len(keys))
	for i, k := range keys {
		values[i] = m[k]
	}
	return values
}

func compareAccusations(a, b accusation) int {
	return cmp.Or(cmp.Compare(a.suspect, b.suspect), cmp.Compare(a.witness, b.witness))
}
