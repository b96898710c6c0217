package gateway

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/process"
)

// TestInterestAgainstBruteForce walks random crowds and holds what each client
// knows against a search of all pairs.
func TestInterestAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cfg := testConfig()
		cfg.InterestM, cfg.NearCount, cfg.MidCount = 40, 8, 10
		cfg.ViewBudgetBytes = rapid.IntRange(headBytes+8*maxMoveBytes, 1500).Draw(rt, "budget")
		r := newRig(t, cfg, rapid.IntRange(1, 2).Draw(rt, "zones"))
		extent := rapid.SampledFrom([]int32{20, 100, 400}).Draw(rt, "extent") * mesh.UnitsPerMeter
		place := rapid.Int32Range(0, extent)
		n := rapid.IntRange(3, 120).Draw(rt, "entities")
		for i := range n {
			z := &r.zones[i%len(r.zones)]
			z.poses = append(z.poses, player(mesh.PlayerID(i+1), place.Draw(rt, "x"), place.Draw(rt, "y")))
		}
		r.frames()
		for i := range 3 {
			r.join(process.ClientID(i+1), mesh.PlayerID(i+1))
		}
		move := func(share int) {
			for zi := range r.zones {
				for i := range r.zones[zi].poses {
					p := &r.zones[zi].poses[i]
					if rapid.IntRange(0, 99).Draw(rt, "moves") < share {
						p.Pos.X = min(max(p.Pos.X+rapid.Int32Range(-3000, 3000).Draw(rt, "dx"), 0), extent)
						p.Yaw += 999
					}
				}
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "ticks") {
			move(50)
			r.run(1)
		}
		for range rapid.IntRange(0, 3).Draw(rt, "removed") {
			z := &r.zones[rapid.IntRange(0, len(r.zones)-1).Draw(rt, "zone")]
			if len(z.poses) > 4 {
				z.poses = slices.Delete(z.poses, len(z.poses)-1, len(z.poses))
			}
		}
		r.run(120) // everything stands still: views must become exact and then stop
		for i := range 3 {
			checkSight(t, r, process.ClientID(i+1), mesh.PlayerID(i+1))
		}
		before := r.seen[1].views
		r.run(40)
		if got := r.seen[1].views - before; got > 2 {
			t.Fatalf("%d views in two idle seconds, want a keep-alive a second", got)
		}
	})
}

func checkSight(t *testing.T, r *rig, id process.ClientID, p mesh.PlayerID) {
	t.Helper()
	eye := r.seen[id]
	var all []mesh.Pose
	var self mesh.Pose
	for _, z := range r.zones {
		all = append(all, z.poses...)
	}
	for _, q := range all {
		if q.ID == mesh.PlayerEntity(p) {
			self = q
		}
	}
	radius := r.g.cfg.interest()
	for _, q := range all {
		d := q.Pos.Dist2(self.Pos)
		h, known := eye.byID[q.ID]
		switch {
		case q.ID == self.ID:
			if known {
				t.Fatalf("player %d is shown itself", p)
			}
			if eye.self.Pos != q.Pos {
				t.Fatalf("player %d is at %v and told %v", p, q.Pos, eye.self.Pos)
			}
		case d <= radius*radius && !known:
			t.Fatalf("player %d does not know %x at distance² %d", p, q.ID, d)
		case d > (radius+radius/8)*(radius+radius/8) && known:
			t.Fatalf("player %d still knows %x", p, q.ID)
		case known:
			if got := eye.entities[h]; got.Pos.Dist2(q.Pos) > 3*9*9 {
				t.Fatalf("player %d was told that %x is at %v, it is at %v", p, q.ID, got.Pos, q.Pos)
			}
		}
	}
	if len(eye.byID) > len(all) {
		t.Fatalf("player %d knows %d entities of %d", p, len(eye.byID), len(all))
	}
}

