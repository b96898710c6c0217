package metadata

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// instance answers like the metadata service of EC2, version 2 only.
type instance struct {
	t     *testing.T
	mu    sync.Mutex
	facts map[string]string // by path below /latest/meta-data/
	tags  map[string]string
	asked func(n int) // at each question, under the lock
	n     int
}

func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	const token, secret = "X-Aws-Ec2-Metadata-Token", "let me in"
	path, ok := strings.CutPrefix(r.URL.Path, "/latest/meta-data/")
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		w.Header().Set(token+"-Ttl-Seconds", r.Header.Get(token+"-Ttl-Seconds"))
		w.Write([]byte(secret)) //nolint:errcheck // the test sees it
		return
	case r.Header.Get(token) != secret:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case !ok:
		i.t.Errorf("%s %s was asked for", r.Method, r.URL)
	}
	if i.n++; i.asked != nil {
		i.asked(i.n)
	}
	fact, ok := i.facts[path]
	if key, isTag := strings.CutPrefix(path, "tags/instance/"); isTag && key != "" {
		fact, ok = i.tags[key]
	} else if isTag || path == "tags/instance" {
		var keys []string
		for key := range i.tags {
			keys = append(keys, key)
		}
		fact, ok = strings.Join(keys, "\n"), len(keys) > 0
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Write([]byte(fact)) //nolint:errcheck // the test sees it
}

// on returns a machine that is asked at h.
func on(t *testing.T, h http.Handler) *Machine {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", s.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	m := New(func(string) string { return "" })
	m.every = time.Millisecond
	return m
}

