package planner

import (
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
)

func sleepy() Config {
	cfg := DefaultConfig()
	cfg.SleepAfter, cfg.WakeFor = 10*time.Second, 5*time.Second
	return cfg
}

// TestSleep says what makes a world sleep that has been awake and quiet for
// as long as it may.
func TestSleep(t *testing.T) {
	quiet := at(-10_000).UnixMilli()
	gateways := []string{"sleep world", "drain gateway g", "drain gateway h"}
	for _, c := range []struct {
		name   string
		cfg    Config
		change func(*Snapshot)
		want   []string
	}{
		{"nobody for long enough", sleepy(), nil, gateways},
		{"it never sleeps", DefaultConfig(), nil, nil},
		{"a little too soon", sleepy(), func(s *Snapshot) { s.State.QuietMilli = quiet + 1 }, nil},
		{"a client is here", sleepy(), func(s *Snapshot) { s.Reports[4].Clients = 1 }, nil},
		{"a client of a dead gateway", sleepy(), func(s *Snapshot) {
			s.Reports[4].Clients = 1
			procOf(s, "h").State = mesh.Stopped
		}, []string{"sleep world", "drain gateway g"}},
		{"somebody knocks", sleepy(), func(s *Snapshot) { s.Intents = []mesh.Intent{WakeIntent(at(0), "")} }, nil},
		{"somebody knocked a while ago", sleepy(), func(s *Snapshot) {
			s.Intents = []mesh.Intent{WakeIntent(at(-5000), "")}
			s.State.Woken = Seen{Sequence: uint64(at(-5000).UnixMilli()), Milli: at(-5000).UnixMilli()}
		}, gateways},
		{"told to stop, with clients and a knock", DefaultConfig(), func(s *Snapshot) {
			s.Reports[4].Clients = 1
			s.Intents = []mesh.Intent{StoppedIntent(at(0), ""), WakeIntent(at(0), "")}
		}, gateways},
		{"the gateways are going", sleepy(), func(s *Snapshot) {
			s.Layout.Asleep = true
			procOf(s, "g").State, procOf(s, "h").State = mesh.Draining, mesh.Draining
		}, nil},
		{"the gateways are gone", sleepy(), func(s *Snapshot) {
			s.Layout.Asleep = true
			procOf(s, "g").State, procOf(s, "h").State = mesh.Stopped, mesh.Stopped
		}, []string{"drain node a", "drain node b", "drain node c"}},
		{"a node has gone to sleep with its zone", sleepy(), func(s *Snapshot) {
			s.Layout.Asleep = true
			for i := range s.Processes {
				s.Processes[i].State = mesh.Stopped
			}
		}, nil},
		{"a node does not stop", sleepy(), func(s *Snapshot) {
			s.Layout.Asleep = true
			for i := range s.Processes[1:] {
				s.Processes[i+1].State = mesh.Stopped
			}
			s.Processes[0].State, s.State.Draining = mesh.Draining, map[mesh.NodeID]int64{"a": at(-20_000).UnixMilli()}
		}, []string{"stop node a"}},
		{"somebody comes", sleepy(), func(s *Snapshot) {
			s.Layout.Asleep = true
			s.Intents = []mesh.Intent{WakeIntent(at(0), "")}
			procOf(s, "a").State = mesh.Stopped
		}, []string{"wake world", "takeover 1 by b under 4"}},
	} {
		s := scene(func(s *Snapshot) {
			s.State.RunMilli, s.State.QuietMilli = at(-1000).UnixMilli(), quiet
			s.State.Seen = map[mesh.NodeID]Seen{}
			for _, p := range s.Processes {
				s.State.Seen[p.ID] = Seen{Incarnation: 7, Sequence: 10, Milli: at(-1000).UnixMilli()}
			}
			if c.change != nil {
				c.change(s)
			}
		})
		actions, _ := Plan(c.cfg, s, at(0))
		got := slices.DeleteFunc(words(actions), func(w string) bool { return strings.HasPrefix(w, "launch") })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: planned %q, want %q", c.name, got, c.want)
		}
	}
}

// TestBornAsleep: a world that nobody has entered yet starts nothing.
func TestBornAsleep(t *testing.T) {
	s := scene(func(s *Snapshot) { s.Processes, s.Reports, s.Layout.Zones[0].Owner = nil, nil, mesh.Owner{} })
	actions, state := Plan(sleepy(), s, at(0))
	if got := words(actions); !slices.Equal(got, []string{"sleep world"}) {
		t.Errorf("planned %q", got)
	}
	s.State, s.Layout.Asleep = state, true
	s.Intents = []mesh.Intent{WakeIntent(at(60_000), "")}
	actions, _ = Plan(sleepy(), s, at(60_000))
	if got := strings.Join(words(actions), "\n"); !strings.HasPrefix(got, "wake world\n") || !strings.Contains(got, "launch node") || !strings.Contains(got, "launch gateway") {
		t.Errorf("at the first knock: planned %q", got)
	}
}

// TestNights is a world whose crowd comes, goes and comes again.
func TestNights(t *testing.T) {
	l := newLoop(t, sleepy(), 5)
	defer l.tell()
	knock := func() {
		i := WakeIntent(l.now, "")
		l.intents[i.Token] = i
	}
	running := func() (n int) {
		for _, p := range l.nodes {
			if !p.gone && p.State != mesh.Stopped {
				n++
			}
		}
		return n
	}
	l.run(5*time.Second, nil)
	if len(l.nodes) > 0 || !l.layout.Asleep {
		t.Fatalf("an unborn world has %d processes", len(l.nodes))
	}
	for night := range 3 {
		knock()
		l.run(4*time.Second, nil)
		l.join(300, 12)
		l.run(20*time.Second, nil)
		for _, p := range l.crowd {
			if !l.open(p.zone) {
				t.Fatalf("night %d: somebody stands in zone %d, which nobody simulates", night, p.zone)
			}
		}
		l.crowd = nil
		l.run(8*time.Second, nil)
		if running() == 0 {
			t.Errorf("night %d: asleep too soon", night)
		}
		l.run(20*time.Second, nil)
		if n := running(); n > 0 || !l.layout.Asleep {
			t.Errorf("night %d: %d processes run while nobody is here", night, n)
		}
		for _, i := range l.intents {
			if i.What != wake && i.State == mesh.IntentWritten {
				t.Errorf("night %d: %s is not done", night, i.Token)
			}
		}
	}
}