// TestNearAreToldEachTick: whatever moves among the nearest is told of in every view.
func TestNearAreToldEachTick(t *testing.T) {
	cfg := testConfig()
	cfg.NearCount, cfg.MidCount = 10, 10
	r := newRig(t, cfg, 1)
	for i := range 300 {
		r.zones[0].poses = append(r.zones[0].poses, player(mesh.PlayerID(i+1), 50_000+int32(i)*64, 50_000))
	}
	r.frames()
	eye := r.join(1, 1)
	told := make([]int, 300)
	for tick := range 180 {
		for i := range r.zones[0].poses {
			r.zones[0].poses[i].Pos.Y += 32
		}
		r.run(1)
		for i := range told {
			if tick >= 100 && eye.told[mesh.PlayerEntity(mesh.PlayerID(i+1))] {
				told[i]++
			}
		}
	}
	for i, n := range told {
		want := 2 // once in 40 ticks
		switch {
		case i == 0:
			want = 0
		case i <= 10:
			want = 80
		case i <= 20:
			want = 20
		}
		if n < want-1 || i > 20+20/8 && n > 3 { // a band may be an eighth wider than it need be
			t.Errorf("entity %d was told of %d times in 80 ticks, want about %d", i, n, want)
		}
	}
}

func TestCrowdBeyondKnownMaxShowsTheNearest(t *testing.T) {
	cfg := testConfig()
	cfg.KnownMax, cfg.NearCount, cfg.MidCount = 50, 10, 10
	r := newRig(t, cfg, 1)
	for i := range 400 {
		r.zones[0].poses = append(r.zones[0].poses, player(mesh.PlayerID(i+1), 50_000+int32(i)*300, 50_000))
	}
	r.frames()
	eye := r.join(1, 1)
	r.run(200)
	for i := 2; i <= 45; i++ {
		if _, ok := eye.byID[mesh.PlayerEntity(mesh.PlayerID(i))]; !ok {
			t.Errorf("the %d-th nearest is not shown", i)
		}
	}
	if n := len(eye.byID); n > 50 {
		t.Errorf("%d are shown, at most 50 may be", n)
	}
	// The client walks to the other end: the window follows.
	for range 400 {
		r.zones[0].poses[0].Pos.X += 300
		r.run(1)
	}
	r.run(100)
	if _, ok := eye.byID[mesh.PlayerEntity(400)]; !ok || len(eye.byID) > 50 {
		t.Errorf("after the walk the nearest is shown: %v, and %d in all", ok, len(eye.byID))
	}
}

// TestSlowClientCatchesUp: views without enters and leaves may be lost.
func TestSlowClientCatchesUp(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	r.zones[0].poses = []mesh.Pose{player(1, 1000, 1000), player(2, 2000, 1000)}
	r.frames()
	eye := r.join(1, 1)
	r.run(10)
	z := &r.zones[0].poses[1]
	z.Health, z.Pos.X, z.Carrier = 42, 3000, mesh.MakeEntityID(mesh.KindShip, 1)
	lost := *eye
	lost.entities = map[uint32]mesh.Pose{}
	r.seen[1] = &eyes{t: t, budget: 1 << 20, entities: map[uint32]mesh.Pose{0: {}, 1: {}}, byID: map[mesh.EntityID]uint32{}, told: map[mesh.EntityID]bool{}, clocks: eye.clocks}
	r.run(1) // this view is lost
	r.seen[1] = eye
	r.step(process.Event{Kind: process.EventClientSlow, Client: 1})
	r.run(4)
	got := eye.entities[eye.byID[mesh.PlayerEntity(2)]]
	if got.Health != 42 || got.Pos.X != 3008 && got.Pos.X != 3000 || got.Carrier == 0 {
		t.Fatalf("after a lost view the client believes %+v", got)
	}
}

