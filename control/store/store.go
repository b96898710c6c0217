// Package store is the port to the replication store: the memory of a shard,
// apart from the processes that simulate it. Drivers live in sub-folders and
// all pass the suite in storetest; programs get one from storeurl.
//
// Everything the mesh's safety rests on needs only conditions on a single
// record, so any store with compare-and-set will do. Every write may be
// repeated, late or reordered by the network; the conditions are what makes
// that harmless, so a driver must evaluate them atomically with the write.
//
// All methods are safe for concurrent use, take no longer than their context,
// keep no argument and return memory that the caller owns.
package store

import (
	"context"
	"errors"

	"weft/control/mesh"
)

// The errors a caller acts on. Drivers wrap them with %w.
var (
	// ErrStaleEpoch: the store has seen a higher epoch, or another write took
	// the place. A zone's owner must stop simulating the zone and must not retry.
	ErrStaleEpoch = errors.New("stale epoch")
	// ErrConflict: a compare-and-set lost. Read again, then decide again.
	ErrConflict = errors.New("conflict")
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the store did not answer, or was throttled. The write may
	// or may not have happened: repeat the same request, or read.
	ErrUnavailable = errors.New("store unavailable")
	// ErrTooLarge: the record exceeds a limit below. Nothing was written.
	ErrTooLarge = errors.New("record too large")
)

// The limits that every driver enforces alike, below DynamoDB's 400 KB an item.
const (
	MaxSlotBytes  = 256 << 10
	MaxPoseBytes  = 384 << 10
	MaxChunkBytes = 256 << 10
	// MaxRecordBytes bounds the JSON of a layout or a control record.
	MaxRecordBytes = 384 << 10
	// KeptDecisions is how many decisions the log keeps before it drops the
	// oldest. A driver may also drop those older than 90 days.
	KeptDecisions = 4096
)

// Journal is a zone's ring of durable events.
type Journal interface {
	// Append writes slot at its Position p ≥ 0, into ring slot p mod RingSlots:
	// only over position p − RingSlots (or nothing, for p < RingSlots), and only
	// where that slot's epoch is not higher than slot.Epoch. Otherwise
	// ErrStaleEpoch and nothing changes, unless the very same slot (position,
	// epoch, seal, data) is what is there: then nil, so a repeat is harmless.
	Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error
	// ReadSlots returns the slots at positions from, from+1, … as far as they
	// are contiguous, at most limit. A ring slot that holds another position
	// ends the read, but if its epoch is higher than every one before it, it is
	// returned as the last element so that the loader can see it and stop.
	ReadSlots(ctx context.Context, zone mesh.ZoneID, from int64, limit int) ([]mesh.Slot, error)
}

