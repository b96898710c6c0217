package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/simnode/edge"
	"weft/simnode/process"
)

const (
	// maxReplays bounds the writes that are replayed for one pause.
	maxReplays = 20_000
	// replayTries is how often a write without an answer is tried.
	replayTries = 10
	// aftermath is how long a node that goes on is given for its stale writes.
	aftermath = time.Second
)

// pause stops an owner until others have all its zones open, replays what it
// wrote, lets it go on, and replays what it wrote then.
func (d *drill) pause(ctx context.Context, i int) error {
	v, err := d.victim(ctx, mesh.RoleNode, i)
	if err != nil {
		return err
	}
	d.Crowd().Struck(v.Zones)
	at := time.Now()
	if err := d.mesh.Pause(v.ID); err != nil {
		return err
	}
	d.Log("stopped %s, which owns %d zones", v.ID, len(v.Zones))
	gone := map[mesh.NodeID]bool{v.ID: true}
	err = d.await(ctx, gone, true)
	done := 0
	if err == nil {
		done, err = d.replay(ctx, v, 0)
	}
	if err := d.mesh.Resume(v.ID); err != nil { // whatever happened
		return err
	}
	if err != nil {
		return err
	}
	if err := wait(ctx, aftermath); err != nil {
		return err
	}
	more, err := d.replay(ctx, v, done)
	d.Log("%s went on; %d writes of it were tried again", v.ID, done+more)
	return errors.Join(err, d.whole(ctx, at, gone))
}

// replay tries the recorded writes of v again from the number from on, and
// returns how many it took. Those of zones that the layout has no more, or that
// nobody took over, are left out: no fence is known for them.
func (d *drill) replay(ctx context.Context, v run.Victim, from int) (int, error) {
	recorded, err := edge.ReadRecord(d.records, v.ID, v.Incarnation)
	if err != nil {
		return 0, err
	}
	recorded = recorded[from:min(len(recorded), from+maxReplays)]
	p := replay{d.mesh.Store(), &d.figures.Replay, d.Note}
	before := map[mesh.ZoneID]mesh.ZoneRecord{}
	for _, r := range recorded {
		if _, ok := before[r.Zone]; !ok {
			if before[r.Zone], err = d.mesh.Store().Zone(ctx, r.Zone); err != nil && !errors.Is(err, store.ErrNotFound) {
				return 0, err
			}
		}
		if epochOf(&r) >= before[r.Zone].Epoch {
			continue
		}
		if err := p.again(ctx, r); err != nil {
			return 0, err
		}
	}
	for zone, was := range before {
		if was.Epoch == 0 {
			continue
		}
		now, err := d.mesh.Store().Zone(ctx, zone)
		if err != nil {
			return 0, err
		}
		if now.Epoch < was.Epoch || now.Pointer.Position < was.Pointer.Position || now.Epoch == was.Epoch && !now.Owner.Same(was.Owner) {
			d.figures.Replay.Violations++
			d.Note("the record of zone %d went from %+v to %+v", zone, was, now)
		}
	}
	return len(recorded), nil
}

// epochOf is the epoch under which r was written.
func epochOf(r *process.Request) mesh.Epoch {
	switch r.Op {
	case process.OpAppend:
		return r.Slot.Epoch
	case process.OpPutPoses:
		return r.Poses.Epoch
	}
	return r.Epoch
}

// replay tries writes again and counts what comes of it.
type replay struct {
	store   store.Store
	figures *scenario.Replay
	note    func(f string, args ...any)
}

// again tries one write of an epoch that is over. It must be refused, or be an
// append that is stored already, which stays as it is.
func (p *replay) again(ctx context.Context, r process.Request) error {
	before, err := p.slot(ctx, &r)
	if err != nil {
		return err
	}
	var a process.Answer
	for try := 0; ; try++ {
		if a = edge.Perform(ctx, p.store, r); a.Verdict != process.Unavailable {
			break
		}
		if try == replayTries || wait(ctx, lookEvery) != nil {
			return fmt.Errorf("the store does not answer: %s", a.Err)
		}
	}
	p.figures.Tried++
	switch {
	case a.Verdict == process.Stale:
		p.figures.Refused++
		return nil
	case a.Verdict == process.OK && r.Op == process.OpAppend && same(before, r.Slot):
		after, err := p.slot(ctx, &r)
		if err != nil {
			return err
		}
		if same(after, r.Slot) || after.Epoch > r.Slot.Epoch {
			p.figures.Identical++
			return nil
		}
	}
	p.figures.Violations++
	p.note("a write of epoch %d to zone %d (operation %d) was answered %d %s", epochOf(&r), r.Zone, r.Op, a.Verdict, a.Err)
	return nil
}

// slot reads what is stored at the place of an append; zero if nothing is.
func (p *replay) slot(ctx context.Context, r *process.Request) (mesh.Slot, error) {
	if r.Op != process.OpAppend {
		return mesh.Slot{}, nil
	}
	slots, err := p.store.ReadSlots(ctx, r.Zone, r.Slot.Position, 1)
	if err != nil || len(slots) == 0 {
		return mesh.Slot{}, err
	}
	return slots[0], nil
}

func same(a, b mesh.Slot) bool {
	return a.Position == b.Position && a.Epoch == b.Epoch && a.Seal == b.Seal && bytes.Equal(a.Data, b.Data)
}
