package mesh

import (
	"math/rand/v2"
	"testing"
)

// However a world of any size is cut, its cuts are a valid layout, to the last
// unit; and one that is moved by a unit is not.
func TestValidateIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, side := range []int32{100, 4000, 100_000, 1 << 22} {
		l := Layout{Shard: Shard{TickHz: 20, Bounds: Box{Max: Vec{side * 256, side * 256, 100 * 256}}}}
		if side == 1<<22 {
			l.Shard.Bounds = Box{Vec{-1 << 30, -1 << 30, -1 << 30}, Vec{1 << 30, 1 << 30, 1 << 30}}
		}
		boxes := []Box{l.Shard.Bounds}
		for len(boxes) < 300 {
			i := r.IntN(len(boxes))
			a, b := boxes[i], boxes[i]
			if min(int64(a.Max.X)-int64(a.Min.X), int64(a.Max.Y)-int64(a.Min.Y)) < 8 {
				continue
			}
			if r.IntN(2) == 0 {
				cut := a.Min.X + 1 + r.Int32N(int32((int64(a.Max.X)-int64(a.Min.X))/2))
				a.Max.X, b.Min.X = cut, cut
			} else {
				cut := a.Min.Y + 1 + r.Int32N(int32((int64(a.Max.Y)-int64(a.Min.Y))/2))
				a.Max.Y, b.Min.Y = cut, cut
			}
			boxes[i] = a
			boxes = append(boxes, b)
		}
		for i, b := range boxes {
			l.Zones = append(l.Zones, Zone{ID: ZoneID(i + 1), Box: b})
		}
		l.NextZone = ZoneID(len(boxes) + 1)
		if err := l.Validate(); err != nil {
			t.Fatalf("%d m: %v", side, err)
		}
		for range 50 {
			bad := l.Clone()
			z := &bad.Zones[r.IntN(len(bad.Zones))]
			if z.Box.Max.X++; r.IntN(2) == 0 {
				z.Box.Max.X -= 2
			}
			if bad.Validate() == nil {
				t.Fatalf("%d m: zone %d moved by a unit, and nobody minds", side, z.ID)
			}
		}
	}
}
