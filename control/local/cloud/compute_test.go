package cloud

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

// beProcess is a node that lives until it is asked to leave, or dies at once.
func beProcess() {
	if os.Getenv("BE") == "dying" {
		os.Exit(1)
	}
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, syscall.SIGTERM)
	<-leave
}

// stable is a fleet of this test.
type stable struct {
	mu    sync.Mutex
	list  []machine
	ended chan string
}

func (s *stable) set(list ...machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}

func (s *stable) machines(context.Context, []string) ([]machine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list), nil
}

func (s *stable) count(context.Context) (int, error) { return len(s.list), nil }

func (s *stable) environ(_ context.Context, m machine) (map[string]string, error) {
	return map[string]string{"BE": m.Token}, nil
}

func (s *stable) over(_ context.Context, m machine, _ string) error {
	s.ended <- m.id
	return nil
}

func (s *stable) notice(m machine, ended bool) (string, string, []string, any) {
	return "test", "leaves", []string{m.id}, ended
}

func TestCompute(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &stable{ended: make(chan string, 8)}
	notices := make(chan string, 8)
	c := newCompute(computeConfig{
		fleets: map[string]fleet{"ecs": f}, command: func(mesh.Role) []string { return []string{self} }, last: func(mesh.Role) []string { return nil },
		log:     slog.New(slog.DiscardHandler),
		publish: func(_, _ string, resources []string, _ any) { notices <- resources[0] },
	})
	box := func(id, be string) machine {
		return machine{id: id, Instance: launch.Instance{Role: mesh.RoleNode, Token: be, Node: mesh.NodeID("node-" + id)}}
	}
	f.set(box("a", "living"), box("b", "dying"), box("c", "living"))
	c.start(t.Context())
	if id := <-f.ended; id != "b" {
		t.Errorf("%s ended, not b", id)
	}
	f.set(box("b", "dying"), box("c", "living")) // a is stopped; b is never run twice
	if id := <-notices; id != "a" {
		t.Errorf("notice of %s, not a", id)
	}
	if id := <-f.ended; id != "a" {
		t.Errorf("%s ended, not a", id)
	}
	if err := c.signal("node-c", syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if id := <-f.ended; id != "c" {
		t.Errorf("%s ended, not c", id)
	}
	f.set(box("d", "living"))
	for {
		if launched, running := c.counts(); launched["ecs"] == 4 && running == 1 {
			break
		}
		if !pause(t.Context(), lookEvery/10) {
			t.Fatal("d does not run")
		}
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// What an instance's process finds is what its user data, secret and tags say.
func TestInstanceEnvironment(t *testing.T) {
	script := "#!/bin/bash\ncat > /etc/weft/env <<'ENV'\nWEFT_STORE=dynamodb://weft-x\nWEFT_MACHINE=ec2\nENV\naws secretsmanager get-secret-value --secret-id arn:key --query x\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") != "" {
			_, _ = w.Write([]byte(`{"SecretString": "0f0f"}`))
			return
		}
		_, _ = w.Write([]byte(`<R><userData><value>` + base64.StdEncoding.EncodeToString([]byte(script)) + `</value></userData></R>`))
	}))
	defer server.Close()
	a := newAPI(server.URL, region, aws.Credentials{AccessKeyID: "testing", SecretAccessKey: "testing"})
	defer a.close()
	f := newEC2Fleet(a, label.Owner{Shard: "weft", Env: "x"})
	tags, err := label.Pack(map[string]string{"WEFT_NODE_ACTORS": "30"})
	if err != nil {
		t.Fatal(err)
	}
	f.found["i-1"], f.types["i-1"] = tags, "c8g.large"
	env, err := f.environ(t.Context(), machine{id: "i-1", Instance: launch.Instance{Node: "node-1"}})
	want := map[string]string{"WEFT_STORE": "dynamodb://weft-x", "WEFT_SHARD_KEY": "0f0f", "WEFT_NODE_ACTORS": "30", "WEFT_NODE_ID": "node-1", "WEFT_INSTANCE": "i-1", "WEFT_KIND": "c8g.large"}
	if err != nil || len(env) != len(want) {
		t.Fatalf("%v, %v", env, err)
	}
	for name, v := range want {
		if env[name] != v {
			t.Errorf("%s is %q, not %q", name, env[name], v)
		}
	}
	if _, err := f.boot(t.Context(), base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n"))); err == nil || !strings.Contains(err.Error(), "writes no environment") {
		t.Errorf("an empty script: %v", err)
	}
}

func TestRecognise(t *testing.T) {
	for _, c := range []struct {
		path, body, kind string
		lambda, ecs      bool
	}{
		{"/_localstack/health", `{"services": {"lambda": "available", "ecs": "disabled"}}`, LocalStack, true, false},
		{"/moto-api/data.json", `{}`, Moto, false, false},
		{"/", `{}`, "", false, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != c.path {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write([]byte(c.body))
		}))
		e, err := recognise(t.Context(), server.URL)
		server.Close()
		if c.kind == "" {
			if err == nil || !strings.Contains(err.Error(), "neither LocalStack nor moto") {
				t.Errorf("another server: %v", err)
			}
			continue
		}
		if err != nil || e.kind != c.kind || e.runs["lambda"] != c.lambda || e.runs["ecs"] != c.ecs {
			t.Errorf("%s: %+v, %v", c.kind, e, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// An instance without a process powers off after a while, into the warm pool.
func TestWarmInstancesPowerOff(t *testing.T) {
	tags := `<item><key>weft:shard</key><value>weft</value></item><item><key>weft:env</key><value>x</value></item><item><key>` + label.Warm + `</key><value>node</value></item>`
	var stopped []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if r.PostForm.Get("Action") == "StopInstances" {
			stopped = append(stopped, r.PostForm.Get("InstanceId.1"))
			_, _ = w.Write([]byte(`<R/>`))
			return
		}
		_, _ = w.Write([]byte(`<R><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><instanceType>c8g.large</instanceType><instanceState><name>running</name></instanceState>` +
			`<tagSet>` + tags + `</tagSet></item></instancesSet></item></reservationSet></R>`))
	}))
	defer server.Close()
	a := newAPI(server.URL, region, aws.Credentials{AccessKeyID: "testing", SecretAccessKey: "testing"})
	defer a.close()
	f := newEC2Fleet(a, label.Owner{Shard: "weft", Env: "x"})
	look := func() {
		t.Helper()
		if list, err := f.machines(t.Context(), nil); err != nil || len(list) != 0 {
			t.Fatalf("it runs %v, %v", list, err)
		}
	}
	look()
	look()
	if len(stopped) != 0 {
		t.Errorf("%v were stopped at once", stopped)
	}
	f.idle["i-1"] = f.idle["i-1"].Add(-idlePatience)
	look()
	if !slices.Equal(stopped, []string{"i-1"}) {
		t.Errorf("%v were stopped", stopped)
	}
	if n, err := f.count(t.Context()); n != 1 || err != nil {
		t.Errorf("it counts %d, %v", n, err)
	}
}
