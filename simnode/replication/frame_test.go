package replication

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// zone is a zone's arrays as a world keeps them: removal puts the last into the gap.
type zone struct {
	poses []mesh.Pose
	next  uint64
}

func (z *zone) insert(p mesh.Pose) {
	z.next++
	p.ID = mesh.MakeEntityID(mesh.KindItem, z.next)
	z.poses = append(z.poses, p)
}

func (z *zone) remove(i int) {
	last := len(z.poses) - 1
	z.poses[i] = z.poses[last]
	z.poses = z.poses[:last]
}

// step changes z as a tick might.
func (z *zone) step(t *rapid.T) {
	any := rapid.Make[mesh.Pose]()
	for range rapid.IntRange(0, 6).Draw(t, "acts") {
		n := len(z.poses)
		if n == 0 || rapid.IntRange(0, 4).Draw(t, "act") == 0 {
			z.insert(any.Draw(t, "pose"))
			continue
		}
		i := rapid.IntRange(0, n-1).Draw(t, "slot")
		switch p := &z.poses[i]; rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			z.remove(i)
		case 1:
			q := any.Draw(t, "pose")
			q.ID = p.ID
			*p = q
		case 2:
			p.Pos.X += rapid.Int32Range(-80, 80).Draw(t, "dx")
			p.Vel.Z--
		case 3:
			p.Yaw++
		default:
			p.Hop++
		}
	}
}

// TestDecoderFollows runs random histories of a zone past a subscriber that
// loses frames and gets some twice, against copies of the zone as the dumb
// second implementation.
func TestDecoderFollows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var z zone
		var enc FrameEncoder
		var dec FrameDecoder
		epoch, tick := mesh.Epoch(1), mesh.Tick(0)
		enc.Begin(3, epoch)
		behind := true // it missed a frame
		var old []byte
		for range rapid.IntRange(1, 25).Draw(t, "ticks") {
			if rapid.IntRange(0, 12).Draw(t, "takeover") == 0 {
				epoch++
				enc.Begin(3, epoch)
				old = nil
			}
			tick += mesh.Tick(rapid.IntRange(1, 3).Draw(t, "ticks passed"))
			z.step(t)
			first := old == nil
			b := enc.Encode(nil, tick, z.poses)
			old = b
			if rapid.IntRange(0, 4).Draw(t, "loss") == 0 {
				behind = true
				continue
			}
			before := follower(&dec)
			err := dec.Apply(b)
			if !first && behind {
				if !errors.Is(err, ErrNeedKey) {
					t.Fatalf("a delta after a loss: %v", err)
				}
				b = enc.Key(nil)
				err = dec.Apply(b)
			}
			behind = false
			if err != nil || dec.Zone != 3 || dec.Epoch != epoch || dec.Tick != tick || !slices.Equal(dec.Poses, z.poses) {
				t.Fatalf("zone %d epoch %d tick %d: %v\n got %+v\nwant %+v", dec.Zone, dec.Epoch, dec.Tick, err, dec.Poses, z.poses)
			}
			before.verify(t, &dec)
			if err := dec.Apply(b); !dec.Key && !errors.Is(err, ErrStaleFrame) || dec.Key && err != nil {
				t.Fatalf("the same frame again: %v", err)
			}
		}
	})
}

// follower remembers what d showed, by entity.
func follower(d *FrameDecoder) before {
	return before{slices.Clone(d.Poses)}
}

type before struct{ poses []mesh.Pose }

// verify holds Changed, Gone and Slot against a comparison of all with all.
func (b before) verify(t *rapid.T, d *FrameDecoder) {
	var changed []int
	for i, p := range d.Poses {
		if i >= len(b.poses) || b.poses[i] != p {
			changed = append(changed, i)
		}
		if at, ok := d.Slot(p.ID); !ok || at != i {
			t.Fatalf("entity %d of slot %d is in slot %d, %v", p.ID, i, at, ok)
		}
	}
	if !slices.Equal(d.Changed, changed) {
		t.Fatalf("changed %v, want %v", d.Changed, changed)
	}
	var gone []mesh.EntityID
	for _, p := range b.poses {
		if !slices.ContainsFunc(d.Poses, func(q mesh.Pose) bool { return q.ID == p.ID }) {
			gone = append(gone, p.ID)
			if _, ok := d.Slot(p.ID); ok {
				t.Fatalf("entity %d is gone and has a slot", p.ID)
			}
		}
	}
	got := slices.Clone(d.Gone)
	slices.Sort(got)
	slices.Sort(gone)
	if !slices.Equal(got, gone) {
		t.Fatalf("gone %v, want %v", got, gone)
	}
}

func poses(ids ...mesh.EntityID) (ps []mesh.Pose) {
	for _, id := range ids {
		ps = append(ps, mesh.Pose{ID: id})
	}
	return ps
}

