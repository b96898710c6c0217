package authority

import (
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
)

// entry is a record on its way into the journal.
type entry struct {
	record replication.Record
	token  uint64
	lazy   bool
	since  mesh.Tick
}

// journal is the group commit: one append outstanding, never two.
type journal struct {
	pending []entry
	prompt  int // entries of pending that somebody waits for
	flight  []entry
	lastAt  mesh.Tick
	oldest  mesh.Tick // of the pending lazy ones
	one     []byte

	queued, done uint64 // records ever queued, and made durable
	barriers     []barrier
}

// barrier is a token that waits for the first so many records.
type barrier struct {
	behind uint64
	token  uint64
}

// passBarriers gives back the tokens of which everything before is durable.
func (z *Zone) passBarriers() {
	j := &z.journal
	for len(j.barriers) > 0 && j.barriers[0].behind <= j.done {
		z.emit(Effect{Kind: Durable, Token: j.barriers[0].token})
		j.barriers = slices.Delete(j.barriers, 0, 1)
	}
}

func (j *journal) flush() {
	for i := range j.pending {
		if j.pending[i].lazy {
			j.pending[i].lazy = false
			j.prompt++
		}
	}
}

// Full reports that so much waits for the store that new durable events must
// be held back.
func (z *Zone) Full() bool { return z.Waiting() >= z.cfg.MaxPendingRecords }

// Waiting is how many records are not yet known durable.
func (z *Zone) Waiting() int { return len(z.journal.pending) + len(z.journal.flight) }

// Calls is how many calls of the store have no outcome yet.
func (z *Zone) Calls() int { return len(z.wait) + len(z.retry) }

// queue appends e to what the next append carries and changes memory at once.
func (z *Zone) queue(e entry) {
	e.since = z.tick
	z.remember(e.record)
	if !e.lazy {
		z.journal.prompt++
	} else if len(z.journal.pending) == z.journal.prompt {
		z.journal.oldest = z.tick
	}
	z.journal.pending = append(z.journal.pending, e)
	z.journal.queued++
}

// remember applies r to memory, which leaves the entities to the simulation.
func (z *Zone) remember(r replication.Record) {
	switch r.Kind {
	case replication.RecordPut:
		if r.Birth {
			for _, e := range r.Entities {
				z.memory.Born[e.ID.Player()] = struct{}{}
			}
		}
	case replication.RecordRemove:
	case replication.RecordCancel:
		delete(z.memory.Outbound, r.N)
	case replication.RecordArrive:
		z.memory.Apply(replication.Record{Kind: r.Kind, Zone: r.Zone, N: r.N})
	default:
		z.memory.Apply(r)
	}
}

// commit issues an append if none is outstanding, something is due and the
// ring has room. Lazy records go along with the first that is prompt, or once
// they are so many that events are held back.
func (z *Zone) commit() {
	j := &z.journal
	if len(j.flight) > 0 || len(j.pending) == 0 {
		return
	}
	if j.prompt == 0 && z.tick < j.oldest+z.cfg.LazyTicks && !z.Full() {
		return
	}
	if z.cfg.CommitEveryTicks > 0 && j.lastAt > 0 && z.tick < j.lastAt+z.cfg.CommitEveryTicks {
		return
	}
	if z.next-mesh.RingSlots > z.pointer.Position {
		z.keepSnapshot() // a full ring holds acknowledgements back
		return
	}
	n, size := 0, 0
	for ; n < len(j.pending); n++ {
		j.one = replication.EncodeRecords(j.one[:0], batchOf(j.pending[n:n+1]))
		if size += len(j.one); n > 0 && size > z.cfg.MaxBatchBytes {
			break
		}
	}
	j.flight = slices.Clone(j.pending[:n])
	j.pending = slices.Delete(j.pending, 0, n)
	for _, e := range j.flight {
		if !e.lazy {
			j.prompt--
		}
	}
	j.oldest = z.tick
	j.lastAt = z.tick
	data := replication.EncodeRecords(nil, batchOf(j.flight))
	z.request(process.Request{Op: process.OpAppend, Slot: mesh.Slot{Position: z.next, Epoch: z.epoch, Data: data}})
}

