package scenario_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"weft/control/mesh"
	"weft/loadtest/scenario"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

const trace = "seconds,person,x_m,y_m\n0,1,0,0\n0,7,5,5\n2,1,4,2\n3,1,4,4\n"

func open(name string) (fs.File, error) {
	return fstest.MapFS{
		"crowd.csv": {Data: []byte(trace)},
		"bad.csv":   {Data: []byte("seconds,person,x_m,y_m\n0,1,0,0\n1,one,0,0\n")},
	}.Open(name)
}

// issue is the file by which the format was agreed.
const issue = `name: tavern
seed: 7
tick_hz: 20
world: {size_m: [4000, 4000, 200]}
items: 2000                      # lying about the world at the start
gateways: 2
players:
  - {count: 400, join: {at: 0s, over: 10s}, behave: wander}
  - {trace: crowd.csv, copies: 8, origin_m: [2000, 2000, 0]}   # seconds,person,x_m,y_m; path relative to the file
events:
  - {at: 15s, gather: {fraction: 1.0, at_m: [2000, 2000, 0], radius_m: 12, within: 20s}}
  - {at: 35s, act: {fraction: 0.2, do: [drop, pickup, throw]}}
  - {at: 45s, kill: {node: busiest, signal: KILL}}      # node: busiest or random (of those that own a zone); or gateway: random
  - {at: 50s, pause: {node: random, for: 5s}}           # SIGSTOP, then SIGCONT
  - {at: 60s, disperse: {}}
duration: 90s
policy: kdsplit                  # or static, quasi
node_actors: 120                 # a node's declared capacity
cooldown: 5s
actor_cost_us: 0                 # optional
node_cpu: 0.15                   # optional
expect: {disconnects: 0, entities_lost: 0, entities_duplicated: 0, durable_lost: 0, nodes_peak: ">=4"}
`

func TestParse(t *testing.T) {
	s, err := scenario.Parse("tavern.yaml", []byte(issue), open)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "tavern" || s.Seed != 7 || s.TickHz != 20 || s.SizeM != [3]float64{4000, 4000, 200} || s.SpawnM != [3]float64{2000, 2000, 0} ||
		s.Items != 2000 || s.Gateways != 2 || s.Duration != 90*time.Second || s.Policy != "kdsplit" || s.NodeActors != 120 ||
		s.Cooldown != 5*time.Second || s.ActorCostUS != 0 || s.NodeCPU != 0.15 {
		t.Errorf("values: %+v", s)
	}
	if len(s.Groups) != 2 || s.Groups[0].JoinOver != 10*time.Second || s.Groups[1].Copies != 8 || s.Players() != 400+2*8 {
		t.Errorf("groups: %+v, %d players", s.Groups, s.Players())
	}
	e := s.Events
	if len(e) != 5 || e[0].Gather.RadiusM != 12 || e[1].Act.Do[2] != mesh.ActThrow || *e[2].Kill != (scenario.Fault{Role: mesh.RoleNode, Victim: "busiest"}) ||
		*e[3].Pause != (scenario.Fault{Role: mesh.RoleNode, Victim: "random", For: 5 * time.Second}) || e[4].Disperse == nil {
		t.Errorf("events: %+v", e)
	}
	if len(s.Expect) != 5 || s.Expect[4].String() != "nodes_peak >= 4" {
		t.Errorf("expectations: %v", s.Expect)
	}
}

