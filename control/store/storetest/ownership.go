package storetest

import (
	"errors"
	"reflect"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
)

// zoneIs fails unless zone's record is want.
func (s *suite) zoneIs(want mesh.ZoneRecord) {
	s.t.Helper()
	got := must(s.Zone(s.ctx, want.Zone))(s)
	if len(got.Pointer.Chunks)+len(want.Pointer.Chunks) == 0 {
		got.Pointer.Chunks, want.Pointer.Chunks = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Fatalf("zone record:\n got %+v\nwant %+v", got, want)
	}
}

func testCreateZone(s *suite) {
	_, err := s.Zone(s.ctx, 1)
	s.is(err, store.ErrNotFound)
	rec := mesh.ZoneRecord{Zone: 1, Owner: owner("a", 7), Epoch: 1, Pointer: mesh.Pointer{Position: -1}}
	s.ok(s.CreateZone(s.ctx, rec))
	s.ok(s.CreateZone(s.ctx, rec)) // a repeat
	s.is(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: 1, Owner: owner("b", 1), Epoch: 9}), store.ErrConflict)
	s.zoneIs(rec)
	born := mesh.ZoneRecord{Zone: 2, Owner: owner("b", 8), Epoch: 3, Pointer: mesh.Pointer{Position: 12, Chunks: []string{"x", "y"}}}
	s.ok(s.CreateZone(s.ctx, born))
	s.zoneIs(born)
	s.zoneIs(rec)
	nobody := mesh.ZoneRecord{Zone: 3, Pointer: mesh.Pointer{Position: -1}}
	s.ok(s.CreateZone(s.ctx, nobody))
	s.zoneIs(nobody)
	s.ok(s.RaiseEpoch(s.ctx, 3, 0, owner("a", 7)))
}

func testRaiseEpoch(s *suite) {
	s.is(s.RaiseEpoch(s.ctx, 1, 0, owner("a", 1)), store.ErrNotFound)
	rec := mesh.ZoneRecord{Zone: 1, Owner: owner("a", 1), Epoch: 4, Pointer: mesh.Pointer{Position: -1}}
	s.ok(s.CreateZone(s.ctx, rec))
	for i, c := range []struct {
		from  mesh.Epoch
		owner mesh.Owner
		want  error
	}{
		{3, owner("b", 1), store.ErrConflict},
		{5, owner("b", 1), store.ErrConflict},
		{3, owner("a", 1), nil}, // as if repeated: it is at 4 and a's
		{4, owner("b", 1), nil},
		{4, owner("b", 1), nil},
		{4, owner("b", 2), store.ErrConflict}, // another life of b
		{4, owner("c", 1), store.ErrConflict},
		{5, owner("c", 1), nil},
		{4, owner("b", 1), store.ErrConflict}, // a late copy
	} {
		if err := s.RaiseEpoch(s.ctx, 1, c.from, c.owner); !errors.Is(err, c.want) {
			s.t.Fatalf("step %d: got error %v, want %v", i, err, c.want)
		}
	}
	rec.Owner, rec.Epoch = owner("c", 1), 6
	s.zoneIs(rec)
}

