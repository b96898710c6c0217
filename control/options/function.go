package options

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"weft/control/cost"
	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/planner"
)

// Function is what a function in the cloud is told.
type Function struct {
	// Store is dynamodb://PREFIX?region=REGION.
	Store string `env:"WEFT_STORE,required"`
	// Launcher is the URL of what runs nodes and gateways: ecs:// or ec2://.
	Launcher string `env:"WEFT_LAUNCHER"`
	// Shard and Env are in tags, tickets and metrics.
	Shard string `env:"WEFT_SHARD" envDefault:"weft"`
	Env   string `env:"WEFT_ENV" envDefault:"dev"`
	// ShardKeySecret is the name or ARN of the secret with the shard's key.
	ShardKeySecret string `env:"WEFT_SHARD_KEY_SECRET"`
	// JoinSecret is the name or ARN of the secret with the bearer token of the
	// studio's own backend; empty derives the token from the shard's key.
	JoinSecret string `env:"WEFT_JOIN_SECRET"`

	// Balancer is the URL of a load balancer before the gateways, which clients are
	// told instead of theirs, and TargetGroup the ARN of its target group; or empty.
	Balancer    string `env:"WEFT_BALANCER"`
	TargetGroup string `env:"WEFT_TARGET_GROUP"`

	Policy      string        `env:"WEFT_POLICY" envDefault:"kdsplit"`
	NodeActors  int           `env:"WEFT_NODE_ACTORS" envDefault:"250"` // that a node is declared to carry
	MaxNodes    int           `env:"WEFT_MAX_NODES" envDefault:"8"`
	MaxGateways int           `env:"WEFT_MAX_GATEWAYS" envDefault:"4"`
	MaxZones    int           `env:"WEFT_MAX_ZONES" envDefault:"256"` // each writes for itself
	Cooldown    time.Duration `env:"WEFT_COOLDOWN" envDefault:"60s"`
	// SleepAfter is how long a world without clients runs on; 0 is for ever.
	SleepAfter time.Duration `env:"WEFT_SLEEP_AFTER" envDefault:"5m"`

	// Prices are JSON that replaces prices of cost.Published; empty for none.
	Prices string `env:"WEFT_PRICES"`
	// Kind is what a process that does not know its machine's kind is priced
	// as: FARGATE, FARGATE_SPOT or an instance type.
	Kind string `env:"WEFT_KIND" envDefault:"FARGATE"`
	// NodeSize and GatewaySize are CPU units and MiB of the tasks.
	NodeSize    Size `env:"WEFT_NODE_SIZE" envDefault:"1024/2048"`
	GatewaySize Size `env:"WEFT_GATEWAY_SIZE" envDefault:"512/1024"`
	// Standing are the keys, secrets, metrics and alarms of the deployment, which
	// cost by the month.
	Standing Standing `env:"WEFT_STANDING" envDefault:"0/0/0/0"`
}

// Standing is written as four numbers, such as 1/1/19/13.
type Standing cost.Standing

// UnmarshalText reads the four numbers.
func (s *Standing) UnmarshalText(text []byte) error {
	var rest string
	if n, _ := fmt.Sscanf(string(text)+" .", "%d/%d/%d/%d %s", &s.Keys, &s.Secrets, &s.Metrics, &s.Alarms, &rest); n != 5 || rest != "." || min(s.Keys, s.Secrets, s.Metrics, s.Alarms) < 0 {
		return errors.New("how many keys, secrets, metrics and alarms there are, such as 1/1/19/13")
	}
	return nil
}

// Size is that of a task on Fargate.
type Size struct{ CPUUnits, MemoryMiB int }

// UnmarshalText reads CPU units and MiB, as in 1024/2048.
func (s *Size) UnmarshalText(text []byte) error {
	var rest string
	if n, _ := fmt.Sscanf(string(text)+" .", "%d/%d %s", &s.CPUUnits, &s.MemoryMiB, &rest); n != 3 || rest != "." || s.CPUUnits <= 0 || s.MemoryMiB <= 0 {
		return errors.New("CPU units and MiB, such as 1024/2048")
	}
	return nil
}

