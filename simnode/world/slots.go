package world

import (
	"math"
	"math/bits"

	"weft/control/mesh"
)

// class is what a tick does with an entity. Each awake resident is in the list
// of its class, so that what lies still costs nothing.
type class uint8

const (
	resting class = iota // an item that lies
	flying               // a free item in motion
	burning              // a rocket
	acting               // a free player, NPC or ship
	riding               // an actor on a deck
	held                 // an item in a hand or in a hold
	classes
)

func classOf(id mesh.EntityID, f mesh.Flags, carrier mesh.EntityID) class {
	actor := id.Layer() == mesh.Actors
	switch {
	case actor && carrier != 0:
		return riding
	case actor:
		return acting
	case carrier != 0:
		return held
	case id.Kind() == mesh.KindRocket:
		return burning
	case f&mesh.Flying != 0:
		return flying
	}
	return resting
}

// sight is what others see of an actor in this tick: its state at the end of
// the last, whatever acts have done since. Of an item in the air they see its
// spot in slots.air.
type sight struct {
	pos, vel mesh.Vec
	carrier  mesh.EntityID
}

// cold is what the tick seldom needs.
type cold struct {
	placed    mesh.Tick
	held      mesh.EntityID
	session   uint64
	lastEvent uint32
	outcomes  uint32
}

// slots holds the awake residents, a field an array, dense from 0.
type slots struct {
	at        index // a slot; or, complemented, a place among the sleepers
	id        []mesh.EntityID
	carrier   []mesh.EntityID
	pos, vel  []mesh.Vec
	hop       []uint32
	flags     []mesh.Flags
	health    []int16
	yaw       []uint16
	data      []uint64
	cold      []cold
	class     []class
	place     []int32 // in lists[class]
	seen      []sight
	seenClass []class
	dirty     []bool // listed in World.touched
	// air holds the items that others see fly, in the order of the last Step's
	// grid, so that they are found, moved and sorted anew with neighbours side by
	// side in memory. One that left in between has the ref vacant.
	air   []spot
	airAt []int32 // by slot: its place in air, or -1
	lists [classes][]int32
}

// insert gives e a new slot, seen by others as it is.
func (t *slots) insert(e *mesh.Entity) int32 {
	s := int32(len(t.id))
	t.at.put(e.ID, s)
	c := classOf(e.ID, e.Flags, e.Carrier)
	t.id = append(t.id, e.ID)
	t.carrier = append(t.carrier, 0)
	t.pos, t.vel = append(t.pos, mesh.Vec{}), append(t.vel, mesh.Vec{})
	t.hop, t.flags = append(t.hop, 0), append(t.flags, 0)
	t.health, t.yaw = append(t.health, 0), append(t.yaw, 0)
	t.data, t.cold = append(t.data, 0), append(t.cold, cold{})
	t.seen = append(t.seen, sight{e.Pos, e.Vel, e.Carrier})
	t.seenClass, t.dirty = append(t.seenClass, c), append(t.dirty, false)
	t.class, t.place = append(t.class, c), append(t.place, int32(len(t.lists[c])))
	t.lists[c] = append(t.lists[c], s)
	t.airAt = append(t.airAt, -1)
	if c == flying {
		t.lift(s, e.Pos, e.Vel)
	}
	t.store(s, e)
	return s
}

// vacant is no slot, and no ghost either.
const vacant = math.MinInt32

// lift lets others see the item in slot s fly.
func (t *slots) lift(s int32, p, v mesh.Vec) {
	t.airAt[s] = int32(len(t.air))
	t.air = append(t.air, spot{pos: p, vel: v, ref: s})
	t.seen[s].carrier = 0
}

// land undoes lift.
func (t *slots) land(s int32) {
	if i := t.airAt[s]; i >= 0 {
		t.air[i].ref, t.airAt[s] = vacant, -1
	}
}

// store sets the state of slot s, which keeps its id.
func (t *slots) store(s int32, e *mesh.Entity) {
	t.carrier[s], t.pos[s], t.vel[s] = e.Carrier, e.Pos, e.Vel
	t.hop[s], t.flags[s], t.health[s], t.yaw[s] = e.Hop, e.Flags, e.Health, e.Yaw
	t.data[s] = e.Data
	t.cold[s] = cold{e.Placed, e.Held, e.Session, e.LastEvent, e.Outcomes}
	t.reclass(s)
}

