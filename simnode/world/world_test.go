package world

import (
	"testing"

	"weft/control/mesh"
)

var bounds = mesh.Box{Max: mesh.Meters(4000, 4000, 200)}

func newTavern() *World {
	return New(Config{TickHz: 20, Bounds: bounds, Seed: 7, Spawn: mesh.Meters(2000, 2000, 0)}, Tavern{})
}

func player(n mesh.PlayerID, p mesh.Vec) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.PlayerEntity(n), Health: fullHealth, Pos: p}}
}

func item(n uint64, p mesh.Vec) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, n), Pos: p}}
}

// A thrown bottle hits, hurts, falls and comes to rest, durably.
func TestThrow(t *testing.T) {
	w := newTavern()
	w.Put(player(1, mesh.Meters(100, 100, 0)))
	w.Put(player(2, mesh.Meters(105, 100, 0)))
	w.Put(item(1, mesh.Meters(101, 100, 0)))
	bottle := mesh.MakeEntityID(mesh.KindItem, 1)
	if r := w.Act(1, mesh.PlayerEntity(1), mesh.Event{Action: mesh.ActPickUp, Target: bottle}); r.Outcome != mesh.OutcomeOK {
		t.Fatal(r)
	}
	if r := w.Act(1, mesh.PlayerEntity(1), mesh.Event{Action: mesh.ActThrow, Aim: mesh.Meters(15, 0, 1)}); r.Outcome != mesh.OutcomeOK {
		t.Fatal(r)
	}
	for tick := mesh.Tick(1); tick < 200; tick++ {
		out := w.Step(tick, nil)
		if len(out.Durable) == 0 {
			continue
		}
		b, _ := w.Get(bottle)
		if out.Durable[0] != bottle || b.Flags != 0 || b.Placed != tick || b.Hop != 2 {
			t.Fatal(out, b)
		}
		victim, _ := w.Get(mesh.PlayerEntity(2))
		if victim.Health >= fullHealth {
			t.Fatal("not hurt", victim, b)
		}
		return
	}
	t.Fatal("still flying")
}
