package fallover_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/launch/fallover"
	"weft/control/launch/launchtest"
	"weft/control/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLauncher(t *testing.T) {
	for name, rooms := range map[string][]int{"first": {launchtest.Capacity}, "both": {1, launchtest.Capacity - 1}, "three": {1, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			launchtest.Run(t, func(*testing.T) launchtest.Harness {
				var members []fallover.Member
				for _, room := range rooms {
					members = append(members, dryrun.New(room))
				}
				return launchtest.Harness{Launcher: fallover.New(members...), Ended: func(context.Context, mesh.NodeID) error { return nil }}
			})
		})
	}
}

func spec(name string) launch.Spec {
	return launch.Spec{Role: mesh.RoleNode, Token: "t" + name, Node: mesh.NodeID(name)}
}

func names(t *testing.T, l launch.Launcher) (names []mesh.NodeID) {
	t.Helper()
	list, err := l.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		names = append(names, i.Node)
	}
	return names
}

func TestSecondTakesWhatTheFirstHasNoRoomFor(t *testing.T) {
	first, second := dryrun.New(1), dryrun.New(2)
	l := fallover.New(first, second)
	for _, name := range []string{"a", "b"} {
		if _, err := l.Start(t.Context(), spec(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if i, err := l.Start(t.Context(), spec("b")); err != nil || i.Node != "b" { // the first has room now, and b runs
		t.Fatal(i, err)
	}
	if _, err := l.Start(t.Context(), spec("a")); !errors.Is(err, launch.ErrNotFound) {
		t.Fatal(err)
	}
	if a, b := names(t, first), names(t, second); len(a) != 0 || !slices.Equal(b, []mesh.NodeID{"b"}) {
		t.Fatalf("the first runs %v, the second %v", a, b)
	}
}

// blind does not see, when asked first, what another program starts meanwhile.
type blind struct {
	*dryrun.Launcher
	meanwhile func()
}

func (b *blind) Start(ctx context.Context, s launch.Spec) (launch.Instance, error) {
	if b.meanwhile != nil {
		b.meanwhile()
	}
	return b.Launcher.Start(ctx, s)
}

func TestTwoProgramsStartOne(t *testing.T) {
	first, second := dryrun.New(1), dryrun.New(1)
	if _, err := first.Start(t.Context(), spec("x")); err != nil {
		t.Fatal(err)
	}
	late := &blind{second, func() { // the first gets room, and another program uses it
		if err := first.Stop(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		if _, err := first.Start(t.Context(), spec("a")); err != nil {
			t.Error(err)
		}
	}}
	l := fallover.New(first, late)
	if _, err := l.Start(t.Context(), spec("a")); err != nil {
		t.Fatal(err)
	}
	if a, b := names(t, first), names(t, second); !slices.Equal(a, []mesh.NodeID{"a"}) || len(b) != 0 {
		t.Fatalf("the first runs %v, the second %v", a, b)
	}
}

var errAway = errors.New("away")

// away cannot be reached.
type away struct{ *dryrun.Launcher }

func (away) Used(context.Context, string) (bool, error)      { return false, errAway }
func (away) List(context.Context) ([]launch.Instance, error) { return nil, errAway }
func (away) Drain(context.Context, mesh.NodeID) error        { return errAway }
func (away) Stop(context.Context, mesh.NodeID) error         { return errAway }

func TestMemberOutOfReach(t *testing.T) {
	first := dryrun.New(1)
	l := fallover.New(away{dryrun.New(1)}, first)
	if _, err := l.Start(t.Context(), spec("a")); !errors.Is(err, errAway) || len(names(t, first)) != 0 {
		t.Errorf("Start: %v", err)
	}
	if _, err := l.List(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("List: %v", err)
	}
	if _, err := first.Start(t.Context(), spec("a")); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context(), "a"); !errors.Is(err, errAway) || errors.Is(err, launch.ErrNotFound) || len(names(t, first)) != 0 {
		t.Errorf("Stop: %v", err)
	}
	if err := l.Drain(t.Context(), "a"); !errors.Is(err, errAway) {
		t.Errorf("Drain: %v", err)
	}
}
