package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weft/control/store"
	"weft/simnode/process"
)

// callTimeout bounds each call of the store; then its outcome counts as unknown.
const callTimeout = time.Second

// Perform carries r out on s and returns the answer to feed back. Errors that
// the store port does not name, and calls that take longer than a second, are
// Unavailable: the outcome is unknown.
func Perform(ctx context.Context, s store.Store, r process.Request) process.Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a := process.Answer{ID: r.ID, Op: r.Op, Zone: r.Zone}
	var err error
	switch r.Op {
	case process.OpAppend:
		err = s.Append(ctx, r.Zone, r.Slot)
	case process.OpReadSlots:
		a.Slots, err = s.ReadSlots(ctx, r.Zone, r.From, r.Limit)
	case process.OpZone:
		a.Record, err = s.Zone(ctx, r.Zone)
	case process.OpMovePointer:
		err = s.MovePointer(ctx, r.Zone, r.Epoch, r.Pointer)
	case process.OpPutChunk:
		err = s.PutChunk(ctx, r.Key, r.Data)
	case process.OpChunk:
		a.Data, err = s.Chunk(ctx, r.Key)
	case process.OpChunkKeys:
		a.Keys, err = s.ChunkKeys(ctx, r.Key)
	case process.OpDeleteChunk:
		err = s.DeleteChunk(ctx, r.Key)
	case process.OpPutPoses:
		err = s.PutPoses(ctx, r.Zone, r.Poses)
	case process.OpRaisePoses:
		a.Poses, err = s.RaisePoses(ctx, r.Zone, r.Epoch)
	case process.OpPutProcess:
		err = s.PutProcess(ctx, r.Process)
	case process.OpPutReport:
		err = s.PutReport(ctx, *r.Report)
	case process.OpPutSuspicion:
		err = s.PutSuspicion(ctx, r.Suspicion)
	default:
		err = fmt.Errorf("unknown request %d", r.Op)
	}
	if a.Verdict = verdict(err); err != nil {
		a.Err = err.Error()
	}
	return a
}

func verdict(err error) process.Verdict {
	for _, v := range []struct {
		err     error
		verdict process.Verdict
	}{
		{store.ErrUnavailable, process.Unavailable},
		{store.ErrStaleEpoch, process.Stale},
		{store.ErrConflict, process.Conflict},
		{store.ErrNotFound, process.NotFound},
		{store.ErrTooLarge, process.TooLarge},
	} {
		if errors.Is(err, v.err) {
			return v.verdict
		}
	}
	if err != nil {
		return process.Unavailable
	}
	return process.OK
}

// The pool's bounds: requests beyond those that wait are answered Unavailable.
const (
	poolWorkers = 32
	poolWaiting = 4096
)

// pool carries requests out side by side and hands each answer to answer.
type pool struct {
	store    store.Store
	record   *diary // nil keeps none
	requests chan *process.Request
	answer   func(process.Answer)
}

func newPool(s store.Store, answer func(process.Answer)) *pool {
	return &pool{store: s, requests: make(chan *process.Request, poolWaiting), answer: answer}
}

// run works until ctx ends.
func (p *pool) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range poolWorkers {
		workers.Go(func() {
			for {
				select {
				case r := <-p.requests:
					p.record.keep(r)
					p.answer(Perform(ctx, p.store, *r))
				case <-ctx.Done():
					return
				}
			}
		})
	}
	workers.Wait()
}

// submit never blocks. It reports false if too many requests wait.
func (p *pool) submit(r *process.Request) bool {
	select {
	case p.requests <- r:
		return true
	default:
		return false
	}
}
