package dynamostore

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

func zonePK(zone mesh.ZoneID) string { return "zone#" + strconv.FormatUint(uint64(zone), 10) }

func slotSK(ring int) string { return fmt.Sprintf("slot#%03d", ring) }

type slotItem struct {
	key
	Position int64      `dynamodbav:"pos"`
	Epoch    mesh.Epoch `dynamodbav:"ep"`
	Seal     bool       `dynamodbav:"seal"`
	Body     []byte     `dynamodbav:"body,omitempty"`
}

func (i slotItem) slot() mesh.Slot {
	return mesh.Slot{Position: i.Position, Epoch: i.Epoch, Seal: i.Seal, Data: i.Body}
}

// Append implements store.Journal.
func (s *Store) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	if err := rule.Slot(slot); err != nil {
		return err
	}
	item := slotItem{key{zonePK(zone), slotSK(rule.Ring(slot.Position))}, slot.Position, slot.Epoch, slot.Seal, slot.Data}
	condition, v := "attribute_not_exists(pk)", values(nil)
	if slot.Position >= mesh.RingSlots {
		condition, v = "pos = :before AND ep <= :ep", values{":before": slot.Position - mesh.RingSlots, ":ep": slot.Epoch}
	}
	return put(ctx, s, s.data, item, condition, v, func(stored slotItem, ok bool) (bool, error) {
		return rule.Append(stored.slot(), ok, slot)
	})
}

// ReadSlots implements store.Journal.
func (s *Store) ReadSlots(ctx context.Context, zone mesh.ZoneID, from int64, limit int) ([]mesh.Slot, error) {
	var slots []mesh.Slot
	left := rule.Span(from, limit)
	for more := left > 0; more && left > 0; {
		// The ring slots up to the end of the ring, then on from its beginning.
		first := rule.Ring(from + int64(len(slots)))
		last := min(mesh.RingSlots, first+left) - 1
		seen := 0
		err := query(ctx, s, s.data, span{pk: zonePK(zone), from: slotSK(first), through: slotSK(last), pageItems: 64}, func(item slotItem) bool {
			if item.SK != slotSK(first+seen) {
				return false
			}
			seen++
			var take bool
			if take, more = rule.Contiguous(slots, from, item.slot()); take {
				slots = append(slots, item.slot())
			}
			return more
		})
		if err != nil {
			return nil, err
		}
		more = more && seen == last-first+1
		left -= seen
	}
	return slots, nil
}

type zoneItem struct {
	key
	Epoch       mesh.Epoch       `dynamodbav:"ep"`
	Node        mesh.NodeID      `dynamodbav:"node"`
	Incarnation mesh.Incarnation `dynamodbav:"inc"`
	Address     string           `dynamodbav:"addr"`
	Position    int64            `dynamodbav:"pos"`
	Chunks      []string         `dynamodbav:"chunks"`
}

func (i zoneItem) record(zone mesh.ZoneID) mesh.ZoneRecord {
	return mesh.ZoneRecord{
		Zone: zone, Epoch: i.Epoch, Owner: mesh.Owner{Node: i.Node, Incarnation: i.Incarnation, Address: i.Address},
		Pointer: mesh.Pointer{Position: i.Position, Chunks: i.Chunks},
	}
}

func zoneKey(zone mesh.ZoneID) key { return key{zonePK(zone), "record"} }

// CreateZone implements store.Ownership.
func (s *Store) CreateZone(ctx context.Context, rec mesh.ZoneRecord) error {
	if err := rule.Pointer(rec.Pointer); err != nil {
		return err
	}
	item := zoneItem{zoneKey(rec.Zone), rec.Epoch, rec.Owner.Node, rec.Owner.Incarnation, rec.Owner.Address, rec.Pointer.Position, rec.Pointer.Chunks}
	return put(ctx, s, s.data, item, "attribute_not_exists(pk)", nil, func(stored zoneItem, ok bool) (bool, error) {
		return rule.CreateZone(stored.record(rec.Zone), ok, rec)
	})
}

// Zone implements store.Ownership.
func (s *Store) Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	item, ok, err := get[zoneItem](ctx, s, s.data, zoneKey(zone))
	if err == nil && !ok {
		err = fmt.Errorf("%w: zone %d", store.ErrNotFound, zone)
	}
	return item.record(zone), err
}

// RaiseEpoch implements store.Ownership.
func (s *Store) RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	_, err := update(ctx, s, s.data, zoneKey(zone),
		"SET ep = :next, node = :node, inc = :inc, addr = :addr", "ep = :from",
		values{":from": from, ":next": from + 1, ":node": owner.Node, ":inc": owner.Incarnation, ":addr": owner.Address},
		func(stored zoneItem, ok bool) (bool, error) {
			return rule.RaiseEpoch(stored.record(zone), ok, from, owner)
		})
	return err
}