// TestFaults holds what a user is told of a bad file: each line of the file,
// exchanged, and the message.
func TestFaults(t *testing.T) {
	cases := []struct{ old, new string }{
		{"name: tavern", "name: The Tavern"},
		{"name: tavern", "nane: tavern"},
		{"seed: 7", "seed: seven"},
		{"seed: 7", "seed: -7"},
		{"tick_hz: 20", "tick_hz: 0"},
		{"tick_hz: 20", "tick_hz: 20.5"},
		{"size_m: [4000, 4000, 200]", "size_m: [4000, 4000]"},
		{"size_m: [4000, 4000, 200]", "size_m: [4000, -1, 200]"},
		{"world: {size_m: [4000, 4000, 200]}", "world: 4000"},
		{"items: 2000", "items: many"},
		{"items: 2000", "items: 2000\nitems: 2000"},
		{"gateways: 2", "gateways: [2]"},
		{"gateways: 2", "gateways:"},
		{"count: 400, ", ""},
		{"count: 400, ", "count: 400, trace: crowd.csv, "},
		{"count: 400, ", "cuont: 400, "},
		{"count: 400, ", "count: 200000, "},
		{"behave: wander", "behave: run"},
		{"over: 10s", "over: 10"},
		{"trace: crowd.csv", "trace: absent.csv"},
		{"trace: crowd.csv", "trace: bad.csv"},
		{"trace: crowd.csv", "behave: stand, trace: crowd.csv"},
		{"fraction: 1.0", "fraction: 1.5"},
		{"at: 15s, ", ""},
		{"at: 15s, ", "at: 91s, "},
		{"at_m: [2000, 2000, 0], radius_m: 12", "at_m: [5000, 2000, 0], radius_m: -3"},
		{"radius_m: 12, ", ""},
		{"do: [drop, pickup, throw]", "do: [drop, juggle]"},
		{"do: [drop, pickup, throw]", "do: []"},
		{"do: [drop, pickup, throw]", "do: drop"},
		{"node: busiest, ", "node: slowest, "},
		{"node: busiest, ", ""},
		{"node: busiest, ", "node: busiest, gateway: random, "},
		{"signal: KILL", "signal: HUP"},
		{", for: 5s", ""},
		{"disperse: {}", "disperse: {}, act: {do: [drop]}"},
		{"disperse: {}", "disperse: {fraction: 1}"},
		{", disperse: {}", ""},
		{"duration: 90s", "duration: 90"},
		{"duration: 90s", ""},
		{"policy: kdsplit", "policy: magic"},
		{"cooldown: 5s", "cooldown: -5s"},
		{"node_cpu: 0.15", "node_cpu: .inf"},
		{"durable_lost: 0", "durable_loss: 0"},
		{"durable_lost: 0", "durable_lost: few"},
		{"durable_lost: 0", "durable_lost: [0]"},
		{"expect: {", "expect: [disconnects, {"},
		{"disconnects: 0", "p99: 0"},
		{"players:\n", "players: {}\nxplayers:\n"},
	}
	var b strings.Builder
	for _, c := range cases {
		if strings.Count(issue, c.old) == 0 {
			t.Fatalf("%q is not in the file", c.old)
		}
		s, err := scenario.Parse("tavern.yaml", []byte(strings.Replace(issue, c.old, c.new, 1)), open)
		if err == nil {
			t.Errorf("%q for %q: no error, %+v", c.new, c.old, s)
			continue
		}
		if !errors.Is(err, scenario.ErrInvalid) {
			t.Errorf("%q for %q: not ErrInvalid: %v", c.new, c.old, err)
		}
		fmt.Fprintf(&b, "%s -> %s\n", strings.ReplaceAll(c.old, "\n", `\n`), strings.ReplaceAll(c.new, "\n", `\n`))
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
	}
	for _, text := range []string{"", "- a\n- b\n", "{", "a: b: c", "name: x\n---\nname: y\n"} {
		_, err := scenario.Parse("tavern.yaml", []byte(text), open)
		if !errors.Is(err, scenario.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		fmt.Fprintf(&b, "the file %q\n\t%s\n", text, strings.ReplaceAll(err.Error(), "\n", "\n\t"))
	}
	golden(t, "faults.txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; go test -rewrite writes it anew. Got:\n%s", path, got)
	}
}

