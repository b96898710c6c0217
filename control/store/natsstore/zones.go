package natsstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

func zoneID(zone mesh.ZoneID) string { return strconv.FormatUint(uint64(zone), 10) }

func slotSubject(zone mesh.ZoneID, position int64) string {
	return "weft.slot." + zoneID(zone) + "." + strconv.Itoa(rule.Ring(position))
}

// A slot is its position, epoch and seal before its data; poses are their
// epoch and tick before theirs. All numbers are big-endian.
const (
	slotHeader = 17
	poseHeader = 16
)

func encodeSlot(s mesh.Slot) []byte {
	b := make([]byte, slotHeader, slotHeader+len(s.Data))
	binary.BigEndian.PutUint64(b, uint64(s.Position))
	binary.BigEndian.PutUint64(b[8:], uint64(s.Epoch))
	if s.Seal {
		b[16] = 1
	}
	return append(b, s.Data...)
}

func decodeSlot(b []byte) (mesh.Slot, error) {
	if len(b) < slotHeader || b[16] > 1 {
		return mesh.Slot{}, fmt.Errorf("damaged slot of %d bytes", len(b))
	}
	return mesh.Slot{
		Position: int64(binary.BigEndian.Uint64(b)), Epoch: mesh.Epoch(binary.BigEndian.Uint64(b[8:])),
		Seal: b[16] == 1, Data: b[slotHeader:],
	}, nil
}

func encodePoses(r mesh.PoseRecord) []byte {
	b := make([]byte, poseHeader, poseHeader+len(r.Data))
	binary.BigEndian.PutUint64(b, uint64(r.Epoch))
	binary.BigEndian.PutUint64(b[8:], uint64(r.Tick))
	return append(b, r.Data...)
}

func decodePoses(b []byte) (mesh.PoseRecord, error) {
	if len(b) < poseHeader {
		return mesh.PoseRecord{}, fmt.Errorf("damaged poses of %d bytes", len(b))
	}
	return mesh.PoseRecord{Epoch: mesh.Epoch(binary.BigEndian.Uint64(b)), Tick: mesh.Tick(binary.BigEndian.Uint64(b[8:])), Data: b[poseHeader:]}, nil
}

// Append implements store.Journal.
func (s *Store) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	if err := rule.Slot(slot); err != nil {
		return err
	}
	now := mark{major: uint64(slot.Position), minor: uint64(slot.Epoch)}
	follows := func(was mark, ok bool) bool {
		stored := mesh.Slot{Position: int64(was.major), Epoch: mesh.Epoch(was.minor)}
		write, _ := rule.Append(stored, ok, mesh.Slot{Position: slot.Position, Epoch: slot.Epoch})
		return write
	}
	return s.put(ctx, journal, slotSubject(zone, slot.Position), encodeSlot(slot), now, follows, func(m message) (bool, error) {
		if m.sequence == 0 {
			return rule.Append(mesh.Slot{}, false, slot)
		}
		stored, err := decodeSlot(m.body)
		if err != nil {
			return false, err
		}
		return rule.Append(stored, true, slot)
	})
}

// ReadSlots implements store.Journal.
func (s *Store) ReadSlots(ctx context.Context, zone mesh.ZoneID, from int64, limit int) ([]mesh.Slot, error) {
	var slots []mesh.Slot
	for span := rule.Span(from, limit); len(slots) < span; {
		// At most 64 slots of 256 KiB are under way at once.
		subjects := make([]string, min(64, span-len(slots)))
		for i := range subjects {
			subjects[i] = slotSubject(zone, from+int64(len(slots)+i))
		}
		messages, err := s.lasts(ctx, journal, subjects...)
		if err != nil {
			return nil, err
		}
		found := make(map[string]message, len(messages))
		for _, m := range messages {
			found[m.subject] = m
		}
		for _, subject := range subjects {
			m, ok := found[subject]
			if !ok {
				return slots, nil
			}
			stored, err := decodeSlot(m.body)
			if err != nil {
				return nil, err
			}
			s.remember(subject, mark{m.sequence, uint64(stored.Position), uint64(stored.Epoch)})
			take, more := rule.Contiguous(slots, from, stored)
			if take {
				slots = append(slots, stored)
			}
			if !more {
				return slots, nil
			}
		}
	}
	return slots, nil
}

func decodeZone(m message) (rec mesh.ZoneRecord, ok bool, err error) {
	if m.sequence == 0 {
		return rec, false, nil
	}
	rec, err = rule.Decode[mesh.ZoneRecord](m.body)
	return rec, err == nil, err
}

// CreateZone implements store.Ownership.
func (s *Store) CreateZone(ctx context.Context, rec mesh.ZoneRecord) error {
	if err := rule.Pointer(rec.Pointer); err != nil {
		return err
	}
	body, err := rule.Encode(rec)
	if err != nil {
		return err
	}
	_, err = s.publish(ctx, "weft.zone."+zoneID(rec.Zone), 0, body)
	if err != errLost {
		return err
	}
	stored, err := s.Zone(ctx, rec.Zone)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: zone %d was there and is gone", store.ErrConflict, rec.Zone)
	}
	if err == nil {
		_, err = rule.CreateZone(stored, true, rec)
	}
	return err
}

