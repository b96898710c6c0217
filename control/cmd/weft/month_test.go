package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/store/natsstore"
	"weft/loadtest/audit"
)

const (
	busy = `name: attic
seed: 7
tick_hz: 20
world: {size_m: [100, 100, 20]}
items: 40
gateways: 1
players:
  - {count: 6, join: {at: 0s, over: 0s}, behave: wander}
events:
  - {at: 1s, act: {fraction: 1.0, do: [pickup, drop, throw], for: 3s}}
duration: 6s
policy: kdsplit
node_actors: 100
cooldown: 2s
expect: {disconnects: 0, entities_lost: 0, durable_lost: 0, durable.acknowledged: ">0"}
`
	quiet = `name: attic
seed: 7
tick_hz: 20
world: {size_m: [100, 100, 20]}
items: 40
gateways: 1
players:
  - {count: 6, join: {at: 0s, over: 0s}, behave: stand}
duration: 3s
policy: kdsplit
node_actors: 100
cooldown: 2s
expect: {players.joined: 6, disconnects: 0, entities_lost: 0, entities_duplicated: 0}
`
)

// A world that sleeps for a month has every item where it lay.
func TestItemsLieForAMonth(t *testing.T) {
	dir := t.TempDir()
	world := filepath.Join(dir, "world")
	play := func(name, scenario string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(filepath.Join(binDir(t), "weft"), "loadtest", "run", file, "--data", world).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	began := items(t, world, false) // there are none yet
	play("busy.yaml", busy)
	before := items(t, world, true)
	play("quiet.yaml", quiet)
	after := items(t, world, false)
	if len(began) != 0 || len(before) != 40 || len(after) != 40 {
		t.Fatalf("%d items at first, %d before, %d after", len(began), len(before), len(after))
	}
	for id, b := range before {
		if a := after[id]; a.Carrier != b.Carrier || b.Carrier == 0 && a.Pos != b.Pos {
			t.Errorf("item %d lay at %v in %d and lies at %v in %d", id.Number(), b.Pos, b.Carrier, a.Pos, a.Carrier)
		}
	}
}

// items returns what lies in the world in dir, and moves its clock by a month.
func items(t *testing.T, dir string, month bool) map[mesh.EntityID]mesh.Pose {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	server, err := natsstore.StartServer(dir, natsstore.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	st, err := server.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	layout, err := st.Layout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[mesh.EntityID]mesh.Pose{}
	for _, z := range layout.Zones {
		state, _, err := audit.Load(t.Context(), st, z.ID)
		if err != nil {
			t.Fatal(err)
		}
		for id, e := range state.Entities {
			if id.Kind() == mesh.KindItem {
				found[id] = e.Pose
			}
		}
		for _, o := range state.Outbound {
			for _, e := range o.Members {
				if e.ID.Kind() == mesh.KindItem {
					found[e.ID] = e.Pose
				}
			}
		}
	}
	if month {
		layout = layout.Clone()
		layout.Version++
		layout.Shard.OriginUnixMilli -= (30 * 24 * time.Hour).Milliseconds()
		if err := st.PutLayout(t.Context(), layout); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