// TestShipped: what ships with Weft is valid, and says what it is said to.
func TestShipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crowd.csv")
	if err := os.WriteFile(path, []byte(trace), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range scenario.Names() {
		s, err := scenario.Open(name, path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.Name != name {
			t.Errorf("%s is named %s", name, s.Name)
		}
	}
	if _, err := scenario.Open("crowd", ""); !errors.Is(err, scenario.ErrInvalid) || !strings.Contains(err.Error(), "--trace") {
		t.Errorf("crowd without a trace: %v", err)
	}
	if _, err := scenario.Open("no-such", ""); !errors.Is(err, scenario.ErrInvalid) || !strings.Contains(err.Error(), "tavern") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestGenesis(t *testing.T) {
	s, _ := scenario.Open("tavern", "")
	shard := s.Shard(time.UnixMilli(1e12))
	seen, near := map[mesh.EntityID]bool{}, 0
	for _, e := range s.Genesis() {
		if seen[e.ID] || e.ID.Kind() != mesh.KindItem || !shard.Bounds.Contains(e.Pos) {
			t.Fatalf("%+v", e)
		}
		seen[e.ID] = true
		if e.Pos.Dist2(shard.Spawn) < 31*31*mesh.UnitsPerMeter*mesh.UnitsPerMeter {
			near++
		}
	}
	if len(seen) != 2000 || near < 1000 || near > 1010 {
		t.Errorf("%d items, %d near the spawn", len(seen), near)
	}
}

func TestResized(t *testing.T) {
	s, err := scenario.Parse("tavern.yaml", []byte(strings.Replace(issue, "- {trace: crowd.csv, copies: 8, origin_m: [2000, 2000, 0]}", "- {count: 100}", 1)+"  \n"), open)
	if err != nil {
		t.Fatal(err)
	}
	r, dropped := s.Resized(50, 20*time.Second)
	if len(dropped) != 1 || dropped[0].Key != "nodes_peak" || len(r.Expect)+1 != len(s.Expect) {
		t.Errorf("dropped %v of %v", dropped, s.Expect)
	}
	if r.Players() != 50 || r.Groups[0].Count != 40 || s.Players() != 500 || len(r.Events) != 1 || len(s.Events) != 5 || r.Duration != 20*time.Second {
		t.Errorf("%+v", r)
	}
	if r, dropped := s.Resized(0, 0); r.Players() != 500 || len(dropped) != 0 {
		t.Error("zero changed the scenario")
	}
}

func TestTrace(t *testing.T) {
	tr, err := scenario.ReadTrace("crowd.csv", strings.NewReader(trace))
	if err != nil || len(tr.People) != 2 || tr.Length != 3*time.Second {
		t.Fatalf("%+v, %v", tr, err)
	}
	for _, c := range []struct {
		at   time.Duration
		x, y float64
		ok   bool
	}{
		{0, 0, 0, true}, {time.Second, 2, 1, true}, {2 * time.Second, 4, 2, true}, {2500 * time.Millisecond, 4, 3, true},
		{3 * time.Second, 4, 4, true}, {3001 * time.Millisecond, 0, 0, false},
	} {
		if x, y, ok := tr.People[0].Place(c.at); x != c.x || y != c.y || ok != c.ok {
			t.Errorf("at %v: %v %v %v", c.at, x, y, ok)
		}
	}
	for _, bad := range []string{"", "seconds,person,x_m,y_m\n", "a,b\n", trace + "1,1,0,0\n", trace + "9,1,NaN,0\n", trace + "9,1\n", trace + "-1,2,0,0\n", trace + "9,1.5,0,0\n", trace + "\"9,1,0,0\n"} {
		if _, err := scenario.ReadTrace("crowd.csv", strings.NewReader(bad)); !errors.Is(err, scenario.ErrInvalid) || !strings.Contains(err.Error(), "crowd.csv:") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(issue))
	for _, n := range scenario.Names() {
		b, _ := scenario.Source(n)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := scenario.Parse("f.yaml", data, open); err == nil {
			if s.Players() == 0 || s.Duration <= 0 {
				t.Errorf("%q was accepted: %+v", data, s)
			}
		} else if !errors.Is(err, scenario.ErrInvalid) || !strings.Contains(err.Error(), "f.yaml:") {
			t.Errorf("%q: %v", data, err)
		}
	})
}

func TestJudge(t *testing.T) {
	text := strings.Replace(issue, `nodes_peak: ">=4"}`, `nodes_peak: ">=4", "resume_ms.p99": "<=3000", tick_ms.p99: "< 50", nodes.final: "!=0", joined: 400, recovery.first_tick_ms: "<=3000", tick_ms_max: 1.5}`, 1)
	s, err := scenario.Parse("tavern.yaml", []byte(text), open)
	if err != nil {
		t.Fatal(err)
	}
	r := &scenario.Report{
		Players: scenario.Players{Joined: 400, Disconnects: 1}, Nodes: scenario.Nodes{Peak: 4}, ResumeMS: scenario.Quantiles{P99: 3000},
		TickMS: scenario.Extremes{P99: 50, Max: 1.5}, Recovery: []scenario.Recovery{{FirstTickMS: 900}, {FirstTickMS: 3001}, {FirstTickMS: 4000}},
	}
	r.Judge(s.Expect)
	var got []string
	for _, v := range r.Expect {
		got = append(got, fmt.Sprintf("%s: %t, %v", v.Check, v.OK, v.Got))
	}
	want := `disconnects: 0: false, 1
entities_lost: 0: true, 0
entities_duplicated: 0: true, 0
durable_lost: 0: true, 0
nodes_peak >= 4: true, 4
resume_ms.p99 <= 3000: true, 3000
tick_ms.p99 < 50: false, 50
nodes.final != 0: false, 0
joined: 400: true, 400
recovery.first_tick_ms <= 3000: false, 3001
tick_ms_max: 1.5: true, 1.5`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	r.Recovery = nil
	if r.Judge(s.Expect); r.Expect[9].OK || r.OK() {
		t.Error("what did not happen was judged good")
	}
}
