// Package options reads what a process is told by its environment into one
// struct and checks it once. Begin with ReadNode and ReadGateway; their errors
// are sentences for the user, one for each variable that is wrong.
package options

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"weft/control/mesh"
)

// ErrInvalid is wrapped by whatever is wrong with an environment.
var ErrInvalid = errors.New("invalid options")

// Process is what nodes and gateways have in common.
type Process struct {
	// Store is the URL of the replication store, as storeurl takes it.
	Store string `env:"WEFT_STORE,required"`
	// ShardKey is the secret by which the processes of a shard know each other.
	ShardKey Key `env:"WEFT_SHARD_KEY,required"`
	// NodeID names the process; empty makes one up from the host's name.
	NodeID mesh.NodeID `env:"WEFT_NODE_ID"`
	// LifelineFD is an open file descriptor whose end of file means that the
	// parent is gone: the process ends at once. 0 is none.
	LifelineFD int `env:"WEFT_LIFELINE_FD"`
	// Machine is "ec2" on an instance whose tags hold more of the environment,
	// and say when to leave; else empty.
	Machine string `env:"WEFT_MACHINE"`
	// Kind is what the process runs on, as that is priced: FARGATE, FARGATE_SPOT or
	// an instance type. Instance is the cloud's name of it. Both may be empty.
	Kind     string `env:"WEFT_KIND"`
	Instance string `env:"WEFT_INSTANCE"`
	// Pprof is the host:port, on loopback, of a listener for profiles; empty is
	// none. It is logged, so port 0 will do.
	Pprof string `env:"WEFT_PPROF"`
	// DrainTimeout is how long a process that was asked to leave may take.
	DrainTimeout time.Duration `env:"WEFT_DRAIN_TIMEOUT" envDefault:"60s"`
}

// Node is what a simulation node is told.
type Node struct {
	Process
	// Listen is the host:port of the listener for peers; port 0 takes a free one.
	Listen string `env:"WEFT_LISTEN" envDefault:"127.0.0.1:0"`
	// Advertise is the host:port at which peers reach it, port 0 meaning the
	// listener's; empty is the listener's own address. The host may be
	// "metadata", alone or with a port: the private address that ECS or EC2 tells.
	Advertise string `env:"WEFT_ADVERTISE"`
	// Actors is the declared capacity, in awake actors.
	Actors int `env:"WEFT_NODE_ACTORS" envDefault:"250"`
	// ActorCostUS is real work for each awake actor and tick, in microseconds
	// of one core of this machine.
	ActorCostUS int `env:"WEFT_ACTOR_COST_US" envDefault:"0"`
	// RecordWrites is a directory in which the node keeps its fenced writes to
	// the store, for drills that replay them; empty keeps none.
	RecordWrites string `env:"WEFT_RECORD_WRITES"`
	// CommitEvery is the least time between two writes of a zone's journal, and
	// PosesEvery that between two of its poses: each is billed, or slow on an
	// emulator. 0 is 50 ms of a store on DynamoDB, and else none; and a second.
	CommitEvery time.Duration `env:"WEFT_COMMIT_EVERY"`
	PosesEvery  time.Duration `env:"WEFT_POSES_EVERY"`
	// Rules names the game.
	Rules string `env:"WEFT_RULES" envDefault:"tavern"`
}

// Gateway is what a gateway is told.
type Gateway struct {
	Process
	// ClientListen is the host:port of the listener for clients.
	ClientListen string `env:"WEFT_CLIENT_LISTEN" envDefault:"127.0.0.1:0"`
	// ClientAdvertise is the ws:// or wss:// URL at which clients reach it;
	// empty is made from the listener's address. The host may be "metadata": the
	// address that ECS or EC2 tells, the public one if it tells one; or
	// "metadata.DOMAIN": that address with dashes, and the domain. Port 0 is
	// the listener's.
	ClientAdvertise string `env:"WEFT_CLIENT_ADVERTISE"`
	// ClientTLS says what clients speak: one of the TLS constants.
	ClientTLS string `env:"WEFT_CLIENT_TLS" envDefault:"off"`
	// ClientCertificate is for TLSCertificate: the chain and its private key, as
	// PEM or as the path of a file that holds it.
	ClientCertificate Secret `env:"WEFT_CLIENT_CERTIFICATE"`
	// Clients is how many may be connected at once.
	Clients int `env:"WEFT_GATEWAY_CLIENTS" envDefault:"2000"`
	// ViewHz is how many views a second a client is sent at the most; 0 is one a tick.
	ViewHz int `env:"WEFT_VIEW_HZ" envDefault:"0"`
	// ViewNear is how many of a client's nearest it is told of in each view; 0 is
	// the gateway's own choice.
	ViewNear int `env:"WEFT_VIEW_NEAR" envDefault:"0"`
	// KeepAlive is how often a client is told something although nothing changed;
	// clients give up a gateway that is silent for 3 s longer. 0 is the gateway's own, 5 s.
	KeepAlive time.Duration `env:"WEFT_KEEP_ALIVE"`
}

