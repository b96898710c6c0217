package admit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store/memstore"
)

// inn is a world with gateways; seats and clients are by gateway.
type inn struct {
	*memstore.Store
	t   *testing.T
	now time.Time
}

func newInn(t *testing.T) *inn {
	return &inn{memstore.New(), t, time.UnixMilli(1_700_000_000_000)}
}

func (w *inn) gateway(id mesh.NodeID, seats, clients int) {
	w.t.Helper()
	p := mesh.Process{ID: id, Incarnation: 1, Role: mesh.RoleGateway, State: mesh.Ready, ClientURL: "wss://" + string(id), Capacity: seats}
	reports, err := w.Reports(w.t.Context())
	n := uint64(len(reports))
	for _, r := range reports {
		n = max(n, r.Sequence)
	}
	err = errors.Join(err, w.PutProcess(w.t.Context(), p), w.PutReport(w.t.Context(), mesh.Report{Process: p, Sequence: n + 1, Clients: clients}))
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *inn) ask(player mesh.PlayerID) Answer {
	w.t.Helper()
	a, err := Player(w.t.Context(), w.Store, player, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *inn) intents() map[string]mesh.Intent {
	w.t.Helper()
	all, err := w.Intents(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]mesh.Intent{}
	for _, i := range all {
		out[i.Token] = i
	}
	return out
}

func TestASleepingWorldIsWoken(t *testing.T) {
	w := newInn(t)
	if a := w.ask(1); a.Place != 1 || a.RetryAfter != wakingPause || a.Why == "" || len(a.Gateways) > 0 {
		t.Errorf("%+v", a)
	}
	woken, _ := planner.Woken([]mesh.Intent{w.intents()["wake"]})
	if !woken.Equal(w.now) {
		t.Errorf("woken at %v", woken)
	}
	// A crowd knocks once in a while, not each time.
	for range 5 {
		w.now = w.now.Add(5 * time.Second)
		w.ask(2)
	}
	if woken, _ := planner.Woken([]mesh.Intent{w.intents()["wake"]}); w.now.Sub(woken) != 10*time.Second {
		t.Errorf("knocked %s ago", w.now.Sub(woken))
	}
	if err := w.PutIntent(t.Context(), planner.StoppedIntent(w.now, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := Player(t.Context(), w.Store, 1, w.now); !errors.Is(err, ErrStopped) {
		t.Errorf("a stopped world: %v", err)
	}
}

func TestOnlyWhoIsReadyIsADoor(t *testing.T) {
	w := newInn(t)
	for _, p := range []mesh.Process{
		{ID: "draining", State: mesh.Draining, Role: mesh.RoleGateway, ClientURL: "x", Capacity: 9},
		{ID: "stopped", State: mesh.Stopped, Role: mesh.RoleGateway, ClientURL: "x", Capacity: 9},
		{ID: "a node", State: mesh.Ready, Role: mesh.RoleNode, ClientURL: "x", Capacity: 9},
		{ID: "nowhere", State: mesh.Ready, Role: mesh.RoleGateway, Capacity: 9},
	} {
		if err := w.PutProcess(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if a := w.ask(1); len(a.Gateways) > 0 {
		t.Errorf("%+v", a.Gateways)
	}
	w.gateway("g1", 9, 0)
	if a := w.ask(1); len(a.Gateways) != 1 || a.Gateways[0].ID != "g1" || a.Place != 0 {
		t.Errorf("%+v", a)
	}
}

// TestByLoad: players spread in proportion to the free seats, and each gets the
// same two gateways while nothing changes.
func TestByLoad(t *testing.T) {
	w := newInn(t)
	w.gateway("g1", 1000, 900)
	w.gateway("g2", 1000, 700)
	w.gateway("g3", 1000, 400)
	w.gateway("g4", 1000, 1000)
	first := map[mesh.NodeID]int{}
	for p := range mesh.PlayerID(2000) {
		a := w.ask(p + 1)
		if len(a.Gateways) != GatewaysAtOnce || a.Gateways[0].ID == a.Gateways[1].ID {
			t.Fatalf("%+v", a)
		}
		if p < 20 && fmt.Sprint(w.ask(p+1)) != fmt.Sprint(a) {
			t.Errorf("player %d is sent elsewhere the next time", p+1)
		}
		first[a.Gateways[0].ID]++
	}
	for id, want := range map[mesh.NodeID]int{"g1": 200, "g2": 600, "g3": 1200, "g4": 0} {
		if n := first[id]; n < want*8/10 || n > want*12/10 {
			t.Errorf("%d players of 2000 at %s, want about %d", n, id, want)
		}
	}
}

// TestQueue: when all seats are taken, who came first is let in first, and a
// place is lost by not asking.
func TestQueue(t *testing.T) {
	w := newInn(t)
	w.gateway("g1", 10, 10)
	for p := range mesh.PlayerID(4) {
		w.now = w.now.Add(time.Second)
		if a := w.ask(p + 1); a.Place != int(p)+1 || a.RetryAfter != fullPause {
			t.Errorf("player %d: %+v", p+1, a)
		}
	}
	if a := w.ask(2); a.Place != 2 {
		t.Errorf("player 2 asks again: %+v", a)
	}
	w.gateway("g1", 10, 9)
	if a := w.ask(3); a.Place != 2 {
		t.Errorf("one seat is free for player 1, player 3: %+v", a)
	}
	if a := w.ask(9); a.Place != 4 {
		t.Errorf("somebody new: %+v", a)
	}
	if a := w.ask(1); len(a.Gateways) != 1 {
		t.Errorf("player 1: %+v", a)
	}
	if _, still := w.intents()["queue-1"]; still {
		t.Error("player 1 was let in and still waits")
	}
	w.now = w.now.Add(queueLife - time.Second)
	w.ask(4)
	w.now = w.now.Add(2 * time.Second) // all but player 4 have been away too long
	if a := w.ask(4); len(a.Gateways) != 1 {
		t.Errorf("player 4: %+v", a)
	}
	w.now = w.now.Add(queueLeft)
	w.ask(5)
	for token := range w.intents() {
		if token != "wake" {
			t.Errorf("%s is left", token)
		}
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	w := newInn(t)
	w.gateway("g1", 1, 1)
	for p := range mesh.PlayerID(maxQueue + 5) {
		if a := w.ask(p + 1); a.Place != min(int(p), maxQueue)+1 {
			t.Fatalf("player %d: %+v", p+1, a)
		}
	}
	if n := len(w.intents()); n != maxQueue+1 {
		t.Errorf("%d intents", n)
	}
}
