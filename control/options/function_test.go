package options

import (
	"errors"
	"strings"
	"testing"
	"time"

	"weft/control/cost"
	"weft/control/mesh"
)

func function(set ...string) []string {
	return append([]string{"WEFT_STORE=dynamodb://weft-dev?region=eu-central-1", "WEFT_LAUNCHER=ecs://c", "WEFT_SHARD_KEY_SECRET=weft-dev-shard-key"}, set...)
}

func TestFunction(t *testing.T) {
	o, err := ReadFunction(function("WEFT_SLEEP_AFTER=7m", "WEFT_MAX_NODES=3", "WEFT_MAX_GATEWAYS=1", "WEFT_NODE_SIZE=2048/4096", "WEFT_STANDING=1/2/3/4", `WEFT_PRICES={"egress_gb":0.01}`), "WEFT_LAUNCHER", "WEFT_SHARD_KEY_SECRET")
	if err != nil {
		t.Fatal(err)
	}
	prefix, region, err := o.Tables()
	if prefix != "weft-dev" || region != "eu-central-1" || err != nil {
		t.Errorf("%q in %q, %v", prefix, region, err)
	}
	if s := cost.Standing(o.Standing); s != (cost.Standing{Keys: 1, Secrets: 2, Metrics: 3, Alarms: 4}) {
		t.Errorf("%+v", s)
	}
	c := o.Planner()
	if c.SleepAfter != 7*time.Minute || c.Fleet.MaxNodes != 3 || c.Fleet.MaxGateways != 1 || c.Fleet.MinGateways != 1 || c.NodeActors != 250 || c.Cooldown != time.Minute {
		t.Errorf("%+v", c)
	}
	if p, err := o.PriceTable(); p.EgressGB != 0.01 || err != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if m := o.Machine(mesh.RoleNode, ""); m != (cost.Machine{Kind: cost.Fargate, CPUUnits: 2048, MemoryMiB: 4096, Public: true}) {
		t.Errorf("%+v", m)
	}
	if m := o.Machine(mesh.RoleGateway, cost.FargateSpot); m.Kind != cost.FargateSpot || m.CPUUnits != 512 {
		t.Errorf("%+v", m)
	}
	if _, err := ReadFunction([]string{"WEFT_STORE=dynamodb://weft-dev"}); err != nil {
		t.Errorf("with its store only: %v", err)
	}
}

func TestFunctionRefusals(t *testing.T) {
	for _, c := range []struct {
		set  string
		want []string
	}{
		{"WEFT_STORE=", []string{"WEFT_STORE", "dynamodb://PREFIX"}},
		{"WEFT_STORE=nats://x:1", []string{"WEFT_STORE", `"nats://x:1"`, "dynamodb://PREFIX"}},
		{"WEFT_LAUNCHER=", []string{"WEFT_LAUNCHER is not set", "ecs://"}},
		{"WEFT_SHARD_KEY_SECRET=", []string{"WEFT_SHARD_KEY_SECRET is not set", "64 hexadecimal digits"}},
		{"WEFT_SHARD=Tavern!", []string{"WEFT_SHARD", "lower-case"}},
		{"WEFT_ENV=My Env", []string{"WEFT_ENV", "lower-case"}},
		{"WEFT_POLICY=magic", []string{"WEFT_POLICY", "kdsplit"}},
		{"WEFT_MAX_NODES=0", []string{"max nodes is 0"}},
		{"WEFT_MAX_GATEWAYS=-1", []string{"max gateways is -1"}},
		{"WEFT_NODE_ACTORS=many", []string{"WEFT_NODE_ACTORS", "whole number"}},
		{"WEFT_COOLDOWN=-1s", []string{"cooldown is -1s"}},
		{"WEFT_SLEEP_AFTER=1s", []string{"sleep after is 1s"}},
		{"WEFT_PRICES={", []string{"WEFT_PRICES"}},
		{"WEFT_STANDING=1/1/19", []string{"WEFT_STANDING", "1/1/19/13"}},
		{"WEFT_STANDING=1/1/19/-1", []string{"WEFT_STANDING"}},
		{"WEFT_NODE_SIZE=1024", []string{"WEFT_NODE_SIZE", "1024/2048"}},
		{"WEFT_NODE_SIZE=1/2/3", []string{"WEFT_NODE_SIZE"}},
		{"WEFT_GATEWAY_SIZE=0/5", []string{"WEFT_GATEWAY_SIZE"}},
	} {
		_, err := ReadFunction(function(c.set), "WEFT_LAUNCHER", "WEFT_SHARD_KEY_SECRET")
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v\nlacks %q", c.set, err, w)
			}
		}
	}
}

func TestShardKeyOfASecret(t *testing.T) {
	digits := strings.Repeat("0f", 32)
	if k, err := ShardKey(digits + "\n"); err != nil || k.Hex() != digits {
		t.Errorf("%v", err)
	}
	for _, secret := range []string{"", "x", strings.Repeat("0", 64), digits + "00"} {
		if _, err := ShardKey(secret); !errors.Is(err, ErrInvalid) || secret != "" && strings.Contains(err.Error(), digits) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}
