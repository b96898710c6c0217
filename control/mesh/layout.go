package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// Shard is what never changes in the life of a world.
type Shard struct {
	Name            string `json:"name"`
	OriginUnixMilli int64  `json:"origin_unix_milli"` // the wall time of tick 0
	TickHz          uint32 `json:"tick_hz"`
	Seed            uint64 `json:"seed"`
	Bounds          Box    `json:"bounds"` // no entity leaves it
	Spawn           Vec    `json:"spawn"`  // where players are born, give or take
}

// TickAt returns the tick that is due at now.
func (s Shard) TickAt(now time.Time) Tick {
	ms := now.UnixMilli() - s.OriginUnixMilli
	if ms < 0 {
		return 0
	}
	return Tick(uint64(ms) * uint64(s.TickHz) / 1000)
}

// TimeOf returns when tick t is due.
func (s Shard) TimeOf(t Tick) time.Time {
	return time.UnixMilli(s.OriginUnixMilli).Add(time.Duration(uint64(t) * uint64(time.Second) / uint64(s.TickHz)))
}

// TickInterval is the time between two ticks.
func (s Shard) TickInterval() time.Duration { return time.Second / time.Duration(s.TickHz) }

// ZoneState says what may be done with a zone.
type ZoneState uint8

const (
	// Active zones tile their layer: every place belongs to exactly one.
	Active ZoneState = iota
	// Retiring zones have given their place to others. They stay owned until
	// they are empty and nobody's outbound record names them, then they are removed.
	Retiring
)

func (s ZoneState) String() string {
	if s == Retiring {
		return "retiring"
	}
	return "active"
}

// Zone is one entry of a layout.
type Zone struct {
	ID    ZoneID    `json:"id"`
	Layer Layer     `json:"layer"`
	State ZoneState `json:"state"`
	Box   Box       `json:"box"`
	Owner Owner     `json:"owner"`
	Epoch Epoch     `json:"epoch"` // as of this layout; the zone record is the authority
	// RetiredAt is the layout version that retired the zone. It may be removed
	// once every zone's owner has seen that version and no outbound record names it.
	RetiredAt uint64 `json:"retired_at,omitempty"`
}

// Layout is the versioned set of zones of a shard. Values are never changed
// in place: a change is a Clone with the next version.
type Layout struct {
	Version  uint64 `json:"version"`
	Shard    Shard  `json:"shard"`
	NextZone ZoneID `json:"next_zone"` // the next id to give out
	// Asleep: nobody is here and nobody takes zones over. A node that is asked
	// to leave then stores what it has and stops; its zones go on naming it.
	Asleep bool   `json:"asleep,omitempty"`
	Zones  []Zone `json:"zones"` // ordered by ID
}

// Clone returns a deep copy.
func (l Layout) Clone() Layout {
	l.Zones = slices.Clone(l.Zones)
	return l
}

// Zone returns the entry of id.
func (l *Layout) Zone(id ZoneID) (Zone, bool) {
	if i := l.Index(id); i >= 0 {
		return l.Zones[i], true
	}
	return Zone{}, false
}

// Index returns the place of id in l.Zones, or −1.
func (l *Layout) Index(id ZoneID) int {
	i, ok := slices.BinarySearchFunc(l.Zones, id, func(z Zone, id ZoneID) int { return int(z.ID) - int(id) })
	if !ok {
		return -1
	}
	return i
}

// Locate returns the active zone to which an entity of the given layer at p
// belongs. Places outside the shard's bounds belong to the nearest place inside.
func (l *Layout) Locate(layer Layer, p Vec) (ZoneID, bool) {
	p = l.Shard.Bounds.Clamp(p)
	var actors ZoneID
	for i := range l.Zones {
		z := &l.Zones[i]
		if z.State != Active || !z.Box.Contains(p) {
			continue
		}
		if z.Layer == layer {
			return z.ID, true
		}
		if z.Layer == Actors {
			actors = z.ID
		}
	}
	return actors, actors != 0
}

// ErrInvalidLayout is wrapped by every fault that Validate finds.
var ErrInvalidLayout = errors.New("invalid layout")

// Validate reports the first fault of l: ids out of order or reused, no
// cradle, overlapping active zones of a layer, or Actors zones that do not
// tile the shard's bounds.
func (l *Layout) Validate() error {
	fault := func(f string, a ...any) error { return fmt.Errorf("%w: %s", ErrInvalidLayout, fmt.Sprintf(f, a...)) }
	var covered volume
	active := make([]int, 0, len(l.Zones))
	for i, z := range l.Zones {
		if z.ID == 0 || z.ID >= l.NextZone {
			return fault("zone %d outside 1..%d", z.ID, l.NextZone-1)
		}
		if i > 0 && l.Zones[i-1].ID >= z.ID {
			return fault("zone %d out of order", z.ID)
		}
		if z.State == Retiring {
			continue
		}
		if z.Box.Min.X >= z.Box.Max.X || z.Box.Min.Y >= z.Box.Max.Y || z.Box.Min.Z >= z.Box.Max.Z {
			return fault("zone %d is empty", z.ID)
		}
		active = append(active, i)
		if z.Layer == Actors {
			covered.add(z.Box)
		}
	}
	slices.SortFunc(active, func(a, b int) int {
		return cmp.Or(cmp.Compare(l.Zones[a].Box.Min.X, l.Zones[b].Box.Min.X), cmp.Compare(a, b))
	})
	for k, i := range active { // the next ones along X, as far as it reaches
		y := &l.Zones[i]
		for _, j := range active[k+1:] {
			z := &l.Zones[j]
			if z.Box.Min.X >= y.Box.Max.X {
				break
			}
			if y.Layer == z.Layer && y.Box.Overlaps(z.Box) {
				return fault("zones %d and %d overlap", min(y.ID, z.ID), max(y.ID, z.ID))
			}
		}
	}
	if c, ok := l.Zone(Cradle); !ok || c.State != Active || c.Layer != Actors {
		return fault("zone %d, the cradle, is missing or retired", Cradle)
	}
	var whole volume
	if whole.add(l.Shard.Bounds); covered != whole {
		return fault("actors zones cover %.0f of %.0f cubic units", covered.float(), whole.float())
	}
	return nil
}

// volume is a sum of cubic units, exact: a box has 96 bits at most.
type volume struct{ hi, lo uint64 }

// add adds the volume of b, which is not empty.
func (v *volume) add(b Box) {
	length := func(lo, hi int32) uint64 { return uint64(int64(hi) - int64(lo)) }
	hi, lo := bits.Mul64(length(b.Min.X, b.Max.X)*length(b.Min.Y, b.Max.Y), length(b.Min.Z, b.Max.Z))
	var carry uint64
	v.lo, carry = bits.Add64(v.lo, lo, 0)
	v.hi, _ = bits.Add64(v.hi, hi, carry)
}

func (v volume) float() float64 { return float64(v.hi)*(1<<64) + float64(v.lo) }