// How a gateway speaks with clients.
const (
	TLSOff         = "off"         // ws://, for one machine
	TLSPinned      = "pinned"      // a key that it makes up, whose hash is in its URL (see simnode/pin)
	TLSBehind      = "behind"      // such a key, which a balancer before it does not check; clients see the balancer's
	TLSCertificate = "certificate" // that of ClientCertificate
)

// Secret does not print itself.
type Secret string

// Format implements fmt.Formatter, so that no secret gets into a log.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// MarshalText implements encoding.TextMarshaler for structured logs.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// ReadNode reads a node's options from environ, as os.Environ returns it.
func ReadNode(environ []string) (Node, error) {
	var o Node
	if err := read(&o, environ); err != nil {
		return Node{}, err
	}
	return o, o.Validate()
}

// billedCommitEvery is CommitEvery where each write costs.
const billedCommitEvery = 50 * time.Millisecond

// Paces returns CommitEvery and PosesEvery as they are to be.
func (o Node) Paces() (commit, poses time.Duration) {
	if commit = o.CommitEvery; commit == 0 && strings.HasPrefix(o.Store, "dynamodb:") {
		commit = billedCommitEvery
	}
	return commit, cmp.Or(o.PosesEvery, time.Second)
}

// maxPace bounds what may be lost, or held back, between two writes.
const maxPace = time.Minute

// ReadGateway reads a gateway's options from environ.
func ReadGateway(environ []string) (Gateway, error) {
	var o Gateway
	if err := read(&o, environ); err != nil {
		return Gateway{}, err
	}
	return o, o.Validate()
}

// Validate reports everything that is wrong with o.
func (o Process) Validate() error {
	var faults []error
	if o.Store == "" {
		faults = append(faults, fault("WEFT_STORE", "the URL of the replication store, such as nats://127.0.0.1:4222", ""))
	}
	if o.ShardKey.IsZero() {
		faults = append(faults, wrong("WEFT_SHARD_KEY", "the shard's key, 64 hexadecimal digits that are not all zero"))
	}
	if n := len(o.NodeID); n > maxNodeIDBytes || strings.ContainsFunc(string(o.NodeID), func(r rune) bool { return r <= ' ' || r > '~' }) {
		faults = append(faults, fault("WEFT_NODE_ID", fmt.Sprintf("at most %d printable ASCII characters without spaces", maxNodeIDBytes), string(o.NodeID)))
	}
	if o.LifelineFD != 0 && o.LifelineFD < 3 {
		faults = append(faults, fault("WEFT_LIFELINE_FD", "a file descriptor from 3 on, or 0 for none", fmt.Sprint(o.LifelineFD)))
	}
	if o.Machine != "" && o.Machine != "ec2" {
		faults = append(faults, fault("WEFT_MACHINE", "ec2 on an instance that a launcher started, else empty", o.Machine))
	}
	if o.Pprof != "" {
		faults = append(faults, ProfileAddress(o.Pprof))
	}
	if o.DrainTimeout <= 0 || o.DrainTimeout > time.Hour {
		faults = append(faults, fault("WEFT_DRAIN_TIMEOUT", "a duration above 0 and up to 1h, such as 60s", o.DrainTimeout.String()))
	}
	return errors.Join(faults...)
}

// Rules are the games that a node knows.
var Rules = []string{"tavern"}

