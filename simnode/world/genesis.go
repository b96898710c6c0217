package world

import "weft/control/mesh"

// Scatter returns n items, with numbers from 1 on, lying on the ground within
// radius units of around, evenly, and inside bounds; all over bounds where
// radius is zero. The same arguments give the same world.
func Scatter(seed uint64, n int, bounds mesh.Box, around mesh.Vec, radius int32) []mesh.Entity {
	return lay(seed, mesh.KindItem, n, bounds, around, radius, 0)
}

// Cast returns n NPCs, with numbers from 1 on, placed as Scatter does.
func Cast(seed uint64, n int, bounds mesh.Box, around mesh.Vec, radius int32) []mesh.Entity {
	return lay(seed, mesh.KindNPC, n, bounds, around, radius, fullHealth)
}

func lay(seed uint64, k mesh.Kind, n int, bounds mesh.Box, around mesh.Vec, radius int32, health int16) []mesh.Entity {
	all := make([]mesh.Entity, 0, max(n, 0))
	for i := range n {
		id := mesh.MakeEntityID(k, uint64(i)+1)
		r := hash(seed, 0, id)
		var p mesh.Vec
		if radius > 0 {
			p = disc(around, radius, r)
		} else {
			p.X = spread(bounds.Min.X, bounds.Max.X, r)
			p.Y = spread(bounds.Min.Y, bounds.Max.Y, mix(r))
		}
		p.Z = 0
		all = append(all, mesh.Entity{Pose: mesh.Pose{ID: id, Health: health, Yaw: uint16(r >> 48), Pos: bounds.Clamp(p)}})
	}
	return all
}

// spread maps random evenly on lo ≤ v < hi.
func spread(lo, hi int32, random uint64) int32 {
	return int32(int64(lo) + int64(random>>32)*max(int64(hi)-int64(lo), 1)>>32)
}

// disc maps random evenly on the disc of radius r around c.
func disc(c mesh.Vec, r int32, random uint64) mesh.Vec {
	for range 32 {
		dx, dy := spread(-r, r, random), spread(-r, r, mix(random))
		if int64(dx)*int64(dx)+int64(dy)*int64(dy) <= int64(r)*int64(r) {
			return c.Add(mesh.Vec{X: dx, Y: dy})
		}
		random = mix(random + 1)
	}
	return c
}

// compass returns the direction of angle a, in 1/256 turns, of length 127 at
// most: by the parabola that is within 6 % of a sine.
func compass(a uint8) (x, y int8) {
	sine := func(a uint8) int32 {
		h := int32(a & 127) // half a wave
		v := h * (128 - h) * 124 / 4096
		if a >= 128 {
			return -v
		}
		return v
	}
	x32, y32 := sine(a+64), sine(a)
	for x32*x32+y32*y32 > 127*127 {
		x32, y32 = x32*15/16, y32*15/16
	}
	return int8(x32), int8(y32)
}