func testMovePointer(s *suite) {
	s.is(s.MovePointer(s.ctx, 1, 0, mesh.Pointer{Position: 1}), store.ErrStaleEpoch)
	rec := mesh.ZoneRecord{Zone: 1, Owner: owner("a", 1), Epoch: 2, Pointer: mesh.Pointer{Position: -1}}
	s.ok(s.CreateZone(s.ctx, rec))
	for i, c := range []struct {
		epoch mesh.Epoch
		ptr   mesh.Pointer
		want  error
	}{
		{1, mesh.Pointer{Position: 5, Chunks: []string{"old"}}, store.ErrStaleEpoch},
		{3, mesh.Pointer{Position: 5, Chunks: []string{"new"}}, store.ErrStaleEpoch},
		{2, mesh.Pointer{Position: -1, Chunks: []string{"c"}}, store.ErrStaleEpoch},
		{2, mesh.Pointer{Position: 0, Chunks: []string{"a", "b"}}, nil},
		{2, mesh.Pointer{Position: 0, Chunks: []string{"a", "b"}}, nil},
		{2, mesh.Pointer{Position: 0, Chunks: []string{"b", "a"}}, store.ErrStaleEpoch},
		{2, mesh.Pointer{Position: 0}, store.ErrStaleEpoch},
		{2, mesh.Pointer{Position: 128, Chunks: []string{"c"}}, nil},
		{2, mesh.Pointer{Position: 0, Chunks: []string{"a", "b"}}, store.ErrStaleEpoch}, // late copy
		{2, mesh.Pointer{Position: 127, Chunks: []string{"d"}}, store.ErrStaleEpoch},
		{2, mesh.Pointer{Position: 129}, nil},
		{2, mesh.Pointer{Position: 129, Chunks: []string{}}, nil},
	} {
		if err := s.MovePointer(s.ctx, 1, c.epoch, c.ptr); !errors.Is(err, c.want) {
			s.t.Fatalf("step %d: got error %v, want %v", i, err, c.want)
		}
	}
	rec.Pointer = mesh.Pointer{Position: 129}
	s.zoneIs(rec)
}

func testEpochAndPointerApart(s *suite) {
	rec := mesh.ZoneRecord{Zone: 1, Owner: owner("a", 1), Epoch: 1, Pointer: mesh.Pointer{Position: -1}}
	s.ok(s.CreateZone(s.ctx, rec))
	rec.Pointer = mesh.Pointer{Position: 40, Chunks: []string{"k1", "k2", "k3"}}
	s.ok(s.MovePointer(s.ctx, 1, 1, rec.Pointer))
	s.ok(s.RaiseEpoch(s.ctx, 1, 1, owner("b", 9)))
	rec.Owner, rec.Epoch = owner("b", 9), 2
	s.zoneIs(rec)
	s.is(s.MovePointer(s.ctx, 1, 1, mesh.Pointer{Position: 50, Chunks: []string{"late"}}), store.ErrStaleEpoch)
	s.is(s.MovePointer(s.ctx, 1, 1, rec.Pointer), store.ErrStaleEpoch) // the repeat, but of a lower epoch
	s.ok(s.MovePointer(s.ctx, 1, 2, rec.Pointer))
	s.zoneIs(rec)
}

func testRemoveZone(s *suite) {
	s.ok(s.RemoveZone(s.ctx, 1))
	for _, z := range []mesh.ZoneID{1, 11} {
		s.ok(s.CreateZone(s.ctx, mesh.ZoneRecord{Zone: z, Epoch: 1, Owner: owner("a", 1), Pointer: mesh.Pointer{Position: -1}}))
		for p := range int64(30) {
			s.ok(s.Append(s.ctx, z, slot(p, 1, "x")))
		}
		s.ok(s.Append(s.ctx, z, slot(ring, 1, "round")))
		s.ok(s.PutPoses(s.ctx, z, mesh.PoseRecord{Epoch: 1, Tick: 5, Data: []byte("p")}))
		s.ok(s.PutChunk(s.ctx, map[mesh.ZoneID]string{1: "1/a", 11: "11/a"}[z], []byte("c")))
	}
	s.ok(s.RemoveZone(s.ctx, 1))
	s.ok(s.RemoveZone(s.ctx, 1))
	_, err := s.Zone(s.ctx, 1)
	s.is(err, store.ErrNotFound)
	s.reads(0, ring)
	s.reads(1, ring)
	if got := must(s.RaisePoses(s.ctx, 1, 1))(s); got.Tick != 0 || len(got.Data) != 0 {
		s.t.Fatalf("poses of a removed zone: %+v", got)
	}
	must(s.Zone(s.ctx, 11))(s)
	if got := must(s.ReadSlots(s.ctx, 11, 1, ring))(s); len(got) != 29 {
		s.t.Fatalf("the other zone kept %d of 29 slots", len(got))
	}
	if got := must(s.RaisePoses(s.ctx, 11, 1))(s); got.Tick != 5 {
		s.t.Fatalf("the other zone's poses: %+v", got)
	}
	must(s.Chunk(s.ctx, "1/a"))(s)
	// Ids are not used again, but a store that is as good as new must act so.
	s.is(s.Append(s.ctx, 1, slot(ring+1, 1, "over nothing")), store.ErrStaleEpoch)
	s.ok(s.Append(s.ctx, 1, slot(0, 1, "again")))
}

