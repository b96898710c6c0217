package world

import "weft/control/mesh"

// A player's Data is the world's own: the command its body follows, so that
// it crosses with the body. From the low end: direction X, Y (8 bits each),
// ticks until the command lapses (8), ticks until the next shot (16), the
// command's sequence (24, compared as serial numbers).
const (
	ttlShift      = 16
	cooldownShift = 24
	sequenceShift = 40
)

func clearCommand(id mesh.EntityID, data uint64) uint64 {
	if id.Kind() != mesh.KindPlayer {
		return data
	}
	return data & (1<<sequenceShift - 1<<cooldownShift)
}

func cooldownOf(data uint64) uint16 { return uint16(data >> cooldownShift) }

// Command steers an awake resident player until a newer command comes or it
// lapses; the same one again makes it last. It reports false for one that is out
// of range, old, or for nobody here.
func (w *World) Command(id mesh.EntityID, c mesh.Command) bool {
	s, ok := w.at.get(id)
	x, y := int32(c.MoveX), int32(c.MoveY)
	if !ok || s < 0 || id.Kind() != mesh.KindPlayer || x*x+y*y > 127*127 {
		return false
	}
	data := w.data[s]
	newer := int32(c.Sequence<<8 - uint32(data>>sequenceShift)<<8)
	if newer < 0 && uint8(data>>ttlShift) > 0 {
		return false
	}
	w.data[s] = uint64(uint8(c.MoveX)) | uint64(uint8(c.MoveY))<<8 | uint64(w.lim.command)<<ttlShift |
		data&(0xffff<<cooldownShift) | uint64(c.Sequence)<<sequenceShift
	w.yaw[s] = c.Yaw
	return true
}

// steer returns the direction that the actor in slot s follows in this tick,
// in 1/127 of its top speed.
func (w *World) steer(s int32) (x, y int32) {
	if w.id[s].Kind() == mesh.KindPlayer {
		data := w.data[s]
		if cooldownOf(data) > 0 {
			data -= 1 << cooldownShift
		}
		if uint8(data>>ttlShift) > 0 {
			data -= 1 << ttlShift
			x, y = int32(int8(data)), int32(int8(data>>8))
		}
		w.data[s] = data
		return x, y
	}
	w.scratch = w.load(s)
	c := w.rules.Drive(&w.scratch, w.tick, hash(w.cfg.Seed, w.tick, w.id[s]))
	w.data[s], w.yaw[s] = w.scratch.Data, c.Yaw
	x, y = int32(c.MoveX), int32(c.MoveY)
	if n := x*x + y*y; n > 127*127 {
		r := int32(isqrt(int64(n))) + 1
		x, y = x*127/r, y*127/r
	}
	return x, y
}

func (w *World) moveActors() {
	for _, s := range w.lists[acting] {
		w.moveActor(s)
	}
	for _, s := range w.lists[riding] {
		w.steer(s)
	}
	if w.worker != nil {
		for _, c := range [...]class{acting, riding} {
			for _, s := range w.lists[c] {
				w.sink ^= w.worker.Work(w.id[s], w.tick)
			}
		}
	}
}

// moveActor steers the actor in slot s, lets the crowd push it, and moves it.
func (w *World) moveActor(s int32) {
	l := &w.lim
	p, v := w.pos[s], w.vel[s]
	x, y := w.steer(s)
	top, accel := l.WalkSpeed, l.WalkAccel
	ship := w.id[s].Kind() == mesh.KindShip
	if ship {
		top, accel = l.ShipSpeed, l.ShipAccel
	}
	airborne := !ship && p.Z > l.floor
	if !airborne {
		want := mesh.Vec{X: x * top / 127, Y: y * top / 127}
		change := want.Sub(mesh.Vec{X: v.X, Y: v.Y})
		v = v.Add(capped(change, int32(divRound(int64(accel), int64(l.hz)))))
	} else {
		v.Z -= l.pull
	}
	v = capped(v, l.MaxSpeed)
	step := l.perTick(v)
	if !ship {
		step = step.Add(w.crowd(s, p))
	}
	to := moved(p, step, &w.cfg.Bounds)
	if !ship && to.Z <= l.floor {
		to.Z, v.Z = l.floor, max(v.Z, 0)
	}
	w.pos[s], w.vel[s] = to, v
}

// crowd returns how far the bodies around p push the one in slot s in this
// tick: from each half of what they overlap, eased where many push at once (as
// in position-based dynamics), and at most half a body's radius.
func (w *World) crowd(s int32, p mesh.Vec) mesh.Vec {
	g := &w.actors
	reach := 2 * w.lim.BodyRadius
	reach2 := int64(reach) * int64(reach)
	var x, y, n int64
	x0, x1 := (p.X-reach)>>g.shift, (p.X+reach)>>g.shift
	for row := (p.Y - reach) >> g.shift; row <= (p.Y+reach)>>g.shift; row++ {
		a, b := g.row(x0, x1, row)
		for _, part := range [2][]spot{a, b} {
			for i := range part {
				o := &part[i]
				dx, dy := int64(p.X)-int64(o.pos.X), int64(p.Y)-int64(o.pos.Y)
				d2 := dx*dx + dy*dy
				if d2 >= reach2 || o.pos.Y>>g.shift != row || o.ref == s || abs(clamp32(int64(p.Z)-int64(o.pos.Z))) > int64(w.lim.BodyHeight) {
					continue
				}
				id, carrier := w.named(o.ref)
				if carrier != 0 {
					continue
				}
				d := isqrt(d2)
				if d == 0 { // the same place: part in opposite ways
					dx, dy, d = apart(w.id[s], id)
				}
				overlap := int64(reach) - d
				x, y, n = x+dx*overlap*128/d, y+dy*overlap*128/d, n+1
			}
		}
	}
	if n == 0 {
		return mesh.Vec{}
	}
	ease := 256 * (n + 1) / 2
	return capped(mesh.Vec{X: clamp32(divRound(x, ease)), Y: clamp32(divRound(y, ease))}, w.lim.BodyRadius/2)
}

// apart returns a direction for a that is the opposite of what it is for b.
func apart(a, b mesh.EntityID) (x, y, length int64) {
	h := mix(uint64(a) ^ uint64(b))
	x, y = int64(h&0xff)+1, int64(h>>8&0xff)+1
	if h>>16&1 != 0 {
		x = -x
	}
	if a < b {
		x, y = -x, -y
	}
	return x, y, max(isqrt(x*x+y*y), 1)
}