// Validate reports everything that is wrong with o.
func (o Node) Validate() error {
	faults := []error{o.Process.Validate(),
		within("WEFT_NODE_ACTORS", "actors", o.Actors, 1, 100_000),
		within("WEFT_ACTOR_COST_US", "microseconds", o.ActorCostUS, 0, 10_000),
	}
	host, err := checkAddress("WEFT_LISTEN", o.Listen)
	faults = append(faults, err)
	if o.Advertise == Metadata {
		host = Metadata
	} else if o.Advertise != "" {
		host, err = checkAddress("WEFT_ADVERTISE", o.Advertise)
		faults = append(faults, err)
	}
	if err == nil && everywhere(host) {
		faults = append(faults, fault("WEFT_ADVERTISE", "the host:port at which other processes reach this one, since it listens on every interface", o.Advertise))
	}
	for name, d := range map[string]time.Duration{"WEFT_COMMIT_EVERY": o.CommitEvery, "WEFT_POSES_EVERY": o.PosesEvery} {
		if d < 0 || d > maxPace {
			faults = append(faults, fault(name, fmt.Sprintf("a duration up to %s, such as 50ms; 0 is the store's own", maxPace), d.String()))
		}
	}
	known := false
	for _, r := range Rules {
		known = known || r == o.Rules
	}
	if !known {
		faults = append(faults, fault("WEFT_RULES", "one of "+strings.Join(Rules, ", "), o.Rules))
	}
	return errors.Join(faults...)
}

// Validate reports everything that is wrong with o.
func (o Gateway) Validate() error {
	faults := []error{o.Process.Validate(), within("WEFT_GATEWAY_CLIENTS", "clients", o.Clients, 1, 100_000), within("WEFT_VIEW_HZ", "views a second", o.ViewHz, 0, 1000), within("WEFT_VIEW_NEAR", "entities", o.ViewNear, 0, 2000)}
	if o.ClientTLS != "" && !slices.Contains([]string{TLSOff, TLSPinned, TLSBehind, TLSCertificate}, o.ClientTLS) {
		faults = append(faults, fault("WEFT_CLIENT_TLS", "off, pinned, behind or certificate", o.ClientTLS))
	}
	if (o.ClientTLS == TLSCertificate) != (o.ClientCertificate != "") {
		faults = append(faults, wrong("WEFT_CLIENT_CERTIFICATE", "a certificate and its private key, as PEM or the path of a file, with WEFT_CLIENT_TLS=certificate, and nothing without"))
	}
	if o.KeepAlive != 0 && (o.KeepAlive < 500*time.Millisecond || o.KeepAlive > time.Minute) {
		faults = append(faults, fault("WEFT_KEEP_ALIVE", "a duration from 500ms to 1m, or 0 for the gateway's own", o.KeepAlive.String()))
	}
	host, err := checkAddress("WEFT_CLIENT_LISTEN", o.ClientListen)
	faults = append(faults, err)
	if o.ClientAdvertise != "" {
		u, err := url.Parse(o.ClientAdvertise)
		if err == nil && u.Scheme == "ws" && o.ClientTLS != TLSOff && o.ClientTLS != "" {
			faults = append(faults, fault("WEFT_CLIENT_ADVERTISE", "a wss:// URL, since WEFT_CLIENT_TLS is "+o.ClientTLS, o.ClientAdvertise))
		}
		if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || len(o.ClientAdvertise) > maxURLBytes {
			faults = append(faults, fault("WEFT_CLIENT_ADVERTISE", fmt.Sprintf("a ws:// or wss:// URL of at most %d bytes", maxURLBytes), o.ClientAdvertise))
		}
	} else if err == nil && everywhere(host) {
		faults = append(faults, fault("WEFT_CLIENT_ADVERTISE", "the ws:// or wss:// URL at which clients reach this gateway, since it listens on every interface", ""))
	}
	return errors.Join(faults...)
}

// Metadata is the host that stands for the address that the machine tells.
const Metadata = "metadata"

// The limits of the wire protocol.
const (
	maxNodeIDBytes = 128
	maxURLBytes    = 256 - 64 // of which a pin takes 51
)

