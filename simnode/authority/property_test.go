package authority

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
)

// disk is the store's conditions for one zone, as small as they can be said.
type disk struct {
	record mesh.ZoneRecord
	ring   [mesh.RingSlots]mesh.Slot
	chunks map[string][]byte
	poses  mesh.PoseRecord
	past   []mesh.Slot // all that was ever appended, by position
}

func newDisk() *disk {
	d := &disk{record: mesh.ZoneRecord{Pointer: mesh.Pointer{Position: -1}}, chunks: map[string][]byte{}}
	for i := range d.ring {
		d.ring[i].Position = int64(i) - mesh.RingSlots
	}
	return d
}

func same(a, b mesh.Slot) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func (d *disk) do(r *process.Request) *process.Answer {
	a := &process.Answer{ID: r.ID, Op: r.Op}
	stale := func(ok bool) {
		if !ok {
			a.Verdict = process.Stale
		}
	}
	switch r.Op {
	case process.OpZone:
		a.Record = d.record
	case process.OpReadSlots:
		for n := r.From; len(a.Slots) < r.Limit && d.ring[n%mesh.RingSlots].Position == n; n++ {
			a.Slots = append(a.Slots, d.ring[n%mesh.RingSlots])
		}
		n := r.From + int64(len(a.Slots))
		if end := d.ring[n%mesh.RingSlots]; len(a.Slots) < r.Limit && end.Epoch > d.record.Epoch {
			a.Slots = append(a.Slots, end)
		}
	case process.OpAppend:
		s := &d.ring[r.Slot.Position%mesh.RingSlots]
		if fits := s.Position == r.Slot.Position-mesh.RingSlots && s.Epoch <= r.Slot.Epoch; fits {
			*s = r.Slot
			d.past = append(d.past, r.Slot)
		} else {
			stale(same(*s, r.Slot))
		}
	case process.OpPutChunk:
		d.chunks[r.Key] = r.Data
	case process.OpChunk:
		data, ok := d.chunks[r.Key]
		if a.Data = data; !ok {
			a.Verdict = process.NotFound
		}
	case process.OpChunkKeys:
		for key := range d.chunks {
			a.Keys = append(a.Keys, key)
		}
	case process.OpDeleteChunk:
		delete(d.chunks, r.Key)
	case process.OpMovePointer:
		if fits := d.record.Epoch == r.Epoch && r.Pointer.Position > d.record.Pointer.Position; fits {
			d.record.Pointer = r.Pointer
		} else {
			stale(d.record.Epoch == r.Epoch && fmt.Sprint(d.record.Pointer) == fmt.Sprint(r.Pointer))
		}
	case process.OpRaisePoses:
		stale(d.poses.Epoch <= r.Epoch)
		d.poses.Epoch = max(d.poses.Epoch, r.Epoch)
		a.Poses = d.poses
	}
	return a
}

// owner is one epoch's hold of the zone and what is under way for it.
type owner struct {
	z       *Zone
	tick    mesh.Tick
	asked   []*process.Request // not yet carried out
	late    []*process.Request // copies that may be carried out at any time
	answers []*process.Answer
}

// loaded is what a takeover that reads through position next−1 must have.
func (d *disk) loaded(t *rapid.T, next int64) *replication.State {
	st := replication.NewState()
	for i, slot := range d.past[:next] {
		if slot.Position != int64(i) {
			t.Fatalf("position %d was written after position %d", slot.Position, i-1)
		}
		records, err := replication.DecodeRecords(slot.Data)
		if err != nil && !slot.Seal {
			t.Fatal(err)
		}
		for _, r := range records {
			st.Apply(r)
		}
	}
	return st
}

// row is a zone's owners, epoch after epoch, some of them zombies.
type row struct {
	t      *rapid.T
	d      *disk
	cfg    Config
	ids    process.RequestIDs
	owners []*owner
	events uint64
	acked  map[uint64]bool // events called durable
	opens  int
}

func (w *row) raise() {
	w.d.record.Epoch++
	w.d.record.Owner = self
	o := &owner{z: New(1, self, w.d.record.Epoch, w.cfg, &w.ids)}
	w.owners = append(w.owners, o)
	w.step(o, Event{Kind: Start})
}

func (w *row) last() *owner { return w.owners[len(w.owners)-1] }

// pick chooses the newest owner most of the time, else any.
func (w *row) pick() *owner {
	if rapid.IntRange(0, 3).Draw(w.t, "zombie") > 0 {
		return w.last()
	}
	return w.owners[rapid.IntRange(0, len(w.owners)-1).Draw(w.t, "owner")]
}

func (w *row) step(o *owner, ev Event) {
	for _, e := range o.z.Step(ev) {
		switch e.Kind {
		case Request:
			o.asked = append(o.asked, e.Request)
		case Durable:
			w.acked[e.Token] = true
		case Opened:
			w.opened(o, e.State)
		}
	}
}

// opened compares what an epoch loaded with the fold of all that was ever
// appended, and looks for everything that was called durable.
func (w *row) opened(o *owner, got *replication.State) {
	w.opens++
	if want := w.d.loaded(w.t, o.z.next); !bytes.Equal(got.Encode(nil), want.Encode(nil)) {
		w.t.Fatalf("epoch %d opens at %d with %+v, appended was %+v", o.z.epoch, o.z.next, got, want)
	}
	if o.z.epoch < w.d.record.Epoch {
		return // superseded since it looked
	}
	if o.z.next != int64(len(w.d.past)) {
		w.t.Fatalf("epoch %d opens at %d of %d", o.z.epoch, o.z.next, len(w.d.past))
	}
	for n := range w.acked {
		if !got.Has(9, n) {
			w.t.Fatalf("epoch %d opens without event %d, which was called durable", o.z.epoch, n)
		}
	}
}

