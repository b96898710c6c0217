// Package launchtest is the suite that every launcher passes.
package launchtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
)

// Capacity is how many processes the launcher under test must have room for.
const Capacity = 3

// Patience bounds what a harness waits for.
const Patience = 10 * time.Second

// Harness is a fresh launcher with nothing running, which the suite's caller
// closes.
type Harness struct {
	Launcher launch.Launcher
	// Ended waits until the process of node has ended.
	Ended func(ctx context.Context, node mesh.NodeID) error
}

// Run runs the suite; open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"a process lives from Start to Stop":             lives,
		"one token is one process":                       oneToken,
		"a token is not started twice":                   tokenOnce,
		"two processes cannot have one name":             oneName,
		"what does not run is not found":                 notFound,
		"an impossible spec is refused":                  invalid,
		"without room nothing starts, with room it does": capacity,
		"a drained process ends by itself":               drains,
		"a cancelled context is an error":                cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func spec(token string, node mesh.NodeID) launch.Spec {
	return launch.Spec{Role: mesh.RoleNode, Token: token, Node: node}
}

func start(t *testing.T, h Harness, s launch.Spec) launch.Instance {
	t.Helper()
	i, err := h.Launcher.Start(t.Context(), s)
	if err != nil {
		t.Fatalf("Start %s: %v", s.Node, err)
	}
	if i.Node != s.Node || i.Token != s.Token || i.Role != s.Role {
		t.Fatalf("Start %v returned %v", s, i)
	}
	return i
}

func expect(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func list(t *testing.T, h Harness, want ...mesh.NodeID) []launch.Instance {
	t.Helper()
	l, err := h.Launcher.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []mesh.NodeID
	for _, i := range l {
		got = append(got, i.Node)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("List names %v, want %v", got, want)
	}
	return l
}

func lives(t *testing.T, h Harness) {
	list(t, h)
	b := start(t, h, launch.Spec{Role: mesh.RoleGateway, Token: "tb", Node: "b", Env: []string{"COLOUR=blue"}})
	a := start(t, h, spec("ta", "a"))
	if l := list(t, h, "a", "b"); l[0] != a || l[1] != b {
		t.Fatalf("List says %v, Start said %v and %v", l, a, b)
	}
	expect(t, h.Launcher.Stop(t.Context(), "b"), nil)
	list(t, h, "a")
	expect(t, h.Launcher.Stop(t.Context(), "a"), nil)
	list(t, h)
	expect(t, h.Launcher.Stop(t.Context(), "a"), launch.ErrNotFound)
}

func oneToken(t *testing.T, h Harness) {
	var wg sync.WaitGroup
	got := make([]launch.Instance, 8)
	errs := make([]error, len(got))
	for i := range got {
		wg.Go(func() { got[i], errs[i] = h.Launcher.Start(t.Context(), spec("t", "a")) })
	}
	wg.Wait()
	for i := range got {
		expect(t, errs[i], nil)
		if got[i] != got[0] {
			t.Fatalf("one token started %v and %v", got[0], got[i])
		}
	}
	list(t, h, "a")
}

func tokenOnce(t *testing.T, h Harness) {
	start(t, h, spec("t", "a"))
	expect(t, h.Launcher.Stop(t.Context(), "a"), nil)
	_, err := h.Launcher.Start(t.Context(), spec("t", "a"))
	expect(t, err, launch.ErrNotFound)
	list(t, h)
	start(t, h, spec("another", "a"))
}

func oneName(t *testing.T, h Harness) {
	start(t, h, spec("t", "a"))
	_, err := h.Launcher.Start(t.Context(), spec("u", "a"))
	expect(t, err, launch.ErrInvalid)
	list(t, h, "a")
}

func notFound(t *testing.T, h Harness) {
	expect(t, h.Launcher.Stop(t.Context(), "nobody"), launch.ErrNotFound)
	expect(t, h.Launcher.Drain(t.Context(), "nobody"), launch.ErrNotFound)
}

func invalid(t *testing.T, h Harness) {
	for _, s := range []launch.Spec{{}, {Role: mesh.RoleNode, Token: "t"}, {Role: mesh.RoleNode, Node: "a"}, {Token: "t", Node: "a"}} {
		_, err := h.Launcher.Start(t.Context(), s)
		expect(t, err, launch.ErrInvalid)
	}
	list(t, h)
}

func capacity(t *testing.T, h Harness) {
	for _, n := range []mesh.NodeID{"a", "b", "c"}[:Capacity] {
		start(t, h, spec("t"+string(n), n))
	}
	_, err := h.Launcher.Start(t.Context(), spec("td", "d"))
	expect(t, err, launch.ErrNoCapacity)
	start(t, h, spec("ta", "a")) // runs already: needs no room
	list(t, h, "a", "b", "c")
	expect(t, h.Launcher.Stop(t.Context(), "b"), nil)
	start(t, h, spec("td", "d")) // the refused token is still good
	list(t, h, "a", "c", "d")
}

func drains(t *testing.T, h Harness) {
	start(t, h, spec("t", "a"))
	expect(t, h.Launcher.Drain(t.Context(), "a"), nil)
	if err := h.Launcher.Drain(t.Context(), "a"); err != nil {
		expect(t, err, launch.ErrNotFound) // a repeat is harmless, early or late
	}
	expect(t, h.Ended(t.Context(), "a"), nil)
	list(t, h)
}

func cancelled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Launcher.Start(ctx, spec("t", "a"))
	expect(t, err, context.Canceled)
	expect(t, h.Launcher.Drain(ctx, "a"), context.Canceled)
	expect(t, h.Launcher.Stop(ctx, "a"), context.Canceled)
	_, err = h.Launcher.List(ctx)
	expect(t, err, context.Canceled)
}
