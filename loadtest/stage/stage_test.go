package stage

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/store"
	"weft/loadtest/scenario"
	"weft/simnode/replication"
)

// Whatever lies about at the start lies in exactly one zone.
func TestGenesisIsSharedOut(t *testing.T) {
	s, err := scenario.Open("tavern", "")
	if err != nil {
		t.Fatal(err)
	}
	s.Items = 9000 // more than fits a chunk
	cfg, err := Config(s)
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := partition.Genesis("quasi", cfg.Shard, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, zones := range [][]mesh.Box{{cfg.Shard.Bounds}, boxes} {
		found := map[mesh.EntityID]mesh.Entity{}
		for _, z := range zones {
			pieces := cfg.Chunks(z)
			for _, p := range pieces {
				if len(p) > store.MaxChunkBytes {
					t.Errorf("a chunk of %d bytes", len(p))
				}
			}
			state, err := replication.DecodeState(replication.Join(pieces))
			if err != nil {
				t.Fatal(err)
			}
			for id, e := range state.Entities {
				if _, twice := found[id]; twice || !z.Contains(e.Pos) {
					t.Errorf("item %d lies in a wrong zone", id.Number())
				}
				found[id] = e
			}
		}
		for _, e := range s.Genesis() {
			if found[e.ID] != e {
				t.Errorf("item %d is %+v, not %+v", e.ID.Number(), found[e.ID], e)
			}
		}
		if len(found) != s.Items {
			t.Errorf("%d items in %d zones", len(found), len(zones))
		}
	}
}

func TestConfigFollowsTheScenario(t *testing.T) {
	s, err := scenario.Open("melt", "")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Config(s)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.NodeCPU != 150 || cfg.ActorCostUS != s.ActorCostUS || cfg.NodeActors != s.NodeActors || cfg.Policy != s.Policy || cfg.Gateways != s.Gateways || cfg.Cooldown != s.Cooldown {
		t.Errorf("config %+v", cfg)
	}
	self, _ := os.Executable()
	if n, g := cfg.Command(mesh.RoleNode), cfg.Command(mesh.RoleGateway); !slices.Equal(n, []string{self, "simnode"}) || !slices.Equal(g, []string{self, "gateway"}) {
		t.Errorf("commands %v and %v", n, g)
	}
}

func TestLogFileIsBounded(t *testing.T) {
	l := &logFile{path: filepath.Join(t.TempDir(), "weft.log")}
	line := bytes.Repeat([]byte("x"), 1<<20)
	for range 20 {
		if n, err := l.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{l.path, l.path + ".old"} {
		if info, err := os.Stat(name); err != nil || info.Size() > maxLogBytes || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	lost := &logFile{path: "/dev/null/x"}
	if n, err := lost.Write(line); n != len(line) || err != nil {
		t.Errorf("a log that cannot be written: %d, %v", n, err)
	}
	if err := (*logFile)(nil).Close(); err != nil {
		t.Error(err)
	}
}

func TestWarningsAreSentences(t *testing.T) {
	var out strings.Builder
	log := slog.New(warnings{w: &out})
	log.Info("not worth a word")
	log.With("process", "node-1").Warn("a process ended by itself", "process", "node-1", "err", os.ErrNotExist)
	if out.String() != "a process ended by itself: file does not exist\n" {
		t.Errorf("it says %q", out.String())
	}
}

func TestChild(t *testing.T) {
	for _, args := range [][]string{{"weft"}, {"weft", "demo"}, {"weft", "simnode", "--help"}} {
		if _, is := Child(args); is {
			t.Errorf("%v is a child", args)
		}
	}
}
