package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"weft/control/launch/launchurl"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/planner"
	"weft/control/store/memstore"
	"weft/functions/internal/chaos"
	"weft/functions/internal/shard"
	"weft/simnode/ticket"
)

var now = time.UnixMilli(1_795_341_600_000)

const token = "a-token-of-the-studio"

func newDesk(t *testing.T) (*handler, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	h, err := newHandler(shard.New(options.Function{Shard: "weft", Env: "dev"}, memstore.New(), out, func() time.Time { return now }), options.Key{1}, token+"\n")
	if err != nil {
		t.Fatal(err)
	}
	return h, out
}

func load(t *testing.T) (r events.LambdaFunctionURLRequest) {
	t.Helper()
	text, err := os.ReadFile("testdata/event.json")
	if err := errors.Join(err, json.Unmarshal(text, &r)); err != nil {
		t.Fatal(err)
	}
	return r
}

func openGateways(t *testing.T, h *handler, ids ...mesh.NodeID) {
	t.Helper()
	for _, id := range ids {
		if err := h.Store.PutProcess(t.Context(), mesh.Process{ID: id, Incarnation: 1, Role: mesh.RoleGateway, State: mesh.Ready, ClientURL: "wss://" + string(id) + ":7443/", Capacity: 100}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInvitation: two gateways, and a ticket that they and nobody else take, for
// a minute.
func TestInvitation(t *testing.T) {
	h, out := newDesk(t)
	openGateways(t, h, "g1", "g2", "g3")
	got, err := h.handle(t.Context(), load(t))
	if err != nil || got.StatusCode != 200 || got.Headers["Cache-Control"] != "no-store" {
		t.Fatalf("%+v, %v", got, err)
	}
	var in invitation
	if err := json.Unmarshal([]byte(got.Body), &in); err != nil || len(in.Gateways) != 2 || in.ExpiresUnixMilli != now.Add(time.Minute).UnixMilli() {
		t.Fatalf("%s, %v", got.Body, err)
	}
	booth, err := ticket.NewBooth(options.Key{1}, "weft")
	if err != nil {
		t.Fatal(err)
	}
	c, err := booth.Verify(in.Ticket, now.Add(59*time.Second))
	if err != nil || c.Player != 7 || c.Session != 0 || len(c.Gateways) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	for i, g := range c.Gateways {
		if !strings.Contains(in.Gateways[i], string(g)) {
			t.Errorf("gateways %v, ticket for %v", in.Gateways, c.Gateways)
		}
	}
	if _, err := booth.Verify(in.Ticket, now.Add(61*time.Second)); !errors.Is(err, ticket.ErrExpired) {
		t.Errorf("after a minute: %v", err)
	}
	h.Options.Balancer = "wss://play.example:7443/"
	if got, err = h.handle(t.Context(), load(t)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got.Body), &in); err != nil || len(in.Gateways) != 1 || in.Gateways[0] != h.Options.Balancer {
		t.Fatalf("behind a balancer: %s, %v", got.Body, err)
	}
	if c, err := booth.Verify(in.Ticket, now); err != nil || len(c.Gateways) != 1 || string(c.Gateways[0]) != h.Options.Balancer {
		t.Errorf("behind a balancer: %+v, %v", c, err)
	}
	if strings.Contains(out.String(), in.Ticket) || strings.Contains(out.String(), token) {
		t.Errorf("secrets are in the log: %s", out)
	}
}

func TestAWorldThatSleepsIsWoken(t *testing.T) {
	h, _ := newDesk(t)
	got, err := h.handle(t.Context(), load(t))
	if err != nil || got.StatusCode != 202 || got.Headers["Retry-After"] != "5" || !strings.Contains(got.Body, `"place":1`) || !strings.Contains(got.Body, `"retry_after_seconds":5`) {
		t.Errorf("%+v, %v", got, err)
	}
	intents, err := h.Store.Intents(t.Context())
	if at, _ := planner.Woken(intents); err != nil || !at.Equal(now) {
		t.Errorf("%+v, %v", intents, err)
	}
	if err := h.Store.PutIntent(t.Context(), planner.StoppedIntent(now, "")); err != nil {
		t.Fatal(err)
	}
	if got, err := h.handle(t.Context(), load(t)); err != nil || got.StatusCode != 503 || !strings.Contains(got.Body, "stopped") {
		t.Errorf("a stopped world: %+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	h, _ := newDesk(t)
	openGateways(t, h, "g1", "g2")
	for _, c := range []struct {
		name   string
		change func(*events.LambdaFunctionURLRequest)
		status int
	}{
		{"as it should be", func(*events.LambdaFunctionURLRequest) {}, 200},
		{"a GET", func(r *events.LambdaFunctionURLRequest) { r.RequestContext.HTTP.Method = "GET" }, 405},
		{"elsewhere", func(r *events.LambdaFunctionURLRequest) { r.RawPath = "/admin" }, 404},
		{"no token", func(r *events.LambdaFunctionURLRequest) { delete(r.Headers, "authorization") }, 401},
		{"another token", func(r *events.LambdaFunctionURLRequest) { r.Headers["authorization"] = "Bearer " + token + "x" }, 401},
		{"an empty token", func(r *events.LambdaFunctionURLRequest) { r.Headers["authorization"] = "Bearer " }, 401},
		{"another scheme", func(r *events.LambdaFunctionURLRequest) { r.Headers["authorization"] = "Basic " + token }, 401},
		{"a header in capitals", func(r *events.LambdaFunctionURLRequest) {
			delete(r.Headers, "authorization")
			r.Headers["Authorization"] = "bearer " + token
		}, 200},
		{"signed", func(r *events.LambdaFunctionURLRequest) {
			delete(r.Headers, "authorization")
			r.RequestContext.Authorizer = &events.LambdaFunctionURLRequestContextAuthorizerDescription{IAM: &events.LambdaFunctionURLRequestContextAuthorizerIAMDescription{UserARN: "arn:aws:iam::1:user/backend"}}
		}, 200},
		{"in base64", func(r *events.LambdaFunctionURLRequest) {
			r.Body, r.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(r.Body)), true
		}, 200},
		{"in bad base64", func(r *events.LambdaFunctionURLRequest) { r.IsBase64Encoded = true }, 400},
		{"nothing", func(r *events.LambdaFunctionURLRequest) { r.Body = "" }, 400},
		{"nobody", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":0}` }, 400},
		{"a name", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":"bob"}` }, 400},
		{"too large a number", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":4294967296}` }, 400},
		{"below zero", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":-1}` }, 400},
		{"something else too", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":7,"admin":true}` }, 400},
		{"two at once", func(r *events.LambdaFunctionURLRequest) { r.Body = `{"player":7}{"player":8}` }, 400},
		{"a long one", func(r *events.LambdaFunctionURLRequest) {
			r.Body = `{"player":7` + strings.Repeat(" ", maxBodyBytes) + "}"
		}, 413},
		{"a longer one", func(r *events.LambdaFunctionURLRequest) { r.Body = strings.Repeat("x", 1<<20) }, 413},
	} {
		r := load(t)
		c.change(&r)
		got, err := h.handle(t.Context(), r)
		if err != nil || got.StatusCode != c.status || !json.Valid([]byte(got.Body)) {
			t.Errorf("%s: %d %s, %v; want %d", c.name, got.StatusCode, got.Body, err, c.status)
		}
	}
}

func TestTooManyAtOnce(t *testing.T) {
	h, _ := newDesk(t)
	openGateways(t, h, "g1", "g2")
	status := map[int]int{}
	for range burst + 10 {
		got, err := h.handle(t.Context(), load(t))
		if err != nil {
			t.Fatal(err)
		}
		status[got.StatusCode]++
	}
	if status[200] != burst || status[429] != 10 {
		t.Errorf("%v", status)
	}
}

func TestAShortTokenIsRefused(t *testing.T) {
	if _, err := newHandler(shard.New(options.Function{Shard: "weft"}, memstore.New(), &bytes.Buffer{}, time.Now), options.Key{1}, "hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

// TestChaos: players who knock at a world that has not begun yet.
func TestChaos(t *testing.T) {
	knock := func(ctx context.Context, s *shard.Shard, _ launchurl.Opened) error {
		h, err := newHandler(s, options.Key{1}, token)
		if err != nil {
			return err
		}
		_, err = h.handle(ctx, load(t))
		return err
	}
	chaos.Run(t, nil, func(t testing.TB, w *chaos.World) {
		intents, err := w.Store.Intents(t.Context())
		if at, _ := planner.Woken(intents); err != nil || at.IsZero() {
			t.Errorf("nobody woke the world: %+v, %v", intents, err)
		}
	}, knock, knock)
}
