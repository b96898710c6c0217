package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/loadtest/scenario"
	"weft/simnode/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const script = `name: small
seed: 3
world: {size_m: [400, 400, 50]}
items: 60
players:
  - {count: 20, join: {at: 0s, over: 2s}}
  - {trace: walk.csv, copies: 2, origin_m: [200, 200, 0]}
events:
  - {at: 3s, gather: {at_m: [210, 200, 0], radius_m: 8, within: 4s}}
  - {at: 6s, act: {do: [drop, pickup, throw]}}
  - {at: 10s, kill: {node: busiest}}
  - {at: 12s, pause: {node: random, for: 2s}}
  - {at: 15020ms, kill: {gateway: random}}
  - {at: 22s, disperse: {}}
duration: 36s
expect: {disconnects: 0, entities_lost: 0, entities_duplicated: 0, durable_lost: 0, joined: 26, "durable.acknowledged": ">20"}
`

func parse(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	walk := "seconds,person,x_m,y_m\n0,1,0,0\n9,1,9,0\n1,2,0,5\n6,2,5,5\n4,3,2,2\n8,3,2,4\n"
	s, err := scenario.Parse("small.yaml", []byte(text), func(name string) (fs.File, error) {
		return fstest.MapFS{"walk.csv": {Data: []byte(walk)}}.Open(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play runs a script against a fake world in virtual time.
func play(t *testing.T, text string, prepare func(*fakeWorld)) (report *scenario.Report, w *fakeWorld, log []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := parse(t, text)
		w = newFakeWorld(t, s)
		if prepare != nil {
			w.mu.Lock()
			prepare(w)
			w.mu.Unlock()
		}
		seconds := 0
		var err error
		report, err = Run(t.Context(), s, w, Options{Dial: w.Dial, Log: func(l string) { log = append(log, l) }, Progress: func(st Status) {
			if seconds++; st.Want != s.Players() || st.Total != s.Duration {
				t.Errorf("status %+v", st)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if seconds < int(s.Duration.Seconds())-1 {
			t.Errorf("%d calls of progress", seconds)
		}
	})
	return report, w, log
}

func TestRun(t *testing.T) {
	r, w, log := play(t, script, nil)
	if !r.OK() || len(r.Offences) > 0 || len(r.BotFaults) > 0 {
		t.Errorf("%+v\n%v\n%v", r.Expect, r.Offences, r.BotFaults)
	}
	if r.Players.Peak < 20 || r.Players.Resumed == 0 || r.ResumeMS.P99 <= 0 || r.Players.Rejected != 0 {
		t.Errorf("players %+v, resume %+v", r.Players, r.ResumeMS)
	}
	if r.Nodes != (scenario.Nodes{Peak: 2, Final: 2, Launched: 3, Killed: 1}) || r.Zones != (scenario.Zones{Peak: 2, Final: 2}) || r.Layers.PropsOwnersPeak != 1 {
		t.Errorf("nodes %+v, zones %+v, layers %+v", r.Nodes, r.Zones, r.Layers)
	}
	if len(r.Recovery) != 1 || r.Recovery[0].Node != "a" || r.Recovery[0].KilledAtS < 10 || r.Recovery[0].KilledAtS > 10.1 ||
		r.Recovery[0].FirstTickMS < 700 || r.Recovery[0].FirstTickMS > 760 || r.Recovery[0].ClientStallMSP99 < 700 || r.Recovery[0].ClientStallMSP99 > 810 {
		t.Errorf("recovery %+v", r.Recovery)
	}
	if r.TickMS.P50 < 2 || r.TickMS.P99 < 8 || r.TickMS.P99 > 9.1 || r.TickMS.Max != 12 || r.MeltedSeconds != 0 {
		t.Errorf("ticks %+v, melted %v", r.TickMS, r.MeltedSeconds)
	}
	if r.Entities.Expected != 60+26 || r.Store.Writes == 0 || r.Store.WriteUnits*2 != r.Store.Writes*3 || r.ClientBytesPerS.P50 == 0 || r.UpdateAgeMS.P99 > 60 {
		t.Errorf("entities %+v, store %+v, bytes %+v, age %+v", r.Entities, r.Store, r.ClientBytesPerS, r.UpdateAgeMS)
	}
	if w.resumed != 1 || len(w.conns) != 0 {
		t.Errorf("%d pauses ended, %d connections left", w.resumed, len(w.conns))
	}
	if !slices.ContainsFunc(log, func(l string) bool { return l == "killed a" }) {
		t.Errorf("log %q", log)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"wall_seconds":`, `"resume_ms":{"p50":`, `"stall_ms":{"p50":`, `"first_tick_ms":`, `"client_stall_ms_p99":`, `"ack_ms":{`, `"tick_hz":20`,
		`"ticks_missed":`, `"update_age_ms":`, `"client_bytes_per_s":`, `"write_units_per_s":`, `"props_owners_peak":1`, `"expect":[{"check":"disconnects: 0","ok":true,"got":0}`} {
		if !strings.Contains(string(raw), name) {
			t.Errorf("%s is not in %s", name, raw)
		}
	}
}