func testChunks(s *suite) {
	_, err := s.Chunk(s.ctx, "none")
	s.is(err, store.ErrNotFound)
	s.ok(s.DeleteChunk(s.ctx, "none"))
	keys := []string{"1/3-1/0", "1/3-1/1", "1/3-10/0", "10/1-1/0", "2/1-1/0", "2/1-1/x y.*>#%é/..", "flat", "flat2", "a//b", "/lead", "trail/"}
	for _, k := range keys {
		s.ok(s.PutChunk(s.ctx, k, []byte("of "+k)))
	}
	s.ok(s.PutChunk(s.ctx, "empty", nil))
	s.ok(s.PutChunk(s.ctx, "flat", []byte("of flat"))) // a repeat
	for _, k := range keys {
		if got := must(s.Chunk(s.ctx, k))(s); string(got) != "of "+k {
			s.t.Fatalf("chunk %q holds %q", k, got)
		}
	}
	if got := must(s.Chunk(s.ctx, "empty"))(s); len(got) != 0 {
		s.t.Fatalf("the empty chunk holds %q", got)
	}
	all := append(slices.Clone(keys), "empty")
	slices.Sort(all)
	for prefix, want := range map[string][]string{
		"":                   all,
		"1/":                 {"1/3-1/0", "1/3-1/1", "1/3-10/0"},
		"1/3-1":              {"1/3-1/0", "1/3-1/1", "1/3-10/0"},
		"1/3-1/":             {"1/3-1/0", "1/3-1/1"},
		"1":                  {"1/3-1/0", "1/3-1/1", "1/3-10/0", "10/1-1/0"},
		"2/1-1/x y.*>#%é/..": {"2/1-1/x y.*>#%é/.."},
		"fla":                {"flat", "flat2"},
		"flat2":              {"flat2"},
		"a/":                 {"a//b"},
		"a//":                {"a//b"},
		"/":                  {"/lead"},
		"trail/":             {"trail/"},
		"nothing":            nil,
		"flat/":              nil,
	} {
		if got := must(s.ChunkKeys(s.ctx, prefix))(s); !slices.Equal(got, want) {
			s.t.Fatalf("keys under %q:\n got %q\nwant %q", prefix, got, want)
		}
	}
	s.ok(s.DeleteChunk(s.ctx, "1/3-1/0"))
	s.ok(s.DeleteChunk(s.ctx, "1/3-1/0"))
	_, err = s.Chunk(s.ctx, "1/3-1/0")
	s.is(err, store.ErrNotFound)
	if got := must(s.ChunkKeys(s.ctx, "1/3-1/"))(s); !slices.Equal(got, []string{"1/3-1/1"}) {
		s.t.Fatalf("keys after a deletion: %q", got)
	}
}

// posesAre fails unless zone 1's poses are want; it reads them by raising them
// to the epoch they have.
func (s *suite) posesAre(want mesh.PoseRecord) {
	s.t.Helper()
	got := must(s.RaisePoses(s.ctx, 1, want.Epoch))(s)
	if got.Epoch != want.Epoch || got.Tick != want.Tick || string(got.Data) != string(want.Data) {
		s.t.Fatalf("poses: got %+v, want %+v", got, want)
	}
}