func TestApplyRefuses(t *testing.T) {
	var e, higher, other FrameEncoder
	e.Begin(3, 5)
	key1 := e.Encode(nil, 10, poses(1, 2, 3))
	delta2 := e.Encode(nil, 11, poses(1, 2))
	delta3 := e.Encode(nil, 12, poses(2, 1))
	higher.Begin(3, 6)
	key6 := higher.Encode(nil, 2, poses(9))
	delta6 := higher.Encode(nil, 3, poses(8))
	other.Begin(4, 5)
	foreign := other.Encode(nil, 11, nil)
	head := []byte{formatDelta, 3, 5, 11, 1}
	for name, c := range map[string]struct {
		first [][]byte
		b     []byte
		want  error
	}{
		"delta to nothing":              {nil, delta2, ErrNeedKey},
		"delta that skips one":          {[][]byte{key1}, delta3, ErrNeedKey},
		"delta of a higher epoch":       {[][]byte{key1}, delta6, ErrNeedKey},
		"delta of a lower epoch":        {[][]byte{key6}, delta2, ErrStaleFrame},
		"key of a lower epoch":          {[][]byte{key6}, key1, ErrStaleFrame},
		"delta again":                   {[][]byte{key1, delta2}, delta2, ErrStaleFrame},
		"older key":                     {[][]byte{key1, delta2}, key1, ErrStaleFrame},
		"key again":                     {[][]byte{key1}, key1, nil},
		"key of a higher epoch":         {[][]byte{key1, delta2}, key6, nil},
		"another zone":                  {[][]byte{key1}, foreign, wire.ErrMalformed},
		"nothing":                       {nil, nil, wire.ErrMalformed},
		"another version":               {nil, []byte{formatKey + 1}, wire.ErrVersion},
		"zone zero":                     {nil, []byte{formatKey, 0, 1, 1, 0}, wire.ErrMalformed},
		"base after the frame":          {[][]byte{key1}, []byte{formatDelta, 3, 5, 11, 12, 3}, wire.ErrMalformed},
		"base is the frame":             {[][]byte{key1}, []byte{formatDelta, 3, 5, 11, 0, 3}, wire.ErrMalformed},
		"slot beyond the count":         {[][]byte{key1}, append(slices.Clone(head), 3, 3, changedYaw, 1, 0), wire.ErrMalformed},
		"change of nothing":             {[][]byte{key1}, append(slices.Clone(head), 3, 0, 0), wire.ErrMalformed},
		"change to the same":            {[][]byte{key1}, append(slices.Clone(head), 3, 0, changedX, 0), wire.ErrMalformed},
		"whole of the same entity":      {[][]byte{key1}, append(slices.Clone(head), 3, 0, changedEntity, 0, 0, 1, 0, 2, 0, 0), wire.ErrMalformed},
		"grown without the entity":      {[][]byte{key1}, append(slices.Clone(head), 4), wire.ErrMalformed},
		"grown by a change":             {[][]byte{key1}, append(slices.Clone(head), 4, 3, changedX, 2), wire.ErrMalformed},
		"entity in two slots":           {[][]byte{key1}, append(slices.Clone(head), 3, 0, changedEntity, 0, 0, 2, 0, 0, 0, 0), wire.ErrMalformed},
		"new entity in two slots":       {nil, (&FrameEncoder{zone: 3, epoch: 5, tick: 1, begun: true, last: poses(1, 1)}).Key(nil), wire.ErrMalformed},
		"more entities than may be":     {[][]byte{key1}, append(slices.Clone(head), 255, 255, 255, 1), wire.ErrTooLarge},
		"more entities than bytes":      {nil, []byte{formatKey, 3, 5, 1, 9, 0}, wire.ErrMalformed},
		"two slots swap their entities": {[][]byte{key1, delta2}, delta3, nil},
	} {
		var d FrameDecoder
		for _, b := range c.first {
			if err := d.Apply(b); err != nil {
				t.Fatalf("%s: before it: %v", name, err)
			}
		}
		tick, shown := d.Tick, slices.Clone(d.Poses)
		if err := d.Apply(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		} else if err != nil && (d.Tick != tick || !slices.Equal(d.Poses, shown)) {
			t.Errorf("%s: changed what is shown to tick %d %v", name, d.Tick, d.Poses)
		}
	}
}

// TestNoWayBack: who has seen a higher epoch, if only a frame that it cannot
// use, follows the lower one no more.
func TestNoWayBack(t *testing.T) {
	var low, high FrameEncoder
	var d FrameDecoder
	low.Begin(3, 5)
	if err := d.Apply(low.Encode(nil, 10, poses(1))); err != nil {
		t.Fatal(err)
	}
	high.Begin(3, 6)
	high.Encode(nil, 11, poses(1))
	if err := d.Apply(high.Encode(nil, 12, poses(1))); !errors.Is(err, ErrNeedKey) {
		t.Error(err)
	}
	if err := d.Apply(low.Encode(nil, 11, poses(1))); !errors.Is(err, ErrStaleFrame) {
		t.Error(err)
	}
	if err := d.Apply(high.Key(nil)); err != nil || d.Epoch != 6 {
		t.Error(err, d.Epoch)
	}
}

