package storetest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// Volume sizes the histories of Linearize.
type Volume struct {
	Histories  int // each with a seed of its own
	Zones      int // of a history, one after the other
	Clients    int // at once in one zone
	Operations int // of a client in a zone
}

// judgePatience bounds the search for an order of one object's operations.
const judgePatience = 20 * time.Second

// Linearize fails unless what concurrent owners see of zone records, journal
// and poses is what some order of their requests would give, each taking
// effect at one instant between its call and its answer. open returns handles
// on one and the same empty store, which the clients share out among them.
// Requests are lost, late, repeated and timed out on the way; then the client
// does not know the outcome, and repeats or goes on. The seed that is printed
// fixes the requests and faults, though not how the clients interleave.
func Linearize(t *testing.T, open func(t *testing.T) []store.Store, v Volume) {
	for i := range v.Histories {
		t.Run(fmt.Sprint("history ", i), func(t *testing.T) {
			seed := rand.Uint64()
			if text := os.Getenv(seedVariable); text != "" {
				var err error
				if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
					t.Fatalf("%s=%s is not a seed", seedVariable, text)
				}
			}
			s := begin(t, open(t)...)
			done, fault := linearize(s.ctx, s.handles, v, seed)
			t.Logf("seed %d: %v", seed, done)
			if fault != "" {
				t.Fatalf("%s\nrequests again with %s=%d", fault, seedVariable, seed)
			}
		})
	}
}

// tally counts what a history had in it.
type tally struct{ operations, refused, unknown, objects int }

func (n tally) String() string {
	return fmt.Sprintf("%d operations on %d objects, %d refused, %d of unknown outcome", n.operations, n.objects, n.refused, n.unknown)
}

// linearize makes a history and judges it; fault says what is impossible in it.
func linearize(ctx context.Context, handles []store.Store, v Volume, seed uint64) (n tally, fault string) {
	var clock atomic.Int64
	for zone := range mesh.ZoneID(v.Zones) {
		z := &linearZone{zone: zone + 1, clock: &clock, unknown: map[object]int{}}
		var clients sync.WaitGroup
		for i := range v.Clients {
			c := &linearClient{
				linearZone: z, ctx: ctx, store: handles[i%len(handles)], name: fmt.Sprint(i),
				rand: rand.New(rand.NewPCG(seed, uint64(zone)<<32|uint64(i))),
				next: [linearRing]int64{0, 1, 2, 3}, pointer: -1,
			}
			clients.Go(func() {
				for range v.Operations {
					c.act()
				}
				for len(c.late) > 0 {
					c.deliver()
				}
			})
		}
		clients.Wait()
		if z.fault != "" {
			return n, z.fault
		}
		if fault := z.judge(&n); fault != "" {
			return n, fault
		}
	}
	return n, ""
}

const (
	// linearRing is how many slots of a ring the clients contend for.
	linearRing = 4
	// maxUnknown bounds the operations of unknown outcome on one object: each
	// doubles what must be searched at worst.
	maxUnknown = 6
	// maxRepeats is how often a request of unknown outcome is repeated.
	maxRepeats = 3
	// maxLate bounds the requests of a client that are still on their way.
	maxLate = 4
)

// linearZone is the history of one zone.
type linearZone struct {
	zone  mesh.ZoneID
	clock *atomic.Int64 // orders calls and answers

	mu      sync.Mutex
	history []porcupine.Operation
	unknown map[object]int
	fault   string // an answer that no driver may give
}

func (z *linearZone) record(r request, call int64, got response, answered int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.history = append(z.history, porcupine.Operation{Input: r, Call: call, Output: got, Return: answered})
}

// mayLose reports whether one more outcome on o may be unknown, and counts it.
func (z *linearZone) mayLose(o object) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.unknown[o] >= maxUnknown {
		return false
	}
	z.unknown[o]++
	return true
}

// judge looks for an order of each object's operations.
func (z *linearZone) judge(n *tally) string {
	of := map[object][]porcupine.Operation{}
	for _, op := range z.history {
		o := op.Input.(request).object
		of[o] = append(of[o], op)
		n.operations++
		switch got := op.Output.(response); {
		case got.unknown:
			n.unknown++
		case got.err != nil:
			n.refused++
		}
	}
	n.objects += len(of)
	for o, history := range of {
		switch porcupine.CheckOperationsTimeout(model, history, judgePatience) {
		case porcupine.Illegal:
			return explain(o, history)
		case porcupine.Unknown:
			return fmt.Sprintf("%v: no order of %d operations found within %v, nor that there is none", o, len(history), judgePatience)
		}
	}
	return ""
}

