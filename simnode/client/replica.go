package client

import (
	"weft/control/mesh"
	"weft/simnode/wire"
)

// Entity is what the client knows of an entity in sight.
type Entity struct {
	Handle  uint32
	ID      mesh.EntityID
	Hop     uint32
	Flags   mesh.Flags
	Health  int16
	Carrier mesh.EntityID
	Pos     mesh.Vec
	Yaw     uint16
	Tick    mesh.Tick // of the view that last told of it
}

// replica is what the client sees. Its slices belong to the goroutine that
// reads; others look at it under the client's lock.
type replica struct {
	entities []Entity
	byHandle map[uint32]int32
	// old are those that the last connection showed and this one has not yet.
	old      map[mesh.EntityID]Entity
	oldUntil mesh.Tick
	self     wire.Self
	tick     mesh.Tick
	entered  []uint32 // of the last view: handles
	left     []Entity // of the last view
}

func newReplica() replica {
	return replica{byHandle: map[uint32]int32{}, old: map[mesh.EntityID]Entity{}}
}

// turn makes the replica wait for another connection's handles. What was in
// sight stays so until that connection shows it, or tick until has come.
func (r *replica) turn(until mesh.Tick) {
	for _, e := range r.entities {
		r.old[e.ID] = e
	}
	clear(r.byHandle)
	r.entities, r.oldUntil = r.entities[:0], until
}

// take takes in a view.
func (r *replica) take(v *wire.View) {
	r.entered, r.left = r.entered[:0], r.left[:0]
	r.self, r.tick = v.Self, v.Tick
	for _, h := range v.Leaves {
		if i, ok := r.byHandle[h]; ok {
			r.left = append(r.left, r.entities[i])
			r.remove(h, i)
		}
	}
	for i := range v.Enters {
		e := &v.Enters[i]
		at, known := r.byHandle[e.Handle]
		if !known {
			at = int32(len(r.entities))
			r.entities = append(r.entities, Entity{})
			r.byHandle[e.Handle] = at
		}
		_, seen := r.old[e.ID]
		if seen {
			delete(r.old, e.ID)
		}
		if !seen && (!known || r.entities[at].ID != e.ID) {
			if known {
				r.left = append(r.left, r.entities[at])
			}
			r.entered = append(r.entered, e.Handle)
		}
		r.entities[at] = Entity{e.Handle, e.ID, e.Hop, e.Flags, e.Health, e.Carrier, e.Pos, e.Yaw, v.Tick}
	}
	for i := range v.Moves {
		m := &v.Moves[i]
		at, ok := r.byHandle[m.Handle]
		if !ok {
			continue
		}
		e := &r.entities[at]
		e.Pos, e.Yaw, e.Tick = wire.Resolve(e.Pos, *m), uint16(m.Yaw)<<8, v.Tick
		if m.Changed {
			e.Hop, e.Flags, e.Health, e.Carrier = m.Hop, m.Flags, m.Health, m.Carrier
		}
	}
	if len(r.old) > 0 && v.Tick >= r.oldUntil {
		for _, e := range r.old {
			r.left = append(r.left, e)
		}
		clear(r.old)
	}
}

func (r *replica) remove(handle uint32, at int32) {
	last := int32(len(r.entities) - 1)
	delete(r.byHandle, handle)
	if at != last {
		r.entities[at] = r.entities[last]
		r.byHandle[r.entities[at].Handle] = at
	}
	r.entities = r.entities[:last]
}

// Self returns the player's own body, exactly, and the tick of the last view.
func (c *Client) Self() (wire.Self, mesh.Tick) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self, c.tick
}

// Each calls f for every entity in sight, the player's own body not among
// them, in no particular order, until f returns false. F must not call the
// client's methods.
func (c *Client) Each(f func(e *Entity) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entities {
		if !f(&c.entities[i]) {
			return
		}
	}
	for _, e := range c.old {
		if !f(&e) {
			return
		}
	}
}