// TestLosses: a world that loses what it acknowledged is found out, all the
// way from the bots' ledgers to the expectations.
func TestLosses(t *testing.T) {
	failed := func(r *scenario.Report) (names []string) {
		for _, v := range r.Expect {
			if !v.OK {
				names = append(names, v.Check)
			}
		}
		return names
	}
	for _, c := range []struct {
		name  string
		spoil func(*replication.State)
		want  string
	}{
		{"an item", func(s *replication.State) { delete(s.Entities, mesh.MakeEntityID(mesh.KindItem, 7)) }, "entities_lost: 0"},
		{"the last event of each player", func(s *replication.State) {
			for id, e := range s.Entities {
				if e.LastEvent > 0 {
					e.LastEvent, e.Outcomes = e.LastEvent-1, e.Outcomes>>2
					s.Entities[id] = e
				}
			}
		}, "durable_lost: 0"},
		{"all that was moved", func(s *replication.State) {
			for id, e := range s.Entities {
				if id.Kind() == mesh.KindItem {
					e.Hop, e.Carrier = 0, 0
				}
				e.Held = 0
				s.Entities[id] = e
			}
		}, "durable_lost: 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, _ := play(t, script, func(w *fakeWorld) { w.spoil = c.spoil })
			if got := failed(r); !slices.Contains(got, c.want) || len(r.Offences) == 0 {
				t.Errorf("failed: %q, offences %q", got, r.Offences)
			}
		})
	}
}

func TestMelt(t *testing.T) {
	text := strings.Replace(script, "durable_lost: 0", "durable_lost: 0, melted_seconds: \">=10\"", 1)
	r, _, _ := play(t, text, func(w *fakeWorld) { w.faulty = true })
	if !r.OK() || r.TicksMissed == 0 {
		t.Errorf("melted for %v s, %d ticks missed, %+v", r.MeltedSeconds, r.TicksMissed, r.Expect)
	}
}

// TestInterrupted: the world is put to sleep when the run is broken off.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parse(t, script)
		w := newFakeWorld(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 13*time.Second) // while a node is paused
		defer cancel()
		if _, err := Run(ctx, s, w, Options{Dial: w.Dial}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if w.resumed != 1 {
			t.Error("a paused node was left so")
		}
		<-w.stopped
	})
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	quick := "name: quick\nplayers: [{count: 2}]\nduration: 2s\nexpect: {joined: 2}\n"
	for _, c := range []struct {
		name    string
		command Command
		fails   error
		status  int
		saying  string
	}{
		{"a good run", Command{File: file("good.yaml", quick)}, nil, ExitOK, "ok      joined: 2: 2"},
		{"an expectation that fails", Command{File: file("fails.yaml", strings.Replace(quick, "joined: 2", "joined: \">=3\"", 1))}, nil, ExitFailed, "FAILED  joined >= 3: 2"},
		{"a bad file", Command{File: file("bad.yaml", "name: quick\nplayers: [{count: none}]\nduration: 2s\n")}, nil, ExitBad, `bad.yaml:2: players[0].count: found "none", expected a whole number of players from 1 to 100000`},
		{"no file", Command{File: filepath.Join(dir, "none.yaml")}, nil, ExitBad, "none.yaml"},
		{"no such scenario", Command{File: "none"}, nil, ExitBad, `found "none", expected a file or one of`},
		{"a bad policy", Command{File: file("good.yaml", quick), Policy: "magic"}, nil, ExitBad, "--policy"},
		{"bad players", Command{File: file("good.yaml", quick), Players: -1}, nil, ExitBad, "--players: found -1"},
		{"no world", Command{File: file("good.yaml", quick)}, errors.New("port 7070 is taken"), ExitFailed, "the world did not start: port 7070 is taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.command.Report = filepath.Join(dir, "out.json")
				var out, errs bytes.Buffer
				status := c.command.main(t.Context(), &out, &errs, func(_ context.Context, s *scenario.Scenario) (Mesh, error) {
					if c.fails != nil {
						return nil, c.fails
					}
					return newFakeWorld(t, s), nil
				}, func(m Mesh, o Options) Options { o.Dial = m.(*fakeWorld).Dial; return o })
				if status != c.status || !strings.Contains(errs.String(), c.saying) {
					t.Errorf("status %d, want %d; it said\n%s", status, c.status, errs.String())
				}
				if raw, err := os.ReadFile(c.command.Report); c.status == ExitOK && (err != nil || !json.Valid(raw)) {
					t.Errorf("the report: %v, %s", err, raw)
				}
			})
		})
	}
}
