package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
)

// scene builds a Snapshot by hand: three nodes and two gateways that report,
// node a owning the only zone unless a test changes that.
func scene(change func(*Snapshot)) Snapshot {
	s := Snapshot{Layout: mesh.Layout{
		Version: 5, NextZone: 2,
		Shard: mesh.Shard{Name: "s", TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(1000, 1000, 100)}},
	}}
	for _, id := range []mesh.NodeID{"a", "b", "c", "g", "h"} {
		p := mesh.Process{ID: id, Incarnation: 7, Role: mesh.RoleNode, State: mesh.Ready, Address: string(id) + ":1"}
		if id >= "g" {
			p.Role = mesh.RoleGateway
		}
		s.Processes = append(s.Processes, p)
		s.Reports = append(s.Reports, mesh.Report{Process: p, Sequence: 10, LayoutVersion: 5, TickBudgetUS: 50_000})
	}
	s.Layout.Zones = []mesh.Zone{{ID: 1, Box: s.Layout.Shard.Bounds, Owner: s.Processes[0].Owner(), Epoch: 3}}
	s.Reports[0].Zones = []mesh.ZoneLoad{{Zone: 1, Epoch: 3, Open: true, Actors: 10}}
	if change != nil {
		change(&s)
	}
	return s
}

func at(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms) }

// words tells actions in short: what is done to whom.
func words(actions []Action) (out []string) {
	for _, a := range actions {
		switch {
		case a.Do == ChangeLayout && a.Change.Kind == partition.Takeover:
			out = append(out, fmt.Sprintf("takeover %d by %s under %d", a.Change.Zone, a.Change.Owner.Node, a.Change.Epoch))
		case a.Name != "":
			out = append(out, a.Name+" "+a.Subject)
		}
	}
	return out
}

func accuse(s *Snapshot, suspect mesh.NodeID, kind mesh.SuspicionKind, witnesses ...mesh.NodeID) {
	for _, w := range witnesses {
		s.Suspicions = append(s.Suspicions, mesh.Suspicion{Suspect: suspect, Incarnation: 7, Kind: kind, Witness: w, Number: 1})
	}
}

func procOf(s *Snapshot, id mesh.NodeID) *mesh.Process {
	return &s.Processes[slices.IndexFunc(s.Processes, func(p mesh.Process) bool { return p.ID == id })]
}