func testPutPoses(s *suite) {
	for i, c := range []struct {
		epoch mesh.Epoch
		tick  mesh.Tick
		data  string
		want  error
	}{
		{2, 100, "a", nil},
		{2, 100, "a", nil}, // a repeat
		{2, 100, "b", store.ErrStaleEpoch},
		{2, 99, "c", store.ErrStaleEpoch},
		{1, 500, "d", store.ErrStaleEpoch},
		{2, 120, "e", nil},
		{2, 100, "a", store.ErrStaleEpoch}, // a late copy
		{3, 7, "f", nil},
		{2, 200, "g", store.ErrStaleEpoch},
		{3, 8, "", nil},
	} {
		if err := s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: c.epoch, Tick: c.tick, Data: []byte(c.data)}); !errors.Is(err, c.want) {
			s.t.Fatalf("step %d: got error %v, want %v", i, err, c.want)
		}
	}
	s.posesAre(mesh.PoseRecord{Epoch: 3, Tick: 8})
}

func testRaisePoses(s *suite) {
	s.posesAre(mesh.PoseRecord{Epoch: 1})
	s.ok(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 10, Data: []byte("a")}))
	s.posesAre(mesh.PoseRecord{Epoch: 1, Tick: 10, Data: []byte("a")})
	s.posesAre(mesh.PoseRecord{Epoch: 4, Tick: 10, Data: []byte("a")})
	s.posesAre(mesh.PoseRecord{Epoch: 4, Tick: 10, Data: []byte("a")})
	_, err := s.RaisePoses(s.ctx, 1, 3)
	s.is(err, store.ErrStaleEpoch)
	s.is(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 11, Data: []byte("late")}), store.ErrStaleEpoch)
	s.is(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 4, Tick: 10, Data: []byte("b")}), store.ErrStaleEpoch)
	s.posesAre(mesh.PoseRecord{Epoch: 4, Tick: 10, Data: []byte("a")})
	s.ok(s.PutPoses(s.ctx, 1, mesh.PoseRecord{Epoch: 4, Tick: 11, Data: []byte("c")}))
	s.posesAre(mesh.PoseRecord{Epoch: 5, Tick: 11, Data: []byte("c")})
}

func testLayout(s *suite) {
	_, err := s.Layout(s.ctx)
	s.is(err, store.ErrNotFound)
	if v := must(s.LayoutVersion(s.ctx))(s); v != 0 {
		s.t.Fatalf("version %d before the shard exists", v)
	}
	l := mesh.Layout{
		Version: 1, NextZone: 2,
		Shard: mesh.Shard{Name: "tavern", OriginUnixMilli: 1_700_000_000_123, TickHz: 20, Seed: 1<<64 - 1, Bounds: mesh.Box{Max: mesh.Meters(10, 20, 30)}, Spawn: mesh.Meters(-1, 2, 3)},
		Zones: []mesh.Zone{{ID: 1, Layer: mesh.Props, State: mesh.Retiring, Box: mesh.Box{Min: mesh.Vec{X: -1 << 31}, Max: mesh.Vec{X: 1<<31 - 1}}, Owner: owner("a", 1<<63), Epoch: 1 << 62, RetiredAt: 3}},
	}
	skipped := l
	skipped.Version = 2
	s.is(s.PutLayout(s.ctx, skipped), store.ErrConflict)
	zero := l
	zero.Version = 0
	s.is(s.PutLayout(s.ctx, zero), store.ErrConflict)
	s.ok(s.PutLayout(s.ctx, l))
	s.is(s.PutLayout(s.ctx, l), store.ErrConflict)
	if got := must(s.Layout(s.ctx))(s); !reflect.DeepEqual(got, l) {
		s.t.Fatalf("layout:\n got %+v\nwant %+v", got, l)
	}
	for v := uint64(2); v < 6; v++ {
		l.Version = v
		s.ok(s.PutLayout(s.ctx, l))
		if got := must(s.LayoutVersion(s.ctx))(s); got != v {
			s.t.Fatalf("version %d, want %d", got, v)
		}
	}
	if got := must(s.Layout(s.ctx))(s); !reflect.DeepEqual(got, l) {
		s.t.Fatalf("layout:\n got %+v\nwant %+v", got, l)
	}
}
