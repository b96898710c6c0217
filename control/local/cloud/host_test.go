package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/proclaunch"
)

// The test binary is also a function, see be, and a node, see beProcess.
func TestMain(m *testing.M) {
	if api := os.Getenv("AWS_LAMBDA_RUNTIME_API"); api != "" {
		be(api)
		os.Exit(0)
	}
	if os.Getenv("BE") != "" {
		beProcess()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// be is a function that does what its event says, until its host is gone.
func be(api string) {
	if os.Getenv("FAIL") == "init" {
		post("http://"+api+runtimePath+"init/error", `{"errorType": "Bad", "errorMessage": "no settings"}`)
		os.Exit(1)
	}
	for calls := 1; ; calls++ {
		r, err := http.Get("http://" + api + runtimePath + "invocation/next")
		if err != nil {
			return
		}
		event, err := io.ReadAll(r.Body)
		r.Body.Close()
		id := r.Header.Get(headerRequest)
		if err != nil || id == "" {
			return
		}
		base := "http://" + api + runtimePath + "invocation/" + id
		switch string(event) {
		case `"fail"`:
			post(base+"/error", `{"errorType": "Oops", "errorMessage": "it is a pity"}`)
		case `"panic"`:
			os.Exit(1)
		case `"hang"`:
			select {}
		case `"elsewhere"`:
			post("http://"+api+runtimePath+"invocation/other/response", `1`)
			post(base+"/response", `2`)
		default:
			post(base+"/response", fmt.Sprintf(`{"calls": %d, "event": %s, "setting": %q}`, calls, event, os.Getenv("SETTING")))
		}
	}
}

func post(url, body string) {
	if r, err := http.Post(url, "application/json", strings.NewReader(body)); err == nil {
		r.Body.Close()
	}
}

// newFunction returns a function that is this test.
func newFunction(t *testing.T, env ...string) *function {
	t.Helper()
	h := &host{}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.launcher = proclaunch.New(proclaunch.Options{Argv: func(launch.Spec) []string { return []string{self} }, Grace: 5 * time.Second, Exited: h.exited})
	f := &function{
		name: "weft-test-echo", arn: "arn:aws:lambda:us-east-1:123456789012:function:weft-test-echo", timeout: 20 * time.Second, env: env, launcher: h.launcher, sandboxes: &h.sandboxes,
		waiting: make(chan struct{}, 4), slots: make(chan struct{}, 2),
	}
	t.Cleanup(func() {
		f.close()
		if err := h.launcher.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return f
}

func TestFunction(t *testing.T) {
	f := newFunction(t, "SETTING=seven")
	call := func(event, want string) {
		t.Helper()
		got, err := f.invoke(t.Context(), "id-"+event, []byte(event))
		text := string(got)
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s, not %s", event, text, want)
		}
	}
	call(`{"a": 1}`, `{"calls": 1, "event": {"a": 1}, "setting": "seven"}`)
	call(`2`, `{"calls": 2, "event": 2`) // the same process
	call(`"fail"`, "weft-test-echo: Oops: it is a pity")
	call(`3`, `{"calls": 4, "event": 3`) // an error ends no process
	call(`"elsewhere"`, `2`)
	call(`"panic"`, "its process ended")
	call(`4`, `{"calls": 1, "event": 4`) // another process
	f.timeout = 100 * time.Millisecond
	call(`"hang"`, "it timed out after 100ms")
	f.timeout = 20 * time.Second
	call(`5`, `{"calls": 1, "event": 5`)
	var e *functionError
	if _, err := f.invoke(t.Context(), "x", []byte(`"fail"`)); !errors.As(err, &e) || e.Type != "Oops" {
		t.Errorf("the error is %v", err)
	}
	if f.calls.Load() != 10 || f.faults.Load() != 4 || f.coldMicros.Load() == 0 {
		t.Errorf("%d calls, %d faults, cold start %d µs", f.calls.Load(), f.faults.Load(), f.coldMicros.Load())
	}
}

func TestFunctionThatDoesNotStart(t *testing.T) {
	f := newFunction(t, "FAIL=init")
	if _, err := f.invoke(t.Context(), "x", []byte(`1`)); err == nil || !strings.Contains(err.Error(), "its start failed") {
		t.Errorf("it says %v", err)
	}
}

func TestFunctionIsThrottled(t *testing.T) {
	f := newFunction(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range cap(f.waiting) {
		all.Go(func() { _, _ = f.invoke(ctx, "x", []byte(`"hang"`)) })
	}
	for len(f.waiting) < cap(f.waiting) {
		if !pause(t.Context(), time.Millisecond) {
			return
		}
	}
	if _, err := f.invoke(t.Context(), "y", []byte(`1`)); !errors.Is(err, errThrottled) {
		t.Errorf("one more: %v", err)
	}
	cancel()
	all.Wait()
}

// numbered makes records with the sequence numbers from, from+1, … to.
func numbered(from, to int) (batch []record) {
	for n := from; n <= to; n++ {
		batch = append(batch, record{raw: map[string]any{"n": n}, sequence: fmt.Sprint(n)})
	}
	return batch
}

// A batch is delivered in order, each record until it is done or given up, and
// what is poisoned stops nothing else.
func TestMappingDelivers(t *testing.T) {
	for _, c := range []struct {
		name            string
		bisect, partial bool
		retries         int
		poison          int // fails always; 0 is none
		flaky           int // calls that fail at first
		given           int64
		calls           int
	}{
		{name: "whole", retries: 2, calls: 1},
		{name: "again", retries: 2, flaky: 2, calls: 3},
		{name: "given up", retries: 1, poison: 3, given: 8, calls: 2},
		{name: "in halves", bisect: true, retries: 1, poison: 3, given: 1, calls: 8},
		{name: "from the failed one", partial: true, bisect: true, retries: 1, poison: 3, given: 1, calls: 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &host{hostConfig: hostConfig{log: slog.New(slog.DiscardHandler)}}
			var done []int
			calls := 0
			m := &mapping{h: h, f: &function{}, c: mappingConfig{BisectBatchOnFunctionError: c.bisect}, retries: c.retries, partial: c.partial}
			m.invoke = func(_ context.Context, event []byte) ([]byte, error) {
				var b struct{ Records []struct{ N int } }
				if err := json.Unmarshal(event, &b); err != nil {
					t.Fatal(err)
				}
				if calls++; calls <= c.flaky {
					return nil, errors.New("a bad day")
				}
				var good []int
				for _, r := range b.Records {
					if r.N == c.poison && c.partial {
						done = append(done, good...)
						return fmt.Appendf(nil, `{"batchItemFailures": [{"itemIdentifier": "%d"}]}`, r.N), nil
					}
					if r.N == c.poison {
						return nil, errors.New("poison")
					}
					good = append(good, r.N)
				}
				done = append(done, good...)
				return []byte(`{"batchItemFailures": []}`), nil
			}
			m.process(t.Context(), numbered(1, 8))
			if !slices.IsSorted(done) || len(done)+int(c.given) != 8 || h.given.Load() != c.given {
				t.Errorf("done %v, given up %d", done, h.given.Load())
			}
			if calls > c.calls {
				t.Errorf("%d calls, expected %d at most", calls, c.calls)
			}
		})
	}
}

func TestURL(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://local/join?player=7&player=8", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer x")
	r.RemoteAddr = "127.0.0.1:5"
	e := requestEvent(r, "id", []byte{0xff, 0}, time.UnixMilli(1))
	text, err := json.Marshal(e)
	for _, want := range []string{`"version":"2.0"`, `"authorization":"Bearer x"`, `"player":"7,8"`, `"body":"/wA="`, `"isBase64Encoded":true`, `"sourceIp":"127.0.0.1"`, `"method":"POST"`} {
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is missing in %s, %v", want, text, err)
		}
	}
	for _, c := range []struct {
		answer, body string
		status       int
	}{
		{`{"statusCode": 202, "headers": {"X-A": "b"}, "body": "wait"}`, "wait", 202},
		{`{"statusCode": 200, "isBase64Encoded": true, "body": "aGk="}`, "hi", 200},
		{`{"statusCode": 200, "isBase64Encoded": true, "body": "?"}`, "the function's body is not base64\n", 502},
		{`{"a": 1}`, `{"a": 1}`, 200},
	} {
		w := &memory{header: http.Header{}}
		reply(w, []byte(c.answer))
		if max(w.status, 200) != c.status || w.body.String() != c.body {
			t.Errorf("%s: %d %q", c.answer, w.status, w.body.String())
		}
	}
}

// memory is a response writer.
type memory struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (m *memory) Header() http.Header         { return m.header }
func (m *memory) WriteHeader(status int)      { m.status = status }
func (m *memory) Write(p []byte) (int, error) { return m.body.Write(p) }