func fault(name, expected, got string) error {
	if got == "" {
		return fmt.Errorf("%w: %s is not set; it must be %s", ErrInvalid, name, expected)
	}
	return fmt.Errorf("%w: %s is %q; it must be %s", ErrInvalid, name, got, expected)
}

// wrong is a fault that does not repeat what it found.
func wrong(name, expected string) error {
	return fmt.Errorf("%w: %s is not set or not valid; it must be %s", ErrInvalid, name, expected)
}

func within(name, unit string, v, least, most int) error {
	if v < least || v > most {
		return fault(name, fmt.Sprintf("%d to %d %s", least, most, unit), fmt.Sprint(v))
	}
	return nil
}

func checkAddress(name, address string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return "", fault(name, "a host and a port, such as 127.0.0.1:7100 (port 0 takes a free one)", address)
	}
	return host, nil
}

// ProfileAddress reports what is wrong with a listener for profiles: they show
// what a process knows, so they are for this machine only.
func ProfileAddress(address string) error {
	host, err := checkAddress("WEFT_PPROF", address)
	if ip := net.ParseIP(host); err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		err = fault("WEFT_PPROF", "an address of the loopback interface, such as 127.0.0.1:6060; forward the port to reach it from elsewhere", address)
	}
	return err
}

// everywhere reports that host stands for every interface, at which nobody can be reached.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Key is a secret of 32 bytes. It prints as a placeholder, whatever the verb.
type Key [32]byte

// IsZero reports that the key was never set.
func (k Key) IsZero() bool { return k == Key{} }

// UnmarshalText reads 64 hexadecimal digits. Its error does not repeat them.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(k)) {
		return errors.New("64 hexadecimal digits")
	}
	if _, err := hex.Decode(k[:], text); err != nil {
		return errors.New("64 hexadecimal digits")
	}
	return nil
}

// Hex returns the digits, for handing the key to a child process.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// Format implements fmt.Formatter, so that no key gets into a log.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// MarshalText implements encoding.TextMarshaler for structured logs.
func (k Key) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// read fills target, a pointer to a struct, from environ.
func read(target any, environ []string) error {
	err := env.ParseWithOptions(target, env.Options{Environment: env.ToMap(environ)})
	var all env.AggregateError
	if err == nil || !errors.As(err, &all) {
		return err
	}
	names := map[string]string{}
	collect(reflect.TypeOf(target).Elem(), names)
	var faults []error
	for _, e := range all.Errors {
		var parse env.ParseError
		var unset env.VarIsNotSetError
		switch {
		case errors.As(e, &unset):
			faults = append(faults, fault(unset.Key, meanings[unset.Key], ""))
		case errors.As(e, &parse):
			name := names[parse.Name]
			if m := meanings[name]; m != "" {
				faults = append(faults, wrong(name, m))
			} else {
				faults = append(faults, fault(name, kinds[parse.Type.Kind()], env.ToMap(environ)[name]))
			}
		default:
			faults = append(faults, fmt.Errorf("%w: %w", ErrInvalid, e))
		}
	}
	return errors.Join(faults...)
}

// meanings say what the variables without a default must be.
var meanings = map[string]string{
	"WEFT_STORE":     "the URL of the replication store, such as nats://127.0.0.1:4222",
	"WEFT_SHARD_KEY": "the shard's key, 64 hexadecimal digits that are not all zero",

	"WEFT_LAUNCHER":         "the URL of what runs nodes and gateways, ecs://… or ec2://…",
	"WEFT_SHARD_KEY_SECRET": "the name or ARN of the secret that holds the shard's key, 64 hexadecimal digits",
	"WEFT_STANDING":         "how many keys, secrets, metrics and alarms there are, such as 1/1/19/13",
	"WEFT_NODE_SIZE":        "CPU units and MiB of a node's task, such as 1024/2048",
	"WEFT_GATEWAY_SIZE":     "CPU units and MiB of a gateway's task, such as 512/1024",
}

var kinds = map[reflect.Kind]string{
	reflect.Int:   "a whole number",
	reflect.Int64: "a duration, such as 60s",
}

// collect notes the variable of each field.
func collect(t reflect.Type, names map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			collect(f.Type, names)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		names[f.Name] = name
	}
}
