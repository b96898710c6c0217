package node_test

import (
	"testing"

	"weft/control/mesh"
	"weft/simnode/node"
	"weft/simnode/process"
	"weft/simnode/world"
)

// requests steps n and returns what it asks of the store by that op.
func requests(n *node.Node, ev process.Event, op process.Op) (asked []*process.Request) {
	for _, e := range n.Step(ev) {
		if e.Kind == process.EffectRequest && e.Request.Op == op {
			asked = append(asked, e.Request)
		}
	}
	return asked
}

// A report that is under way for long must not be overtaken by the next: the
// store would refuse it, as it refuses those of an earlier incarnation.
func TestOneReportIsUnderWay(t *testing.T) {
	n := node.New(node.DefaultConfig(), mesh.Process{ID: "a", Incarnation: 1}, world.Tavern{})
	var asked []*process.Request
	tick := mesh.Tick(0)
	run := func(ticks mesh.Tick) {
		for range ticks {
			tick++
			asked = append(asked, requests(n, process.Event{Kind: process.EventTick, Tick: tick}, process.OpPutReport)...)
		}
	}
	run(100)
	if len(asked) != 1 || asked[0].Report.Sequence != 1 {
		t.Fatalf("%d reports were written while the first had no answer", len(asked))
	}
	n.Step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: asked[0].ID, Op: process.OpPutReport, Verdict: process.Unavailable}})
	run(1)
	if len(asked) != 2 || asked[1].Report.Sequence != 2 {
		t.Fatalf("the report after one without an outcome is not written at once")
	}
	out := n.Step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: asked[1].ID, Op: process.OpPutReport, Verdict: process.Stale}})
	if len(out) != 1 || out[0].Kind != process.EffectStop {
		t.Fatalf("refused as of an earlier incarnation, it does not stop: %+v", out)
	}
}

// Ticks that are left out because the process is late delay a report; they
// must not keep it from coming.
func TestReportsOfALateNode(t *testing.T) {
	n := node.New(node.DefaultConfig(), mesh.Process{ID: "a", Incarnation: 1}, world.Tavern{})
	reports := 0
	for tick := mesh.Tick(1); tick < 200; tick += 2 {
		for _, r := range requests(n, process.Event{Kind: process.EventTick, Tick: tick, Skipped: 1}, process.OpPutReport) {
			reports++
			n.Step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: r.ID, Op: r.Op}})
		}
	}
	if reports < 8 {
		t.Errorf("%d reports in 10 s", reports)
	}
}

// A drain, and a goodbye, are announced until the store has them; a node that
// is on its way out never calls itself ready again.
func TestAnnouncements(t *testing.T) {
	n := node.New(node.DefaultConfig(), mesh.Process{ID: "a", Incarnation: 1}, world.Tavern{})
	answer := func(r *process.Request, v process.Verdict) {
		n.Step(process.Event{Kind: process.EventAnswer, Answer: &process.Answer{ID: r.ID, Op: r.Op, Verdict: v}})
	}
	first := requests(n, process.Event{Kind: process.EventTick, Tick: 1}, process.OpPutProcess)
	if len(first) != 1 || first[0].Process.State != mesh.Ready {
		t.Fatalf("the first announcement: %+v", first)
	}
	if early := requests(n, process.Event{Kind: process.EventDrain}, process.OpPutProcess); len(early) != 0 {
		t.Fatal("a second announcement while the first is under way: they may come in either order")
	}
	answer(first[0], process.Unavailable)
	for tick := mesh.Tick(2); tick < 6; tick++ {
		for _, r := range requests(n, process.Event{Kind: process.EventTick, Tick: tick}, process.OpPutProcess) {
			if r.Process.State != mesh.Draining {
				t.Fatalf("tick %d: it calls itself %v", tick, r.Process.State)
			}
			answer(r, process.Unavailable)
		}
	}
}

// An owner that died before it was ever connected is suspected like any other,
// and again while it owns.
func TestOwnerNeverReached(t *testing.T) {
	m := newTown(t)
	m.build([]string{"a", "b"}, mesh.Meters(20, 20, 0), nil)
	m.layout.Zones[1].Owner, m.layout.Zones[1].Epoch = mesh.Owner{Node: "ghost", Incarnation: 4}, 2
	m.publish()
	suspects := 0
	count := func(ev process.Event) {
		for _, r := range requests(m.nodes["a"], ev, process.OpPutSuspicion) {
			if r.Suspicion.Suspect != "ghost" || r.Suspicion.Incarnation != 4 || r.Suspicion.Kind != mesh.Broken {
				t.Fatalf("suspicion: %+v", r.Suspicion)
			}
			suspects++
		}
	}
	count(process.Event{Kind: process.EventPeerDown, Peer: "ghost", Incarnation: 4, Gone: true})
	if suspects != 1 {
		t.Fatalf("%d suspicions at once", suspects)
	}
	for range 100 {
		m.tick++
		count(process.Event{Kind: process.EventTick, Tick: m.tick})
	}
	if suspects < 3 {
		t.Errorf("%d suspicions in 5 s", suspects)
	}
	if late := requests(m.nodes["a"], process.Event{Kind: process.EventTick, Tick: m.tick + 50, Skipped: 49}, process.OpPutSuspicion); len(late) != 0 {
		t.Error("a node that was late itself suspects others")
	}
}
