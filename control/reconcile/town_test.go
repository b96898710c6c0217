package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/planner"
	"weft/control/store"
	"weft/control/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a world around the reconciler: a store, a launcher whose processes
// do what real ones do to the store, and a crowd spread evenly over a box.
type town struct {
	t       testing.TB
	store   *memstore.Store
	now     time.Time
	tokens  map[string]int // how often each was started
	procs   map[mesh.NodeID]*resident
	born    mesh.Incarnation
	full    bool // the launcher has no room
	crowd   int
	where   mesh.Box
	witness uint64
}

type resident struct {
	mesh.Process
	token  string
	report mesh.Report
	frozen bool // runs, but neither reports nor ends
}

func newTown(t testing.TB) *town {
	w := &town{t: t, store: memstore.New(), now: time.UnixMilli(1_700_000_000_000), tokens: map[string]int{}, procs: map[mesh.NodeID]*resident{}}
	s := mesh.Shard{Name: "town", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(1000, 1000, 100)}, Spawn: mesh.Meters(10, 10, 0)}
	boxes, err := partition.Genesis("kdsplit", s, 1)
	if err := errors.Join(err, Genesis(t.Context(), w.store, s, boxes, nil), Genesis(t.Context(), w.store, s, boxes, nil)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *town) reconciler(s Store, l launch.Launcher) *Reconciler { return w.reconcilerOf(s, l, true) }