// Ownership is the zone records.
type Ownership interface {
	// CreateZone writes a zone's first record. ErrConflict if another exists; a
	// repeat that finds the very same record is nil.
	CreateZone(ctx context.Context, rec mesh.ZoneRecord) error
	// Zone reads owner, epoch and pointer together, strongly consistent.
	Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error)
	// RaiseEpoch makes owner the owner under epoch from+1 and touches nothing
	// else in the record. ErrConflict if the epoch is not from, ErrNotFound if
	// there is no record. Repeating it
	// after it happened (epoch is from+1 and the owner is the same) is nil.
	RaiseEpoch(ctx context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error
	// MovePointer replaces the pointer if the record's epoch is epoch and
	// ptr.Position is greater than the stored one; otherwise ErrStaleEpoch,
	// unless the stored pointer and epoch are these very ones: then nil.
	MovePointer(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error
	// RemoveZone deletes the zone's record, slots and poses; its chunks are the
	// caller's to delete. Nil if they are gone.
	RemoveZone(ctx context.Context, zone mesh.ZoneID) error
}

// Chunks holds the bytes of snapshots under keys never used twice.
type Chunks interface {
	PutChunk(ctx context.Context, key string, data []byte) error
	// Chunk returns ErrNotFound if it was deleted meanwhile.
	Chunk(ctx context.Context, key string) ([]byte, error)
	// ChunkKeys lists the keys that begin with prefix, in order.
	ChunkKeys(ctx context.Context, prefix string) ([]string, error)
	DeleteChunk(ctx context.Context, key string) error
}

// Poses holds each zone's volatile state.
type Poses interface {
	// PutPoses writes rec if (rec.Epoch, rec.Tick) is greater than what is
	// stored, compared in that order; otherwise ErrStaleEpoch, unless the very
	// same record is stored: then nil, so a repeat is harmless.
	PutPoses(ctx context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error
	// RaisePoses sets the record's epoch, keeping tick and data, and returns
	// the record as it then is (zero Tick and no data if there was none).
	// ErrStaleEpoch if the stored epoch is higher; equal is a no-op.
	RaisePoses(ctx context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (mesh.PoseRecord, error)
}

// Layouts is the one layout record of the shard.
type Layouts interface {
	// Layout returns ErrNotFound before the shard exists.
	Layout(ctx context.Context) (mesh.Layout, error)
	// LayoutVersion is a cheap read of Layout().Version; 0 before the shard exists.
	LayoutVersion(ctx context.Context) (uint64, error)
	// PutLayout writes l if the stored version is l.Version−1 (0: none).
	// ErrConflict otherwise.
	PutLayout(ctx context.Context, l mesh.Layout) error
}

// Control is what processes and the planner tell each other. Writing a
// Process, Report, Suspicion or Intent shows up on the change stream, unless it
// is the very same as before; deleting one does not.
type Control interface {
	// PutProcess writes p. ErrStaleEpoch if a higher incarnation is stored, or
	// if this incarnation is stored as Stopped: the process must end.
	PutProcess(ctx context.Context, p mesh.Process) error
	Processes(ctx context.Context) ([]mesh.Process, error)
	// RemoveProcess deletes the process's record, report and the suspicions
	// against it as far as they are of incarnation inc or lower; nil if they are
	// gone. ErrStaleEpoch, and nothing is deleted, if it lives on in a higher one.
	RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error

	// PutReport writes r if (incarnation, sequence) grows, else ErrStaleEpoch,
	// unless the very same report is stored: then nil.
	PutReport(ctx context.Context, r mesh.Report) error
	Reports(ctx context.Context) ([]mesh.Report, error)

	// PutSuspicion writes or replaces the witness's word on the suspect.
	PutSuspicion(ctx context.Context, s mesh.Suspicion) error
	Suspicions(ctx context.Context) ([]mesh.Suspicion, error)
	DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error

	// PutIntent creates or replaces the intent of that token.
	PutIntent(ctx context.Context, i mesh.Intent) error
	Intents(ctx context.Context) ([]mesh.Intent, error)
	DeleteIntent(ctx context.Context, token string) error

	// PutDecision appends to the log of decisions; the same ID replaces.
	PutDecision(ctx context.Context, d mesh.Decision) error
	// Decisions returns the newest limit decisions, newest first.
	Decisions(ctx context.Context, limit int) ([]mesh.Decision, error)

	// PlannerState returns the zero state before the first write.
	PlannerState(ctx context.Context) (mesh.PlannerState, error)
	// PutPlannerState writes s if the stored version is s.Version−1, else ErrConflict.
	PutPlannerState(ctx context.Context, s mesh.PlannerState) error
}

// ChangeKind says which record of Control a change is about.
type ChangeKind uint8

const (
	ProcessChanged ChangeKind = iota + 1
	ReportChanged
	SuspicionChanged
	IntentChanged
)

// Change is one entry of the change stream. It says what to look at, not what
// is there: entries come at least once, possibly late or out of order.
type Change struct {
	Kind ChangeKind
	ID   string // the process (of a suspicion: the suspect), or the intent's token
}

// Stream tells of changes to control records.
type Stream interface {
	// Watch calls f for each change from now on, one at a time, until ctx ends
	// or the stream breaks, and returns why; f must return soon. The caller
	// reads the records once after Watch has begun, signalled by calling ready.
	Watch(ctx context.Context, ready func(), f func(Change)) error
}

// Store is the whole port. Callers that need less should ask for less.
type Store interface {
	Journal
	Ownership
	Chunks
	Poses
	Layouts
	Control
	Stream
	// Close releases what Open took. It does not stop a server.
	Close() error
}
