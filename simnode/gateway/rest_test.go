package gateway

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// TestRestChangesNothing lets players walk, act, come, go and stand for long in
// two gateways, one of which lets nobody rest: both do the same at every step.
func TestRestChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := testConfig()
		cfg.NearCount, cfg.MidCount, cfg.KeepAliveTicks = 2, 3, 30
		cfg.ViewEveryTicks = uint64(rapid.IntRange(1, 3).Draw(rt, "view every"))
		rigs := [2]*rig{newRig(t, cfg, 2), newRig(t, cfg, 2)}
		rigs[1].g.never = true
		n := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(rt, name) }
		both := func(do func(r *rig)) {
			do(rigs[0])
			do(rigs[1])
		}
		feed := func(ev process.Event) {
			if x, y := render(rigs[0].step(ev)), render(rigs[1].step(ev)); x != y {
				rt.Fatalf("one rests:\n%s\nnobody rests:\n%s", x, y)
			}
		}
		const players = 9
		both(func(r *rig) {
			for p := range mesh.PlayerID(players) {
				r.zones[0].poses = append(r.zones[0].poses, player(p+1, int32(p)*900, 0))
			}
		})
		sequence := uint32(0)
		for range n("acts", 1, 25) {
			p := mesh.PlayerID(n("player", 1, players))
			client := process.ClientID(p)
			at := slices.IndexFunc(rigs[0].zones[0].poses, func(q mesh.Pose) bool { return q.ID == mesh.PlayerEntity(p) })
			switch n("act", 0, 7) {
			case 0, 1:
				if rigs[0].g.byPlayer[p] == nil {
					both(func(r *rig) { r.join(client, p) })
				}
			case 2:
				feed(process.Event{Kind: process.EventClientDown, Client: client})
			case 3:
				sequence++
				feed(process.Event{Kind: process.EventClient, Client: client,
					ClientMessage: &wire.Steer{Command: mesh.Command{Sequence: sequence, MoveX: int8(n("move", 0, 1))}}})
			case 4:
				feed(process.Event{Kind: process.EventClientSlow, Client: client})
			case 5:
				x := int32(n("x", 0, 9000))
				both(func(r *rig) {
					if at >= 0 {
						r.zones[0].poses[at].Pos.X = x
					}
				})
			case 6:
				both(func(r *rig) { // it crosses, or comes back
					from, to := 0, 1
					if at < 0 {
						from, to = 1, 0
					}
					i := slices.IndexFunc(r.zones[from].poses, func(q mesh.Pose) bool { return q.ID == mesh.PlayerEntity(p) })
					q := r.zones[from].poses[i]
					q.Hop++
					r.zones[from].poses = slices.Delete(r.zones[from].poses, i, i+1)
					r.zones[to].poses = append(r.zones[to].poses, q)
				})
			case 7:
				feed(process.Event{Kind: process.EventPeerUp, Peer: "n2", Incarnation: 1, Role: mesh.RoleNode})
			}
			late := uint32(n("late", 0, 1)) * 60_000
			for range n("calm", 1, 120) {
				both((*rig).frames)
				both(func(r *rig) { r.now++ })
				feed(process.Event{Kind: process.EventTick, Tick: rigs[0].now, LateUS: late})
				holds(rt, rigs[0].g)
			}
		}
	})
}

// TestRest: those who stand where nothing moves are passed over by all ticks
// but those of their keep-alives, which are spread evenly.
func TestRest(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	const players = 200
	for p := range mesh.PlayerID(players) {
		r.zones[0].poses = append(r.zones[0].poses, player(p+1, int32(p)*40, 0))
	}
	r.run(1)
	for p := range mesh.PlayerID(players) {
		r.join(process.ClientID(p+1), p+1)
	}
	every := int(r.g.cfg.KeepAliveTicks)
	r.run(3 * every)
	views := func() (n int) {
		for _, e := range r.seen {
			n += e.views
		}
		return n
	}
	passed := 0
	for range every / aliveGrain {
		before := views()
		r.run(aliveGrain)
		for i := range r.g.clients {
			if r.g.passes(i) {
				passed++
			}
		}
		if told := views() - before; told != players/every*aliveGrain {
			t.Fatalf("tick %d: %d views, not %d", r.now, told, players/every*aliveGrain)
		}
	}
	if passed < players*every/aliveGrain*9/10 {
		t.Fatalf("passed over %d times of %d", passed, players*every/aliveGrain)
	}
	r.zones[0].poses[7].Pos.X += 100
	before := views()
	r.run(1)
	if told := views() - before; told < 60 {
		t.Fatalf("one moved, %d were told at once", told)
	}
}