// store carries one of o's calls out, or loses it, or its answer, or keeps a
// copy that comes later.
func (w *row) store(o *owner) {
	if len(o.asked) == 0 {
		return
	}
	i := rapid.IntRange(0, len(o.asked)-1).Draw(w.t, "call")
	r := o.asked[i]
	o.asked = slices.Delete(o.asked, i, i+1)
	unknown := &process.Answer{ID: r.ID, Op: r.Op, Verdict: process.Unavailable}
	fate := rapid.IntRange(0, 15).Draw(w.t, "fate")
	if fate == 1 || fate == 2 {
		o.late = append(o.late, r)
	}
	switch fate {
	case 0, 1: // lost on the way; or slow
		o.answers = append(o.answers, unknown)
	case 3: // done, and nobody knows
		w.d.do(r)
		o.answers = append(o.answers, unknown)
	default:
		o.answers = append(o.answers, w.d.do(r))
	}
}

func (w *row) act() {
	o := w.pick()
	switch what := rapid.IntRange(0, 99).Draw(w.t, "act"); {
	case what < 40:
		w.store(o)
	case what < 70:
		if len(o.answers) > 0 {
			a := o.answers[0]
			o.answers = o.answers[1:]
			w.step(o, Event{Kind: AnswerEvent, Answer: a})
		}
	case what < 85:
		w.event(o)
	case what < 95:
		o.tick++
		w.step(o, Event{Kind: TickEvent, Tick: o.tick})
	case what < 98:
		if len(o.late) > 0 {
			w.d.do(o.late[rapid.IntRange(0, len(o.late)-1).Draw(w.t, "copy")])
		}
	case len(w.owners) < 8:
		w.raise()
	}
}

// event makes one thing durable: a crossing of zone 9 with that number, which
// puts an entity and takes an older one away, so that order shows.
func (w *row) event(o *owner) {
	if !o.z.Open() || o.z.Full() {
		return
	}
	w.events++
	n := w.events
	e := mesh.Entity{Pose: mesh.Pose{ID: mesh.EntityID(n), Hop: 1}}
	w.step(o, Event{Kind: Journal, Token: n, Records: []replication.Record{
		{Kind: replication.RecordRemove, IDs: []mesh.EntityID{mesh.EntityID(n / 2)}},
		{Kind: replication.RecordArrive, Zone: 9, N: n, Entities: []mesh.Entity{e}},
	}})
}

// quiet lets o come to an end with its calls, without faults.
func (w *row) quiet(o *owner) {
	for range 40 {
		o.tick++
		w.step(o, Event{Kind: TickEvent, Tick: o.tick})
		for calls := 0; len(o.asked)+len(o.answers) > 0; calls++ {
			if calls > 10_000 {
				w.t.Fatalf("epoch %d does not come to rest", o.z.epoch)
			}
			for _, r := range o.asked {
				o.answers = append(o.answers, w.d.do(r))
			}
			o.asked = o.asked[:0]
			a := o.answers[0]
			o.answers = o.answers[1:]
			w.step(o, Event{Kind: AnswerEvent, Answer: a})
		}
	}
	if o == w.last() && !o.z.Open() {
		w.t.Fatalf("epoch %d does not open", o.z.epoch)
	}
}

// fill journals n events without faults, but perhaps without snapshots, so that
// the ring fills.
func (w *row) fill(n int, snapshots bool) {
	o := w.last()
	for i := range n {
		if i == 0 {
			w.quiet(o)
		}
		w.event(o)
		for len(o.asked) > 0 {
			r := o.asked[0]
			o.asked = o.asked[1:]
			if r.Op == process.OpMovePointer && !snapshots {
				o.late = append(o.late, r)
				continue
			}
			w.step(o, Event{Kind: AnswerEvent, Answer: w.d.do(r)})
		}
	}
}

// TestAcknowledgedIsLoaded drives a row of owners against the store, whose
// calls are lost, repeated, late and reordered while epochs are raised at any
// time: what was called durable is in what any later epoch loads, and that is
// the fold of all that was ever appended, each record once and in order.
func TestAcknowledgedIsLoaded(t *testing.T) {
	opens, acked, longest := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := &row{t: t, d: newDisk(), cfg: DefaultConfig(), acked: map[uint64]bool{}}
		w.cfg.RetryTicks, w.cfg.ChunkBytes, w.cfg.MaxBatchBytes = 1, 256, 200
		w.cfg.SnapshotEverySlots = rapid.Int64Range(2, mesh.RingSlots/2).Draw(t, "slots")
		w.raise()
		w.fill(rapid.SampledFrom([]int{0, 0, 0, 100, 250, 254, 300}).Draw(t, "fill"), rapid.Bool().Draw(t, "snapshots"))
		for range rapid.SampledFrom([]int{100, 400, 1600}).Draw(t, "acts") {
			w.act()
		}
		for range 2 { // the second looks at what the first called durable
			w.raise()
			for _, zombie := range w.owners[:len(w.owners)-1] {
				w.quiet(zombie)
			}
			w.quiet(w.last())
			w.event(w.last())
			w.quiet(w.last())
		}
		opens, acked, longest = opens+w.opens, acked+len(w.acked), max(longest, len(w.d.past))
	})
	t.Logf("%d opens, %d events called durable, %d positions at most", opens, acked, longest)
}