// TestJudge says for each kind of evidence whether node a loses its zone.
func TestJudge(t *testing.T) {
	gone := []string{"condemn node a", "takeover 1 by b under 4"}
	for _, c := range []struct {
		name   string
		change func(*Snapshot)
		want   []string
	}{
		{"nothing is wrong", nil, nil},
		{"one broken connection", func(s *Snapshot) { accuse(s, "a", mesh.Broken, "g") }, gone},
		{"it has lost its zone", func(s *Snapshot) { s.Reports[0].Zones = nil; accuse(s, "a", mesh.Refusing, "a") }, []string{"takeover 1 by a under 4"}},
		{"it had lost a zone, which others have by now", func(s *Snapshot) { accuse(s, "a", mesh.Refusing, "a") }, nil},
		{"it has lost a zone and may not know that it has another", func(s *Snapshot) {
			s.Reports[0].Zones, s.Reports[0].LayoutVersion = nil, s.Layout.Version-1
			accuse(s, "a", mesh.Refusing, "a")
		}, nil},
		{"it accuses itself of silence", func(s *Snapshot) { accuse(s, "a", mesh.Silent, "a"); accuse(s, "a", mesh.Broken, "a") }, nil},
		{"silent to one where two could hear", func(s *Snapshot) { accuse(s, "a", mesh.Silent, "g") }, nil},
		{"silent to two", func(s *Snapshot) { accuse(s, "a", mesh.Silent, "g", "b") }, gone},
		{"silent to the same witness twice", func(s *Snapshot) { accuse(s, "a", mesh.Silent, "g", "g") }, nil},
		{"silent to the only other", func(s *Snapshot) {
			s.Processes = s.Processes[:2]
			accuse(s, "a", mesh.Silent, "b")
		}, gone},
		{"one broken connection to a gateway", func(s *Snapshot) { accuse(s, "g", mesh.Broken, "a") }, nil},
		{"two broken connections to a gateway", func(s *Snapshot) { accuse(s, "g", mesh.Broken, "a", "b") }, []string{"condemn gateway g"}},
		{"said by nobody we know", func(s *Snapshot) { accuse(s, "a", mesh.Broken, "x") }, nil},
		{"said by one who is gone", func(s *Snapshot) {
			procOf(s, "g").State = mesh.Stopped
			accuse(s, "a", mesh.Broken, "g")
		}, nil},
		{"said by one who is accused by more", func(s *Snapshot) {
			accuse(s, "a", mesh.Broken, "b")
			accuse(s, "b", mesh.Broken, "g", "h")
		}, []string{"condemn node b"}},
		{"each says it of the other", func(s *Snapshot) {
			accuse(s, "a", mesh.Broken, "b")
			accuse(s, "b", mesh.Broken, "a")
		}, gone},
		{"of an earlier life", func(s *Snapshot) {
			accuse(s, "a", mesh.Broken, "g")
			s.Suspicions[0].Incarnation = 6
		}, nil},
		{"the last node", func(s *Snapshot) {
			procOf(s, "b").State, procOf(s, "c").State = mesh.Stopped, mesh.Stopped
			accuse(s, "a", mesh.Broken, "g", "h")
		}, nil},
		{"it said goodbye", func(s *Snapshot) { procOf(s, "a").State = mesh.Stopped }, []string{"takeover 1 by b under 4"}},
		{"it was restarted", func(s *Snapshot) { procOf(s, "a").Incarnation = 8 }, []string{"takeover 1 by a under 4"}},
		{"it has no record", func(s *Snapshot) { s.Processes = s.Processes[1:] }, []string{"takeover 1 by b under 4"}},
		{"its process has ended", func(s *Snapshot) { s.Instances, s.InstancesKnown = []mesh.NodeID{"b", "c", "g", "h"}, true }, gone},
		{"its record is ahead of the layout", func(s *Snapshot) {
			s.Reports[0].Zones = nil
			s.Records = map[mesh.ZoneID]mesh.ZoneRecord{1: {Zone: 1, Owner: procOf(s, "c").Owner(), Epoch: 9}}
		}, []string{"takeover 1 by c under 9"}},
		{"its record names one who is gone", func(s *Snapshot) {
			s.Reports[0].Zones = nil
			s.Records = map[mesh.ZoneID]mesh.ZoneRecord{1: {Zone: 1, Owner: mesh.Owner{Node: "x", Incarnation: 1}, Epoch: 9}}
		}, []string{"takeover 1 by a under 10"}},
	} {
		actions, _ := Plan(DefaultConfig(), scene(c.change), at(0))
		got := slices.DeleteFunc(words(actions), func(w string) bool { return !strings.HasPrefix(w, "takeover") && !strings.HasPrefix(w, "condemn") })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: planned %q, want %q", c.name, got, c.want)
		}
		for _, a := range actions {
			if a.Name != "" && a.Reason == "" {
				t.Errorf("%s: %s %s has no reason", c.name, a.Name, a.Subject)
			}
		}
	}
}

// script plays a snapshot over time, carrying the state along.
type script struct {
	t *testing.T
	Snapshot
}

func (s *script) at(ms int64, want ...string) {
	s.t.Helper()
	actions, state := Plan(DefaultConfig(), s.Snapshot, at(ms))
	s.State = state
	got := slices.DeleteFunc(words(actions), func(w string) bool { return strings.HasPrefix(w, "launch") || strings.HasPrefix(w, "drain") })
	if !slices.Equal(got, want) {
		s.t.Errorf("at %d ms: planned %q, want %q", ms, got, want)
	}
}

