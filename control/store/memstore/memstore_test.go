package memstore_test

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/control/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New() })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(*testing.T) (a, b store.Store) {
		s := memstore.New()
		return s, s
	})
}

func TestLinearizable(t *testing.T) {
	storetest.Linearize(t, func(*testing.T) []store.Store {
		return []store.Store{memstore.New()}
	}, storetest.Volume{Histories: 4, Zones: 12, Clients: 6, Operations: 60})
}

func TestChangesAreDrainedInOrderAndOnce(t *testing.T) {
	s := memstore.New()
	put := func(id mesh.NodeID) {
		if err := s.PutProcess(t.Context(), mesh.Process{ID: id, Incarnation: 1}); err != nil {
			t.Fatal(err)
		}
	}
	put("before")
	c := s.Changes()
	change := func(id string) store.Change { return store.Change{Kind: store.ProcessChanged, ID: id} }
	for _, step := range []struct {
		put  []mesh.NodeID
		want []store.Change
	}{
		{nil, nil},
		{[]mesh.NodeID{"b", "a", "b", "c", "a"}, []store.Change{change("b"), change("a"), change("c")}},
		{nil, nil},
		{[]mesh.NodeID{"a"}, []store.Change{change("a")}},
	} {
		for _, id := range step.put {
			put(id)
		}
		if got := c.Drain(); !slices.Equal(got, step.want) {
			t.Fatalf("after %v: got %v, want %v", step.put, got, step.want)
		}
	}
	c.Close()
	put("after")
	if got := c.Drain(); len(got) != 0 {
		t.Fatalf("closed, but told of %v", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	s, data := memstore.New(), make([]byte, 400)
	for p := range int64(b.N) {
		if err := s.Append(b.Context(), 1, mesh.Slot{Position: p, Epoch: 1, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutReport(b *testing.B) {
	s := memstore.New()
	r := mesh.Report{Process: mesh.Process{ID: "n", Incarnation: 1}, Zones: make([]mesh.ZoneLoad, 4)}
	for i := range r.Zones {
		r.Zones[i].Density = mesh.Density{XEdges: make([]int32, 17), YEdges: make([]int32, 17), Counts: make([]uint16, 256)}
	}
	for i := range b.N {
		r.Sequence = uint64(i + 1)
		if err := s.PutReport(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
