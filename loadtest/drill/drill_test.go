package drill

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

// The test binary is also the nodes and gateways of its meshes.
func TestMain(m *testing.M) {
	if status, is := stage.Child(os.Args); is {
		os.Exit(status)
	}
	if os.Getenv("GORACE") == "" { // or each child under the race detector takes a second to end
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	goleak.VerifyTestMain(m)
}

// small is a drill that takes seconds. What it may lose is what the large one
// may, nothing; how fast it is says little of a test machine, and whether one
// of a few short cuts falls between the two that a player crosses is luck.
func small(t *testing.T, name string, players int, times int, over time.Duration) *scenario.Scenario {
	t.Helper()
	c := Command{Kills: times, Gateways: times, Pauses: times, Players: players}
	s, err := c.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Groups {
		s.Groups[i].JoinOver = time.Second
	}
	for i := range s.Events {
		s.Events[i].At = time.Second
	}
	s.NodeActors = max(players/3, 2)
	if len(s.Faults) == 0 {
		s.Duration = over
	}
	for i := range s.Faults {
		s.Faults[i].At, s.Faults[i].Times, s.Faults[i].For = 3*time.Second, times, over
	}
	kept := s.Expect[:0]
	for _, e := range s.Expect {
		switch e.Key {
		case "disconnects", "entities_lost", "entities_duplicated", "durable_lost", "durable.acknowledged", "players.joined",
			"players.resumed", "drill.unrecovered", "drill.replay.violations", "drill.outage.held", "drill.outage.acknowledged":
			kept = append(kept, e)
		}
	}
	s.Expect = kept
	return s
}

// words are written by several goroutines.
type words struct {
	mu sync.Mutex
	bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(p)
}

func TestSmallDrills(t *testing.T) {
	for _, c := range []struct {
		name    string
		players int
		times   int
		over    time.Duration
		check   func(*scenario.Report) bool
	}{
		{"kills", 24, 2, 0, func(r *scenario.Report) bool { return r.Nodes.Killed == 2 && len(r.Recovery) == 2 }},
		{"gateways", 16, 1, 0, func(r *scenario.Report) bool { return r.Players.Resumed > 0 && r.ResumeMS.P99 > 0 }},
		{"pauses", 24, 1, 0, func(r *scenario.Report) bool {
			p := r.Drill.Replay
			return p.Tried > 0 && p.Refused > 0 && p.Tried == p.Refused+p.Identical
		}},
		{"proxy", 24, 4, time.Second, func(r *scenario.Report) bool {
			return r.Drill.Links.Silences == 3 && r.Drill.Links.Cuts == 1 && r.Drill.Links.Delayed > 0
		}},
		{"outage", 24, 1, 3 * time.Second, func(r *scenario.Report) bool {
			return r.Drill.Outage.ViewsPerPlayerS > 1 && r.Drill.Outage.SettleS < 20
		}},
		{"storm", 24, 1, 6 * time.Second, func(r *scenario.Report) bool { return r.Crossings.Count >= 24 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var said words
			r, err := Play(t.Context(), small(t, c.name, c.players, c.times, c.over), &said, false)
			if err != nil {
				t.Fatalf("%v\n%s", err, said.String())
			}
			if !r.OK() || !c.check(r) {
				all := Report{Drills: []*scenario.Report{r}}
				all.Print(&said)
				t.Errorf("%s\n%+v", said.String(), r.Drill)
			}
		})
	}
}

func TestBadCommands(t *testing.T) {
	for _, c := range []Command{
		{Which: []string{"earthquake"}, Kills: 1, Gateways: 1, Pauses: 1},
		{Which: []string{"kills"}, Gateways: 1, Pauses: 1},
		{Which: []string{"pauses"}, Kills: 1, Gateways: 1, Pauses: maxTimes + 1},
		{Kills: 1, Gateways: 1, Pauses: 1, Players: -1},
	} {
		var out, errs bytes.Buffer
		if status := c.Main(t.Context(), &out, &errs); status != run.ExitBad || !strings.Contains(errs.String(), "expected") {
			t.Errorf("%+v: %d, %s", c, status, errs.String())
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{OK: true, Command: "weft drill", Drills: []*scenario.Report{{Scenario: "drill-x", Seed: 4, Expect: []scenario.Verdict{
		{Check: "disconnects: 0", OK: true, Got: 0.0}, {Check: "durable_lost: 0", Got: 2.0}}}}}
	var table bytes.Buffer
	r.Print(&table)
	for _, want := range []string{"drill-x", "disconnects: 0", "FAILED"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	path := filepath.Join(t.TempDir(), "report.json")
	if err := r.write(path, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"command": "weft drill"`) {
		t.Errorf("%s, %v", text, err)
	}
	if err := r.write(filepath.Join(path, "below"), nil); err == nil {
		t.Error("a file below a file was written")
	}
}
