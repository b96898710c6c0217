package replication

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func entity(n uint64, hop uint32) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, n), Hop: hop}}
}

func player(p mesh.PlayerID) mesh.Entity {
	return mesh.Entity{Pose: mesh.Pose{ID: mesh.PlayerEntity(p), Health: 100}}
}

// state returns NewState changed by f.
func state(f func(s *State)) *State {
	s := NewState()
	f(s)
	return s
}

func (s *State) put(es ...mesh.Entity) {
	for _, e := range es {
		s.Entities[e.ID] = e
	}
}

func TestApply(t *testing.T) {
	a, b := entity(1, 5), entity(2, 0)
	up := func(e mesh.Entity) mesh.Entity { e.Hop++; return e }
	pick := mesh.Pick{Player: 7, Event: 3}
	mark := Record{Kind: RecordMark, N: 1, Zone: 9, Pick: pick, Entities: []mesh.Entity{up(a)}}
	for name, c := range map[string]struct {
		records []Record
		want    *State
	}{
		"put sets and replaces": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{a, b}}, {Kind: RecordPut, Entities: []mesh.Entity{up(a)}}},
			state(func(s *State) { s.put(up(a), b) })},
		"birth joins the roster": {
			[]Record{{Kind: RecordPut, Birth: true, Entities: []mesh.Entity{player(7)}}},
			state(func(s *State) { s.put(player(7)); s.Born[7] = struct{}{} })},
		"a put that is no birth does not": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{player(7)}}},
			state(func(s *State) { s.put(player(7)) })},
		"remove ends": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{a, b}}, {Kind: RecordRemove, IDs: []mesh.EntityID{a.ID}}},
			state(func(s *State) { s.put(b) })},
		"mark moves out": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{a, b}}, mark},
			state(func(s *State) {
				s.put(b)
				s.Outbound[1] = Outbound{N: 1, To: 9, Pick: pick, Members: []mesh.Entity{up(a)}}
				s.NextMark = 2
			})},
		"cancel brings back with the old hop": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{a}}, mark, {Kind: RecordCancel, N: 1}},
			state(func(s *State) { s.put(a); s.NextMark = 2 })},
		"forget drops, and never a resident that came back": {
			[]Record{{Kind: RecordPut, Entities: []mesh.Entity{a}}, mark, {Kind: RecordArrive, Zone: 9, N: 4, Entities: []mesh.Entity{up(up(a))}}, {Kind: RecordForget, N: 1}},
			state(func(s *State) {
				s.put(up(up(a)))
				s.NextMark, s.Received[9] = 2, map[uint64]struct{}{4: {}}
			})},
		"low drops what was received below it": {
			[]Record{{Kind: RecordArrive, Zone: 9, N: 4}, {Kind: RecordArrive, Zone: 9, N: 6}, {Kind: RecordLow, Zone: 9, N: 6}},
			state(func(s *State) { s.Received[9] = map[uint64]struct{}{6: {}}; s.Low[9] = 6 })},
		"low above all leaves no empty set": {
			[]Record{{Kind: RecordArrive, Zone: 9, N: 4}, {Kind: RecordLow, Zone: 9, N: 5}},
			state(func(s *State) { s.Low[9] = 5 })},
		"low never falls": {
			[]Record{{Kind: RecordLow, Zone: 9, N: 5}, {Kind: RecordLow, Zone: 9, N: 4}},
			state(func(s *State) { s.Low[9] = 5 })},
		"a source that was removed is forgotten": {
			[]Record{{Kind: RecordArrive, Zone: 9, N: 4}, {Kind: RecordLow, Zone: 9, N: 3}, {Kind: RecordArrive, Zone: 8, N: 1}, {Kind: RecordDropSource, Zone: 9}},
			state(func(s *State) { s.Received[8] = map[uint64]struct{}{1: {}} })},
	} {
		s := NewState()
		for _, r := range c.records {
			s.Apply(r)
		}
		if !reflect.DeepEqual(s, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, s, c.want)
		}
	}
}