// Zone implements store.Ownership.
func (s *Store) Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	m, err := s.last(ctx, state, "weft.zone."+zoneID(zone))
	if err != nil {
		return mesh.ZoneRecord{}, err
	}
	rec, ok, err := decodeZone(m)
	if err == nil && !ok {
		err = fmt.Errorf("%w: zone %d", store.ErrNotFound, zone)
	}
	return rec, err
}

// RaiseEpoch implements store.Ownership.
func (s *Store) RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	return s.updateZone(ctx, zone, func(rec *mesh.ZoneRecord, ok bool) (bool, error) {
		write, err := rule.RaiseEpoch(*rec, ok, from, owner)
		rec.Epoch, rec.Owner = from+1, owner
		return write, err
	})
}

// MovePointer implements store.Ownership.
func (s *Store) MovePointer(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error {
	if err := rule.Pointer(ptr); err != nil {
		return err
	}
	return s.updateZone(ctx, zone, func(rec *mesh.ZoneRecord, ok bool) (bool, error) {
		write, err := rule.MovePointer(*rec, ok, epoch, ptr)
		rec.Pointer = ptr
		return write, err
	})
}

// updateZone lets change decide on the record and, if it writes, change it.
func (s *Store) updateZone(ctx context.Context, zone mesh.ZoneID, change func(rec *mesh.ZoneRecord, ok bool) (write bool, err error)) error {
	return s.update(ctx, state, "weft.zone."+zoneID(zone), func(m message) ([]byte, error) {
		rec, ok, err := decodeZone(m)
		if err != nil {
			return nil, err
		}
		if write, err := change(&rec, ok); !write {
			return nil, err
		}
		return rule.Encode(rec)
	})
}

// RemoveZone implements store.Ownership. The record goes last, so that what is
// left by a failure half-way can be found and removed again.
func (s *Store) RemoveZone(ctx context.Context, zone mesh.ZoneID) error {
	if err := s.drop(ctx, journal, "weft.slot."+zoneID(zone)+".>", 0); err != nil {
		return err
	}
	if err := s.drop(ctx, poses, "weft.pose."+zoneID(zone), 0); err != nil {
		return err
	}
	return s.drop(ctx, state, "weft.zone."+zoneID(zone), 0)
}

// PutPoses implements store.Poses.
func (s *Store) PutPoses(ctx context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error {
	if err := rule.Poses(rec); err != nil {
		return err
	}
	now := mark{major: uint64(rec.Epoch), minor: uint64(rec.Tick)}
	follows := func(was mark, ok bool) bool {
		return ok && (now.major > was.major || now.major == was.major && now.minor > was.minor)
	}
	return s.put(ctx, poses, "weft.pose."+zoneID(zone), encodePoses(rec), now, follows, func(m message) (bool, error) {
		if m.sequence == 0 {
			return rule.PutPoses(mesh.PoseRecord{}, false, rec)
		}
		stored, err := decodePoses(m.body)
		if err != nil {
			return false, err
		}
		return rule.PutPoses(stored, true, rec)
	})
}

// RaisePoses implements store.Poses.
func (s *Store) RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (rec mesh.PoseRecord, err error) {
	err = s.update(ctx, poses, "weft.pose."+zoneID(zone), func(m message) ([]byte, error) {
		rec = mesh.PoseRecord{}
		if m.sequence > 0 {
			if rec, err = decodePoses(m.body); err != nil {
				return nil, err
			}
		}
		write, err := rule.RaisePoses(rec, m.sequence > 0, epoch)
		if !write {
			return nil, err
		}
		rec.Epoch = epoch
		return encodePoses(rec), nil
	})
	if err != nil {
		return mesh.PoseRecord{}, err
	}
	return rec, nil
}

// PutChunk implements store.Chunks.
func (s *Store) PutChunk(ctx context.Context, key string, data []byte) error {
	if err := rule.Chunk(key, data); err != nil {
		return err
	}
	_, err := s.send(ctx, chunkSubject(key), data)
	return err
}

// Chunk implements store.Chunks.
func (s *Store) Chunk(ctx context.Context, key string) ([]byte, error) {
	m, err := s.last(ctx, chunks, chunkSubject(key))
	if err == nil && m.sequence == 0 {
		err = fmt.Errorf("%w: chunk %q", store.ErrNotFound, key)
	}
	return m.body, err
}

// ChunkKeys implements store.Chunks.
func (s *Store) ChunkKeys(ctx context.Context, prefix string) ([]string, error) {
	subjects, err := s.subjects(ctx, chunks, chunkFilter(prefix))
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, subject := range subjects {
		key, err := chunkKey(subject)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// DeleteChunk implements store.Chunks.
func (s *Store) DeleteChunk(ctx context.Context, key string) error {
	return s.drop(ctx, chunks, chunkSubject(key), 0)
}