func (s *script) reports(but ...mesh.NodeID) {
	for i := range s.Reports {
		if !slices.Contains(but, s.Reports[i].Process.ID) {
			s.Reports[i].Sequence++
		}
	}
}

func TestReportTimeout(t *testing.T) {
	s := &script{t, scene(nil)}
	s.at(0)
	for ms := int64(1000); ms <= 8000; ms += 1000 {
		s.reports("a")
		s.at(ms)
	}
	s.reports("a")
	s.at(8100, "condemn node a", "takeover 1 by b under 4", "stop node a")
}

// TestThePlannerWasAway: a planner that was suspended with everything else
// does not take the others for silent.
func TestThePlannerWasAway(t *testing.T) {
	s := &script{t, scene(nil)}
	s.at(0)
	s.at(3_600_000)
	s.reports()
	s.at(3_601_000)
	s.at(3_604_000)
	s.reports("a")
	s.at(3_607_000)
	s.at(3_609_500, "condemn node a", "takeover 1 by b under 4", "stop node a")
}

func TestOldSuspicionsDoNotAddUp(t *testing.T) {
	s := &script{t, scene(func(s *Snapshot) { accuse(s, "a", mesh.Silent, "g") })}
	for ms := int64(0); ms <= 11_000; ms += 1000 {
		s.reports()
		s.at(ms)
	}
	accuse(&s.Snapshot, "a", mesh.Silent, "h")
	s.reports()
	s.at(12_000)
	actions, _ := Plan(DefaultConfig(), s.Snapshot, at(12_500))
	dropped := slices.ContainsFunc(actions, func(a Action) bool { return a.Do == DropSuspicion && a.Suspicion.Witness == "g" })
	if !dropped {
		t.Error("the old suspicion was kept")
	}
}

// TestOneSilenceAfterAnother: a zone is not handed from silent node to silent
// node; the second waits until ten seconds after the first.
func TestOneSilenceAfterAnother(t *testing.T) {
	s := &script{t, scene(func(s *Snapshot) { accuse(s, "a", mesh.Silent, "g", "h") })}
	s.at(0, "condemn node a", "takeover 1 by b under 4", "stop node a")
	s.at(100, "condemn node a", "takeover 1 by b under 4", "stop node a") // cut short: the same again
	s.Layout.Version, s.Layout.Zones[0].Owner, s.Layout.Zones[0].Epoch = 6, procOf(&s.Snapshot, "b").Owner(), 4
	procOf(&s.Snapshot, "a").State = mesh.Stopped
	s.Suspicions = nil
	s.Intents = []mesh.Intent{{Token: "stop-a", What: stop, Target: "a", State: mesh.IntentWritten}}
	accuse(&s.Snapshot, "b", mesh.Silent, "g", "h")
	s.reports()
	s.at(2000)
	s.reports()
	s.at(9000)
	s.reports()
	s.at(10_200, "condemn node b", "takeover 1 by c under 5", "stop node b")
}

