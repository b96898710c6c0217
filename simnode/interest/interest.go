// Package interest tells, tick by tick, who comes near to whom and who goes: for
// every entity the set of the others within a radius, as its changes. It is
// pure, holds no pointers and allocates only to grow. See Sets.
package interest

import (
	"cmp"
	"slices"

	"weft/control/mesh"
)

// Pair is two slots of which each is in the other's set; A is below B.
type Pair struct{ A, B int32 }

// Sets is the interest sets of all entities, each in a slot of the caller's
// choice. A set is not kept as a list, since it follows from the places of the
// last Step: only pairs whose distance is within what two entities can have
// moved since of the radius are looked at twice. Entities are sorted by cell, in
// the order of the step before, so that neighbours lie side by side in memory.
//
// Step by step: Place and Remove, then Step, then the two slices. Used by one
// goroutine at a time. The zero Sets is not usable: see New.
type Sets struct {
	radius   int32
	was, now []mesh.Vec // by slot, at the last Step and for the next
	state    []state    // by slot
	present  []entry    // at the last Step, in the order of the grid
	fresh    []int32    // slots that were placed since
	left     []int32    // slots that were removed or jumped since
	grid     grid       // of now
	past     grid       // of was, made only if somebody left or jumped

	enters, leaves []Pair
}

// state is what a slot holds.
type state uint8

const (
	wasHere state = 1 << iota // at the last Step
	isHere
	listed  // in fresh or present
	jumping // moved further in one Step than is looked for
)

// entry is an entity in a grid. One that was not there at the last Step, or has
// jumped, has its slot complemented.
type entry struct {
	pos mesh.Vec
	ref int32
}

func slotOf(ref int32) int32 { return ref ^ ref>>31 }

// New returns empty sets of those within radius units, from 1 to 2²⁰.
func New(radius int32) *Sets { return &Sets{radius: min(max(radius, 1), 1<<20)} }

// Place puts the entity of slot, a small number that is not negative, at p, or
// moves it there.
func (s *Sets) Place(slot int32, p mesh.Vec) {
	for int(slot) >= len(s.state) {
		s.was, s.now, s.state = append(s.was, mesh.Vec{}), append(s.now, mesh.Vec{}), append(s.state, 0)
	}
	s.now[slot] = p
	if st := s.state[slot]; st&listed == 0 {
		s.fresh = append(s.fresh, slot)
		s.state[slot] |= listed
	}
	s.state[slot] |= isHere
}

// Remove takes the entity of slot away, if there is one.
func (s *Sets) Remove(slot int32) {
	if int(slot) < len(s.state) {
		s.state[slot] &^= isHere
	}
}

// Step brings all sets up to date. Enters are the pairs that came within the
// radius of each other, leaves those that no longer are, each once, in the order
// of A and B. Both belong to the Sets until its next Step.
func (s *Sets) Step() (enters, leaves []Pair) {
	s.enters, s.leaves, s.left = s.enters[:0], s.leaves[:0], s.left[:0]
	reach := s.gather()
	s.grid.build(s.radius + 2*reach)
	s.meet(reach)
	if len(s.left) > 0 {
		s.part()
	}
	s.present, s.grid.entries = s.grid.entries, s.present[:0]
	for i := range s.present {
		e := &s.present[i]
		e.ref = slotOf(e.ref)
		s.was[e.ref] = e.pos
		s.state[e.ref] = wasHere | isHere | listed
	}
	for _, slot := range s.left {
		if s.state[slot]&isHere == 0 {
			s.state[slot] = 0
		}
	}
	slices.SortFunc(s.enters, comparePairs)
	slices.SortFunc(s.leaves, comparePairs)
	return s.enters, s.leaves
}

func comparePairs(a, b Pair) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) }