func (t *slots) load(s int32) mesh.Entity {
	c := &t.cold[s]
	return mesh.Entity{Pose: t.pose(s), Placed: c.placed, Held: c.held, Data: t.data[s],
		Session: c.session, LastEvent: c.lastEvent, Outcomes: c.outcomes}
}

func (t *slots) pose(s int32) mesh.Pose {
	return mesh.Pose{ID: t.id[s], Hop: t.hop[s], Flags: t.flags[s], Health: t.health[s], Yaw: t.yaw[s],
		Carrier: t.carrier[s], Pos: t.pos[s], Vel: t.vel[s]}
}

// reclass moves s to the list of its class.
func (t *slots) reclass(s int32) {
	c := classOf(t.id[s], t.flags[s], t.carrier[s])
	if c == t.class[s] {
		return
	}
	t.unlist(s)
	t.class[s], t.place[s] = c, int32(len(t.lists[c]))
	t.lists[c] = append(t.lists[c], s)
}

func (t *slots) unlist(s int32) {
	l := t.lists[t.class[s]]
	last := len(l) - 1
	moved := l[last]
	l[t.place[s]] = moved
	t.place[moved] = t.place[s]
	t.lists[t.class[s]] = l[:last]
}

// drop frees slot s; the last one moves into it.
func (t *slots) drop(s int32) {
	t.unlist(s)
	t.land(s)
	t.at.remove(t.id[s])
	n := int32(len(t.id)) - 1
	if s != n {
		t.at.put(t.id[n], s)
		t.lists[t.class[n]][t.place[n]] = s
		if i := t.airAt[n]; i >= 0 {
			t.air[i].ref = s
		}
	}
	t.id, t.carrier = fill(t.id, s), fill(t.carrier, s)
	t.pos, t.vel = fill(t.pos, s), fill(t.vel, s)
	t.hop, t.flags = fill(t.hop, s), fill(t.flags, s)
	t.health, t.yaw = fill(t.health, s), fill(t.yaw, s)
	t.data, t.cold = fill(t.data, s), fill(t.cold, s)
	t.class, t.place = fill(t.class, s), fill(t.place, s)
	t.seen, t.seenClass = fill(t.seen, s), fill(t.seenClass, s)
	t.dirty, t.airAt = fill(t.dirty, s), fill(t.airAt, s)
}

// fill overwrites element s with the last, which it takes off.
func fill[T any](a []T, s int32) []T {
	a[s] = a[len(a)-1]
	return a[:len(a)-1]
}

// index maps entity ids to places: open addressing with linear probing and
// deletion by shifting back, so that it never degrades and allocates only to grow.
type index struct {
	keys []mesh.EntityID // zero is free; length a power of two
	vals []int32
	n    int
}

func (x *index) home(id mesh.EntityID) int {
	return int(mix(uint64(id)) & uint64(len(x.keys)-1))
}

// find returns the place of id, or where it would go.
func (x *index) find(id mesh.EntityID) int {
	i := x.home(id)
	for x.keys[i] != 0 && x.keys[i] != id {
		i = (i + 1) & (len(x.keys) - 1)
	}
	return i
}

func (x *index) get(id mesh.EntityID) (int32, bool) {
	if x.n == 0 || id == 0 {
		return 0, false
	}
	i := x.find(id)
	return x.vals[i], x.keys[i] == id
}

func (x *index) put(id mesh.EntityID, v int32) {
	if 2*(x.n+1) > len(x.keys) {
		old := *x
		size := max(16, 1<<bits.Len(uint(4*x.n)))
		x.keys, x.vals = make([]mesh.EntityID, size), make([]int32, size)
		for i, k := range old.keys {
			if k != 0 {
				j := x.find(k)
				x.keys[j], x.vals[j] = k, old.vals[i]
			}
		}
	}
	i := x.find(id)
	if x.keys[i] == 0 {
		x.n++
	}
	x.keys[i], x.vals[i] = id, v
}

func (x *index) remove(id mesh.EntityID) {
	if _, ok := x.get(id); !ok {
		return
	}
	mask := len(x.keys) - 1
	hole := x.find(id)
	for i := (hole + 1) & mask; x.keys[i] != 0; i = (i + 1) & mask {
		if (i-x.home(x.keys[i]))&mask >= (i-hole)&mask {
			x.keys[hole], x.vals[hole] = x.keys[i], x.vals[i]
			hole = i
		}
	}
	x.keys[hole], x.vals[hole] = 0, 0
	x.n--
}