// explain finds the first answer that no order explains, and tells what led to it.
func explain(o object, history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	through := func(n int) []porcupine.Operation { // the rest is called, and not answered
		some := slices.Clone(history)
		for i := n; i < len(some); i++ {
			some[i].Output, some[i].Return = response{unknown: true}, math.MaxInt64
		}
		return slices.DeleteFunc(some, func(op porcupine.Operation) bool {
			return op.Return == math.MaxInt64 && (op.Call > history[n-1].Return || op.Input.(request).op == readEnd)
		})
	}
	bad := sort.Search(len(history), func(i int) bool {
		return porcupine.CheckOperationsTimeout(model, through(i+1), judgePatience) == porcupine.Illegal
	})
	text := fmt.Sprintf("%v is not linearizable: no order explains the last of these answers\n", o)
	for _, op := range history[max(0, bad-16):min(bad+1, len(history))] {
		text += fmt.Sprintf("  %6d–%-6d %v → %v\n", op.Call, op.Return, op.Input, op.Output)
	}
	return text
}

// linearClient is an owner, or one who was: it knows what it last saw.
type linearClient struct {
	*linearZone
	ctx   context.Context
	store store.Store
	name  string
	rand  *rand.Rand
	late  []lateRequest

	epoch   mesh.Epoch
	next    [linearRing]int64 // the position to append at next
	pointer int64
	tick    mesh.Tick
	serial  int
}

// lateRequest is on its way while its client has long given up.
type lateRequest struct {
	request
	after int // so many more of the client's acts
}

func (c *linearClient) one(n int) bool { return c.rand.IntN(n) == 0 }

// act does one thing that an owner, an old owner or a planner does.
func (c *linearClient) act() {
	for len(c.late) > 0 && c.late[0].after <= 0 {
		c.deliver()
	}
	for i := range c.late {
		c.late[i].after--
	}
	c.serial++
	mark := c.name + "." + strconv.Itoa(c.serial)
	epoch := c.epoch
	if c.one(5) && epoch > 0 {
		epoch-- // an old owner
	}
	me := mesh.Owner{Node: mesh.NodeID(c.name), Incarnation: 1, Address: "a:1"}
	record, poses := object{zone: c.zone, kind: recordObject}, object{zone: c.zone, kind: posesObject}
	switch n := c.rand.IntN(100); {
	case n < 3 || c.serial == 1:
		c.write(request{record, createZone, content{epoch: 1, owner: me, position: -1}})
	case n < 18:
		c.readZone()
	case n < 28:
		c.write(request{record, raiseEpoch, content{epoch: epoch, owner: me}})
	case n < 43:
		c.write(request{record, movePointer, content{epoch: epoch, position: c.pointer + int64(c.rand.IntN(3)), chunks: mark}})
	case n < 66:
		i := c.rand.IntN(linearRing)
		at := c.next[i]
		if c.one(6) && at >= mesh.RingSlots {
			at -= mesh.RingSlots
		}
		slot := content{epoch: epoch, position: at, seal: c.one(8)}
		if !slot.seal {
			slot.data = mark
		}
		c.write(request{object{c.zone, slotObject, i}, appendSlot, slot})
	case n < 80:
		from := c.next[c.rand.IntN(linearRing)]
		if c.one(2) && from >= mesh.RingSlots {
			from -= mesh.RingSlots
		}
		c.readSlots(from, 1+c.rand.IntN(linearRing))
	case n < 92:
		c.write(request{poses, putPoses, content{epoch: epoch, tick: c.tick + mesh.Tick(c.rand.IntN(3)), data: mark}})
	default:
		c.write(request{poses, raisePoses, content{epoch: epoch}})
	}
}

// write makes a request, perhaps under a fault, and repeats it while its
// outcome is unknown, or gives it up.
func (c *linearClient) write(r request) {
	for range maxRepeats {
		if got := c.attempt(r); !got.unknown {
			c.learn(r, got)
			return
		}
		if c.one(3) {
			return
		}
	}
}

// attempt makes a request once. What happens to it on the way is drawn.
func (c *linearClient) attempt(r request) response {
	lost := response{unknown: true}
	switch fault := c.rand.IntN(100); {
	case fault < 2 && c.mayLose(r.object): // never arrives
		c.record(r, c.clock.Add(1), lost, math.MaxInt64)
		return lost
	case fault < 4 && c.mayLose(r.object): // the answer never arrives
		call := c.clock.Add(1)
		c.perform(c.ctx, r)
		c.record(r, call, lost, math.MaxInt64)
		return lost
	case fault < 7 && len(c.late) < maxLate && c.mayLose(r.object):
		c.record(r, c.clock.Add(1), lost, math.MaxInt64)
		c.late = append(c.late, lateRequest{r, 1 + c.rand.IntN(12)})
		return lost
	case fault < 9 && c.mayLose(r.object): // the client's patience ends
		ctx, cancel := context.WithTimeout(c.ctx, time.Duration(c.rand.IntN(400))*time.Microsecond)
		defer cancel()
		return c.timed(ctx, r)
	case fault < 13: // arrives twice
		var twin sync.WaitGroup
		twin.Go(func() { c.timed(c.ctx, r) })
		defer twin.Wait()
	}
	return c.timed(c.ctx, r)
}