func batchOf(entries []entry) []replication.Record {
	records := make([]replication.Record, len(entries))
	for i, e := range entries {
		records[i] = e.record
	}
	return records
}

// appended takes the answer of the outstanding append. Only now does the
// batch count: acknowledgements, sends and answers follow from here.
func (z *Zone) appended(req *process.Request, a *process.Answer) {
	if req.Op != process.OpAppend {
		return
	}
	if a.Verdict != process.OK {
		z.stop("an append was refused: " + a.Err)
		return
	}
	flight := z.journal.flight
	z.journal.flight = nil
	z.next++
	for _, e := range flight {
		z.durable.Apply(e.record)
	}
	for _, e := range flight {
		if e.token != 0 {
			z.emit(Effect{Kind: Durable, Token: e.token})
		}
		z.recordDurable(e.record)
	}
	z.journal.done += uint64(len(flight))
	z.passBarriers()
	z.keepSnapshot()
}

// snapshot is the one snapshot under way: chunks first, then the pointer.
type snapshot struct {
	running bool
	serial  int
	pointer mesh.Pointer
	left    int // chunks not yet confirmed
	lastAt  mesh.Tick
	swept   bool // chunks of lower epochs were collected
}

func (s *snapshot) takes(req *process.Request) bool {
	return req.Op == process.OpPutChunk || req.Op == process.OpMovePointer
}

// keepSnapshot begins a snapshot when one is due.
func (z *Zone) keepSnapshot() {
	behind := z.next - 1 - z.pointer.Position
	if z.snapshot.running || behind == 0 {
		return
	}
	if behind >= z.cfg.SnapshotEverySlots || z.tick >= z.snapshot.lastAt+z.cfg.SnapshotEveryTicks {
		z.beginSnapshot()
	}
}

// beginSnapshot writes the durable state through next−1 under fresh keys.
func (z *Zone) beginSnapshot() {
	s := &z.snapshot
	s.running, s.lastAt = true, z.tick
	s.serial++
	s.pointer = mesh.Pointer{Position: z.next - 1}
	parts := replication.Chunks(z.durable.Encode(nil), z.cfg.ChunkBytes)
	s.left = len(parts)
	for i, part := range parts {
		key := fmt.Sprintf("%s%d-%d-%d", chunkPrefix(z.id, z.epoch), s.pointer.Position, s.serial, i)
		s.pointer.Chunks = append(s.pointer.Chunks, key)
		z.request(process.Request{Op: process.OpPutChunk, Key: key, Data: part})
	}
}

func chunkPrefix(id mesh.ZoneID, e mesh.Epoch) string { return fmt.Sprintf("z%d/%020d-", id, e) }

func (z *Zone) snapshotAnswer(req *process.Request, a *process.Answer) {
	s := &z.snapshot
	if a.Verdict != process.OK {
		// Never delete chunks on a refusal: the pointer may name them yet.
		z.stop("a snapshot was refused: " + a.Err)
		return
	}
	if req.Op == process.OpPutChunk {
		if s.left--; s.left == 0 {
			z.request(process.Request{Op: process.OpMovePointer, Epoch: z.epoch, Pointer: s.pointer})
		}
		return
	}
	old := z.pointer
	z.pointer = s.pointer
	s.running = false
	for _, key := range old.Chunks {
		z.request(process.Request{Op: process.OpDeleteChunk, Key: key})
	}
	if z.phase == phaseRoom {
		z.readJournal()
		return
	}
	if !s.swept {
		s.swept = true
		z.request(process.Request{Op: process.OpChunkKeys, Key: fmt.Sprintf("z%d/", z.id)})
	}
}

// collected deletes what lower epochs left behind, except what the confirmed
// pointer names. Chunks of other epochs than lower ones are not ours to judge.
func (z *Zone) collected(req *process.Request, a *process.Answer) {
	if req.Op != process.OpChunkKeys || a.Verdict != process.OK {
		return
	}
	mine := chunkPrefix(z.id, z.epoch)
	for _, key := range a.Keys {
		if key < mine && !slices.Contains(z.pointer.Chunks, key) {
			z.request(process.Request{Op: process.OpDeleteChunk, Key: key})
		}
	}
}
