package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var key = strings.Repeat("0f", 32)

func base(more ...string) []string {
	return append([]string{"WEFT_STORE=nats://127.0.0.1:4222", "WEFT_SHARD_KEY=" + key, "PATH=/bin"}, more...)
}

func TestDefaults(t *testing.T) {
	n, err := ReadNode(base())
	if err != nil {
		t.Fatal(err)
	}
	if n.Listen != "127.0.0.1:0" || n.DrainTimeout != time.Minute || n.Actors != 250 || n.Rules != "tavern" || n.ShardKey.Hex() != key {
		t.Errorf("defaults: %+v", n)
	}
	if _, err := ReadNode(base("WEFT_LISTEN=:7001", "WEFT_ADVERTISE=10.0.0.7:0")); err != nil {
		t.Error(err)
	}
	for _, advertise := range []string{"metadata", "metadata:0", "metadata:7400"} {
		if _, err := ReadNode(base("WEFT_LISTEN=0.0.0.0:7400", "WEFT_MACHINE=ec2", "WEFT_ADVERTISE="+advertise)); err != nil {
			t.Error(err)
		}
	}
	g, err := ReadGateway(base("WEFT_CLIENT_LISTEN=0.0.0.0:7000", "WEFT_CLIENT_ADVERTISE=wss://play.example/"))
	if err != nil {
		t.Fatal(err)
	}
	if g.Clients != 2000 || g.ClientAdvertise != "wss://play.example/" {
		t.Errorf("gateway: %+v", g)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		set  string
		want []string // what the sentence says
	}{
		{"WEFT_SHARD_KEY=abc", []string{"WEFT_SHARD_KEY", "64 hexadecimal digits"}},
		{"WEFT_SHARD_KEY=" + strings.Repeat("zz", 32), []string{"WEFT_SHARD_KEY", "64 hexadecimal digits"}},
		{"WEFT_SHARD_KEY=" + strings.Repeat("00", 32), []string{"WEFT_SHARD_KEY", "not all zero"}},
		{"WEFT_STORE=", []string{"WEFT_STORE", "not set", "URL"}},
		{"WEFT_NODE_ID=a b", []string{"WEFT_NODE_ID", `"a b"`, "printable"}},
		{"WEFT_CLIENT_LISTEN=:0", []string{"WEFT_CLIENT_ADVERTISE", "every interface"}},
		{"WEFT_CLIENT_TLS=yes", []string{"WEFT_CLIENT_TLS", `"yes"`, "pinned"}},
		{"WEFT_CLIENT_TLS=certificate", []string{"WEFT_CLIENT_CERTIFICATE is not set"}},
		{"WEFT_CLIENT_CERTIFICATE=zzzz", []string{"WEFT_CLIENT_CERTIFICATE", "with WEFT_CLIENT_TLS=certificate"}},
		{"WEFT_CLIENT_ADVERTISE=http://x", []string{"WEFT_CLIENT_ADVERTISE", "ws://"}},
		{"WEFT_GATEWAY_CLIENTS=0", []string{"WEFT_GATEWAY_CLIENTS", `"0"`, "1 to 100000 clients"}},
		{"WEFT_GATEWAY_CLIENTS=many", []string{"WEFT_GATEWAY_CLIENTS", `"many"`, "whole number"}},
		{"WEFT_DRAIN_TIMEOUT=soon", []string{"WEFT_DRAIN_TIMEOUT", `"soon"`, "60s"}},
		{"WEFT_DRAIN_TIMEOUT=-1s", []string{"WEFT_DRAIN_TIMEOUT", "above 0"}},
		{"WEFT_LIFELINE_FD=1", []string{"WEFT_LIFELINE_FD", "from 3 on"}},
		{"WEFT_MACHINE=gce", []string{"WEFT_MACHINE", `"gce"`, "ec2 on an instance"}},
		{"WEFT_PPROF=6060", []string{"WEFT_PPROF", "host and a port"}},
		{"WEFT_PPROF=:6060", []string{"WEFT_PPROF", "loopback"}},
		{"WEFT_PPROF=0.0.0.0:6060", []string{"WEFT_PPROF", "loopback"}},
		{"WEFT_PPROF=203.0.113.7:6060", []string{"WEFT_PPROF", "loopback"}},
	} {
		_, err := ReadGateway(base(c.set))
		check(t, c.set, err, c.want)
	}
	for _, c := range []struct {
		set  string
		want []string
	}{
		{"WEFT_LISTEN=here", []string{"WEFT_LISTEN", `"here"`, "127.0.0.1:7100"}},
		{"WEFT_LISTEN=127.0.0.1:99999", []string{"WEFT_LISTEN", "port"}},
		{"WEFT_LISTEN=0.0.0.0:7100", []string{"WEFT_ADVERTISE", "every interface"}},
		{"WEFT_ADVERTISE=:7100", []string{"WEFT_ADVERTISE", "every interface"}},
		{"WEFT_COMMIT_EVERY=-1s", []string{"WEFT_COMMIT_EVERY", `"-1s"`, "50ms"}},
		{"WEFT_POSES_EVERY=2h", []string{"WEFT_POSES_EVERY", "up to 1m"}},
		{"WEFT_RULES=chess", []string{"WEFT_RULES", `"chess"`, "tavern"}},
		{"WEFT_NODE_ACTORS=-1", []string{"WEFT_NODE_ACTORS", "1 to 100000 actors"}},
		{"WEFT_ACTOR_COST_US=99999", []string{"WEFT_ACTOR_COST_US", "0 to 10000 microseconds"}},
	} {
		_, err := ReadNode(base(c.set))
		check(t, c.set, err, c.want)
	}
	if _, err := ReadGateway(base("WEFT_CLIENT_TLS=pinned", "WEFT_CLIENT_ADVERTISE=ws://play.example/")); err == nil || !strings.Contains(err.Error(), "a wss:// URL, since WEFT_CLIENT_TLS is pinned") {
		t.Errorf("ws:// with TLS: %v", err)
	}
	if g, err := ReadGateway(base("WEFT_CLIENT_TLS=certificate", "WEFT_CLIENT_CERTIFICATE=zzzz", "WEFT_CLIENT_ADVERTISE=wss://metadata.play.example:7443/")); err != nil || strings.Contains(fmt.Sprintf("%v %+v %q", g, g, g.ClientCertificate), "zzzz") {
		t.Errorf("%v: %v", err, g)
	}
	_, err := ReadNode(nil)
	check(t, "nothing", err, []string{"WEFT_STORE is not set", "WEFT_SHARD_KEY is not set"})
}

