package planner

import (
	"fmt"

	"weft/control/mesh"
	"weft/control/partition"
)

// propsMargin is how far a zone of props reaches beyond the crowd that throws.
const propsMargin = 32 * mesh.UnitsPerMeter

// props is the next rung of the ladder when cutting space no longer helps:
// where many props fly, they get zones of their own on a node of its own, and
// give it back when they have come to rest.
func (p *pass) props() {
	if p.cfg.PropsMoving == 0 || p.policy.NodesNeeded(p.layout) > 1 {
		return
	}
	cool := p.cfg.Cooldown.Milliseconds()
	for i := range p.layout.Zones {
		z, m := p.layout.Zones[i], p.zones[i].Memory
		if z.Layer == mesh.Props && z.State == mesh.Active && p.zones[i].Known && m.QuietMilli > 0 &&
			p.now-max(m.QuietMilli, m.ChangedMilli) >= cool {
			p.change(partition.Change{Kind: partition.RetireProps, Zone: z.ID,
				Reason: fmt.Sprintf("fewer than %d props have flown in it for %s", (p.cfg.PropsMoving+3)/4, p.cfg.Cooldown)})
		}
	}
	area, flying, ok := p.busyArea()
	if !ok {
		return
	}
	p.tally()
	var warm *process
	for _, q := range p.targets {
		if q.zones == 0 {
			warm = q
			break
		}
	}
	if warm == nil {
		p.propsWanted = 1
		return
	}
	p.change(partition.Change{Kind: partition.AddProps, Box: area, Owner: warm.Owner(),
		Reason:       fmt.Sprintf("%d props fly over actors zones, %d or more get a node of their own; node %s is warm", flying, p.cfg.PropsMoving, warm.ID),
		Alternatives: []string{"cut the actors zones again: props among players meet across every border"}})
}

// busyArea returns the box around the Actors zones where props fly, or rather
// around the bulk of what is in them, if enough fly and no zone has them yet.
func (p *pass) busyArea() (area mesh.Box, flying int, ok bool) {
	most := 0
	for i, n := range p.moving {
		if z := p.s.Layout.Zones[i]; z.Layer == mesh.Actors {
			flying += n
			most = max(most, n)
		}
	}
	if flying < p.cfg.PropsMoving || len(p.layout.Zones) >= p.cfg.MaxZones {
		return area, flying, false
	}
	for i, n := range p.moving {
		z := p.s.Layout.Zones[i]
		if z.Layer != mesh.Actors || n*4 < most {
			continue
		}
		box := z.Box
		if k := p.layout.Index(z.ID); k >= 0 {
			box = partition.Bulk(p.zones[k], box)
		}
		if !ok {
			area, ok = box, true
			continue
		}
		area.Min.X, area.Min.Y = min(area.Min.X, box.Min.X), min(area.Min.Y, box.Min.Y)
		area.Max.X, area.Max.Y = max(area.Max.X, box.Max.X), max(area.Max.Y, box.Max.Y)
	}
	bounds := p.s.Layout.Shard.Bounds
	area = area.Grow(propsMargin)
	area.Min.X, area.Min.Y, area.Min.Z = max(area.Min.X, bounds.Min.X), max(area.Min.Y, bounds.Min.Y), bounds.Min.Z
	area.Max.X, area.Max.Y, area.Max.Z = min(area.Max.X, bounds.Max.X), min(area.Max.Y, bounds.Max.Y), bounds.Max.Z
	for _, z := range p.layout.Zones {
		if z.Layer == mesh.Props && z.State == mesh.Active && z.Box.Overlaps(area) {
			return area, flying, false
		}
	}
	return area, flying, true
}