// TestSlowClientInACrowdCatchesUp: where a crowd shares the bytes of what is far,
// a client is told again of what it alone missed.
func TestSlowClientInACrowdCatchesUp(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	const crowd = 300
	for i := range int32(crowd) {
		r.zones[0].poses = append(r.zones[0].poses, player(mesh.PlayerID(i+1), 1000+i%20*40, 1000+i/20*40))
	}
	r.frames()
	eye := r.join(1, 1)
	for i := 2; i <= 4; i++ {
		r.join(process.ClientID(i), mesh.PlayerID(i))
	}
	walk := func(ticks int, each func()) {
		for n := range ticks {
			for i := range r.zones[0].poses[:crowd/2] { // the others stand
				r.zones[0].poses[i].Pos.Y += int32(100 - n&1*200)
			}
			r.run(1)
			each()
		}
	}
	walk(200, func() {})
	if len(eye.byID) != crowd-1 {
		t.Fatalf("%d are in sight", len(eye.byID))
	}
	blind := *eye
	blind.entities, blind.byID, blind.told = maps.Clone(eye.entities), maps.Clone(eye.byID), map[mesh.EntityID]bool{}
	r.seen[1] = &blind
	for i := range r.zones[0].poses[crowd/2:] {
		r.zones[0].poses[crowd/2+i].Health = 42
	}
	walk(45, func() { r.step(process.Event{Kind: process.EventClientSlow, Client: 1}) })
	r.seen[1] = eye
	walk(200, func() {})
	for i := crowd/2 + 1; i <= crowd; i++ {
		if got := eye.entities[eye.byID[mesh.PlayerEntity(mesh.PlayerID(i))]]; got.Health != 42 {
			t.Fatalf("after lost views the client believes %+v", got)
		}
	}
}

// TestLate: a gateway that is late by less than another tick shows each frame;
// one that is later leaves out what the next view tells anyhow, but not for ever.
func TestLate(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	r.zones[0].poses = []mesh.Pose{player(1, 1000, 1000)}
	r.frames()
	eye := r.join(1, 1)
	r.run(10)
	late := func(us ...uint32) (views int) {
		before := eye.views
		for _, l := range us {
			r.zones[0].poses[0].Pos.X += 300
			r.frames()
			r.now++
			r.step(process.Event{Kind: process.EventTick, Tick: r.now, LateUS: l})
		}
		return eye.views - before
	}
	if n := late(slices.Repeat([]uint32{74_999}, 20)...); n != 20 {
		t.Errorf("twenty ticks that are a little late make %d views", n)
	}
	if n := late(220_000, 170_000, 120_000, 75_000); n != 1 {
		t.Errorf("a burst of four ticks makes %d views", n)
	}
	if n := late(70_000, 20_000); n != 2 {
		t.Errorf("the end of the burst makes %d views", n)
	}
	if got := eye.self.Pos.X; got != r.zones[0].poses[0].Pos.X {
		t.Errorf("after it the body is seen at %d", got)
	}
	if n := late(slices.Repeat([]uint32{80_000}, 21)...); n != 5 {
		t.Errorf("ticks that are always late make %d views", n)
	}
}

// TestShownOnceWhole: of two zones the views of a tick are shown with the later
// frame, once, be it before the tick or after; one that falls silent is not
// waited for, and its last word stays.
func TestShownOnceWhole(t *testing.T) {
	r := newRig(t, testConfig(), 2)
	r.zones[0].poses = []mesh.Pose{player(1, 1000, 1000)}
	r.zones[1].poses = []mesh.Pose{player(2, 1200, 1000)}
	r.frames()
	eye := r.join(1, 1)
	r.run(10)
	move := func() {
		for i := range r.zones {
			r.zones[i].poses[0].Pos.X += 300
		}
	}
	for n, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {0, 2, 1}, {2, 0, 1}, {2, 1, 0}, {0, 1, 2}} {
		before := eye.views
		move()
		for _, what := range order { // a zone's frame, or the tick
			if what < 2 {
				r.frame(what)
				continue
			}
			r.step(process.Event{Kind: process.EventTick, Tick: r.now})
		}
		other := eye.entities[eye.byID[mesh.PlayerEntity(2)]].Pos
		if eye.views != before+1 || other.Dist2(r.zones[1].poses[0].Pos) > 200 || eye.self.Pos != r.zones[0].poses[0].Pos {
			t.Errorf("%d: %d views, me at %v, the other at %v; want %v and %v", n, eye.views-before, eye.self.Pos, other,
				r.zones[0].poses[0].Pos, r.zones[1].poses[0].Pos)
		}
		r.now++
	}
	before := eye.views
	for range 20 {
		move()
		r.frame(0)
		r.tick()
	}
	if n := eye.views - before; n < 18 || eye.self.Pos != r.zones[0].poses[0].Pos {
		t.Errorf("beside a silent zone %d views of 20", n)
	}
}

