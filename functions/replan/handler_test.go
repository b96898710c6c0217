package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/control/store/memstore"
	"weft/functions/internal/chaos"
	"weft/functions/internal/shard"
)

type runs struct {
	n   int
	err error
}

func (r *runs) Ensure(context.Context) ([]mesh.Decision, error) {
	r.n++
	return []mesh.Decision{{Action: "launch"}, {Action: "takeover"}, {Action: "takeover"}}, r.err
}

func newHandler(p planner) (*handler, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return &handler{shard.New(options.Function{Shard: "weft", Env: "dev"}, memstore.New(), out, time.Now), p, nil}, out
}

func load(t *testing.T) (b batch) {
	t.Helper()
	text, err := os.ReadFile("testdata/event.json")
	if err := errors.Join(err, json.Unmarshal(text, &b)); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBatch: one run for all records; the one that cannot be read is set aside
// by its number, and the others have their plan.
func TestBatch(t *testing.T) {
	r := &runs{}
	h, out := newHandler(r)
	answer, err := h.handle(t.Context(), load(t))
	if err != nil || r.n != 1 {
		t.Fatalf("%d runs, %v", r.n, err)
	}
	if f := answer.BatchItemFailures; len(f) != 1 || f[0].ItemIdentifier != "100000000000000000003" {
		t.Errorf("failures %+v", f)
	}
	for _, want := range []string{`"level":"ERROR"`, "node-2", `"Takeovers":2`, `"Launches":1`, `"Refusals":0`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, out)
		}
	}
}

func TestWhatIsNoNews(t *testing.T) {
	r := &runs{}
	h, _ := newHandler(r)
	b := load(t)
	keep := b.Records[:0]
	for _, rec := range b.Records {
		if pk := string(rec.DynamoDB.Keys); rec.EventName == "REMOVE" || strings.Contains(pk, `"planner"`) || strings.Contains(pk, `"node-2"`) {
			keep = append(keep, rec)
		}
	}
	b.Records = keep
	if answer, err := h.handle(t.Context(), b); err != nil || r.n != 0 || len(answer.BatchItemFailures) != 1 {
		t.Errorf("%d runs for a removal, the planner's own state and a damaged report: %+v, %v", r.n, answer, err)
	}
	if _, err := h.handle(t.Context(), batch{}); err != nil || r.n != 0 {
		t.Errorf("an empty batch: %d runs, %v", r.n, err)
	}
}

// TestAFailureComesAgain, with the whole batch.
func TestAFailureComesAgain(t *testing.T) {
	for _, fault := range []error{errors.New("boom"), store.ErrConflict, store.ErrUnavailable} {
		h, _ := newHandler(&runs{err: fault})
		if answer, err := h.handle(t.Context(), load(t)); !errors.Is(err, fault) || len(answer.BatchItemFailures) > 0 {
			t.Errorf("%v: %+v, %v", fault, answer, err)
		}
	}
}

// TestChaos: batches that bring a world up.
func TestChaos(t *testing.T) {
	b := load(t)
	b.Records = b.Records[:2]
	plan := func(ctx context.Context, s *shard.Shard, l launchurl.Opened) error {
		r, err := s.Reconciler(l)
		if err != nil {
			return err
		}
		_, err = (&handler{s, r, nil}).handle(ctx, b)
		return err
	}
	t.Run("at birth", func(t *testing.T) { chaos.Run(t, nil, nil, plan, plan) })
	t.Run("after a death", func(t *testing.T) {
		chaos.Run(t, func(w *chaos.World) {
			for range 3 {
				w.Sweep()
			}
			w.Live()
			victim := w.Fleet(mesh.RoleNode)[0]
			processes, err := w.Store.Processes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range processes {
				if p.ID == victim {
					for n, g := range w.Fleet(mesh.RoleGateway) {
						s := mesh.Suspicion{Suspect: p.ID, Incarnation: p.Incarnation, Kind: mesh.Broken, Witness: g, WitnessRole: mesh.RoleGateway, Number: uint64(n + 1)}
						if err := w.Store.PutSuspicion(t.Context(), s); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if err := w.Launcher.Stop(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
		}, nil, plan, plan)
	})
}
