package world

import "weft/control/mesh"

// sweepUnit is the whole of a tick in a hit's time.
const sweepUnit = 1 << 16

// hit is the first body on the way of a prop.
type hit struct {
	any    bool
	at     int64 // when, in 1/sweepUnit of the tick
	id     mesh.EntityID
	spot   spot
	normal mesh.Vec // out of the body, of length 256 at most
}

// mayMeet rules out at once most ways that meet nobody.
func (w *World) mayMeet(p, d mesh.Vec) bool {
	if len(w.ships) > 0 {
		return true
	}
	g := &w.actors
	return len(g.spots) > 0 && (max(abs(d.X), abs(d.Y))+int64(w.lim.meeting) > 2<<g.shift || !g.clear(p))
}

// sweep finds the first actor that the prop in slot s meets on its way from p
// by d, each actor taken to go on as it went: the earliest, then the lowest id.
func (w *World) sweep(s int32, p, d mesh.Vec) hit {
	var first hit
	w.around(&w.actors, p, p.Add(d), w.lim.meeting, func(o *spot) {
		w.test(&first, s, p, d, o, w.lim.BodyRadius, w.lim.BodyHeight)
	})
	for i := range w.ships {
		w.test(&first, s, p, d, &w.ships[i], w.lim.ShipRadius, w.lim.ShipHeight)
	}
	return first
}

// test makes o the first hit if it is met before it.
func (w *World) test(first *hit, s int32, p, d mesh.Vec, o *spot, radius, height int32) {
	l := &w.lim
	radius += l.PropRadius
	step := func(v int32) int32 { return min(max(int32(divRound(int64(v), int64(l.hz))), -l.walkStep), l.walkStep) }
	way := d.Sub(mesh.Vec{X: step(o.vel.X), Y: step(o.vel.Y)})
	from := p.Sub(o.pos)
	far := int64(radius) + max(abs(way.X), abs(way.Y))
	if abs(from.X) > far || abs(from.Y) > far {
		return
	}
	at, ok := enter(from, way, radius, -l.PropRadius, height+l.PropRadius)
	if !ok || first.any && at > first.at {
		return
	}
	id, carrier := w.named(o.ref)
	if by := mesh.EntityID(w.data[s]); by != 0 && (id == by || carrier == by) || first.any && at == first.at && id > first.id {
		return
	}
	*first = hit{true, at, id, *o, normal(from.Add(scale(way, at, sweepUnit)), height)}
}

// enter returns when, from 0 to sweepUnit, a point that starts at from and
// moves by way first is in the upright cylinder around the origin that spans
// heights lo to hi. One that starts inside counts only if it goes deeper:
// towards the axis, or, right above it, down.
func enter(from, way mesh.Vec, radius, lo, hi int32) (int64, bool) {
	fx, fy, wx, wy := int64(from.X), int64(from.Y), int64(way.X), int64(way.Y)
	a, b, c := wx*wx+wy*wy, fx*wx+fy*wy, fx*fx+fy*fy-int64(radius)*int64(radius)
	inside := c <= 0 && from.Z >= lo && from.Z <= hi
	if inside {
		return 0, b < 0 || from.Z > hi/2 && way.Z < 0 && a == 0
	}
	var t0, t1 int64 = 0, sweepUnit
	if a == 0 {
		if c > 0 {
			return 0, false
		}
	} else {
		disc := b*b - a*c
		if disc < 0 {
			return 0, false
		}
		root := isqrt(disc)
		t0, t1 = max(t0, (-b-root)*sweepUnit/a), min(t1, (-b+root)*sweepUnit/a)
	}
	if wz := int64(way.Z); wz == 0 {
		if from.Z < lo || from.Z > hi {
			return 0, false
		}
	} else {
		z0, z1 := (int64(lo)-int64(from.Z))*sweepUnit/wz, (int64(hi)-int64(from.Z))*sweepUnit/wz
		t0, t1 = max(t0, min(z0, z1)), min(t1, max(z0, z1))
	}
	return t0, t0 <= t1
}

// normal returns the direction out of a body of that height at the point p,
// relative to its feet: up on its head, else away from its axis.
func normal(p mesh.Vec, height int32) mesh.Vec {
	n := isqrt(int64(p.X)*int64(p.X) + int64(p.Y)*int64(p.Y))
	if n == 0 || p.Z >= height {
		return mesh.Vec{Z: 256}
	}
	return scale(mesh.Vec{X: p.X, Y: p.Y}, 256, n)
}

// meet sends the body what the prop in slot s, arriving with velocity v, does to it.
func (w *World) meet(s int32, h hit, v mesh.Vec) {
	push, damage := w.rules.Hit(Hit{Source: w.id[s], Target: h.id, Speed: v.Sub(h.spot.vel)})
	w.emit(h.spot.ref, mesh.Impact{Target: h.id, Source: w.id[s], Push: push, Damage: damage})
}

// bounce returns v thrown back off the body, as the body sees it.
func (w *World) bounce(v mesh.Vec, h hit) mesh.Vec {
	n := h.normal
	r := v.Sub(mesh.Vec{X: h.spot.vel.X, Y: h.spot.vel.Y})
	in := int64(r.X)*int64(n.X) + int64(r.Y)*int64(n.Y) + int64(r.Z)*int64(n.Z)
	if in >= 0 {
		return v
	}
	k := in * (256 + int64(w.lim.Restitution)) / 256
	f := func(v, n int32) int32 { return clamp32(int64(v) - k*int64(n)/(256*256)) }
	return capped(mesh.Vec{X: f(v.X, n.X), Y: f(v.Y, n.Y), Z: f(v.Z, n.Z)}, w.lim.MaxSpeed)
}