// TestTurns: clients that are shown something every fourth tick are so in
// turns, and miss nothing.
func TestTurns(t *testing.T) {
	cfg := testConfig()
	cfg.ViewEveryTicks = 4
	r := newRig(t, cfg, 1)
	const players = 40
	for p := range mesh.PlayerID(players) {
		r.zones[0].poses = append(r.zones[0].poses, player(p+1, int32(p)*40, 0))
	}
	r.frames()
	for p := range mesh.PlayerID(players) {
		r.join(process.ClientID(p+1), p+1)
	}
	r.run(40)
	for range 12 {
		told := 0
		for _, e := range r.seen {
			told -= e.views
		}
		for i := range r.zones[0].poses {
			r.zones[0].poses[i].Pos.X += 100
		}
		r.run(1)
		for _, e := range r.seen {
			told += e.views
		}
		if told != players/4 {
			t.Errorf("tick %d: %d views, want %d", r.now, told, players/4)
		}
	}
	for i := range 12 { // frames are lost: several turns are shown something at once, each what it missed
		r.zones[0].poses[i].Pos.X += 100
		r.run(1)
		r.now += mesh.Tick(i % 3)
	}
	r.run(4)
	for id, e := range r.seen {
		for _, p := range r.zones[0].poses {
			handle, ok := e.byID[p.ID]
			if q := e.entities[handle]; ok && q.Pos.Dist2(p.Pos) > 200 {
				t.Fatalf("client %d sees %x at %v, not %v", id, p.ID, q.Pos, p.Pos)
			}
		}
	}
}

func TestSelectLowest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.Uint64Range(0, 500), 0, 100, rapid.ID[uint64]).Draw(rt, "keys")
		n := rapid.IntRange(0, len(keys)).Draw(rt, "n")
		want := slices.Sorted(slices.Values(keys))
		selectLowest(keys, n)
		slices.Sort(keys[:n])
		slices.Sort(keys[n:])
		if !slices.Equal(keys, want) {
			rt.Fatalf("%v, want %v", keys, want)
		}
	})
}

func TestSteadyTickAllocatesNothing(t *testing.T) {
	r, move := crowd(t, 60)
	var frames [64]process.Event
	for i := range frames {
		move()
		r.now++
		frames[i] = frameEvent(r, r.zones[0].enc.Encode(nil, r.now, r.zones[0].poses))
	}
	r.now -= 64
	i := 0
	tick := func() {
		r.now++
		r.g.Step(frames[i])
		r.g.Step(process.Event{Kind: process.EventTick, Tick: r.now})
		i++
	}
	for range 40 {
		tick()
	}
	r.g.cfg.ReportEveryTicks = 1 << 20 // a report a second is not a steady tick
	if n := testing.AllocsPerRun(20, tick); n > 0 {
		t.Errorf("%.1f allocations a tick", n)
	}
}

