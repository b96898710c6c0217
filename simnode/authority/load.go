package authority

import (
	"slices"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
)

// readSlots is how many journal slots one read asks for.
const readSlots = 64

// begin reads owner, epoch and pointer together: step 2 of a takeover, to
// which every refusal on the way comes back.
func (z *Zone) begin() {
	z.phase = phaseRecord
	z.request(process.Request{Op: process.OpZone})
}

func (z *Zone) loaded(req *process.Request, a *process.Answer) {
	switch z.phase {
	case phaseRecord:
		if z.mine(a) {
			z.readSnapshot(a.Record.Pointer)
		}
	case phaseChunks:
		z.chunk(req, a)
	case phaseSlots:
		z.slots(a)
	case phaseSeal:
		switch a.Verdict {
		case process.OK:
			z.sealed()
		case process.Stale:
			z.begin() // somebody wrote there: read on from the record
		default:
			z.stop("the seal was refused: " + a.Err)
		}
	case phasePoses:
		if a.Verdict != process.OK {
			z.stop("the poses belong to a later epoch")
			return
		}
		z.poses = a.Poses
		z.phase = phaseRecheck
		z.request(process.Request{Op: process.OpZone})
	case phaseRecheck:
		if z.mine(a) {
			z.opened()
		}
	}
}

// mine checks that the record still names this owner and epoch.
func (z *Zone) mine(a *process.Answer) bool {
	switch {
	case a.Verdict != process.OK:
		z.stop("the zone's record cannot be read: " + a.Err)
	case a.Record.Epoch != z.epoch || !a.Record.Owner.Same(z.me):
		z.stop("superseded while loading")
	default:
		return true
	}
	return false
}

func (z *Zone) readSnapshot(p mesh.Pointer) {
	z.pointer = p
	z.durable = replication.NewState()
	z.next = p.Position + 1
	if len(p.Chunks) == 0 {
		z.readJournal()
		return
	}
	z.phase = phaseChunks
	z.chunks = make([][]byte, len(p.Chunks))
	z.missing = len(p.Chunks)
	for _, key := range p.Chunks {
		z.request(process.Request{Op: process.OpChunk, Key: key})
	}
}

func (z *Zone) chunk(req *process.Request, a *process.Answer) {
	if a.Verdict != process.OK {
		// The pointer has moved since and its chunks were collected.
		if slices.Equal(z.gone, z.pointer.Chunks) {
			z.stop("a chunk of the snapshot is missing: " + a.Err)
			return
		}
		z.gone = z.pointer.Chunks
		z.abandon()
		z.begin()
		return
	}
	for i, key := range z.pointer.Chunks {
		if key == req.Key && z.chunks[i] == nil {
			z.chunks[i] = a.Data
			z.missing--
		}
	}
	if z.missing > 0 {
		return
	}
	var all []byte
	for _, c := range z.chunks {
		all = append(all, c...)
	}
	state, err := replication.DecodeState(all)
	if err != nil {
		z.stop("the snapshot does not decode: " + err.Error())
		return
	}
	z.durable, z.chunks = state, nil
	z.readJournal()
}

// abandon forgets all unanswered requests: their answers mean nothing any more.
func (z *Zone) abandon() {
	clear(z.wait)
	z.retry = nil
}

func (z *Zone) readJournal() {
	z.phase = phaseSlots
	z.request(process.Request{Op: process.OpReadSlots, From: z.next, Limit: readSlots})
}

func (z *Zone) slots(a *process.Answer) {
	if a.Verdict != process.OK {
		z.stop("the journal cannot be read: " + a.Err)
		return
	}
	for _, s := range a.Slots {
		switch {
		case s.Epoch > z.epoch:
			z.stop("the journal has a later epoch")
			return
		case s.Position != z.next:
			z.seal() // the ring's older turn: the journal ends here
			return
		}
		records, err := replication.DecodeRecords(s.Data)
		if err != nil && !s.Seal {
			z.stop("the journal does not decode: " + err.Error())
			return
		}
		for _, r := range records {
			z.durable.Apply(r)
		}
		z.next++
		if s.Seal && s.Epoch == z.epoch {
			z.sealed() // my own seal, whose answer was lost
			return
		}
	}
	if len(a.Slots) == readSlots {
		z.readJournal()
		return
	}
	z.seal()
}

// seal closes the journal to lower epochs at the first free position. A slot
// that the snapshot pointer does not cover must not be overwritten, so a full
// ring needs a snapshot first.
func (z *Zone) seal() {
	if z.next-mesh.RingSlots > z.pointer.Position {
		z.phase = phaseRoom
		z.beginSnapshot()
		return
	}
	z.phase = phaseSeal
	z.request(process.Request{Op: process.OpAppend, Slot: mesh.Slot{Position: z.next, Epoch: z.epoch, Seal: true}})
}

func (z *Zone) sealed() {
	if z.phase == phaseSeal {
		z.next++
	}
	z.phase = phasePoses
	z.request(process.Request{Op: process.OpRaisePoses, Epoch: z.epoch})
}

func (z *Zone) opened() {
	z.phase = phaseOpen
	z.memory = memoryOf(z.durable)
	for n, o := range z.durable.Outbound {
		// Outbound members are sent again, not resumed.
		z.outbound[n] = &outbound{to: o.To, sent: z.transferOf(o, z.tick, o.Members), repeatAt: z.tick}
		z.told[o.To] = 0
	}
	z.snapshot.lastAt = z.tick
	z.lowAt, z.lowAllAt = z.tick+z.cfg.LowTicks, z.tick+z.cfg.LowAllTicks
	z.emit(Effect{Kind: Opened, State: z.durable, Poses: z.poses})
	z.poses = mesh.PoseRecord{}
	z.dropSources()
}

// memoryOf returns a copy of s without its entities, which the simulation holds.
func memoryOf(s *replication.State) *replication.State {
	m := replication.NewState()
	m.NextMark = s.NextMark
	for n, o := range s.Outbound {
		m.Outbound[n] = o
	}
	for zone, set := range s.Received {
		c := make(map[uint64]struct{}, len(set))
		for n := range set {
			c[n] = struct{}{}
		}
		m.Received[zone] = c
	}
	for zone, n := range s.Low {
		m.Low[zone] = n
	}
	for p := range s.Born {
		m.Born[p] = struct{}{}
	}
	return m
}
