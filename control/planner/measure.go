package planner

import (
	"weft/control/mesh"
	"weft/control/partition"
)

const (
	maxActors     = 1 << 20       // what a report may claim of one zone
	maxMicros     = 1_000_000_000 // a tick's work
	maxElapsedMil = 60_000        // how far smoothing looks back
	strayUnits    = mesh.UnitsPerMeter
)

// measure derives each zone's load from the reports of the owners. Load is
// booked where it lies: what a zone still holds of a place that the layout has
// given to another zone counts for that one, so that a plan sees the effect of
// the last one before the entities have crossed.
func (p *pass) measure() {
	n := len(p.layout.Zones)
	raw, heard, taken := make([]int64, n), make([]bool, n), make([]bool, n)
	index := &places{layout: &p.layout}
	for _, q := range p.procs {
		if q.report == nil || q.dead != "" || q.Role != mesh.RoleNode {
			continue
		}
		r := q.report
		var busy int64
		for _, z := range r.Zones {
			busy += int64(min(z.BusyUS, maxMicros))
		}
		for k := range r.Zones {
			z := &r.Zones[k]
			i := p.layout.Index(z.Zone)
			if i < 0 || taken[i] || p.owner(i) != q {
				continue
			}
			taken[i] = true
			p.zones[i].Known = z.Open && z.Epoch >= p.layout.Zones[i].Epoch
			p.moving[i] = min(max(z.Moving, 0), maxActors)
			p.book(i, z, p.load(q, z, busy), raw, heard, index)
		}
	}
	for i, z := range p.layout.Zones {
		p.zones[i].Load, p.zones[i].Memory = p.smooth(i, z, partition.Load(min((raw[i]+500)/1000, int64(partition.MaxLoad))), heard[i])
	}
}

// load returns what zone z costs node q: the larger of its share of the tick
// and of the actors that q can carry.
func (p *pass) load(q *process, z *mesh.ZoneLoad, busy int64) partition.Load {
	capacity := int64(p.cfg.NodeActors)
	if q.Capacity > 0 {
		capacity = int64(q.Capacity)
	}
	load := int64(min(max(z.Actors, 0), maxActors)) * 1000 / capacity
	if budget := int64(q.report.TickBudgetUS); budget > 0 && busy > 0 {
		load = max(load, int64(min(q.report.BusyUS, maxMicros))*int64(min(z.BusyUS, maxMicros))/busy*1000/budget)
	}
	return partition.Load(min(load, int64(partition.MaxLoad)))
}

// book adds load, which zone i reports as z, where it lies; raw is in
// millionths of a node.
func (p *pass) book(i int, z *mesh.ZoneLoad, load partition.Load, raw []int64, heard []bool, index *places) {
	entry := &p.layout.Zones[i]
	heard[i] = true
	if !partition.WellFormed(z.Density) {
		raw[i] += int64(load) * 1000
		return
	}
	x, y := z.Density.XEdges, z.Density.YEdges
	near := entry.Box.Grow(strayUnits)
	if entry.State == mesh.Active && x[0] >= near.Min.X && x[len(x)-1] <= near.Max.X && y[0] >= near.Min.Y && y[len(y)-1] <= near.Max.Y {
		raw[i] += int64(load) * 1000
		p.zones[i].Density = z.Density
		return
	}
	left := int64(load) * 1000
	for _, c := range partition.Cells(z.Density, load) {
		c.Weight = min(c.Weight, left)
		left -= c.Weight
		j := i
		at := c.Center()
		at.Z = entry.Box.Min.Z
		if entry.State != mesh.Active || !entry.Box.Contains(at) {
			j = index.locate(entry.Layer, at)
		}
		if j < 0 {
			continue
		}
		raw[j] += c.Weight
		heard[j] = true
		p.zones[j].Strays = append(p.zones[j].Strays, c)
	}
}

