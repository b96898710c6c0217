package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store/memstore"
	"weft/functions/internal/chaos"
	"weft/functions/internal/shard"
)

var now = time.Date(2026, 11, 22, 10, 0, 1, 0, time.UTC)

func newHandler(t *testing.T) (*handler, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	h := &handler{shard.New(options.Function{Shard: "weft", Env: "dev"}, memstore.New(), out, func() time.Time { return now })}
	for _, p := range []mesh.Process{
		{ID: "node-1", Incarnation: mesh.Incarnation(now.Add(-time.Hour).UnixNano()), Role: mesh.RoleNode, State: mesh.Ready},
		{ID: "node-2", Incarnation: mesh.Incarnation(now.Add(-time.Hour).UnixNano()), Role: mesh.RoleNode, State: mesh.Ready, Machine: "i-0abcdef1234567890"},
	} {
		if err := h.Store.PutProcess(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	return h, out
}

func load(t *testing.T, name string) json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNotices(t *testing.T) {
	for _, c := range []struct {
		event, did string
		node       mesh.NodeID
		state      mesh.ProcessState
		intents    int
	}{
		{"event", "drain", "node-1", mesh.Ready, 1},
		{"spot", "drain", "node-2", mesh.Ready, 1},
		{"rebalance", "drain", "node-2", mesh.Ready, 1},
		{"terminated", "condemn", "node-2", mesh.Stopped, 0},
	} {
		h, out := newHandler(t)
		for n := range 2 {
			got, err := h.handle(t.Context(), load(t, c.event))
			if want := map[bool]string{true: c.did, false: "nothing"}[n == 0]; err != nil || got.Did != want {
				t.Errorf("%s, time %d: %+v, %v; want %s", c.event, n+1, got, err, want)
			}
		}
		intents, err := h.Store.Intents(t.Context())
		if err != nil || len(intents) != c.intents || len(intents) == 1 && intents[0].Target != c.node {
			t.Errorf("%s: %+v, %v", c.event, intents, err)
		}
		processes, err := h.Store.Processes(t.Context())
		for _, p := range processes {
			if err != nil || p.ID == c.node && p.State != c.state || p.ID != c.node && p.State != mesh.Ready {
				t.Errorf("%s: %s is %s, %v", c.event, p.ID, p.State, err)
			}
		}
		if !strings.Contains(out.String(), `"decision":"`) || !strings.Contains(out.String(), string(c.node)) {
			t.Errorf("%s: the log is %s", c.event, out)
		}
	}
}

// TestReversed: the end is told before the warning.
func TestReversed(t *testing.T) {
	h, _ := newHandler(t)
	for _, event := range []string{"terminated", "spot", "rebalance"} {
		if _, err := h.handle(t.Context(), load(t, event)); err != nil {
			t.Fatal(err)
		}
	}
	if intents, err := h.Store.Intents(t.Context()); err != nil || len(intents) > 0 {
		t.Errorf("a node that is gone is to be drained: %+v, %v", intents, err)
	}
}

func TestOtherEventsPassBy(t *testing.T) {
	h, out := newHandler(t)
	for _, event := range []string{`{}`, `"x"`, `{"detail-type":"Scheduled Event"}`} {
		if got, err := h.handle(t.Context(), json.RawMessage(event)); err != nil || got.Did != "nothing" {
			t.Errorf("%s: %+v, %v", event, got, err)
		}
	}
	if strings.Count(out.String(), "passed over") != 3 {
		t.Errorf("the log is %s", out)
	}
}

// TestChaos: a warning and the end of the machine, however they come.
func TestChaos(t *testing.T) {
	var victim mesh.NodeID
	tell := func(kind, detail string) chaos.Call {
		return func(ctx context.Context, s *shard.Shard, _ launchurl.Opened) error {
			event := fmt.Sprintf(`{"detail-type":%q,"source":"aws.ec2","time":%q,"detail":{"instance-id":%q,%s}}`,
				kind, s.Now().UTC().Format(time.RFC3339), "i-"+string(victim), detail)
			_, err := (&handler{s}).handle(ctx, json.RawMessage(event))
			return err
		}
	}
	chaos.Run(t, func(w *chaos.World) {
		for range 3 {
			w.Sweep()
		}
		w.Live()
		victim = w.Fleet(mesh.RoleNode)[0]
		w.Now = w.Now.Add(time.Second)
	}, func(t testing.TB, w *chaos.World) {
		if slices.Contains(w.Fleet(mesh.RoleNode), victim) {
			t.Errorf("%s was not emptied", victim)
		}
	},
		tell("EC2 Instance Rebalance Recommendation", `"x":1`),
		tell("EC2 Spot Instance Interruption Warning", `"instance-action":"terminate"`),
		tell("EC2 Instance State-change Notification", `"state":"terminated"`))
}