func TestAddressOfAnInstance(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   map[string]string
		public  bool
		address string
		fault   string
	}{
		{"private", map[string]string{"local-ipv4": "10.0.0.7", "public-ipv4": "3.4.5.6"}, false, "10.0.0.7", ""},
		{"public", map[string]string{"local-ipv4": "10.0.0.7", "public-ipv4": "3.4.5.6"}, true, "3.4.5.6", ""},
		{"public where there is none", map[string]string{"local-ipv4": "10.0.0.7"}, true, "10.0.0.7", ""},
		{"none", nil, false, "", `give host and port instead of "metadata"`},
		{"nonsense", map[string]string{"local-ipv4": "<html>"}, false, "", `it says "<html>"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := on(t, &instance{t: t, facts: c.facts})
			address, err := m.Address(t.Context(), c.public)
			if address != c.address || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %q, %v; want %q, %q", address, err, c.address, c.fault)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", s.URL)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	_, err := New(func(string) string { return "" }).Address(t.Context(), false)
	if err == nil || !strings.HasPrefix(err.Error(), "neither ECS nor EC2 tells this machine's address (") || strings.Contains(err.Error(), "\n") {
		t.Errorf("on a machine of nobody: %v", err)
	}
	_, err = New(func(string) string { return s.URL }).Address(t.Context(), false)
	if err == nil || !strings.HasPrefix(err.Error(), "ECS does not tell the task's address (") {
		t.Errorf("in a task: %v", err)
	}
}

func TestAddressOfATask(t *testing.T) {
	for _, c := range []struct{ name, reply, address, fault string }{
		{"awsvpc", `{"Name":"node","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"],"SubnetGatewayIpv4Address":"10.0.2.1/24"}]}`, "10.0.2.106", ""},
		{"no network", `{"Networks":[]}`, "", "it names no network"},
		{"no address", `{"Networks":[{"IPv4Addresses":["localhost"]}]}`, "", "it names no network"},
		{"nonsense", `<html>`, "", "invalid character"},
		{"nothing", "", "", "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v4/0123" || c.reply == "" {
					w.WriteHeader(http.StatusNotFound)
				}
				w.Write([]byte(c.reply)) //nolint:errcheck // the test sees it
			}))
			defer http.DefaultClient.CloseIdleConnections()
			defer s.Close()
			m := New(func(name string) string {
				return map[string]string{TaskVariable: s.URL + "/v4/0123"}[name]
			})
			address, err := m.Address(t.Context(), false)
			if address != c.address || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %q, %v; want %q, %q", address, err, c.address, c.fault)
			}
		})
	}
}

func TestPublicAddressOfATask(t *testing.T) {
	for _, c := range []struct{ seen, address, fault string }{
		{"3.4.5.6\n", "3.4.5.6", ""},
		{"<html>", "", `the service of WEFT_PUBLIC_ADDRESS_URL says "<html>"`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reply := c.seen
			if r.URL.Path == "/task" {
				reply = `{"Networks":[{"IPv4Addresses":["10.0.2.106"]}]}`
			}
			w.Write([]byte(reply)) //nolint:errcheck // the test sees it
		}))
		m := New(func(name string) string {
			return map[string]string{TaskVariable: s.URL + "/task", PublicVariable: s.URL + "/seen"}[name]
		})
		if address, err := m.Address(t.Context(), true); address != c.address || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("public: %q, %v; want %q, %q", address, err, c.address, c.fault)
		}
		if address, err := m.Address(t.Context(), false); address != "10.0.2.106" || err != nil {
			t.Errorf("private: %q, %v", address, err)
		}
		s.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

// told returns the tags of an instance that has a process, as its launcher
// writes them.
func told(t *testing.T) map[string]string {
	t.Helper()
	s := launch.Spec{Role: mesh.RoleNode, Token: "t", Node: "node-1", Env: []string{"LONG=" + strings.Repeat("x", 400)}}
	env, err := label.Environ(s)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := label.Pack(env)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range (label.Owner{Shard: "weft", Env: "dev"}).Tags(s) {
		tags[key] = value
	}
	return tags
}

func TestAnInstanceIsTold(t *testing.T) {
	i := &instance{t: t, tags: map[string]string{"Name": "weft", label.Warm: "node"}, facts: map[string]string{"instance-id": "i-0abc", "instance-type": "c8g.large"}}
	m := on(t, i)
	m.patience = time.Minute
	told := told(t)
	i.asked = func(n int) {
		if n == 5 { // while it waits
			maps.Copy(i.tags, told)
		}
	}
	env, err := m.Environ(t.Context())
	if want := []string{"LONG=" + strings.Repeat("x", 400), "WEFT_NODE_ID=node-1", "WEFT_INSTANCE=i-0abc", "WEFT_KIND=c8g.large"}; err != nil || !slices.Equal(env, want) {
		t.Errorf("got %q, %v", env, err)
	}
}

func TestAnInstanceIsNotTold(t *testing.T) {
	m := on(t, &instance{t: t, tags: map[string]string{label.Warm: "node"}})
	m.patience = 20 * time.Millisecond
	if env, err := m.Environ(t.Context()); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %q, %v", env, err)
	}
	m = on(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	m.patience = 20 * time.Millisecond
	if env, err := m.Environ(t.Context()); !errors.Is(err, ErrNoProcess) {
		t.Errorf("got %q, %v", env, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if env, err := m.Environ(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", env, err)
	}
}

func TestAnInstanceLeaves(t *testing.T) {
	for _, c := range []struct {
		change func(*instance)
		want   string
	}{
		{func(i *instance) { i.tags[label.Drain] = "1" }, "its launcher drains it"},
		{func(i *instance) { i.facts["spot/instance-action"] = `{"action":"terminate"}` }, `EC2 takes the instance back: {"action":"terminate"}`},
	} {
		i := &instance{t: t, tags: map[string]string{label.Node: "a"}, facts: map[string]string{}}
		m := on(t, i)
		i.asked = func(n int) {
			if n == 9 { // not sooner
				c.change(i)
			}
		}
		if reason := m.Leave(t.Context()); reason != c.want || i.n < 9 {
			t.Errorf("left after %d questions because %q, want %q", i.n, reason, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if reason := on(t, &instance{t: t}).Leave(ctx); reason != "" {
		t.Errorf("when the process ends, it leaves because %q", reason)
	}
}
