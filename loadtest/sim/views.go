package sim

import (
	"time"

	"weft/control/mesh"
	"weft/simnode/node"
)

const (
	// seenWithin is how near to its body a client must see everything.
	seenWithin = 4 * mesh.UnitsPerMeter
	// seenExactly is how far from its place something that stands may be shown,
	// along an axis: views round to 1/16 m.
	seenExactly = mesh.UnitsPerMeter / 8
	// seenAfter is how long a client may have been in, or an entity where it is,
	// without being looked at: what is far is told every two seconds.
	seenAfter = 5 * time.Second
)

// views: after ten seconds in which no player moved, every client that is in sees
// its own body as it is, everything near it, and nothing that is not so.
func (c *checker) views() {
	truth := map[mesh.EntityID]mesh.Entity{}
	late := c.s.shard.TickAt(c.s.wall().Add(-seenAfter))
	for _, p := range c.s.live(mesh.RoleNode) {
		p.node.Inspect(func(z node.ZoneView) {
			if rec, err := c.s.store.Zone(ctx, z.ID); err != nil || rec.Epoch != z.Epoch || !z.Open {
				return
			}
			z.World.Each(func(e *mesh.Entity) bool {
				if e.Flags&mesh.Asleep == 0 {
					truth[e.ID] = *e
				}
				return true
			})
		})
	}
	for _, cl := range c.s.clients {
		me, ok := truth[mesh.PlayerEntity(cl.player)]
		if cl.at == nil || !cl.welcome || cl.welcomeAt > c.s.now-seenAfter || me.Placed > late {
			continue
		}
		if !ok || me.Vel == (mesh.Vec{}) && cl.self.Pos != me.Pos || cl.self.Hop != me.Hop || cl.self.Held != me.Held || cl.self.Health != me.Health {
			c.s.fail("player %d is told that it stands at %v with %x at hop %d, and is at %v with %x at hop %d",
				cl.player, cl.self.Pos, uint64(cl.self.Held), cl.self.Hop, me.Pos, uint64(me.Held), me.Hop)
			return
		}
		seen := map[mesh.EntityID]bool{}
		for _, h := range sorted(cl.seen) {
			e := cl.seen[h]
			seen[e.ID] = true
			t, ok := truth[e.ID]
			if t.Placed > late {
				continue
			}
			off := e.Pos.Sub(t.Pos)
			if !ok || e.Hop != t.Hop || e.Carrier != t.Carrier || t.Vel == (mesh.Vec{}) && max(abs(off.X), abs(off.Y), abs(off.Z)) > seenExactly {
				c.s.fail("player %d sees %x at %v, hop %d, carried by %x; it is there %v at %v, hop %d, carried by %x",
					cl.player, uint64(e.ID), e.Pos, e.Hop, uint64(e.Carrier), ok, t.Pos, t.Hop, uint64(t.Carrier))
				return
			}
		}
		for _, id := range sorted(truth) {
			if t := truth[id]; id != me.ID && !seen[id] && t.Placed <= late && t.Pos.Dist2(me.Pos) < seenWithin*seenWithin {
				c.s.fail("player %d at %v does not see %x at %v", cl.player, me.Pos, uint64(id), t.Pos)
				return
			}
		}
	}
}
