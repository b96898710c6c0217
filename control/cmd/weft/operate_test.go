package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/reconcile"
	"weft/control/store/natsstore"
)

// What an operator asks, and is told.
func TestOperate(t *testing.T) {
	server, err := natsstore.StartServer(t.TempDir(), natsstore.ServerOptions{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	st, err := server.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	ask := func(wantStatus int, want []string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		status := run(append(args, "--store", server.URL()), &out, &errs)
		text := out.String() + errs.String()
		if status != wantStatus {
			t.Errorf("%v: status %d: %s", args, status, text)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%v: %q is missing in\n%s", args, w, text)
			}
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%v tells the token: %s", args, text)
		}
	}
	ask(1, []string{"there is no world in the given nats URL", "weft deploy"}, "status")
	ask(1, []string{"no decision is kept"}, "explain", "latest")

	box := mesh.Box{Max: mesh.Vec{X: 1 << 16, Y: 1 << 16, Z: 1 << 12}}
	shard := mesh.Shard{Name: "attic", OriginUnixMilli: time.Now().UnixMilli(), TickHz: 20, Bounds: box}
	if err := reconcile.Genesis(t.Context(), st, shard, []mesh.Box{box}, nil); err != nil {
		t.Fatal(err)
	}
	ask(0, []string{"shard attic is awake: layout 1, 1 zones", "nobody"}, "status")
	ask(0, []string{"would launch node", "because"}, "plan")
	ask(0, []string{"shard attic is awake: layout 1, 1 zones"}, "status") // the plan changed nothing
	if all, err := st.Intents(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("the plan left %v, %v", all, err)
	}

	node := mesh.Process{ID: "node-1", Incarnation: 1, Role: mesh.RoleNode, State: mesh.Ready, Address: "10.0.0.1:7400"}
	err = st.PutProcess(t.Context(), node)
	for n, d := range []mesh.Decision{
		{ID: "00000000000001-00000001-000", Action: "launch", Subject: "node node-1", Reason: "nobody is there", Alternatives: []string{"waiting: somebody knocks"}},
		{ID: "00000000000002-00000002-000", Action: "takeover", Subject: "zone 1", Reason: "node-0 is gone"},
	} {
		if d.UnixMilli = int64(n); err == nil {
			err = st.PutDecision(t.Context(), d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	ask(0, []string{"node-1", "10.0.0.1:7400", "takeover"}, "status")
	ask(0, []string{"takeover zone 1", "because node-0 is gone"}, "explain", "latest")
	ask(0, []string{"launch node node-1", "instead of waiting: somebody knocks"}, "explain", "00000000000001")
	ask(1, []string{"2 decisions begin with"}, "explain", "0000")
	ask(1, []string{`no decision "7" is kept`}, "explain", "7")
	ask(1, []string{`no process "node-9"`}, "drain", "node-9")
	ask(0, []string{"node-1 is asked to leave"}, "drain", "node-1")
	all, err := st.Intents(t.Context())
	if err != nil || len(all) != 1 || all[0].What != "drain" || all[0].Target != "node-1" || all[0].State != mesh.IntentWritten {
		t.Errorf("intents %+v, %v", all, err)
	}
}