// TestRemove: a retired zone goes only when its owner has reported it empty
// twice after everybody else was seen to send it nothing.
func TestRemove(t *testing.T) {
	retired := func(s *Snapshot) {
		low, high := s.Layout.Shard.Bounds, s.Layout.Shard.Bounds
		low.Max.X, high.Min.X = 1000, 1000
		s.Layout.NextZone = 4
		s.Layout.Zones = []mesh.Zone{
			{ID: 1, Box: low, Owner: procOf(s, "a").Owner(), Epoch: 3},
			{ID: 2, Box: high, Owner: procOf(s, "b").Owner(), Epoch: 1, State: mesh.Retiring, RetiredAt: 5},
			{ID: 3, Box: high, Owner: procOf(s, "c").Owner(), Epoch: 1},
		}
		for i := range 3 {
			s.Reports[i].Zones = []mesh.ZoneLoad{{Zone: mesh.ZoneID(i + 1), Epoch: s.Layout.Zones[i].Epoch, Open: true, Actors: 30 * (1 - i%2)}}
		}
	}
	t.Run("when all is clear", func(t *testing.T) {
		s := &script{t, scene(retired)}
		s.at(0)
		s.Reports[1].Sequence++
		s.at(1000) // this report may have been on its way before
		s.Reports[1].Sequence++
		s.at(2000, "remove zone 2")
	})
	for name, spoil := range map[string]func(*Snapshot){
		"something is in it":                   func(s *Snapshot) { s.Reports[1].Zones[0].Asleep = 1 },
		"it still sends":                       func(s *Snapshot) { s.Reports[1].Zones[0].Outbound = 1 },
		"somebody sends to it":                 func(s *Snapshot) { s.Reports[0].Zones[0].OutboundTo = []mesh.ZoneID{2} },
		"somebody does not know yet":           func(s *Snapshot) { s.Reports[2].LayoutVersion = 4 },
		"a zone is not open yet":               func(s *Snapshot) { s.Reports[2].Zones[0].Open = false },
		"a zone is reported by its last owner": func(s *Snapshot) { s.Layout.Zones[2].Epoch = 2 },
		"its owner does not report it":         func(s *Snapshot) { s.Reports[1].Zones = nil },
	} {
		t.Run("not when "+name, func(t *testing.T) {
			s := &script{t, scene(retired)}
			s.at(0)
			spoil(&s.Snapshot)
			for ms := int64(1000); ms < 5000; ms += 1000 {
				s.reports()
				s.at(ms)
			}
		})
	}
	t.Run("the wait begins anew when somebody sends", func(t *testing.T) {
		s := &script{t, scene(retired)}
		s.at(0)
		s.reports()
		s.Reports[0].Zones[0].OutboundTo = []mesh.ZoneID{2}
		s.at(1000)
		s.reports()
		s.Reports[0].Zones[0].OutboundTo = nil
		s.at(2000)
		s.reports()
		s.at(3000)
		s.reports()
		s.at(4000, "remove zone 2")
	})
}

// TestSweepWaitsForEveryNode: records of a removed zone stay while somebody
// might still write there.
func TestSweepWaitsForEveryNode(t *testing.T) {
	s := scene(func(s *Snapshot) {
		s.Layout.NextZone = 4
		s.State.Removed = []Removed{{Zone: 2, Version: 5}, {Zone: 3, Version: 6}}
	})
	actions, state := Plan(DefaultConfig(), s, at(0))
	var swept []mesh.ZoneID
	for _, a := range actions {
		if a.Do == Sweep {
			swept = append(swept, a.Change.Zone)
		}
	}
	if !slices.Equal(swept, []mesh.ZoneID{2}) || !slices.Equal(state.Removed, []Removed{{Zone: 3, Version: 6}}) {
		t.Errorf("swept %v, kept %v", swept, state.Removed)
	}
}

// TestStaticGivesEachNodeAZone: a static world waits for its nodes once, and
// never changes after that.
func TestStaticGivesEachNodeAZone(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Policy = "static"
	l := newLoop(t, cfg, 1)
	defer l.tell()
	l.run(5*time.Second, nil)
	owners := map[mesh.NodeID]bool{}
	for _, z := range l.layout.Zones {
		owners[z.Owner.Node] = true
	}
	if len(l.layout.Zones) != 4 || len(owners) != 4 || owners[""] {
		t.Fatalf("%d zones on %v", len(l.layout.Zones), owners)
	}
	version := l.layout.Version
	l.join(600, 12)
	l.flying = 50
	l.run(30*time.Second, nil)
	if l.layout.Version != version {
		t.Errorf("a static layout went from version %d to %d", version, l.layout.Version)
	}
}

