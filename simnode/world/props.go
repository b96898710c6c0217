package world

import (
	"slices"

	"weft/control/mesh"
)

// A prop's Data names who let it fly: their outermost carrier. It passes that
// one and whoever stands on it.

// moveProps moves everything in the air: items in the order of the grid, so
// that neighbours are near in memory, then what nobody sees yet, and rockets.
func (w *World) moveProps() {
	air, n := slices.Grow(w.air[:0], len(w.props.spots))[:len(w.props.spots)], 0 // the grid has its own copies
	for i := range w.props.spots {
		o := &w.props.spots[i]
		s, p, v := o.ref, o.pos, o.vel
		if s < 0 {
			continue
		}
		if o.own {
			if w.class[s] != flying {
				w.airAt[s] = -1
				continue
			}
			p, v = w.pos[s], w.vel[s]
		}
		p, v = w.fly(s, p, v, o.near || o.own)
		a := &air[n] // filled part by part: a copied record waits for all stores before it
		a.pos, a.vel, a.ref, a.own, a.near = p, v, s, false, false
		n++
	}
	w.air = air[:n]
	for i := range w.air { // slots lie anywhere, so many stores at a time must be under way
		a := &w.air[i]
		w.pos[a.ref], w.vel[a.ref], w.airAt[a.ref] = a.pos, a.vel, int32(i)
	}
	for _, id := range w.touched {
		if s, ok := w.at.get(id); ok && s >= 0 && w.dirty[s] && w.class[s] == flying && w.airAt[s] < 0 {
			w.pos[s], w.vel[s] = w.fly(s, w.pos[s], w.vel[s], true)
			w.lift(s, w.pos[s], w.vel[s])
		}
	}
	for _, s := range w.lists[burning] {
		w.flyRocket(s)
	}
}

// fly moves the item in slot s from p at velocity v, which are its own, and
// returns what they become: contacts, gravity, what it hits, the ground. Unless
// near, no other item is within reach.
func (w *World) fly(s int32, p, v mesh.Vec, near bool) (mesh.Vec, mesh.Vec) {
	l := &w.lim
	var step mesh.Vec
	met := false
	if near {
		v, step, met = w.contacts(s, p, v)
	}
	v.Z -= l.pull
	if !short(v, l.MaxSpeed) {
		v = capped(v, l.MaxSpeed)
	}
	want := l.perTick(v)
	if met {
		want = want.Add(step)
	}
	hitAny := false
	if w.mayMeet(p, want) {
		if h := w.sweep(s, p, want); h.any {
			hitAny = true
			want = scale(want, h.at, sweepUnit)
			w.meet(s, h, v)
			v = w.bounce(v, h)
		}
	}
	to := moved(p, want, &w.cfg.Bounds)
	want = p.Add(want)
	if to != want && !hitAny { // a wall, or the ground
		wall := func(v, to, want int32) int32 {
			if to == want {
				return v
			}
			return -v * l.Restitution / 256
		}
		v.X, v.Y, v.Z = wall(v.X, to.X, want.X), wall(v.Y, to.Y, want.Y), wall(v.Z, to.Z, want.Z)
	}
	if to.Z <= l.floor {
		to.Z = l.floor
		v = w.onGround(s, v, hitAny)
	}
	return to, v
}

// onGround returns the velocity v of the item in slot s after it has touched
// the ground, and lays it down if it is slow and has hit nothing.
func (w *World) onGround(s int32, v mesh.Vec, hit bool) mesh.Vec {
	l := &w.lim
	if v.Z < 0 {
		v.Z = -v.Z * l.Restitution / 256
	}
	if v.Z <= 2*l.pull {
		v.Z = 0
	}
	drag := min(int64(l.hz)*256, int64(l.GroundDrag))
	v.X -= int32(drag * int64(v.X) / (256 * int64(l.hz)))
	v.Y -= int32(drag * int64(v.Y) / (256 * int64(l.hz)))
	if v.Z == 0 && short(v, l.RestSpeed) && !hit {
		w.fallen = append(w.fallen, s)
	}
	return v
}