func check(t *testing.T, what string, err error, want []string) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%s: %v", what, err)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
	if strings.Contains(err.Error(), "zzzz") {
		t.Errorf("%s: the error repeats the key", what)
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	o, err := ReadNode(base())
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(o), fmt.Sprintf("%+v %#v %x %s %d", o, o, o.ShardKey, o.ShardKey, o.ShardKey), string(j)} {
		if strings.Contains(s, "0f0f") || strings.Contains(s, "0xf, 0xf") || strings.Contains(s, "15 15") {
			t.Errorf("the key is in %s", s)
		}
	}
}

func TestPaces(t *testing.T) {
	const dynamo = "WEFT_STORE=dynamodb://weft-dev?region=eu-central-1"
	for _, c := range []struct {
		set           []string
		commit, poses time.Duration
	}{
		{nil, 0, time.Second},
		{[]string{dynamo}, 50 * time.Millisecond, time.Second},
		{[]string{dynamo, "WEFT_COMMIT_EVERY=200ms", "WEFT_POSES_EVERY=5s"}, 200 * time.Millisecond, 5 * time.Second},
	} {
		o, err := ReadNode(base(c.set...))
		if commit, poses := o.Paces(); err != nil || commit != c.commit || poses != c.poses {
			t.Errorf("%v: %s, %s, %v", c.set, commit, poses, err)
		}
	}
}