// TestKill: the zones of a node that dies in a crowd are elsewhere after the
// first run that hears of it, and the pool is filled again.
func TestKill(t *testing.T) {
	l := newLoop(t, DefaultConfig(), 3)
	defer l.tell()
	l.run(4*time.Second, nil)
	l.join(400, 12)
	l.run(20*time.Second, nil)
	busy := map[mesh.NodeID]int{}
	for _, p := range l.crowd {
		z, _ := l.layout.Zone(p.zone)
		busy[z.Owner.Node]++
	}
	victim := slices.MaxFunc(sortedKeys(busy), func(a, b mesh.NodeID) int { return cmp.Compare(busy[a], busy[b]) })
	l.nodes[victim].gone = true
	before := l.liveNodes()
	for _, id := range sortedKeys(l.nodes) {
		if n := l.nodes[id]; n.Role == mesh.RoleGateway {
			l.accused = append(l.accused, mesh.Suspicion{Suspect: victim, Incarnation: l.nodes[victim].Incarnation, Kind: mesh.Broken, Witness: id, Number: 1})
		}
	}
	l.plan()
	for _, z := range l.layout.Zones {
		if z.Owner.Node == victim {
			t.Errorf("zone %d is still %s's", z.ID, victim)
		}
	}
	l.run(5*time.Second, nil)
	if _, there := l.nodes[victim]; there {
		t.Errorf("the record of %s was not removed", victim)
	}
	if n := l.liveNodes(); n < before {
		t.Errorf("%d nodes 5 s after the kill, want the %d of before", n, before)
	}
}

// TestDrainEmptiesANode: a node that asks to leave is emptied by moves (the
// cradle by a takeover) and its record goes.
func TestDrainEmptiesANode(t *testing.T) {
	l := newLoop(t, DefaultConfig(), 4)
	defer l.tell()
	l.run(4*time.Second, nil)
	l.join(150, 100)
	l.run(10*time.Second, nil)
	cradle, _ := l.layout.Zone(mesh.Cradle)
	leaving := cradle.Owner.Node
	l.nodes[leaving].draining = true
	l.run(12*time.Second, nil)
	if _, there := l.nodes[leaving]; there {
		t.Errorf("%s is still there", leaving)
	}
	for _, p := range l.crowd {
		if !l.open(p.zone) {
			t.Fatalf("somebody stands in zone %d, which nobody simulates", p.zone)
		}
	}
}

// TestNoFlapping: under loads that keep changing at random, but not in sum,
// the layout changes rarely, and what must be relieved is.
func TestNoFlapping(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := newLoop(t, DefaultConfig(), seed)
			defer l.tell()
			l.run(4*time.Second, nil)
			l.join(250, 150)
			stir := func() {
				for range len(l.crowd) / 20 {
					l.crowd[l.rng.IntN(len(l.crowd))].at = l.near(150)
				}
			}
			l.run(30*time.Second, stir)
			before := l.layoutChanges()
			l.run(2*time.Minute, stir)
			if n := l.layoutChanges() - before; n > 12 {
				t.Errorf("%d changes of the layout in two minutes", n)
			}
			hot := map[mesh.NodeID]partition.Load{}
			for _, z := range l.layout.Zones {
				hot[z.Owner.Node] += l.state.Zones[z.ID].Load
			}
			for n, load := range hot {
				if load > 1100 {
					t.Errorf("node %s still carries %s", n, load)
				}
			}
		})
	}
}

func TestGatewaysAreFleetToo(t *testing.T) {
	s := scene(func(s *Snapshot) {
		s.Instances, s.InstancesKnown = []mesh.NodeID{"a", "b", "c", "h"}, true
		s.Reports[4].Clients = 2500
	})
	actions, _ := Plan(DefaultConfig(), s, at(0))
	got := words(actions)
	if n := strings.Count(strings.Join(got, "\n"), "launch gateway"); n != 2 || !slices.Contains(got, "condemn gateway g") {
		t.Errorf("planned %q, want gateway g condemned and two launched", got)
	}
}
