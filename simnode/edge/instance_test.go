package edge

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

// instance answers a program as the metadata of its EC2 instance would.
type instance struct {
	endpoint string // as an environment variable
	drain    atomic.Bool
	tags     map[string]string
}

func newInstance(t *testing.T, env map[string]string) *instance {
	t.Helper()
	tags, err := label.Pack(env)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(tags, label.Owner{Shard: "test", Env: "dev"}.Tags(launch.Spec{Role: mesh.RoleNode, Token: "t", Node: mesh.NodeID(env["WEFT_NODE_ID"])}))
	i := &instance{tags: tags}
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	i.endpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + s.URL
	return i
}

func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")
	key, _ := strings.CutPrefix(path, "tags/instance/")
	reply := i.tags[key]
	switch {
	case r.Method == http.MethodPut:
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		reply = "token"
	case path == "local-ipv4":
		reply = "10.9.8.7"
	case strings.TrimSuffix(path, "/") == "tags/instance":
		reply = strings.Join(slices.Collect(maps.Keys(i.tags)), "\n")
	case key == label.Drain && i.drain.Load():
		reply = "1"
	}
	if reply == "" {
		w.WriteHeader(http.StatusNotFound)
	}
	w.Write([]byte(reply)) //nolint:errcheck // the test sees it
}
