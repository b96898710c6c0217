package node_test

import (
	"testing"

	"weft/control/mesh"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// Poses are written once a second while something moves, and not while nothing does.
func TestPosesAreKeptIfChanged(t *testing.T) {
	m := newTown(t)
	m.cfg.IdleTicks, m.cfg.AttendTicks = 10_000, 10_000
	m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), nil)
	epoch := mesh.Epoch(1)
	kept := func() (mesh.Tick, []mesh.Pose) {
		t.Helper()
		rec, err := m.store.RaisePoses(ctx, 1, epoch)
		m.must(err)
		poses, err := replication.DecodePoses(rec.Data)
		m.must(err)
		return rec.Tick, poses
	}
	run := func(ticks int) {
		for range ticks {
			m.step()
		}
	}
	steer := func(x, y int8) { m.commands[1] = mesh.Command{Sequence: m.commands[1].Sequence, MoveX: x, MoveY: y} }
	run(1)
	m.sessions[1] = 1
	m.fromGateway("a", &wire.Login{Player: 1, Session: 1})
	run(45)
	if at, poses := kept(); at != 0 || len(poses) != 0 {
		t.Fatalf("who has not moved is kept, at tick %d: %v", at, poses)
	}
	steer(60, 0)
	before, _ := kept()
	run(45)
	walking, _ := kept()
	if walking < m.tick-20 || walking == before {
		t.Fatalf("poses of tick %d at tick %d, while a player walks", walking, m.tick)
	}
	steer(0, 0)
	run(45)
	stood, poses := kept()
	run(200)
	if at, _ := kept(); at != stood || len(poses) != 1 {
		t.Fatalf("%d poses of tick %d were written again at %d, though nothing had moved", len(poses), stood, at)
	}

	// Refused or unanswered, they are not taken for written.
	m.down = true
	steer(0, 60)
	run(45)
	steer(0, 0)
	run(45)
	m.down = false
	run(45)
	now, again := kept()
	if now == stood || len(again) != 1 || again[0].Pos == poses[0].Pos {
		t.Fatalf("%v of tick %d are kept after the store came back", again, now)
	}

	// A takeover restores them, and writes them under its own epoch and ticks, once.
	epoch = 2
	m.must(m.store.RaiseEpoch(ctx, 1, 1, m.selves["b"].Owner()))
	m.layout.Zones[0].Owner, m.layout.Zones[0].Epoch = m.selves["b"].Owner(), epoch
	m.publish()
	run(45)
	at, restored := kept()
	if at <= now || len(restored) != 1 || restored[0].Pos != again[0].Pos {
		t.Fatalf("%v of tick %d after the takeover, %v of tick %d before", restored, at, again, now)
	}
	run(100)
	if later, _ := kept(); later != at {
		t.Fatalf("poses of tick %d were written again at %d", at, later)
	}
}