// smooth returns zone i's load and memory as of now.
func (p *pass) smooth(i int, z mesh.Zone, raw partition.Load, heard bool) (partition.Load, partition.Memory) {
	old, known := p.s.State.Zones[z.ID]
	old.Load = min(max(old.Load, 0), partition.MaxLoad)
	load := raw
	switch {
	case !heard:
		load = old.Load
	case known:
		tau := p.cfg.SmoothUp.Milliseconds()
		if raw < old.Load {
			tau = p.cfg.SmoothDown.Milliseconds()
		}
		dt := min(max(p.now-old.Milli, 0), maxElapsedMil)
		diff := int64(load - old.Load)
		move := int64(0)
		if dt > 0 {
			move = diff * dt / (dt + tau)
			if move == 0 && diff != 0 {
				move = max(min(diff, 1), -1)
			}
		}
		load = old.Load + partition.Load(move)
	}
	m := old.Memory
	m.ChangedMilli = min(m.ChangedMilli, p.now)
	m.QuietMilli = min(m.QuietMilli, p.now)
	calm := load < p.cfg.LowLoad
	if z.Layer == mesh.Props {
		calm = p.moving[i]*4 < p.cfg.PropsMoving
	}
	switch {
	case !calm || z.State != mesh.Active:
		m.QuietMilli = 0
	case m.QuietMilli == 0:
		m.QuietMilli = p.now
	}
	return max(load, 0), m
}

// places finds the zone of a place: by looking at all of them where they are
// few, else by a grid over the ground that is built when it is first asked.
type places struct {
	layout *mesh.Layout
	grid   [][]int32 // of placesPerSide² squares
	side   [2]int64  // units
}

const (
	placesPerSide = 64
	fewZones      = 128
)

// locate returns the index of the active zone to which an entity of layer at
// the given place belongs, as mesh.Layout.Locate does; −1 if there is none.
func (x *places) locate(layer mesh.Layer, at mesh.Vec) int {
	b := x.layout.Shard.Bounds
	if b.Min.X >= b.Max.X || b.Min.Y >= b.Max.Y || b.Min.Z >= b.Max.Z {
		return -1
	}
	at = b.Clamp(at)
	fallback := -1
	try := func(i int) bool {
		z := &x.layout.Zones[i]
		if z.State != mesh.Active || !z.Box.Contains(at) {
			return false
		}
		if z.Layer == mesh.Actors {
			fallback = i
		}
		return z.Layer == layer
	}
	if len(x.layout.Zones) <= fewZones {
		for i := range x.layout.Zones {
			if try(i) {
				return i
			}
		}
		return fallback
	}
	if x.grid == nil {
		x.build(b)
	}
	cx, cy := x.square(b, at)
	for _, i := range x.grid[cy*placesPerSide+cx] {
		if try(int(i)) {
			return int(i)
		}
	}
	return fallback
}

func (x *places) square(b mesh.Box, p mesh.Vec) (cx, cy int) {
	return int((int64(p.X) - int64(b.Min.X)) / x.side[0]), int((int64(p.Y) - int64(b.Min.Y)) / x.side[1])
}

func (x *places) build(b mesh.Box) {
	x.grid = make([][]int32, placesPerSide*placesPerSide)
	x.side = [2]int64{(int64(b.Max.X)-int64(b.Min.X))/placesPerSide + 1, (int64(b.Max.Y)-int64(b.Min.Y))/placesPerSide + 1}
	for i, z := range x.layout.Zones {
		if z.State != mesh.Active {
			continue
		}
		x0, y0 := x.square(b, b.Clamp(z.Box.Min))
		x1, y1 := x.square(b, b.Clamp(mesh.Vec{X: z.Box.Max.X - 1, Y: z.Box.Max.Y - 1}))
		for cy := y0; cy <= y1; cy++ {
			for cx := x0; cx <= x1; cx++ {
				x.grid[cy*placesPerSide+cx] = append(x.grid[cy*placesPerSide+cx], int32(i))
			}
		}
	}
}