func (w *town) reconcilerOf(s Store, l launch.Launcher, complete bool) *Reconciler {
	w.t.Helper()
	r, err := New(Deps{Config: planner.DefaultConfig(), Store: s, Launcher: l, FleetComplete: complete, Now: func() time.Time { return w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// town is its own launcher.
func (w *town) Start(_ context.Context, s launch.Spec) (launch.Instance, error) {
	if q := w.procs[s.Node]; q != nil && q.token == s.Token {
		return launch.Instance{Role: s.Role, Token: s.Token, Node: s.Node}, nil
	}
	if w.tokens[s.Token] > 0 {
		return launch.Instance{}, launch.ErrNotFound
	}
	if w.full {
		return launch.Instance{}, launch.ErrNoCapacity
	}
	w.tokens[s.Token]++
	w.born++
	w.procs[s.Node] = &resident{Process: mesh.Process{ID: s.Node, Incarnation: w.born, Role: s.Role, State: mesh.Ready, Address: string(s.Node) + ":1"}, token: s.Token}
	return launch.Instance{Role: s.Role, Token: s.Token, Node: s.Node}, nil
}

func (w *town) Drain(_ context.Context, n mesh.NodeID) error {
	if w.procs[n] == nil {
		return launch.ErrNotFound
	}
	w.procs[n].State = mesh.Draining
	return nil
}

func (w *town) Stop(_ context.Context, n mesh.NodeID) error {
	if w.procs[n] == nil {
		return launch.ErrNotFound
	}
	delete(w.procs, n)
	return nil
}

func (w *town) List(context.Context) (out []launch.Instance, _ error) {
	for _, n := range slices.Sorted(maps.Keys(w.procs)) {
		out = append(out, launch.Instance{Node: n})
	}
	return out, nil
}

// live lets a second pass for every process: it makes itself known, ends if it
// is told so, and reports.
func (w *town) live() {
	ctx := w.t.Context()
	l, err := w.store.Layout(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(time.Second)
	for _, id := range slices.Sorted(maps.Keys(w.procs)) {
		q := w.procs[id]
		if q.frozen {
			continue
		}
		r := mesh.Report{Process: q.Process, Sequence: q.report.Sequence + 1, LayoutVersion: l.Version, TickBudgetUS: 50_000}
		for _, z := range l.Zones {
			if rec, err := w.store.Zone(ctx, z.ID); err == nil && z.Owner.Same(q.Owner()) && rec.Owner.Same(q.Owner()) && rec.Epoch == z.Epoch {
				r.Zones = append(r.Zones, w.load(z))
			}
		}
		if q.State == mesh.Draining && len(r.Zones) == 0 {
			q.State = mesh.Stopped
		}
		if err := w.store.PutProcess(ctx, q.Process); errors.Is(err, store.ErrStaleEpoch) || q.State == mesh.Stopped {
			delete(w.procs, id)
			continue
		}
		if err := w.store.PutReport(ctx, r); err != nil {
			w.t.Fatal(err)
		}
		q.report = r
	}
}

func (w *town) load(z mesh.Zone) mesh.ZoneLoad {
	l := mesh.ZoneLoad{Zone: z.ID, Epoch: z.Epoch, Open: true}
	b := z.Box
	b.Min.X, b.Min.Y = max(b.Min.X, w.where.Min.X), max(b.Min.Y, w.where.Min.Y)
	b.Max.X, b.Max.Y = min(b.Max.X, w.where.Max.X), min(b.Max.Y, w.where.Max.Y)
	if z.State != mesh.Active || w.crowd == 0 || b.Min.X >= b.Max.X || b.Min.Y >= b.Max.Y {
		return l
	}
	area := func(b mesh.Box) int64 { return int64(b.Max.X-b.Min.X) * int64(b.Max.Y-b.Min.Y) }
	l.Actors = int(int64(w.crowd) * area(b) / area(w.where))
	l.Density = mesh.Density{XEdges: []int32{b.Min.X, b.Max.X}, YEdges: []int32{b.Min.Y, b.Max.Y}, Counts: []uint16{uint16(l.Actors)}}
	return l
}

func (w *town) gather(n int) {
	w.crowd, w.where = n, mesh.Box{Min: mesh.Meters(480, 480, 0), Max: mesh.Meters(520, 520, 1)}
}

// owners returns the nodes that own a zone, by how many actors they report,
// fewest first.
func (w *town) owners() (out []mesh.NodeID) {
	load := map[mesh.NodeID]int{}
	for id, q := range w.procs {
		for _, z := range q.report.Zones {
			load[id] += z.Actors + 1
		}
	}
	out = slices.Collect(maps.Keys(load))
	slices.SortFunc(out, func(a, b mesh.NodeID) int { return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(a, b)) })
	return out
}

func (w *town) nodes() (n int) {
	for _, q := range w.procs {
		if q.Role == mesh.RoleNode {
			n++
		}
	}
	return n
}

// accuse lets every gateway say that the connection to n broke.
func (w *town) accuse(n mesh.NodeID, inc mesh.Incarnation) {
	for _, q := range w.procs {
		if q.Role == mesh.RoleGateway {
			w.witness++
			if err := w.store.PutSuspicion(w.t.Context(), mesh.Suspicion{Suspect: n, Incarnation: inc, Kind: mesh.Broken, Witness: q.ID, WitnessRole: q.Role, Number: w.witness}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// check holds the promises that must be true when nothing is under way: the
// layout is valid, every zone's record says what the layout says, its owner
// runs, no token started two processes, nothing is left to be done.
func (w *town) check() {
	w.t.Helper()
	ctx := w.t.Context()
	l, err := w.store.Layout(ctx)
	if err := errors.Join(err, l.Validate()); err != nil {
		w.t.Fatal(err)
	}
	for _, z := range l.Zones {
		rec, err := w.store.Zone(ctx, z.ID)
		if err != nil || rec.Epoch != z.Epoch || !rec.Owner.Same(z.Owner) {
			w.t.Errorf("zone %d is %s's under %d in the layout and %s's under %d in its record (%v)", z.ID, z.Owner.Node, z.Epoch, rec.Owner.Node, rec.Epoch, err)
		}
		if q := w.procs[z.Owner.Node]; q == nil || q.Incarnation != z.Owner.Incarnation || q.frozen {
			w.t.Errorf("zone %d is owned by %q, which does not run", z.ID, z.Owner.Node)
		}
	}
	for id := mesh.ZoneID(1); id < l.NextZone; id++ {
		if _, ok := l.Zone(id); !ok {
			if _, err := w.store.Zone(ctx, id); !errors.Is(err, store.ErrNotFound) {
				w.t.Errorf("zone %d is in no layout and its record still there (%v)", id, err)
			}
		}
	}
	for token, n := range w.tokens {
		if n > 1 {
			w.t.Errorf("token %s started %d processes", token, n)
		}
	}
	intents, err := w.store.Intents(ctx)
	if err != nil || len(intents) > 0 {
		w.t.Errorf("intents are left: %v (%v)", intents, err)
	}
	processes, err := w.store.Processes(ctx)
	if err != nil || len(processes) != len(w.procs) {
		w.t.Errorf("%d process records for %d processes (%v)", len(processes), len(w.procs), err)
	}
}

// history plays a crowd that comes, a node that dies in it, and the crowd
// going; pass is called twice a second.
func (w *town) history(pass func()) {
	seconds := func(n int) {
		for range n {
			w.live()
			for range 2 {
				w.now = w.now.Add(100 * time.Millisecond)
				pass()
			}
		}
	}
	seconds(6)
	w.gather(400)
	seconds(25)
	if n := len(w.owners()); n < 4 {
		w.t.Errorf("400 people are on %d nodes", n)
	}
	owners := w.owners()
	victim := w.procs[owners[len(owners)-1]]
	delete(w.procs, victim.ID)
	w.accuse(victim.ID, victim.Incarnation)
	seconds(8)
	if owners := w.owners(); len(owners) > 0 {
		w.procs[owners[0]].frozen = true // paused, found out by its silence
	}
	seconds(20)
	w.crowd = 0
	seconds(60)
	w.check()
	if n := w.nodes(); n > 2 {
		w.t.Errorf("%d nodes are left", n)
	}
}

func (w *town) String() string {
	ds, err := w.store.Decisions(w.t.Context(), 200)
	out := fmt.Sprint(err)
	for _, d := range slices.Backward(ds) {
		out += fmt.Sprintf("\n%s v%d %-9s %-10s %s", d.ID, d.LayoutVersion, d.Action, d.Subject, d.Reason)
	}
	return out
}