func TestHasAndLowFor(t *testing.T) {
	s := NewState()
	for _, r := range []Record{
		{Kind: RecordArrive, Zone: 9, N: 7}, {Kind: RecordLow, Zone: 9, N: 5},
		{Kind: RecordMark, N: 1, Zone: 2}, {Kind: RecordMark, N: 2, Zone: 3}, {Kind: RecordMark, N: 3, Zone: 2},
	} {
		s.Apply(r)
	}
	for n, want := range map[uint64]bool{4: true, 5: false, 6: false, 7: true, 8: false} {
		if got := s.Has(9, n); got != want {
			t.Errorf("Has(9, %d) = %v", n, got)
		}
	}
	if s.Has(8, 0) {
		t.Error("Has of a source that never sent")
	}
	for to, want := range map[mesh.ZoneID]uint64{2: 1, 3: 2, 4: 4} {
		if got := s.LowFor(to); got != want {
			t.Errorf("LowFor(%d) = %d, want %d", to, got, want)
		}
	}
	s.Apply(Record{Kind: RecordForget, N: 1})
	if got := s.LowFor(2); got != 3 {
		t.Errorf("LowFor(2) after forget = %d, want 3", got)
	}
}

// history draws records that a zone might journal: numbers grow, ids repeat.
func history(t *rapid.T) []Record {
	id := rapid.Custom(func(t *rapid.T) mesh.EntityID {
		return mesh.MakeEntityID(mesh.Kind(rapid.IntRange(1, 5).Draw(t, "kind")), rapid.Uint64Range(1, 200).Draw(t, "number"))
	})
	entities := func(n int) []mesh.Entity {
		es := rapid.SliceOfN(rapid.Make[mesh.Entity](), 0, n).Draw(t, "entities")
		for i := range es {
			es[i].ID = id.Draw(t, "id")
		}
		if len(es) == 0 {
			return nil
		}
		return es
	}
	var records []Record
	mark := uint64(1)
	for range rapid.IntRange(0, 30).Draw(t, "records") {
		r := Record{Kind: RecordKind(rapid.IntRange(int(RecordPut), int(RecordDropSource)).Draw(t, "kind"))}
		zone, n := mesh.ZoneID(rapid.IntRange(1, 4).Draw(t, "zone")), rapid.Uint64Range(1, 20).Draw(t, "n")
		switch r.Kind {
		case RecordPut:
			r.Birth = rapid.Bool().Draw(t, "birth")
			r.Entities = entities(4)
		case RecordRemove:
			r.IDs = []mesh.EntityID{id.Draw(t, "gone")}
		case RecordMark:
			r.N, r.Zone, r.Pick, r.Entities = mark, zone, mesh.Pick{Player: mesh.PlayerID(n), Event: 1}, entities(3)
			mark++
		case RecordCancel, RecordForget:
			r.N = n
		case RecordArrive:
			r.Zone, r.N, r.Entities = zone, n, entities(3)
		case RecordLow:
			r.Zone, r.N = zone, n
		case RecordDropSource:
			r.Zone = zone
		}
		records = append(records, r)
	}
	return records
}

func TestStateAndRecordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := history(t)
		b := EncodeRecords([]byte("before"), records)[6:]
		again, err := DecodeRecords(b)
		if err != nil || len(records) > 0 && !reflect.DeepEqual(again, records) {
			t.Fatalf("records %+v\ncame back as %+v, %v", records, again, err)
		}
		s, replayed := NewState(), NewState()
		for i := range records {
			s.Apply(records[i])
			replayed.Apply(again[i])
		}
		for _, p := range rapid.SliceOfN(rapid.Uint32(), 0, 5).Draw(t, "born") {
			s.Born[mesh.PlayerID(p)], replayed.Born[mesh.PlayerID(p)] = struct{}{}, struct{}{}
		}
		b = s.Encode([]byte("before"))[6:]
		got, err := DecodeState(b)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("state %+v\ncame back as %+v, %v", s, got, err)
		}
		if !bytes.Equal(replayed.Encode(nil), b) || !bytes.Equal(got.Encode(nil), b) {
			t.Fatal("equal states have different bytes")
		}
		// A snapshot cut anywhere and the records after it lead to the same state.
		cut := rapid.IntRange(0, len(records)).Draw(t, "cut")
		half := NewState()
		for _, r := range records[:cut] {
			half.Apply(r)
		}
		rest, err := DecodeState(Join(Chunks(half.Encode(nil), rapid.IntRange(1, 64).Draw(t, "chunk"))))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records[cut:] {
			rest.Apply(r)
		}
		rest.Born = s.Born
		if !reflect.DeepEqual(rest, s) {
			t.Fatalf("snapshot at %d and replay: %+v\nwant %+v", cut, rest, s)
		}
	})
}

func TestPosesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		poses := rapid.SliceOf(rapid.Make[mesh.Pose]()).Draw(t, "poses")
		got, err := DecodePoses(EncodePoses(nil, poses))
		if err != nil || !slices.Equal(got, poses) {
			t.Fatalf("%+v came back as %+v, %v", poses, got, err)
		}
	})
	if got, err := DecodePoses(nil); got != nil || err != nil {
		t.Errorf("no bytes are %v, %v", got, err)
	}
}

func TestBornIsCompact(t *testing.T) {
	s := NewState()
	empty := len(s.Encode(nil))
	for p := range mesh.PlayerID(6400) {
		s.Born[p] = struct{}{}
	}
	s.Born[1<<32-1] = struct{}{}
	b := s.Encode(nil)
	if n := len(b) - empty; n > 6400/64*9+20 {
		t.Errorf("6,401 players take %d bytes", n)
	}
	if got, err := DecodeState(b); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("the roster did not come back: %v", err)
	}
}

func TestChunks(t *testing.T) {
	b := []byte("0123456789")
	for size, want := range map[int]int{1: 10, 3: 4, 10: 1, 11: 1} {
		c := Chunks(b, size)
		if len(c) != want || !bytes.Equal(Join(c), b) || slices.ContainsFunc(c, func(p []byte) bool { return len(p) > size }) {
			t.Errorf("chunks of %d: %q", size, c)
		}
	}
}

