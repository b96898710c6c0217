package gateway

import (
	"fmt"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// crowd puts n clients into one room of 24 by 24 m, in which 9 of 10 move.
func crowd(t testing.TB, n int) (r *rig, move func()) {
	cfg := testConfig()
	r = newRig(t, cfg, 1)
	z := &r.zones[0]
	side := 1
	for side*side < n {
		side++
	}
	for i := range n {
		step := int32(24 * mesh.UnitsPerMeter / side)
		z.poses = append(z.poses, player(mesh.PlayerID(i+1), 100_000+int32(i%side)*step, 100_000+int32(i/side)*step))
	}
	k := int32(0)
	move = func() {
		k++
		for i := range z.poses {
			if i%10 != 0 {
				z.poses[i].Pos.X += 40 * (1 - 2*(k/32%2))
				z.poses[i].Yaw += 300
			}
		}
	}
	r.frames()
	for i := range n {
		r.join(process.ClientID(i+1), mesh.PlayerID(i+1))
	}
	for range 60 + n/20 {
		move()
		r.run(1)
	}
	return r, move
}

func frameEvent(r *rig, data []byte) process.Event {
	z := &r.zones[0]
	return process.Event{Kind: process.EventPeer, Peer: z.owner.Node, Message: &wire.Frame{Zone: z.id, Epoch: z.epoch, Tick: r.now, Data: data}}
}

// BenchmarkTick is one tick of a gateway all of whose clients are in one room:
// the frame, the commands, and a view each. The budget is 50 ms.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{400, 2000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r, move := crowd(b, n)
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				move()
				r.now++
				frame := frameEvent(r, r.zones[0].enc.Encode(nil, r.now, r.zones[0].poses))
				b.StartTimer()
				for _, e := range r.g.Step(frame) {
					bytes += len(e.Data) + len(e.Shared)
				}
				for i := range n {
					r.g.Step(process.Event{Kind: process.EventClient, Client: process.ClientID(i + 1),
						ClientMessage: &wire.Steer{Command: mesh.Command{Sequence: uint32(r.now), MoveX: int8(r.now & 63)}}})
				}
				r.g.Step(process.Event{Kind: process.EventTick, Tick: r.now})
			}
			b.ReportMetric(float64(bytes)/float64(b.N)/float64(n), "B/view")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/50_000*100, "%core")
		})
	}
}

// BenchmarkIdle is a tick of a gateway of 2,000 clients in which nothing moves.
func BenchmarkIdle(b *testing.B) {
	r, _ := crowd(b, 2000)
	for b.Loop() {
		b.StopTimer()
		r.now++
		frame := frameEvent(r, r.zones[0].enc.Encode(nil, r.now, r.zones[0].poses))
		b.StartTimer()
		r.g.Step(frame)
		r.g.Step(process.Event{Kind: process.EventTick, Tick: r.now})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/50_000*100, "%core")
}
