package provision

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store/memstore"
)

func put(t *testing.T, f *memstore.Store, id mesh.NodeID, state mesh.ProcessState) {
	t.Helper()
	if err := f.PutProcess(context.Background(), mesh.Process{ID: id, Incarnation: 1, Role: mesh.RoleNode, State: state}); err != nil {
		t.Error(err)
	}
}

func TestRestWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := memstore.New()
		defer f.Close()
		put(t, f, "a", mesh.Ready)
		put(t, f, "b", mesh.Stopped)
		launch := mesh.Intent{Token: "t", What: "launch", Target: "c", State: mesh.IntentWritten, CreatedUnixMilli: time.Now().UnixMilli()}
		old := mesh.Intent{Token: "o", What: "launch", Target: "d", State: mesh.IntentDone, CreatedUnixMilli: time.Now().Add(-time.Hour).UnixMilli()}
		for _, i := range []mesh.Intent{launch, old} {
			if err := f.PutIntent(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(10*time.Second, func() { put(t, f, "a", mesh.Stopped) })
		time.AfterFunc(20*time.Second, func() { put(t, f, "c", mesh.Ready) })
		time.AfterFunc(30*time.Second, func() { put(t, f, "c", mesh.Stopped) })
		var told []string
		began := time.Now()
		left, err := Rest(t.Context(), f, time.Minute, func(s string) { told = append(told, s) })
		if took := time.Since(began); err != nil || len(left) > 0 || took < 30*time.Second || took > 33*time.Second {
			t.Errorf("left %v, %v, after %s", left, err, took)
		}
		want := []string{"waiting for a (ready), c (being launched)", "waiting for c (being launched)", "waiting for c (ready)"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
		intents, err := f.Intents(t.Context())
		if _, told := planner.Woken(intents); err != nil || !told {
			t.Errorf("the shard is not stopped: %v, %v", intents, err)
		}
		if bare, err := AwaitBare(t.Context(), f, time.Minute, func(string) {}); bare || err != nil {
			t.Errorf("no sweep has looked: %v, %v", bare, err)
		}
		time.AfterFunc(20*time.Second, func() {
			if err := f.PutIntent(context.Background(), planner.BareIntent(time.Now())); err != nil {
				t.Error(err)
			}
		})
		began = time.Now()
		if bare, err := AwaitBare(t.Context(), f, time.Minute, func(string) {}); !bare || err != nil || time.Since(began) > 23*time.Second {
			t.Errorf("a sweep has looked: %v, %v, after %s", bare, err, time.Since(began))
		}
		if err := f.PutIntent(t.Context(), planner.StoppedIntent(time.Now().Add(time.Second), "again")); err != nil {
			t.Fatal(err)
		}
		if bare, err := AwaitBare(t.Context(), f, time.Second, func(string) {}); bare || err != nil {
			t.Errorf("a sweep before the word counts: %v, %v", bare, err)
		}
		if err := Resume(t.Context(), f); err != nil {
			t.Error(err)
		}
		if intents, err = f.Intents(t.Context()); err != nil || len(intents) != 2 {
			t.Errorf("the shard is still stopped: %v, %v", intents, err)
		}
	})
}

func TestRestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := memstore.New()
		defer f.Close()
		put(t, f, "a", mesh.Draining)
		left, err := Rest(t.Context(), f, time.Minute, func(string) {})
		if err != nil || !slices.Equal(left, []string{"a (draining)"}) {
			t.Errorf("left %v, %v", left, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := Rest(ctx, f, time.Minute, func(string) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
