package replication

import (
	"cmp"
	"slices"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// FrameDecoder follows the frames of one zone. The fields are for reading and
// hold until the next Apply; the zero value waits for a key frame.
type FrameDecoder struct {
	Zone  mesh.ZoneID
	Epoch mesh.Epoch
	Tick  mesh.Tick
	Poses []mesh.Pose // by slot; each entity in one

	// Of the last Apply that succeeded:
	Changed []int           // the slots whose pose differs from before, ascending
	Gone    []mesh.EntityID // entities that are in no slot any more
	Key     bool            // it was a key frame

	seen    mesh.Epoch // the highest epoch that a frame named
	slots   map[mesh.EntityID]int32
	changes []change
	placed  []mesh.EntityID // entities that changes put where they were not
}

type change struct {
	slot   int
	placed bool // the entity was not in this slot before
	pose   mesh.Pose
}

// Slot returns where entity id is in Poses.
func (d *FrameDecoder) Slot(id mesh.EntityID) (int, bool) {
	i, ok := d.slots[id]
	return int(i), ok
}

// Apply takes in a frame. A key frame is good at any time if it is not older
// than what there is, and a delta if it continues it. The errors are
// ErrNeedKey, ErrStaleFrame, and wire.ErrMalformed, ErrTooLarge and ErrVersion,
// for which the connection should end; after each of them the decoder shows
// what it did before. Apply keeps nothing of b, and allocates at most 256 bytes
// for each byte of it.
func (d *FrameDecoder) Apply(b []byte) error {
	format := byte(formatDelta)
	if len(b) > 0 && b[0]>>4 == formatKey>>4 {
		format = formatKey
	}
	r, err := open(b, format)
	if err != nil {
		return err
	}
	zone, epoch, tick := mesh.ZoneID(r.Uint(1<<32-1)), mesh.Epoch(r.Uvarint()), mesh.Tick(r.Uvarint())
	since := mesh.Tick(0)
	if format == formatDelta {
		since = mesh.Tick(r.Uvarint())
	}
	var n int
	switch key := format == formatKey; {
	case r.Err() != nil:
		return r.Err()
	case zone == 0 || d.Zone != 0 && d.Zone != zone || !key && (since == 0 || since > tick):
		return wire.ErrMalformed
	case epoch < d.seen || d.Zone != 0 && epoch == d.Epoch && (tick < d.Tick || tick == d.Tick && !key):
		return ErrStaleFrame
	case !key && (d.Zone == 0 || epoch != d.Epoch || tick-since != d.Tick):
		d.seen = epoch
		return ErrNeedKey
	case key:
		n = d.readKey(&r)
	default:
		n = d.readDelta(&r)
	}
	if err := d.check(&r, n); err != nil {
		return err
	}
	d.Zone, d.Epoch, d.Tick, d.seen, d.Key = zone, epoch, tick, epoch, format == formatKey
	d.commit(n)
	return nil
}

// readKey gathers the slots in which a key frame differs from what there is,
// and returns how many slots it has.
func (d *FrameDecoder) readKey(r *wire.Reader) int {
	n := r.Count(MaxEntities, wire.MinPoseBytes)
	d.changes = d.changes[:0]
	var last mesh.Vec
	for i := 0; i < n && r.Err() == nil; i++ {
		c := change{slot: i, placed: true}
		r.Pose(last, &c.pose)
		last = c.pose.Pos
		if i < len(d.Poses) {
			if c.pose == d.Poses[i] {
				continue
			}
			c.placed = c.pose.ID != d.Poses[i].ID
		}
		d.changes = append(d.changes, c)
	}
	return n
}

// readDelta gathers the changes of a delta, and returns how many slots it has.
func (d *FrameDecoder) readDelta(r *wire.Reader) int {
	n := r.Count(MaxEntities, 0)
	d.changes = d.changes[:0]
	grown := 0
	for slot := 0; r.Len() > 0; slot++ {
		slot += int(r.Uint(MaxEntities))
		if slot >= n {
			r.Fail(wire.ErrMalformed)
			break
		}
		var p mesh.Pose
		blank := slot >= len(d.Poses)
		if blank {
			grown++
		} else {
			p = d.Poses[slot]
		}
		q := readChange(r, &p, blank)
		d.changes = append(d.changes, change{slot, blank || q.ID != p.ID, q})
	}
	if grown != max(0, n-len(d.Poses)) {
		r.Fail(wire.ErrMalformed)
	}
	return n
}

// check refuses changes that do not parse or would put an entity in two of n slots.
func (d *FrameDecoder) check(r *wire.Reader, n int) error {
	d.placed = d.placed[:0]
	for i := range d.changes {
		if c := &d.changes[i]; c.placed {
			if slot, ok := d.slots[c.pose.ID]; ok && int(slot) < n && !d.frees(int(slot)) {
				r.Fail(wire.ErrMalformed)
			}
			d.placed = append(d.placed, c.pose.ID)
		}
	}
	slices.Sort(d.placed)
	for i := 1; i < len(d.placed); i++ {
		if d.placed[i] == d.placed[i-1] {
			r.Fail(wire.ErrMalformed)
		}
	}
	return r.Done()
}

// frees reports whether the changes put another entity into slot.
func (d *FrameDecoder) frees(slot int) bool {
	i, ok := slices.BinarySearchFunc(d.changes, slot, func(c change, s int) int { return cmp.Compare(c.slot, s) })
	return ok && d.changes[i].placed
}

// commit applies changes that were checked, leaving n slots.
func (d *FrameDecoder) commit(n int) {
	d.Changed, d.Gone = d.Changed[:0], d.Gone[:0]
	if d.slots == nil {
		d.slots = make(map[mesh.EntityID]int32, n)
	}
	old := len(d.Poses)
	for i := range d.changes {
		if c := &d.changes[i]; c.placed && c.slot < old {
			d.free(c.slot)
		}
	}
	for slot := n; slot < old; slot++ {
		d.free(slot)
	}
	d.Poses = slices.Grow(d.Poses[:min(n, old)], n-min(n, old))[:n]
	for i := range d.changes {
		c := &d.changes[i]
		d.Poses[c.slot] = c.pose
		d.Changed = append(d.Changed, c.slot)
		if c.placed {
			d.slots[c.pose.ID] = int32(c.slot)
		}
	}
	d.Gone = slices.DeleteFunc(d.Gone, func(id mesh.EntityID) bool { _, ok := d.slots[id]; return ok })
}

// free takes the entity out of slot; it is gone unless another slot gets it.
func (d *FrameDecoder) free(slot int) {
	id := d.Poses[slot].ID
	delete(d.slots, id)
	d.Gone = append(d.Gone, id)
}