// gather lists who is here in the grid, and who left or jumped, and returns the
// furthest that anybody else has moved.
func (s *Sets) gather() (reach int32) {
	in := s.grid.in[:0]
	limit := max(s.radius/4, 1) // further is a jump
	for i := range s.present {
		slot := s.present[i].ref
		if s.state[slot]&isHere == 0 {
			s.left = append(s.left, slot)
			continue
		}
		p, q := s.now[slot], s.was[slot]
		far := max(apart(p.X, q.X), apart(p.Y, q.Y), apart(p.Z, q.Z))
		if far > int64(limit) {
			s.state[slot] |= jumping
			s.left = append(s.left, slot)
			in = append(in, entry{p, ^slot})
			continue
		}
		reach = max(reach, int32(far))
		in = append(in, entry{p, slot})
	}
	for _, slot := range s.fresh {
		if s.state[slot]&isHere == 0 { // come and gone
			s.state[slot] = 0
			continue
		}
		in = append(in, entry{s.now[slot], ^slot})
	}
	s.fresh, s.grid.in = s.fresh[:0], in
	return reach + reach*3/4 + 1 // along all three axes it is that much further
}

func apart(a, b int32) int64 { return max(int64(a)-int64(b), int64(b)-int64(a)) }

// meet finds what changed among those who are here, leaves of those who jumped
// excepted. Two that moved by reach at most each were in each other's sets if
// they are nearer than the radius by twice that, and were not if further.
func (s *Sets) meet(reach int32) {
	r := int64(s.radius)
	inner, outer := max(r-2*int64(reach), 0), r+2*int64(reach)
	inner2, ring, r2 := inner*inner, outer*outer-inner*inner, r*r
	g := &s.grid
	for cell := range len(g.starts) - 1 {
		from, to := g.starts[cell], g.starts[cell+1]
		if from == to {
			continue
		}
		own, rest := g.entries[from:to], g.forward(cell)
		for i := range own {
			a := &own[i]
			p, ref := a.pos, a.ref
			near := own[i+1:]
			for part := 0; ; part++ {
				for j := range near {
					b := &near[j]
					x, y, z := int64(p.X)-int64(b.pos.X), int64(p.Y)-int64(b.pos.Y), int64(p.Z)-int64(b.pos.Z)
					d := x*x + y*y + z*z
					if ref|b.ref >= 0 {
						if uint64(d-inner2) <= uint64(ring) && (d <= r2) != (s.was[ref].Dist2(s.was[b.ref]) <= r2) {
							s.note(ref, b.ref, d <= r2)
						}
					} else if d <= r2 {
						s.welcome(slotOf(ref), slotOf(b.ref))
					}
				}
				if part == len(rest) {
					break
				}
				near = rest[part]
			}
		}
	}
}

// note tells of a pair that came together or parted.
func (s *Sets) note(a, b int32, enter bool) {
	if a > b {
		a, b = b, a
	}
	if enter {
		s.enters = append(s.enters, Pair{a, b})
	} else {
		s.leaves = append(s.leaves, Pair{a, b})
	}
}

// welcome tells of a pair of which one has come or jumped, unless it was one before.
func (s *Sets) welcome(a, b int32) {
	if s.state[a]&s.state[b]&wasHere == 0 || s.was[a].Dist2(s.was[b]) > int64(s.radius)*int64(s.radius) {
		s.note(a, b, true)
	}
}

// part finds the leaves of those who left or jumped, around where they were.
func (s *Sets) part() {
	r2 := int64(s.radius) * int64(s.radius)
	s.past.in = s.past.in[:0]
	for i := range s.present {
		slot := s.present[i].ref
		s.past.in = append(s.past.in, entry{s.was[slot], slot})
	}
	s.past.build(s.radius)
	gone := func(slot int32) bool { return s.state[slot]&isHere == 0 || s.state[slot]&jumping != 0 }
	for _, a := range s.left {
		s.past.around(s.was[a], func(e *entry) {
			b := e.ref
			if a == b || s.was[a].Dist2(e.pos) > r2 || gone(b) && b < a {
				return // or it is told of by b
			}
			if s.state[a]&s.state[b]&isHere == 0 || s.now[a].Dist2(s.now[b]) > r2 {
				s.note(a, b, false)
			}
		})
	}
}

// Near appends the slots in the set of slot as of the last Step to dst, in no
// particular order.
func (s *Sets) Near(slot int32, dst []int32) []int32 {
	if int(slot) >= len(s.state) || s.state[slot]&wasHere == 0 {
		return dst
	}
	r2 := int64(s.radius) * int64(s.radius)
	p := s.was[slot]
	s.grid.entriesAround(s.present, p, s.radius, func(e *entry) {
		if e.ref != slot && p.Dist2(e.pos) <= r2 {
			dst = append(dst, e.ref)
		}
	})
	return dst
}
