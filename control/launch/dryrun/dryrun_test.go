package dryrun

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"weft/control/launch"
	"weft/control/launch/launchtest"
	"weft/control/mesh"
)

func TestSuite(t *testing.T) {
	launchtest.Run(t, func(t *testing.T) launchtest.Harness {
		return launchtest.Harness{Launcher: New(launchtest.Capacity), Ended: func(context.Context, mesh.NodeID) error { return nil }}
	})
}

func TestRecordsAreBounded(t *testing.T) {
	l := New(0)
	for i := range MaxRecords {
		n := mesh.NodeID(fmt.Sprint("node-", i))
		if _, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: string(n), Node: n}); err != nil {
			t.Fatal(err)
		}
		if err := l.Stop(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	got := l.Records()
	if len(got) != MaxRecords || got[len(got)-1] != fmt.Sprint("would stop node node-", MaxRecords-1) {
		t.Fatalf("%d records, the last %q", len(got), got[len(got)-1])
	}
	if slices.Contains(got, "would start node node-0") {
		t.Error("the oldest record was kept")
	}
}
