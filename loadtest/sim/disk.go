package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/control/store"
	"weft/simnode/process"
)

var ctx = context.Background()

// disk is the store's side of the network: each call takes time, and while
// faults last may be lost before or after it happened, or happen late.
type disk struct {
	down        bool
	noSnapshots bool
}

func (d *disk) request(s *Sim, p *proc, r *process.Request) {
	s.stats.StoreCalls++
	f := &s.cfg.Faults
	reach := s.between(300*time.Microsecond, 3*time.Millisecond)
	answer := s.between(300*time.Microsecond, 3*time.Millisecond)
	if s.faulting && s.chance(f.StoreSlow) {
		reach += s.between(0, f.StoreSlowUpTo)
	}
	if s.faulting && loads(r) && s.chance(f.LoadSlow) {
		late := s.between(0, f.LoadSlowUpTo)
		if s.chance(0.5) {
			reach += late
		} else {
			answer += late
		}
	}
	lostBefore := s.faulting && s.chance(f.StoreLost)
	lostAfter := s.faulting && s.chance(f.StoreLost)
	late := s.faulting && s.chance(f.StoreLate)
	unavailable := func() {
		s.deliver(p, process.Event{Kind: process.EventAnswer, Answer: &process.Answer{
			ID: r.ID, Op: r.Op, Zone: r.Zone, Verdict: process.Unavailable,
		}})
	}
	if late { // a copy of the request is still on its way and happens any time
		s.after(reach+s.between(0, 20*time.Second), func() { s.perform(r) })
	}
	s.after(reach, func() {
		failing := d.noSnapshots && (r.Op == process.OpMovePointer || r.Op == process.OpPutChunk)
		if lostBefore || d.down || failing {
			s.after(500*time.Millisecond, unavailable)
			return
		}
		a := s.perform(r)
		if lostAfter {
			s.after(500*time.Millisecond, unavailable)
			return
		}
		s.after(answer, func() { s.deliver(p, process.Event{Kind: process.EventAnswer, Answer: &a}) })
	})
}

// loads reports that r is one of those by which a zone is taken over.
func loads(r *process.Request) bool {
	switch r.Op {
	case process.OpZone, process.OpReadSlots, process.OpChunk, process.OpRaisePoses:
		return true
	case process.OpAppend:
		return r.Slot.Seal
	}
	return false
}

// perform carries a request out on the store, watching what it does.
func (s *Sim) perform(r *process.Request) process.Answer {
	a := call(s.store, r)
	fmt.Fprintf(s.spoken, "%d %d %d %x %s %d", r.Op, r.Zone, r.Slot.Position, r.Slot.Data, r.Key, a.Verdict)
	s.check.performed(r, &a)
	if a.Verdict == process.Stale {
		s.stats.Refused++
	}
	return a
}

func call(st store.Store, r *process.Request) process.Answer {
	a := process.Answer{ID: r.ID, Op: r.Op, Zone: r.Zone}
	var err error
	switch r.Op {
	case process.OpAppend:
		err = st.Append(ctx, r.Zone, r.Slot)
	case process.OpReadSlots:
		a.Slots, err = st.ReadSlots(ctx, r.Zone, r.From, r.Limit)
	case process.OpZone:
		a.Record, err = st.Zone(ctx, r.Zone)
	case process.OpMovePointer:
		err = st.MovePointer(ctx, r.Zone, r.Epoch, r.Pointer)
	case process.OpPutChunk:
		err = st.PutChunk(ctx, r.Key, r.Data)
	case process.OpChunk:
		a.Data, err = st.Chunk(ctx, r.Key)
	case process.OpChunkKeys:
		a.Keys, err = st.ChunkKeys(ctx, r.Key)
	case process.OpDeleteChunk:
		err = st.DeleteChunk(ctx, r.Key)
	case process.OpPutPoses:
		err = st.PutPoses(ctx, r.Zone, r.Poses)
	case process.OpRaisePoses:
		a.Poses, err = st.RaisePoses(ctx, r.Zone, r.Epoch)
	case process.OpPutProcess:
		err = st.PutProcess(ctx, r.Process)
	case process.OpPutReport:
		err = st.PutReport(ctx, *r.Report)
	case process.OpPutSuspicion:
		err = st.PutSuspicion(ctx, r.Suspicion)
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrStaleEpoch):
		a.Verdict = process.Stale
	case errors.Is(err, store.ErrConflict):
		a.Verdict = process.Conflict
	case errors.Is(err, store.ErrNotFound):
		a.Verdict = process.NotFound
	case errors.Is(err, store.ErrTooLarge):
		a.Verdict = process.TooLarge
	default:
		a.Verdict = process.Unavailable
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}