func TestStoredBytesRefused(t *testing.T) {
	records := func(b []byte) error { _, err := DecodeRecords(b); return err }
	snapshot := func(b []byte) error { _, err := DecodeState(b); return err }
	poses := func(b []byte) error { _, err := DecodePoses(b); return err }
	two := state(func(s *State) { s.put(entity(1, 0), entity(2, 0)) }).Encode(nil)
	swapped := slices.Clone(two)
	swapped[5], swapped[14] = 2, 1 // the numbers of the two ids
	for name, c := range map[string]struct {
		decode func([]byte) error
		b      []byte
		want   error
	}{
		"newer records":           {records, []byte{formatRecords + 1, 0}, wire.ErrVersion},
		"newer snapshot":          {snapshot, []byte{formatState + 1, 0}, wire.ErrVersion},
		"newer poses":             {poses, []byte{formatPoses + 1, 0}, wire.ErrVersion},
		"poses for records":       {records, EncodePoses(nil, nil), wire.ErrMalformed},
		"no such record":          {records, []byte{formatRecords, 1, 9, 0}, wire.ErrMalformed},
		"record with spare mask":  {records, []byte{formatRecords, 1, 1, 0x80}, wire.ErrMalformed},
		"empty list marked":       {records, []byte{formatRecords, 1, 1, hasIDs, 0}, wire.ErrMalformed},
		"trailing byte":           {records, []byte{formatRecords, 0, 0}, wire.ErrMalformed},
		"more poses than bytes":   {poses, []byte{formatPoses, 200, 1}, wire.ErrMalformed},
		"more poses than allowed": {poses, []byte{formatPoses, 255, 255, 255, 1}, wire.ErrTooLarge},
		"entities out of order":   {snapshot, swapped, wire.ErrMalformed},
		"roster word of nobody":   {snapshot, []byte{formatState, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, wire.ErrMalformed},
		"marks out of order":      {snapshot, []byte{formatState, 1, 0, 2, 5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0}, wire.ErrMalformed},
		"zones out of order":      {snapshot, []byte{formatState, 1, 0, 0, 2, 5, 1, 4, 1, 0, 0}, wire.ErrMalformed},
	} {
		if err := c.decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := snapshot(two); err != nil {
		t.Errorf("the snapshot that two cases spoil is not good itself: %v", err)
	}
}

// spent returns what f allocates.
func spent(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDecodersAllocateWithinBound(t *testing.T) {
	snapshot := func(b []byte) error { _, err := DecodeState(b); return err }
	frame := func(b []byte) error { return new(FrameDecoder).Apply(b) }
	items := make([]mesh.Entity, 5000)
	poses := make([]mesh.Pose, 5000)
	for i := range items {
		items[i] = entity(uint64(i), 0)
		poses[i] = items[i].Pose
	}
	received := map[uint64]struct{}{1: {}}
	var enc FrameEncoder
	enc.Begin(1, 1)
	for name, c := range map[string]struct {
		decode func([]byte) error
		b      []byte
	}{
		"records":  {func(b []byte) error { _, err := DecodeRecords(b); return err }, EncodeRecords(nil, slices.Repeat([]Record{{Kind: RecordPut}}, 5000))},
		"poses":    {func(b []byte) error { _, err := DecodePoses(b); return err }, EncodePoses(nil, make([]mesh.Pose, 5000))},
		"entities": {snapshot, state(func(s *State) { s.put(items...) }).Encode(nil)},
		"outbound": {snapshot, state(func(s *State) {
			for n := range uint64(5000) {
				s.Outbound[n] = Outbound{N: n}
			}
		}).Encode(nil)},
		"received": {snapshot, state(func(s *State) {
			for z := range mesh.ZoneID(5000) {
				s.Received[z] = received
			}
		}).Encode(nil)},
		"roster": {snapshot, state(func(s *State) {
			for p := range mesh.PlayerID(64_000) {
				s.Born[p] = struct{}{}
			}
		}).Encode(nil)},
		"key frame": {frame, enc.Encode(nil, 1, poses)},
	} {
		var err error
		got := spent(func() { err = c.decode(c.b) })
		if bound := uint64(256*len(c.b) + 4096); err != nil || got > bound {
			t.Errorf("%s: %d bytes for %d of input (%d each); %v", name, got, len(c.b), got/uint64(len(c.b)), err)
		} else {
			t.Logf("%s: %d bytes for each", name, got/uint64(len(c.b)))
		}
	}
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add(EncodeRecords(nil, []Record{
		{Kind: RecordPut, Birth: true, Entities: []mesh.Entity{player(7)}}, {Kind: RecordRemove, IDs: []mesh.EntityID{5, 6}},
		{Kind: RecordMark, N: 1, Zone: 2, Pick: mesh.Pick{Player: 7, Event: 3}, Entities: []mesh.Entity{entity(3, 4), entity(4, 4)}},
		{Kind: RecordLow, Zone: 3, N: 900},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if records, err := DecodeRecords(b); err == nil && len(b) > 0 && !bytes.Equal(EncodeRecords(nil, records), b) {
			t.Fatalf("% x decodes to %+v, which encodes otherwise", b, records)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add(NewState().Encode(nil))
	f.Add(state(func(s *State) {
		s.put(entity(1, 2), player(7))
		s.Outbound[4] = Outbound{N: 4, To: 2, Members: []mesh.Entity{entity(9, 1)}}
		s.Received[2] = map[uint64]struct{}{7: {}, 9: {}}
		s.Low[2], s.NextMark = 6, 5
		s.Born[7], s.Born[700] = struct{}{}, struct{}{}
	}).Encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeState(b); err == nil && len(b) > 0 && !bytes.Equal(s.Encode(nil), b) {
			t.Fatalf("% x decodes to %+v, which encodes to % x", b, s, s.Encode(nil))
		}
	})
}

func FuzzDecodePoses(f *testing.F) {
	f.Add(EncodePoses(nil, []mesh.Pose{player(7).Pose, {ID: 5, Pos: mesh.Meters(-1, 2, 3), Vel: mesh.Meters(4, 5, 6), Yaw: 1, Carrier: 8}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if poses, err := DecodePoses(b); err == nil && len(b) > 0 && !bytes.Equal(EncodePoses(nil, poses), b) {
			t.Fatalf("% x decodes to %+v, which encodes otherwise", b, poses)
		}
	})
}

// A snapshot holds more than a frame may: those who sleep are in it, too.
func TestSnapshotOfMany(t *testing.T) {
	s := NewState()
	for i := range uint64(MaxEntities + 1) {
		id := mesh.PlayerEntity(mesh.PlayerID(i + 1))
		s.Entities[id] = mesh.Entity{Pose: mesh.Pose{ID: id, Flags: mesh.Asleep}}
	}
	back, err := DecodeState(s.Encode(nil))
	if err != nil || len(back.Entities) != len(s.Entities) {
		t.Fatalf("%d of %d came back: %v", len(back.Entities), len(s.Entities), err)
	}
}
