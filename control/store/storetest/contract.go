package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"weft/control/mesh"
	"weft/control/store"
)

// The port's contract for what the fence rests on, written a second time and
// apart from the drivers' own rules: what each request does to one object. A
// history of many objects is linearizable exactly if that of each object is
// (Herlihy and Wing, 1990, theorem 1), so each is judged by itself.

// object is a zone's record, its poses, or one slot of its ring.
type object struct {
	zone mesh.ZoneID
	kind objectKind
	ring int
}

type objectKind uint8

const (
	recordObject objectKind = iota
	posesObject
	slotObject
)

func (o object) String() string {
	switch o.kind {
	case recordObject:
		return fmt.Sprintf("record of zone %d", o.zone)
	case posesObject:
		return fmt.Sprintf("poses of zone %d", o.zone)
	}
	return fmt.Sprintf("ring slot %d of zone %d", o.ring, o.zone)
}

type operation uint8

const (
	createZone operation = iota
	readZone
	raiseEpoch
	movePointer
	appendSlot
	readSlot // the slot that a read returned
	readEnd  // what a read did not return, where it ended
	putPoses
	raisePoses
)

func (o operation) String() string {
	return [...]string{"CreateZone", "Zone", "RaiseEpoch", "MovePointer", "Append", "ReadSlots has", "ReadSlots ends before", "PutPoses", "RaisePoses"}[o]
}

// content is what an object holds; which fields count depends on its kind.
// position is that of the slot or of the pointer.
type content struct {
	exists   bool
	epoch    mesh.Epoch
	owner    mesh.Owner
	position int64
	chunks   string
	seal     bool
	tick     mesh.Tick
	data     string
}

// request is one operation on one object. For raiseEpoch epoch is the one
// raised from; for readEnd it is the highest among the slots before.
type request struct {
	object
	op operation
	content
}

// response is an outcome: one of the port's errors or nil, and what was read.
type response struct {
	unknown bool // the client was not told
	err     error
	content content
}

func (r request) String() string {
	text := fmt.Sprintf("%v(epoch %d", r.op, r.epoch)
	switch r.op {
	case raiseEpoch, createZone:
		text += " owner " + string(r.owner.Node)
	case movePointer:
		text += fmt.Sprintf(" to %d %s", r.position, r.chunks)
	case appendSlot, readSlot, readEnd:
		text += fmt.Sprintf(" position %d seal %t %q", r.position, r.seal, r.data)
	case putPoses:
		text += fmt.Sprintf(" tick %d %q", r.tick, r.data)
	}
	return text + ")"
}

func (r response) String() string {
	switch {
	case r.unknown:
		return "unknown"
	case r.err != nil:
		return r.err.Error()
	case r.content.exists:
		c := r.content
		return fmt.Sprintf("ok: epoch %d owner %s position %d %s tick %d %q", c.epoch, c.owner.Node, c.position, c.chunks, c.tick, c.data)
	}
	return "ok"
}

// apply returns what the contract makes of r, and what the object then holds.
func (c content) apply(r request) (response, content) {
	refuse := func(err error) (response, content) { return response{err: err}, c }
	switch r.op {
	case createZone:
		next := r.content
		next.exists = true
		if c.exists && c != next {
			return refuse(store.ErrConflict)
		}
		return response{}, next
	case readZone:
		if !c.exists {
			return refuse(store.ErrNotFound)
		}
		return response{content: c}, c
	case raiseEpoch:
		if c.exists && c.epoch == r.epoch {
			c.epoch, c.owner = r.epoch+1, r.owner
			return response{}, c
		}
		switch {
		case !c.exists:
			return refuse(store.ErrNotFound)
		case c.epoch == r.epoch+1 && c.owner.Same(r.owner):
			return response{}, c
		}
		return refuse(store.ErrConflict)
	case movePointer:
		switch {
		case !c.exists || c.epoch != r.epoch || c.position > r.position:
			return refuse(store.ErrStaleEpoch)
		case c.position < r.position:
			c.position, c.chunks = r.position, r.chunks
		case c.chunks != r.chunks:
			return refuse(store.ErrStaleEpoch)
		}
		return response{}, c
	case appendSlot:
		next := r.content
		next.exists = true
		free := !c.exists && r.position < mesh.RingSlots
		follows := c.exists && c.position == r.position-mesh.RingSlots && c.epoch <= r.epoch
		if c == next || free || follows {
			return response{}, next
		}
		return refuse(store.ErrStaleEpoch)
	case readSlot:
		return response{content: c}, c
	case putPoses:
		next := r.content
		next.exists = true
		if !c.exists || r.epoch > c.epoch || r.epoch == c.epoch && r.tick > c.tick || c == next {
			return response{}, next
		}
		return refuse(store.ErrStaleEpoch)
	case raisePoses:
		if c.exists && c.epoch > r.epoch {
			return refuse(store.ErrStaleEpoch)
		}
		c.exists, c.epoch = true, r.epoch
		return response{content: c}, c
	}
	panic("no such operation")
}

// ends reports whether a read that got as far as r.position may end there with
// c in that ring slot: with nothing before it, whatever is there is returned.
func (c content) ends(r request) bool {
	first := r.data == readFirst
	return !c.exists || !first && c.position != r.position && c.epoch <= r.epoch
}

// readFirst marks a readEnd with no slot before it.
const readFirst = "first"

// model judges the history of one object. An operation whose outcome the client
// does not know may happen at any time after its call, or never, which is the
// same as after all others.
var model = porcupine.Model{
	Init: func() any { return content{} },
	Step: func(state, input, output any) (bool, any) {
		c, r, got := state.(content), input.(request), output.(response)
		if r.op == readEnd {
			return c.ends(r), c
		}
		want, next := c.apply(r)
		return got.unknown || got == want, next
	},
}

// sentinel reduces err to the port's error that it wraps.
func sentinel(err error) (error, bool) {
	for _, kind := range []error{nil, store.ErrStaleEpoch, store.ErrConflict, store.ErrNotFound, store.ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind, true
		}
	}
	return err, false
}

func recordContent(rec mesh.ZoneRecord) content {
	return content{exists: true, epoch: rec.Epoch, owner: rec.Owner, position: rec.Pointer.Position, chunks: strings.Join(rec.Pointer.Chunks, ",")}
}

func slotContent(s mesh.Slot) content {
	return content{exists: true, epoch: s.Epoch, position: s.Position, seal: s.Seal, data: string(s.Data)}
}

func poseContent(p mesh.PoseRecord) content {
	return content{exists: true, epoch: p.Epoch, tick: p.Tick, data: string(p.Data)}
}