// contacts returns the velocity v of the item in slot s at p after it has met
// the items around it, all of one mass, how far they push it, and whether there
// were any.
func (w *World) contacts(s int32, p, v mesh.Vec) (mesh.Vec, mesh.Vec, bool) {
	g := &w.props
	reach := 2 * w.lim.PropRadius
	reach2 := int64(reach) * int64(reach)
	keep := 256 + int64(w.lim.Restitution)
	var vx, vy, vz, px, py, pz, n int64
	shift := g.shift & 31
	x0, x1 := (p.X-reach)>>shift, (p.X+reach)>>shift
	for row := (p.Y - reach) >> shift; row <= (p.Y+reach)>>shift; row++ {
		var a, b []spot
		first := g.bucket(x0, row)
		if last := first + uint32(x1-x0); last <= g.mask {
			a = g.spots[g.start[first]:g.start[last+1]]
		} else {
			a, b = g.row(x0, x1, row)
		}
		for {
			for i := range a {
				o := &a[i]
				x, y, z := p.X-o.pos.X, p.Y-o.pos.Y, p.Z-o.pos.Z
				if (x+reach-1)|(reach-1-x)|(y+reach-1)|(reach-1-y)|(z+reach-1)|(reach-1-z) < 0 { // one is out of reach
					continue
				}
				dx, dy, dz := int64(x), int64(y), int64(z)
				d2 := dx*dx + dy*dy + dz*dz
				if d2 >= reach2 || o.ref == s || o.pos.Y>>shift != row {
					continue
				}
				if d2 == 0 {
					id, _ := w.named(o.ref)
					dx, dy, _ = apart(w.id[s], id)
					d2 = dx*dx + dy*dy
				}
				if near := dx*int64(v.X-o.vel.X) + dy*int64(v.Y-o.vel.Y) + dz*int64(v.Z-o.vel.Z); near < 0 {
					k := near * keep / (2 * d2) // of 256
					vx, vy, vz = vx-k*dx/256, vy-k*dy/256, vz-k*dz/256
				}
				gap := max(reach2-d2, 0)
				px, py, pz, n = px+dx*gap/(4*reach2), py+dy*gap/(4*reach2), pz+dz*gap/(4*reach2), n+1
			}
			if len(b) == 0 {
				break
			}
			a, b = b, nil
		}
	}
	if n == 0 {
		return v, mesh.Vec{}, false
	}
	ease := (n + 1) / 2
	v = mesh.Vec{X: clamp32(int64(v.X) + vx/ease), Y: clamp32(int64(v.Y) + vy/ease), Z: clamp32(int64(v.Z) + vz/ease)}
	push := mesh.Vec{X: clamp32(px / ease), Y: clamp32(py / ease), Z: clamp32(pz / ease)}
	return capped(v, w.lim.MaxSpeed), capped(push, w.lim.PropRadius/2), true
}

// flyRocket moves the rocket in slot s, straight, and bursts it at the first
// actor, at the ground, at the world's end, or when its fuse is out.
func (w *World) flyRocket(s int32) {
	l := &w.lim
	p, v := w.pos[s], w.vel[s]
	d := l.perTick(v)
	h := w.sweep(s, p, d)
	if h.any {
		d = scale(d, h.at, sweepUnit)
		w.meet(s, h, v)
	}
	to := moved(p, d, &w.cfg.Bounds)
	w.pos[s] = to
	out := w.tick >= w.cold[s].placed && w.tick-w.cold[s].placed >= l.fuse
	if h.any || out || to != p.Add(d) || to.Z <= l.floor {
		w.burst(s, to)
	}
}

// burst ends the rocket in slot s with a blast at p.
func (w *World) burst(s int32, p mesh.Vec) {
	w.burnt = append(w.burnt, w.id[s])
	r := w.lim.BlastRadius
	if r <= 0 {
		return
	}
	blast := func(o *spot, middle int32) {
		off := mesh.Vec{X: o.pos.X, Y: o.pos.Y, Z: o.pos.Z + middle}.Sub(p)
		if o.ref == s || !short(off, r-1) {
			return
		}
		id, _ := w.named(o.ref)
		push, damage := w.rules.Hit(Hit{Source: w.id[s], Target: id, Blast: true, Speed: w.vel[s], Offset: off})
		w.emit(o.ref, mesh.Impact{Target: id, Source: w.id[s], Push: push, Damage: damage})
	}
	w.around(&w.actors, p, p, r, func(o *spot) { blast(o, w.lim.BodyHeight/2) })
	w.around(&w.props, p, p, r, func(o *spot) { blast(o, 0) })
	for i := range w.ships {
		blast(&w.ships[i], w.lim.ShipHeight/2)
	}
}

// around calls f once with each spot of g whose cell is within r of the
// rectangle that p and q span, and others.
func (w *World) around(g *grid, p, q mesh.Vec, r int32, f func(*spot)) {
	if len(g.spots) == 0 {
		return
	}
	x0, x1 := (min(p.X, q.X)-r)>>g.shift, (max(p.X, q.X)+r)>>g.shift
	y0, y1 := (min(p.Y, q.Y)-r)>>g.shift, (max(p.Y, q.Y)+r)>>g.shift
	if int64(y1)-int64(y0) > int64(len(g.spots)) { // more rows than spots
		for i := range g.spots {
			f(&g.spots[i])
		}
		return
	}
	for row := y0; row <= y1; row++ {
		a, b := g.row(x0, x1, row)
		for i := range a {
			if a[i].pos.Y>>g.shift == row {
				f(&a[i])
			}
		}
		for i := range b {
			if b[i].pos.Y>>g.shift == row {
				f(&b[i])
			}
		}
	}
}