// TestSlotsAreFreed: when clients are gone, no slot is held.
func TestSlotsAreFreed(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	for i := range 100 {
		r.zones[0].poses = append(r.zones[0].poses, player(mesh.PlayerID(i+1), int32(i)*50, 0))
	}
	r.frames()
	for i := range 10 {
		r.join(process.ClientID(i+1), mesh.PlayerID(i+1))
	}
	r.run(30)
	r.zones[0].poses = r.zones[0].poses[:10]
	r.run(40)
	if n := len(r.g.free); n != 90 {
		t.Errorf("%d slots are free, want 90", n)
	}
	for i := range 10 {
		r.step(process.Event{Kind: process.EventClientDown, Client: process.ClientID(i + 1)})
	}
	if i := slices.IndexFunc(r.g.entities, func(e entity) bool { return e.refs != 0 }); i >= 0 {
		t.Errorf("slot %d has %d references and no client is there", i, r.g.entities[i].refs)
	}
	r.zones[0].poses = append(r.zones[0].poses, player(500, 0, 0))
	r.run(2)
	if n := len(r.g.entities); n != 100 {
		t.Errorf("%d slots for 11 entities, want the 100 there were", n)
	}
	slices.SortFunc(r.g.free, cmp.Compare)
	if len(slices.Compact(r.g.free)) != 89 {
		t.Error("a slot is free twice")
	}
}

// TestTeleport takes a client with a small budget out of a crowd and back: there
// are more leaves than fit in its views, and no handle may enter twice. Then
// the crowd vanishes while most of it has not been shown again, and at last the
// client, with leaves still to tell.
func TestTeleport(t *testing.T) {
	cfg := testConfig()
	cfg.NearCount = 4
	cfg.ViewBudgetBytes = headBytes + cfg.NearCount*maxMoveBytes
	r := newRig(t, cfg, 1)
	z := &r.zones[0]
	for i := range 3000 {
		z.poses = append(z.poses, player(mesh.PlayerID(i+1), 50_000+int32(i%50)*64, 50_000+int32(i/50)*64))
	}
	r.frames()
	eye := r.join(1, 1)
	home, away := z.poses[0].Pos, mesh.Meters(900, 900, 0)
	to := func(p mesh.Vec, ticks int) {
		z.poses[0].Pos = p
		r.run(ticks)
	}
	all := func(when string) {
		t.Helper()
		if len(eye.byID) != 2999 {
			t.Fatalf("%s %d are shown", when, len(eye.byID))
		}
	}
	r.run(500)
	all("at first")
	for range 3 {
		to(away, 6)
		to(home, 7)
	}
	r.run(500)
	all("after the return")
	to(away, 30)
	to(home, 2)
	z.poses = z.poses[:1]
	r.run(10)
	for range 20 {
		views := eye.views
		if r.run(1); eye.views > views && len(eye.view.Enters) > 0 {
			t.Fatal("what is gone enters")
		}
	}
	if len(eye.byID) != 0 {
		t.Errorf("%d are shown and gone", len(eye.byID))
	}

	for i := range 2999 {
		z.poses = append(z.poses, player(mesh.PlayerID(i+2), home.X+int32(i%50)*64, home.Y))
	}
	r.run(500)
	to(away, 6)
	if len(r.g.clients[0].leaves) == 0 {
		t.Fatal("the test is too kind")
	}
	r.step(process.Event{Kind: process.EventClientDown, Client: 1})
	if i := slices.IndexFunc(r.g.entities, func(e entity) bool { return e.refs != 0 }); i >= 0 {
		t.Errorf("slot %d has %d references and no client is there", i, r.g.entities[i].refs)
	}
}

// TestHands: what a player carries is in its Self, until it is gone.
func TestHands(t *testing.T) {
	r := newRig(t, testConfig(), 1)
	cup := mesh.MakeEntityID(mesh.KindItem, 5)
	z := &r.zones[0]
	z.poses = []mesh.Pose{{ID: cup, Carrier: mesh.PlayerEntity(1)}, player(1, 1000, 1000), player(2, 1000, 1000)}
	r.frames()
	eye := r.join(1, 1)
	held := func(want mesh.EntityID, when string) {
		t.Helper()
		if eye.self.Held != want {
			t.Errorf("%s: %x is held, want %x", when, eye.self.Held, want)
		}
	}
	r.run(2)
	held(cup, "at first")
	z.poses[0].Carrier = mesh.PlayerEntity(2)
	r.run(1)
	held(0, "given away")
	z.poses[0].Carrier = mesh.PlayerEntity(1)
	r.run(1)
	held(cup, "given back")
	z.poses = []mesh.Pose{z.poses[1], z.poses[2]}
	r.run(13)
	held(0, "gone")
}

