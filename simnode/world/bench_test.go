package world

import (
	"fmt"
	"sync"
	"testing"

	"weft/control/mesh"
)

// rain returns a World of n bottles in the air over side by side meters.
func rain(n int, side int32) *World {
	w := newTavern()
	fillAir(w, n, side)
	return w
}

func fillAir(w *World, n int, side int32) {
	box := mesh.Box{Min: mesh.Meters(1000, 1000, 0), Max: mesh.Meters(1000+side, 1000+side, 100)}
	for _, e := range Scatter(3, n, box, mesh.Vec{}, 0) {
		r := hash(5, 0, e.ID)
		e.Flags = mesh.Flying
		e.Pos.Z = spread(0, 60*m, r)
		e.Vel = mesh.Vec{X: spread(-8*m, 8*m, mix(r)), Y: spread(-8*m, 8*m, mix(r+1)), Z: spread(-m, 8*m, mix(r+2))}
		w.Put(e)
	}
}

// gather returns a World of n players in a room of the given radius, who walk about.
func gather(n int, radius int32) *World {
	w := newTavern()
	for i := range n {
		e := player(mesh.PlayerID(i+1), disc(mesh.Meters(2000, 2000, 0), radius, mix(uint64(i))))
		w.Put(e)
	}
	return w
}

func steer(w *World, tick mesh.Tick) {
	for _, s := range w.lists[acting] {
		x, y := compass(uint8(mix(uint64(w.id[s])+uint64(tick)/8) & 255))
		w.Command(w.id[s], mesh.Command{Sequence: uint32(tick), MoveX: x / 2, MoveY: y / 2})
	}
}

func BenchmarkMovingProps(b *testing.B) {
	const n = 100_000
	for _, actors := range []int{0, 1000} {
		b.Run(fmt.Sprintf("props=%d/actors=%d", n, actors), func(b *testing.B) {
			w := newTavern()
			for i := range actors {
				w.Put(player(mesh.PlayerID(i+1), disc(mesh.Meters(1150, 1150, 0), 150*m, mix(uint64(i)))))
			}
			fillAir(w, n, 300)
			tick, moving := mesh.Tick(0), 0
			b.ReportAllocs()
			for b.Loop() {
				if tick++; tick%16 == 0 { // throw all up again
					b.StopTimer()
					for _, s := range w.lists[flying] {
						w.pos[s].Z, w.vel[s].Z = int32(mix(uint64(w.id[s]))%uint64(60*m)), 8*m
						w.air[w.airAt[s]] = spot{pos: w.pos[s], vel: w.vel[s], ref: s}
					}
					b.StartTimer()
				}
				w.Step(tick, nil)
				moving += len(w.lists[flying])
			}
			b.ReportMetric(float64(moving)/float64(b.N), "moving/op")
		})
	}
}

func BenchmarkRestingProps(b *testing.B) {
	w := newTavern()
	for _, e := range Scatter(3, 100_000, bounds, mesh.Vec{}, 0) {
		w.Put(e)
	}
	for tick := mesh.Tick(1); b.Loop(); tick++ {
		w.Step(tick, nil)
	}
}

func BenchmarkCrowd(b *testing.B) {
	for _, radius := range []int32{4, 12} {
		b.Run(fmt.Sprintf("players=2000/radius=%dm", radius), func(b *testing.B) {
			w := gather(2000, radius*m)
			tick := mesh.Tick(0)
			b.ReportAllocs()
			for b.Loop() {
				tick++
				steer(w, tick)
				w.Step(tick, nil)
			}
		})
	}
}

func BenchmarkStrays(b *testing.B) {
	w := newTavern()
	for _, e := range Scatter(3, 100_000, bounds, mesh.Vec{}, 0) {
		w.Put(e)
	}
	var dst []mesh.EntityID
	for b.Loop() {
		dst = w.Strays(bounds, m, dst[:0])
	}
}

func BenchmarkPoses(b *testing.B) {
	w := rain(20_000, 300)
	var dst []mesh.Pose
	for b.Loop() {
		dst = w.Poses(dst[:0])
	}
}

func BenchmarkDensity(b *testing.B) {
	w := rain(100_000, 300)
	for b.Loop() {
		w.Density()
	}
}

func BenchmarkBurn(b *testing.B) {
	var x uint64
	for b.Loop() {
		x = Burn(1000, x)
	}
}

// BenchmarkZones ticks the zones of one node one after the other, and side by
// side in goroutines that wait for each other: see docs/performance.md.
func BenchmarkZones(b *testing.B) {
	for _, load := range []struct {
		name  string
		zones int
		make  func() *World
	}{
		{"4 zones of 25 players", 4, func() *World { return gather(25, 12*m) }},
		{"4 zones of 250 players", 4, func() *World { return gather(250, 12*m) }},
		{"4 zones of 1000 players", 4, func() *World { return gather(1000, 24*m) }},
		{"4 zones of 25000 props", 4, func() *World { return rain(25_000, 300) }},
	} {
		for _, parallel := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/parallel=%v", load.name, parallel), func(b *testing.B) {
				zones := make([]*World, load.zones)
				for i := range zones {
					zones[i] = load.make()
				}
				tick := mesh.Tick(0)
				var all sync.WaitGroup
				for b.Loop() {
					tick++
					for _, w := range zones {
						step := func() {
							steer(w, tick)
							w.Step(tick, nil)
						}
						if parallel {
							all.Go(step)
						} else {
							step()
						}
					}
					all.Wait()
				}
			})
		}
	}
}
