// Package audit counts what a run lost. It reads the replication store by its
// own hand, after every process has stopped, and holds what it finds against
// what the world began with and what the clients were promised. Call Reconcile.
package audit

import (
	"context"
	"errors"
	"fmt"

	"weft/control/mesh"
	"weft/control/store"
	"weft/simnode/replication"
)

// Store is what the auditor reads.
type Store interface {
	store.Layouts
	store.Journal
	Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error)
	Chunk(ctx context.Context, key string) ([]byte, error)
	RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (mesh.PoseRecord, error)
}

// ErrUnreadable is wrapped when the store holds what cannot be a zone: its
// next owner could not load it either.
var ErrUnreadable = errors.New("unreadable zone")

// readSlots is how many slots one read asks for; loadTries how often a zone is
// read again whose snapshot was replaced meanwhile.
const (
	readSlots = 64
	loadTries = 5
)

// Load returns the durable state of a zone as its next owner would find it:
// the snapshot that the zone's record names, and the journal after it.
func Load(ctx context.Context, s Store, zone mesh.ZoneID) (*replication.State, mesh.ZoneRecord, error) {
	for try := 1; ; try++ {
		rec, err := s.Zone(ctx, zone)
		if err != nil {
			return nil, rec, fmt.Errorf("read the record of zone %d: %w", zone, err)
		}
		state, err := load(ctx, s, rec)
		if try < loadTries && errors.Is(err, store.ErrNotFound) {
			continue
		}
		return state, rec, err
	}
}

func load(ctx context.Context, s Store, rec mesh.ZoneRecord) (*replication.State, error) {
	var snapshot []byte
	for _, key := range rec.Pointer.Chunks {
		chunk, err := s.Chunk(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("read chunk %s of zone %d: %w", key, rec.Zone, err)
		}
		snapshot = append(snapshot, chunk...)
	}
	state, err := replication.DecodeState(snapshot)
	if err != nil {
		return nil, fmt.Errorf("%w %d: the snapshot through %d: %w", ErrUnreadable, rec.Zone, rec.Pointer.Position, err)
	}
	next, epoch := rec.Pointer.Position+1, mesh.Epoch(0)
	for {
		slots, err := s.ReadSlots(ctx, rec.Zone, next, readSlots)
		if err != nil {
			return nil, fmt.Errorf("read the journal of zone %d from %d: %w", rec.Zone, next, err)
		}
		for _, slot := range slots {
			if slot.Position != next {
				return state, nil // the ring's turn before: the journal ends here
			}
			if slot.Epoch < epoch || slot.Epoch > rec.Epoch {
				return nil, fmt.Errorf("%w %d: position %d is of epoch %d, after epoch %d and under epoch %d", ErrUnreadable, rec.Zone, next, slot.Epoch, epoch, rec.Epoch)
			}
			epoch = slot.Epoch
			records, err := replication.DecodeRecords(slot.Data)
			if err != nil {
				return nil, fmt.Errorf("%w %d: position %d: %w", ErrUnreadable, rec.Zone, next, err)
			}
			for _, r := range records {
				state.Apply(r)
			}
			next++
		}
		if len(slots) < readSlots {
			return state, nil
		}
	}
}

// poses returns the zone's volatile state by entity. Asking under the zone's
// own epoch changes nothing that matters: a later owner raises it further.
func poses(ctx context.Context, s Store, rec mesh.ZoneRecord) (map[mesh.EntityID]mesh.Pose, mesh.Tick, error) {
	p, err := s.RaisePoses(ctx, rec.Zone, rec.Epoch)
	if err != nil {
		return nil, 0, fmt.Errorf("read the poses of zone %d: %w", rec.Zone, err)
	}
	list, err := replication.DecodePoses(p.Data)
	if err != nil {
		return nil, 0, fmt.Errorf("%w %d: its poses: %w", ErrUnreadable, rec.Zone, err)
	}
	byID := make(map[mesh.EntityID]mesh.Pose, len(list))
	for _, pose := range list {
		byID[pose.ID] = pose
	}
	return byID, p.Tick, nil
}