// TestHandsAfterTakeover: a new owner shows for a moment that a player carries
// what it let go before it took up another.
func TestHandsAfterTakeover(t *testing.T) {
	body, cup, jug := mesh.PlayerEntity(1), mesh.MakeEntityID(mesh.KindItem, 5), mesh.MakeEntityID(mesh.KindItem, 6)
	for _, gone := range []bool{false, true} {
		r := newRig(t, testConfig(), 1)
		z := &r.zones[0]
		z.poses = []mesh.Pose{player(1, 1000, 1000), {ID: cup, Hop: 10, Carrier: body}}
		r.frames()
		eye := r.join(1, 1)
		steps := []func(){
			func() {},
			func() { z.poses = append(z.poses, mesh.Pose{ID: jug, Hop: 8, Carrier: body}) },
			func() {
				if z.poses[2].Hop, z.poses[2].Carrier = 10, 0; gone {
					z.poses = z.poses[:2]
				}
			},
			func() { z.poses[1].Hop, z.poses[1].Carrier = 11, 0 },
		}
		for i, want := range []mesh.EntityID{cup, jug, cup, 0} {
			steps[i]()
			if r.run(13); eye.self.Held != want {
				t.Errorf("step %d, the jug vanishes %v: %x is held, want %x", i, gone, eye.self.Held, want)
			}
		}
	}
}

// TestClaims holds the order of claims, and how long the last one lingers.
func TestClaims(t *testing.T) {
	old, young := &feed{zone: 1, tick: 5}, &feed{zone: 2, tick: 9}
	for _, tt := range []struct {
		name     string
		a, b     mesh.Pose
		wantHop  uint32
		wantFeed *feed
	}{
		{"a higher hop", mesh.Pose{Hop: 2}, mesh.Pose{Hop: 1}, 2, old},
		{"a higher hop that left", mesh.Pose{Hop: 2, Flags: mesh.Outbound}, mesh.Pose{Hop: 1}, 2, old},
		{"simulated before left behind", mesh.Pose{Hop: 2}, mesh.Pose{Hop: 2, Flags: mesh.Outbound}, 2, old},
		{"the newest", mesh.Pose{Hop: 2}, mesh.Pose{Hop: 2}, 2, young},
	} {
		for _, swap := range []bool{false, true} {
			r := replica{slots: map[mesh.EntityID]uint32{}, held: map[mesh.EntityID][]mesh.EntityID{}}
			tt.a.ID, tt.b.ID = 7, 7
			if swap {
				r.claim(young, &tt.b, 0, 1)
				r.claim(old, &tt.a, 0, 1)
			} else {
				r.claim(old, &tt.a, 0, 1)
				r.claim(young, &tt.b, 0, 1)
			}
			e, _ := r.find(7)
			if e.best != tt.wantFeed || e.pose.Hop != tt.wantHop || e.pose.Flags != 0 {
				t.Errorf("%s, swapped %v: zone %d, %+v", tt.name, swap, e.best.zone, e.pose)
			}
		}
	}
	r := replica{slots: map[mesh.EntityID]uint32{}, held: map[mesh.EntityID][]mesh.EntityID{}}
	r.claim(old, &mesh.Pose{ID: 7}, 0, 1)
	r.drop(0, old, 10, 1)
	r.claim(old, &mesh.Pose{ID: 7}, 0, 1)
	r.drop(0, old, 18, 1)
	r.expireBefore(17)
	if _, ok := r.find(7); !ok {
		t.Error("it came back at 11, vanished at 18, and is gone with the first time")
	}
	r.expireBefore(18)
	if _, ok := r.find(7); ok {
		t.Error("it is shown for ever")
	}
}