func TestEncoderSaysNothingTwice(t *testing.T) {
	var e FrameEncoder
	e.Begin(3, 5)
	if b := e.Key(nil); b != nil {
		t.Errorf("a key frame of nothing: % x", b)
	}
	e.Encode(nil, 10, poses(1))
	if b := e.Encode(nil, 10, poses(2)); b != nil {
		t.Errorf("the same tick again: % x", b)
	}
	rest := e.Encode(nil, 11, poses(1))
	if len(rest) > 8 {
		t.Errorf("a zone at rest costs %d bytes", len(rest))
	}
}

// crowd returns n poses in slot order, spread as in a world.
func crowd(n int) []mesh.Pose {
	ps := make([]mesh.Pose, n)
	for i := range ps {
		ps[i] = mesh.Pose{ID: mesh.MakeEntityID(mesh.KindPlayer, uint64(i+1)), Health: 100, Pos: mesh.Meters(int32(i%300), int32(i/300), 0)}
	}
	return ps
}

// walk moves every pose as 20 Hz does at a walk.
func walk(ps []mesh.Pose, tick int) {
	for i := range ps {
		d := int32((i+tick)%33 - 16)
		ps[i].Pos.X += d
		ps[i].Pos.Y -= d
		ps[i].Vel.X, ps[i].Vel.Y = d*20, -d*20
		ps[i].Yaw += 300
	}
}

func TestSteadyTicksAllocateNothing(t *testing.T) {
	var e FrameEncoder
	var d FrameDecoder
	ps := crowd(200)
	e.Begin(3, 5)
	tick := 1
	buf := e.Encode(nil, 1, ps)
	if err := d.Apply(buf); err != nil {
		t.Fatal(err)
	}
	step := func() {
		tick++
		walk(ps, tick)
		last := len(ps) - 1
		ps[tick%last], ps[last] = ps[last], ps[tick%last] // entities change slots too
		buf = e.Encode(buf[:0], mesh.Tick(tick), ps)
		if err := d.Apply(buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("a tick allocates %v times", n)
	}
	if !slices.Equal(d.Poses, ps) {
		t.Error("the decoder shows something else")
	}
}

func FuzzFrameDecoder(f *testing.F) {
	var e FrameEncoder
	e.Begin(3, 5)
	ps := crowd(3)
	key := e.Encode(nil, 10, ps)
	walk(ps, 1)
	ps[0].Hop++
	ps[1].Vel.Z, ps[1].Pos.Z = 5, 6
	f.Add(key, e.Encode(nil, 11, ps))
	f.Add(key, e.Encode(nil, 14, append(ps[1:], mesh.Pose{ID: 77, Carrier: 5})))
	f.Add(key, e.Encode(nil, 15, nil))
	f.Add(e.Key(nil), key)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var d FrameDecoder
		if d.Apply(first) != nil {
			return
		}
		var e FrameEncoder
		e.Begin(d.Zone, d.Epoch)
		if b := e.Encode(nil, d.Tick, d.Poses); !bytes.Equal(b, first) {
			t.Fatalf("key % x\nencodes to % x", first, b)
		}
		shown := slices.Clone(d.Poses)
		if err := d.Apply(second); err != nil {
			if !slices.Equal(shown, d.Poses) {
				t.Fatalf("%v, but the poses changed", err)
			}
			return
		}
		if d.Key {
			e.Begin(d.Zone, d.Epoch)
		}
		if b := e.Encode(nil, d.Tick, d.Poses); !bytes.Equal(b, second) {
			t.Fatalf("frame % x\nencodes to % x", second, b)
		}
	})
}

func benchmarkEncode(b *testing.B, n int, moving bool) {
	var e FrameEncoder
	ps := crowd(n)
	e.Begin(3, 5)
	buf := e.Encode(nil, 1, ps)
	b.ReportAllocs()
	tick := 1
	for b.Loop() {
		tick++
		if moving {
			walk(ps, tick)
		}
		buf = e.Encode(buf[:0], mesh.Tick(tick), ps)
	}
	b.ReportMetric(float64(len(buf)), "bytes/frame")
}

func BenchmarkEncode2000Moving(b *testing.B)    { benchmarkEncode(b, 2000, true) }
func BenchmarkEncode100000Resting(b *testing.B) { benchmarkEncode(b, 100_000, false) }

func BenchmarkApply2000Moving(b *testing.B) {
	var e FrameEncoder
	var d FrameDecoder
	ps := crowd(2000)
	e.Begin(3, 5)
	buf := e.Encode(nil, 1, ps)
	if err := d.Apply(buf); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for tick := 2; b.Loop(); tick++ {
		walk(ps, tick)
		buf = e.Encode(buf[:0], mesh.Tick(tick), ps)
		if err := d.Apply(buf); err != nil {
			b.Fatal(err)
		}
	}
}