// timed makes a request and records when.
func (c *linearClient) timed(ctx context.Context, r request) response {
	call := c.clock.Add(1)
	got := c.perform(ctx, r)
	answered := c.clock.Add(1)
	if got.unknown {
		answered = math.MaxInt64
	}
	c.record(r, call, got, answered)
	return got
}

// deliver lets the oldest late request arrive; nobody waits for the answer.
func (c *linearClient) deliver() {
	r := c.late[0].request
	c.late = c.late[1:]
	c.perform(c.ctx, r)
}

// perform carries r out on the store.
func (c *linearClient) perform(ctx context.Context, r request) (got response) {
	runtime.Gosched()
	var err error
	switch r.op {
	case createZone:
		err = c.store.CreateZone(ctx, mesh.ZoneRecord{Zone: c.zone, Owner: r.owner, Epoch: r.epoch, Pointer: mesh.Pointer{Position: r.position}})
	case raiseEpoch:
		err = c.store.RaiseEpoch(ctx, c.zone, r.epoch, r.owner)
	case movePointer:
		err = c.store.MovePointer(ctx, c.zone, r.epoch, mesh.Pointer{Position: r.position, Chunks: []string{r.chunks}})
	case appendSlot:
		err = c.store.Append(ctx, c.zone, mesh.Slot{Position: r.position, Epoch: r.epoch, Seal: r.seal, Data: []byte(r.data)})
	case putPoses:
		err = c.store.PutPoses(ctx, c.zone, mesh.PoseRecord{Epoch: r.epoch, Tick: r.tick, Data: []byte(r.data)})
	case raisePoses:
		var rec mesh.PoseRecord
		if rec, err = c.store.RaisePoses(ctx, c.zone, r.epoch); err == nil {
			got.content = poseContent(rec)
		}
	}
	runtime.Gosched()
	return c.answer(r.op, got, err)
}

// answer sorts an error of op into those that the contract names.
func (c *linearClient) answer(op operation, got response, err error) response {
	kind, known := sentinel(err)
	if got.err = kind; kind == store.ErrUnavailable {
		return response{unknown: true}
	}
	if !known {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fault = fmt.Sprintf("%v failed with an error that the port does not name: %v", op, err)
		return response{unknown: true}
	}
	return got
}

// learn remembers what an answer says of the zone.
func (c *linearClient) learn(r request, got response) {
	if got.err != nil {
		return
	}
	switch r.op {
	case raiseEpoch:
		c.epoch = r.epoch + 1
	case movePointer:
		c.pointer = r.position
	case appendSlot:
		c.next[r.ring] = r.position + mesh.RingSlots
	case putPoses:
		c.tick = r.tick
	case raisePoses:
		c.tick = got.content.tick
	}
}

func (c *linearClient) readZone() {
	r := request{object: object{zone: c.zone, kind: recordObject}, op: readZone}
	call := c.clock.Add(1)
	rec, err := c.store.Zone(c.ctx, c.zone)
	var got response
	if err == nil {
		got.content = recordContent(rec)
	}
	if got = c.answer(r.op, got, err); got.unknown {
		return
	}
	c.record(r, call, got, c.clock.Add(1))
	c.epoch, c.pointer = rec.Epoch, max(rec.Pointer.Position, -1)
}

// readSlots reads several objects: the port promises each of them as it was at
// an instant of the call, not all at the same instant.
func (c *linearClient) readSlots(from int64, limit int) {
	call := c.clock.Add(1)
	slots, err := c.store.ReadSlots(c.ctx, c.zone, from, limit)
	answered := c.clock.Add(1)
	if got := c.answer(readSlot, response{}, err); got.unknown {
		return
	}
	end := request{op: readEnd, content: content{data: readFirst}}
	complete, sound := len(slots) >= limit, len(slots) <= limit
	for i, s := range slots {
		at := object{c.zone, slotObject, rule.Ring(s.Position)}
		if other := s.Position != from+int64(i); other {
			complete = true
			sound = sound && i == len(slots)-1 && at.ring == rule.Ring(from+int64(i)) && (i == 0 || s.Epoch > end.epoch)
		}
		end.data, end.epoch = "", max(end.epoch, s.Epoch)
		c.record(request{at, readSlot, content{position: from + int64(i)}}, call, response{content: slotContent(s)}, answered)
		if at.ring < linearRing {
			c.next[at.ring] = s.Position + mesh.RingSlots
		}
	}
	if end.position = from + int64(len(slots)); !complete {
		end.object = object{c.zone, slotObject, rule.Ring(end.position)}
		c.record(end, call, response{}, answered)
	}
	if !sound {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fault = fmt.Sprintf("ReadSlots(%d, %d) returned %s", from, limit, slotsString(slots))
	}
}
