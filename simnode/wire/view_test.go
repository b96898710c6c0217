package wire

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// write puts v together as a gateway does.
func write(w *ViewWriter, v *View) []byte {
	w.Begin(v.Tick, v.Self)
	for _, k := range v.Clocks {
		w.Clock(k)
	}
	for _, e := range v.Enters {
		w.Enter(AppendEnter(nil, e))
	}
	own := len(v.Moves) / 2
	for _, m := range v.Moves[:own] {
		if s := MakeShort(m); !m.Changed {
			w.Short(&s)
		} else {
			w.Move(AppendMove(nil, m))
		}
	}
	var shared []byte
	for _, m := range v.Moves[own:] {
		shared = AppendMove(shared, m)
	}
	if !w.Share(len(v.Moves)-own, len(shared)) {
		panic("the shared moves do not fit")
	}
	for _, h := range v.Leaves {
		w.Leave(h)
	}
	return append(w.Append(nil), shared...)
}

func TestViewWriterWritesWhatAppendServerDoes(t *testing.T) {
	var w ViewWriter
	rapid.Check(t, func(t *rapid.T) {
		v := draw[View](t)
		got := write(&w, v)
		if want := AppendServer(nil, v); !bytes.Equal(got, want) {
			t.Fatalf("got  % x\nwant % x", got, want)
		}
		if spare := w.Len() - len(got); spare < 0 || spare > 6 {
			t.Fatalf("Len said %d, the view has %d bytes", w.Len(), len(got))
		}
	})
}

func TestViewWriterKeepsLimits(t *testing.T) {
	var w ViewWriter
	small := AppendMove(nil, Move{})
	w.Begin(1, Self{})
	for range MaxViewEntries {
		if !w.Move(small) {
			t.Fatal("refused within the limit")
		}
	}
	if w.Move(small) {
		t.Error("one move too many was taken")
	}
	w.Begin(2, Self{})
	big := AppendEnter(nil, Enter{Handle: math.MaxUint32, ID: math.MaxUint64, Hop: math.MaxUint32, Carrier: math.MaxUint64,
		Pos: mesh.Vec{X: math.MinInt32, Y: math.MinInt32, Z: math.MinInt32}})
	n := 0
	for w.Enter(big) {
		n++
	}
	for k := 0; w.Clock(Clock{Zone: 1}) && w.Leave(1); k++ {
		if k > MaxServerBytes {
			t.Fatal("no end of clocks and leaves")
		}
	}
	b := w.Append(nil)
	if m, err := DecodeServer(b); err != nil || len(m.(*View).Enters) != n || len(b) < MaxServerBytes-len(big) {
		t.Errorf("a full view of %d bytes and %d enters: %v", len(b), n, err)
	}
	if e, _, _ := w.Entries(); e != n {
		t.Errorf("Entries says %d, want %d", e, n)
	}
}

func TestMoveIsSmall(t *testing.T) {
	p := mesh.Pose{Pos: mesh.Meters(1234, 567, 0), Yaw: 9999}
	for handle, want := range map[uint32]int{31: 6, 4095: 7, 100_000: 8} {
		if got := len(AppendMove(nil, Quantise(p, handle, false))); got != want {
			t.Errorf("handle %d on the ground: %d bytes, want %d", handle, got, want)
		}
	}
	p.Pos.Z = 300
	if got := len(AppendMove(nil, Quantise(p, 4095, false))); got != 9 {
		t.Errorf("in the air: %d bytes, want 9", got)
	}
}

func TestResolveUndoesQuantise(t *testing.T) {
	const reach = 2047 * mesh.UnitsPerMeter
	axis := rapid.OneOf(rapid.Int32(), rapid.SampledFrom([]int32{math.MinInt32, math.MaxInt32, 0, 7, 8, -8, -9}))
	rapid.Check(t, func(t *rapid.T) {
		p := mesh.Vec{X: axis.Draw(t, "x"), Y: axis.Draw(t, "y"), Z: axis.Draw(t, "z")}
		near := func(v int32) int32 {
			return int32(min(max(int64(v)+rapid.Int64Range(-reach, reach).Draw(t, "step"), math.MinInt32), math.MaxInt32))
		}
		last := mesh.Vec{X: near(p.X), Y: near(p.Y), Z: near(p.Z)}
		m := Quantise(mesh.Pose{Pos: p}, 1, false)
		got := Resolve(last, m)
		for _, d := range [...]int64{int64(got.X) - int64(p.X), int64(got.Y) - int64(p.Y), int64(got.Z) - int64(p.Z)} {
			if d < -8 || d > 8 {
				t.Fatalf("%v seen from %v resolves to %v", p, last, got)
			}
		}
		if again := Resolve(got, m); again != got {
			t.Fatalf("resolved again from %v: %v", got, again)
		}
	})
}

func TestQuantiseTellsChanges(t *testing.T) {
	m := Quantise(samplePose, 4, true)
	if m.Hop != samplePose.Hop || m.Flags != samplePose.Flags || m.Health != samplePose.Health || m.Carrier != samplePose.Carrier || m.Yaw != 64 {
		t.Errorf("%+v", m)
	}
	if m := Quantise(mesh.Pose{Yaw: 0xffff}, 4, false); m.Yaw != 0 {
		t.Errorf("a yaw just short of a turn is %d, want 0", m.Yaw)
	}
}

func TestHotPathsAllocateNothing(t *testing.T) {
	var w ViewWriter
	var v View
	big := sampleView
	for range 100 {
		big.Moves = append(big.Moves, sampleView.Moves[0])
	}
	b := AppendServer(nil, &big)
	entry, dst := AppendMove(nil, big.Moves[0]), make([]byte, 0, MaxServerBytes)
	var inputs PeerMessage = &Inputs{1, make([]Input, 100)}
	for name, f := range map[string]func(){
		"DecodeView": func() {
			if err := DecodeView(b, &v); err != nil {
				t.Fatal(err)
			}
		},
		"ViewWriter": func() {
			w.Begin(1, big.Self)
			w.Clock(big.Clocks[0])
			for range 100 {
				w.Move(entry)
			}
			w.Leave(7)
			dst = w.Append(dst[:0])
		},
		"MakeShort":   func() { s := MakeShort(big.Moves[0]); dst = AppendShort(dst[:0], &s) },
		"AppendMove":  func() { dst = AppendMove(dst[:0], big.Moves[0]) },
		"AppendEnter": func() { dst = AppendEnter(dst[:0], big.Enters[0]) },
		"AppendPeer":  func() { dst = AppendFramed(dst[:0], inputs) },
	} {
		f()
		if n := testing.AllocsPerRun(20, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkViewOf200Moves(b *testing.B) {
	var w ViewWriter
	entry, dst := AppendMove(nil, Quantise(samplePose, 4000, false)), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		w.Begin(1, sampleView.Self)
		for range 200 {
			w.Move(entry)
		}
		dst = w.Append(dst[:0])
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkDecodeView(b *testing.B) {
	v := View{Moves: make([]Move, 200)}
	msg := AppendServer(nil, &v)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeView(msg, &v); err != nil {
			b.Fatal(err)
		}
	}
}