// ReadFunction reads a function's options from environ. Needs are the variables
// without which this function cannot work, WEFT_STORE aside.
func ReadFunction(environ []string, needs ...string) (Function, error) {
	var o Function
	if err := read(&o, environ); err != nil {
		return Function{}, err
	}
	faults := []error{o.Validate()}
	for name, value := range map[string]string{"WEFT_LAUNCHER": o.Launcher, "WEFT_SHARD_KEY_SECRET": o.ShardKeySecret} {
		if value == "" && slices.Contains(needs, name) {
			faults = append(faults, fault(name, meanings[name], ""))
		}
	}
	return o, errors.Join(faults...)
}

// Validate reports everything that is wrong with o.
func (o Function) Validate() error {
	var faults []error
	if _, _, err := o.Tables(); err != nil {
		faults = append(faults, err)
	}
	for name, value := range map[string]string{"WEFT_SHARD": o.Shard, "WEFT_ENV": o.Env} {
		if len(value) == 0 || len(value) > 31 || strings.ContainsFunc(value, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') }) {
			faults = append(faults, fault(name, "1 to 31 lower-case letters, digits and dashes", value))
		}
	}
	if _, err := o.PriceTable(); err != nil {
		faults = append(faults, fmt.Errorf("%w: WEFT_PRICES: %w", ErrInvalid, err))
	}
	if _, err := partition.ByName(o.Policy); err != nil {
		faults = append(faults, fmt.Errorf("%w: WEFT_POLICY: %w", ErrInvalid, err))
	} else if err := o.Planner().Validate(); err != nil {
		faults = append(faults, fmt.Errorf("%w: %w", ErrInvalid, err))
	}
	return errors.Join(faults...)
}

// Tables returns what Store says: how the tables' names begin, and the region,
// which may be empty.
func (o Function) Tables() (prefix, region string, err error) {
	u, err := url.Parse(o.Store)
	if err != nil || u.Scheme != "dynamodb" || u.Host == "" || u.Path != "" || u.User != nil {
		return "", "", fault("WEFT_STORE", "dynamodb://PREFIX?region=REGION", o.Store)
	}
	return u.Host, u.Query().Get("region"), nil
}

// PriceTable returns the published prices as Prices changes them.
func (o Function) PriceTable() (cost.Prices, error) {
	if o.Prices == "" {
		return cost.Published(), nil
	}
	return cost.Parse([]byte(o.Prices))
}

// Machine returns what a process of role r, of a kind that may be empty, runs
// on. Gateways have a public address, and so have nodes: see infra/README.md.
func (o Function) Machine(r mesh.Role, kind string) cost.Machine {
	size := o.NodeSize
	if r == mesh.RoleGateway {
		size = o.GatewaySize
	}
	if kind == "" {
		kind = o.Kind
	}
	return cost.Machine{Kind: kind, CPUUnits: size.CPUUnits, MemoryMiB: size.MemoryMiB, Public: true}
}

// Planner returns how a mesh in the cloud is to be run: as on one machine, but
// with the patience that launches take there.
func (o Function) Planner() planner.Config {
	c := planner.DefaultConfig()
	c.Policy, c.NodeActors = o.Policy, o.NodeActors
	c.Cooldown, c.Settle = o.Cooldown, min(10*time.Second, o.Cooldown)
	c.SmoothUp, c.SmoothDown = 2*time.Second, 10*time.Second
	c.Fleet.MaxNodes, c.Fleet.MaxGateways = o.MaxNodes, o.MaxGateways
	c.Fleet.MinGateways = min(c.Fleet.MinGateways, max(o.MaxGateways, 0))
	c.Fleet.MinNodes = min(c.Fleet.MinNodes, max(o.MaxNodes, 0))
	c.LaunchTimeout, c.DrainTimeout, c.StopGrace = 3*time.Minute, 90*time.Second, 30*time.Second
	c.SleepAfter, c.MaxZones = o.SleepAfter, o.MaxZones
	return c
}

// ShardKey returns the key that is the value of its secret.
func ShardKey(secret string) (k Key, err error) {
	secret = strings.TrimSpace(secret)
	if _, decode := hex.DecodeString(secret); decode != nil || k.UnmarshalText([]byte(secret)) != nil || k.IsZero() {
		return Key{}, wrong("the value of the secret WEFT_SHARD_KEY_SECRET", meanings["WEFT_SHARD_KEY"])
	}
	return k, nil
}
