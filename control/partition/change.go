package partition

import (
	"errors"
	"fmt"

	"weft/control/mesh"
)

// Kind is what a Change does.
type Kind uint8

const (
	// Split cuts Zone at Axis = At; a new zone with the given Owner gets the
	// high half, or the low one if KeepHigh.
	Split Kind = iota + 1
	// Merge retires Zone and grows Other over its box.
	Merge
	// Move retires Zone and puts a new zone of the same box under Owner. Its
	// entities cross by themselves: nobody stalls.
	Move
	// Border shifts the plane between Zone and Other to Axis = At.
	Border
	// Takeover gives Zone to Owner under Epoch.
	Takeover
	// Remove takes the retired and empty Zone out of the layout.
	Remove
	// AddProps puts a new zone of the Props layer over Box under Owner.
	AddProps
	// RetireProps retires Zone of the Props layer: its props go to the Actors
	// zones under them.
	RetireProps
	// Sleep and Wake set and clear the layout's Asleep.
	Sleep
	Wake
)

var kindNames = [...]string{"nothing", "split", "merge", "move", "border", "takeover", "remove", "addprops", "retireprops", "sleep", "wake"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Change is one change of a layout, with why and what was refused instead.
type Change struct {
	Kind         Kind
	Zone, Other  mesh.ZoneID
	Axis         int // 0 is X, 1 is Y
	At           int32
	KeepHigh     bool
	Box          mesh.Box
	Owner        mesh.Owner
	Epoch        mesh.Epoch
	Reason       string
	Alternatives []string
}

// Makes reports whether c adds a zone, which gets the id l.NextZone.
func (c Change) Makes() bool { return c.Kind == Split || c.Kind == Move || c.Kind == AddProps }

// ErrNotApplicable: the change does not fit the layout. Plan again.
var ErrNotApplicable = errors.New("change does not fit the layout")

// Apply makes the change in l, a draft whose Version is already the next one.
// New zones begin with epoch 1. On ErrNotApplicable l is as it was.
func (c Change) Apply(l *mesh.Layout) error {
	fault := func(f string, a ...any) error {
		return fmt.Errorf("%s of zone %d: %w: %s", c.Kind, c.Zone, ErrNotApplicable, fmt.Sprintf(f, a...))
	}
	if c.Kind == Sleep || c.Kind == Wake {
		l.Asleep = c.Kind == Sleep
		return nil
	}
	if c.Kind == AddProps {
		if c.Box.Min.X >= c.Box.Max.X || c.Box.Min.Y >= c.Box.Max.Y || c.Box.Min.Z >= c.Box.Max.Z {
			return fault("the box is empty")
		}
		for _, z := range l.Zones {
			if z.State == mesh.Active && z.Layer == mesh.Props && z.Box.Overlaps(c.Box) {
				return fault("zone %d has props there already", z.ID)
			}
		}
		c.add(l, mesh.Props, c.Box)
		return nil
	}
	i := l.Index(c.Zone)
	if i < 0 {
		return fault("there is no such zone")
	}
	z := &l.Zones[i]
	switch c.Kind {
	case Takeover:
		if c.Epoch <= z.Epoch {
			return fault("epoch %d is not above %d", c.Epoch, z.Epoch)
		}
		z.Owner, z.Epoch = c.Owner, c.Epoch
		return nil
	case Remove:
		if z.State != mesh.Retiring {
			return fault("it is active")
		}
		l.Zones = append(l.Zones[:i], l.Zones[i+1:]...)
		return nil
	}
	if z.State != mesh.Active {
		return fault("it is retiring")
	}
	if z.ID == mesh.Cradle && (c.Kind == Merge || c.Kind == Move) {
		return fault("the cradle is never retired")
	}
	switch c.Kind {
	case Split:
		low, high := z.Box.Cut(c.Axis, c.At)
		if lo, hi := extent(z.Box, c.Axis); c.At <= lo || c.At >= hi {
			return fault("the plane %d is outside", c.At)
		}
		if c.KeepHigh {
			low, high = high, low
		}
		z.Box = low
		c.add(l, z.Layer, high)
	case Move:
		box, layer := z.Box, z.Layer
		z.State, z.RetiredAt = mesh.Retiring, l.Version
		c.add(l, layer, box)
	case RetireProps:
		if z.Layer != mesh.Props {
			return fault("it is not of the props layer")
		}
		z.State, z.RetiredAt = mesh.Retiring, l.Version
	case Merge, Border:
		j := l.Index(c.Other)
		if j < 0 || j == i || l.Zones[j].State != mesh.Active || l.Zones[j].Layer != z.Layer {
			return fault("zone %d is no active zone of its layer", c.Other)
		}
		o := &l.Zones[j]
		whole, axis, ok := union(z.Box, o.Box)
		if !ok {
			return fault("with zone %d it is no box", c.Other)
		}
		if c.Kind == Merge {
			o.Box = whole
			z.State, z.RetiredAt = mesh.Retiring, l.Version
			return nil
		}
		if lo, hi := extent(whole, axis); c.Axis != axis || c.At <= lo || c.At >= hi {
			return fault("the plane %d is outside", c.At)
		}
		low, high := whole.Cut(axis, c.At)
		if zlo, _ := extent(z.Box, axis); zlo > floor(whole, axis) {
			low, high = high, low
		}
		z.Box, o.Box = low, high
	default:
		return fault("unknown kind")
	}
	return nil
}

// add appends the new zone of c: ids only grow, so the order holds.
func (c Change) add(l *mesh.Layout, layer mesh.Layer, box mesh.Box) {
	l.Zones = append(l.Zones, mesh.Zone{ID: l.NextZone, Layer: layer, Box: box, Owner: c.Owner, Epoch: 1})
	l.NextZone++
}

// extent returns the faces of b along axis.
func extent(b mesh.Box, axis int) (lo, hi int32) {
	if axis == 0 {
		return b.Min.X, b.Max.X
	}
	return b.Min.Y, b.Max.Y
}

func floor(b mesh.Box, axis int) int32 { lo, _ := extent(b, axis); return lo }

// union returns the box that a and b make together and the axis across which
// they touch; false if they make none.
func union(a, b mesh.Box) (mesh.Box, int, bool) {
	if a.Min.Z != b.Min.Z || a.Max.Z != b.Max.Z {
		return mesh.Box{}, 0, false
	}
	for axis := range 2 {
		alo, ahi := extent(a, 1-axis)
		blo, bhi := extent(b, 1-axis)
		if alo != blo || ahi != bhi {
			continue
		}
		alo, ahi = extent(a, axis)
		blo, bhi = extent(b, axis)
		if ahi == blo {
			return mesh.Box{Min: a.Min, Max: b.Max}, axis, true
		}
		if bhi == alo {
			return mesh.Box{Min: b.Min, Max: a.Max}, axis, true
		}
	}
	return mesh.Box{}, 0, false
}