// MovePointer implements store.Ownership.
func (s *Store) MovePointer(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error {
	if err := rule.Pointer(ptr); err != nil {
		return err
	}
	_, err := update(ctx, s, s.data, zoneKey(zone),
		"SET pos = :pos, chunks = :chunks", "ep = :ep AND pos < :pos",
		values{":ep": epoch, ":pos": ptr.Position, ":chunks": ptr.Chunks},
		func(stored zoneItem, ok bool) (bool, error) {
			return rule.MovePointer(stored.record(zone), ok, epoch, ptr)
		})
	return err
}

// RemoveZone implements store.Ownership. The record goes last, so that what is
// left by a failure half-way can be found and removed again.
func (s *Store) RemoveZone(ctx context.Context, zone mesh.ZoneID) error {
	var keys []key
	err := query(ctx, s, s.data, span{pk: zonePK(zone), only: "pk, sk"}, func(k key) bool {
		keys = append(keys, k)
		return true
	})
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k key) bool { return k == zoneKey(zone) })
	if err := s.removeAll(ctx, s.data, keys); err != nil {
		return err
	}
	return s.remove(ctx, s.data, zoneKey(zone), "", nil)
}

type poseItem struct {
	key
	Epoch mesh.Epoch `dynamodbav:"ep"`
	Tick  mesh.Tick  `dynamodbav:"tick"`
	Body  []byte     `dynamodbav:"body,omitempty"`
}

func (i poseItem) record() mesh.PoseRecord {
	return mesh.PoseRecord{Epoch: i.Epoch, Tick: i.Tick, Data: i.Body}
}

// PutPoses implements store.Poses.
func (s *Store) PutPoses(ctx context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error {
	if err := rule.Poses(rec); err != nil {
		return err
	}
	return put(ctx, s, s.data, poseItem{key{zonePK(zone), "pose"}, rec.Epoch, rec.Tick, rec.Data},
		"attribute_not_exists(pk) OR ep < :ep OR (ep = :ep AND tick < :tick)", values{":ep": rec.Epoch, ":tick": rec.Tick},
		func(stored poseItem, ok bool) (bool, error) { return rule.PutPoses(stored.record(), ok, rec) })
}

// RaisePoses implements store.Poses.
func (s *Store) RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (mesh.PoseRecord, error) {
	item, err := update(ctx, s, s.data, key{zonePK(zone), "pose"},
		"SET ep = :ep, tick = if_not_exists(tick, :zero)", "attribute_not_exists(pk) OR ep <= :ep", values{":ep": epoch, ":zero": 0},
		func(stored poseItem, ok bool) (bool, error) {
			_, err := rule.RaisePoses(stored.record(), ok, epoch)
			return err == nil, err
		})
	if err != nil {
		return mesh.PoseRecord{}, err
	}
	return item.record(), nil
}

type chunkItem struct {
	key
	blob
}

const chunkPartitions = 16

// chunkPK is the partition of a key whose first segment is given.
func chunkPK(segment string) string {
	h := fnv.New32a()
	h.Write([]byte(segment))
	return fmt.Sprintf("chunk#%x", h.Sum32()%chunkPartitions)
}

func chunkKey(k string) key {
	segment, _, _ := strings.Cut(k, "/")
	return key{chunkPK(segment), k}
}

// PutChunk implements store.Chunks.
func (s *Store) PutChunk(ctx context.Context, k string, data []byte) error {
	if err := rule.Chunk(k, data); err != nil {
		return err
	}
	return put(ctx, s, s.data, chunkItem{chunkKey(k), pack(data)}, "", nil, nil)
}

// Chunk implements store.Chunks.
func (s *Store) Chunk(ctx context.Context, k string) ([]byte, error) {
	item, ok, err := get[chunkItem](ctx, s, s.data, chunkKey(k))
	if err == nil && !ok {
		err = fmt.Errorf("%w: chunk %q", store.ErrNotFound, k)
	}
	if err != nil {
		return nil, err
	}
	return item.bytes()
}

// ChunkKeys implements store.Chunks. A prefix with a whole segment asks one
// partition, any other all of them. It is billed as a read of the chunks.
func (s *Store) ChunkKeys(ctx context.Context, prefix string) ([]string, error) {
	var partitions []string
	if segment, _, whole := strings.Cut(prefix, "/"); whole {
		partitions = []string{chunkPK(segment)}
	} else {
		for i := range chunkPartitions {
			partitions = append(partitions, fmt.Sprintf("chunk#%x", i))
		}
	}
	var keys []string
	for _, pk := range partitions {
		err := query(ctx, s, s.data, span{pk: pk, prefix: prefix, only: "sk"}, func(k key) bool {
			keys = append(keys, k.SK)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// DeleteChunk implements store.Chunks.
func (s *Store) DeleteChunk(ctx context.Context, k string) error {
	return s.remove(ctx, s.data, chunkKey(k), "", nil)
}
