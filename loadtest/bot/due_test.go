package bot

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func TestLowest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := rapid.SliceOfN(rapid.Int64Range(0, 40), 1, 60).Draw(rt, "distances")
		n := rapid.IntRange(1, len(d)).Draw(rt, "n")
		want := slices.Sorted(slices.Values(d))[n-1]
		if n == len(d) {
			want = 1<<62 - 2
		}
		if got := lowest(d, n); got != want {
			rt.Fatalf("%d, want %d", got, want)
		}
	})
}

// TestDues shows one player some of what four others do, and holds what is
// counted against what the definition says.
func TestDues(t *testing.T) {
	const ticks = 8
	shard := mesh.Shard{TickHz: 20, OriginUnixMilli: time.Now().UnixMilli()}
	rates := Rates{Near: 1, Mid: 1, MidTicks: 2, FarTicks: 4}
	pose := func(player, tick int) mesh.Pose { // player k stands at k m and walks off sideways; the last stands still
		p := mesh.Pose{ID: mesh.PlayerEntity(mesh.PlayerID(player + 1)), Pos: mesh.Meters(int32(player), 0, 0)}
		if player < 4 {
			p.Pos.Y = int32(tick) * 32
		}
		return p
	}
	for _, c := range []struct {
		name           string
		told           func(player, tick int) bool
		late           bool // views tell of the place one tick before
		due, delivered int64
		wrong          int64
	}{
		{"all", func(int, int) bool { return true }, false, 3 * 7, 3 * 7, 0},
		// In the 7 ticks after the first the near one is due 7 times; the next
		// every second tick; the third every fourth; who stands still never.
		{"nothing", func(int, int) bool { return false }, false, 7 + 3 + 1, 0, 0},
		{"by the rates", func(player, tick int) bool { return tick%[]int{0, 1, 2, 4, 4}[player] == 0 }, false, 7 + 3 + 1, 7 + 3 + 1, 0},
		{"near only", func(player, _ int) bool { return player == 1 }, false, 7 + 3 + 1, 7, 0},
		{"old places", func(player, tick int) bool { return player == 1 }, true, 7 + 3 + 1, 7, 7},
	} {
		truth := NewTruth(5)
		s := NewSwarm(SwarmConfig{Players: 5, Shard: shard, MaxGlimpses: ticks})
		s.Record(true)
		for tick := range ticks {
			var poses []mesh.Pose
			g := Glimpse{Tick: mesh.Tick(tick), AtUS: int64(tick)*50_000 + 30_000, Bytes: 10, Told: make([]uint64, 1)}
			for player := range 5 {
				poses = append(poses, pose(player, tick))
				if player > 0 && c.told(player, tick) {
					at := tick
					if c.late {
						at = max(tick-1, 0)
					}
					m := wire.Quantise(pose(player, at), 0, false)
					g.Told[0] |= 1 << player
					g.Sum += Print(player, m.X, m.Y, m.Z)
				}
			}
			truth.Add(mesh.Tick(tick), poses)
			s.bots[0].glimpses = append(s.bots[0].glimpses, g)
		}
		a := audit1{swarm: s, rates: rates}
		for tick := range mesh.Tick(ticks) {
			a.ticks = append(a.ticks, truth.ticks[tick])
		}
		a.AgesUS = newHistogram(mostMicros).h
		a.player(0)
		if a.Due != c.due || a.Delivered != c.delivered || a.Wrong != c.wrong || a.Views != ticks {
			t.Errorf("%s: %d due, %d delivered, %d wrong in %d views; want %d, %d, %d", c.name, a.Due, a.Delivered, a.Wrong, a.Views, c.due, c.delivered, c.wrong)
		}
		if age := a.AgesUS.Max(); c.delivered > 0 && (age < 29_900 || age > 30_100) {
			t.Errorf("%s: an age of %d µs, want 30,000", c.name, age)
		}
	}
}
