// Package cloud runs a deployed world without an account of AWS: Terraform
// deploys it to an emulator, and this package stands in for what that emulator
// does not run, functions and machines. Begin with Start; end with Cloud.Stop,
// Cloud.Destroy and Cloud.Close.
//
// What runs is what is deployed: the functions' own archives, called by the
// stream, the rules and the URLs that Terraform made, and one process for each
// task or instance that those functions launch. AWS_ENDPOINT_URL in their
// environment is all that they see of the difference.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"weft/control/cost"
	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/local"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/partition"
	"weft/control/provision"
	"weft/control/store"
	"weft/control/store/dynamostore"
)

// Config says what world to deploy and how. Shard, Chunks, Command, JoinToken
// and Source are needed.
type Config struct {
	// Env is the environment's name; empty is "local".
	Env string
	// Dir keeps Terraform's state and what is built; empty is a temporary one.
	Dir string
	// Source is the source tree that functions are built from.
	Source string
	// Launcher is ecs, ec2, or both in an order, with a comma; empty is ecs,ec2.
	// Of both, the first has two nodes and one gateway at most.
	Launcher string

	// Shard is the world; its name is replaced by the deployed one.
	Shard mesh.Shard
	// Zones, Chunks and Command are as in local.Config.
	Zones   int
	Chunks  func(zone mesh.Box) [][]byte
	Command func(mesh.Role) []string

	// JoinToken returns the token that function join wants to see.
	JoinToken func(key [32]byte, shard string) (string, error)

	Policy      string
	NodeActors  int
	Cooldown    time.Duration
	SleepAfter  time.Duration
	MaxNodes    int
	MaxGateways int

	// Say is told in words how far it is; nil is silent.
	Say func(string)
	// Log takes what happens; nil is silent. The words of functions and
	// processes go to Words.
	Log   *slog.Logger
	Words io.Writer
}

const (
	region    = "us-east-1"
	accessKey = "testing" // emulators take any
	shardName = "weft"    // Terraform's default

	// The pace of what emulators take: about 150 writes a second in all.
	maxZones    = "8"
	commitEvery = "200ms"
	posesEvery  = "5s"

	// What the first of two launchers may have, so that the second has some too.
	firstNodes, firstGateways = 2, 1

	wakePatience = 2 * time.Minute
	restPatience = 100 * time.Second
	askEvery     = 300 * time.Millisecond
)

// Figures are what a world in the cloud came to.
type Figures struct {
	Emulator  string
	Resources int  // that Terraform made
	PlanEmpty bool // of the second plan
	// Invocations is by function.
	Invocations                      map[string]int64
	ColdStartMS, FirstInvokeMS       map[string]float64
	ZipBytes                         map[string]int64
	TasksLaunched, InstancesLaunched int
	TasksLeft                        int // tasks and instances after Stop
	GivenUp                          int64
	Left                             []string // resources after Destroy
}

// Cloud is a deployed world. Its methods may be called concurrently.
type Cloud struct {
	cfg      Config
	dir      string
	ours     bool // dir is temporary
	emulator *emulator
	api      *api
	stack    *provision.Stack
	out      provision.Outputs
	store    *dynamostore.Store
	host     *host
	compute  *compute
	fleets   map[string]fleet // by launcher
	meter    *meter
	standing cost.Standing
	client   *http.Client
	joinURL  string
	token    string

	mu      sync.Mutex
	figures Figures
	stop    sync.Once
	stopErr error
}

// Start deploys a world and returns when its gateways take clients. On an
// error, a sentence for the user, everything that was started has ended.
func Start(ctx context.Context, cfg Config) (*Cloud, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	if cfg.Env == "" {
		cfg.Env = "local"
	}
	if cfg.Launcher == "" {
		cfg.Launcher = "ecs,ec2"
	}
	if !slices.Contains([]string{"ecs", "ec2", "ecs,ec2", "ec2,ecs"}, cfg.Launcher) {
		return nil, fmt.Errorf("the launcher is %q; it must be ecs, ec2, or both in an order, such as ecs,ec2", cfg.Launcher)
	}
	c := &Cloud{cfg: cfg, client: &http.Client{Timeout: callPatience}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.abandon())
	}
	return c, nil
}

func (c *Cloud) start(ctx context.Context) (err error) {
	if c.dir = c.cfg.Dir; c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "weft-cloud-"); err != nil {
			return fmt.Errorf("cannot make a directory for the deployment: %w", err)
		}
		c.ours = true
	}
	c.cfg.Say("starting the emulator")
	if c.emulator, err = findEmulator(ctx, os.Getenv(EndpointVariable), c.cfg.Say); err != nil {
		return err
	}
	if c.emulator.kind == LocalStack && slices.Contains(c.launchers(), "ecs") && !c.emulator.runs["ecs"] {
		return errors.New("LocalStack has no ECS in its free tier; add --launcher ec2")
	}
	c.figures.Emulator = c.emulator.kind
	if c.emulator.kind == Moto && !c.emulator.fresh {
		c.cfg.Say("the moto at " + c.emulator.url + " may lose records of streams: docs/offline.md says what it must be cured of")
	}
	c.api = newAPI(c.emulator.url, region, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: accessKey})
	if err := c.deploy(ctx); err != nil {
		return err
	}
	c.store = dynamostore.New(aws.Config{
		Region: region, BaseEndpoint: &c.emulator.url, Credentials: credentials.NewStaticCredentialsProvider(accessKey, accessKey, ""),
	}, dynamostore.Options{Prefix: c.out.Prefix})
	secret, err := c.api.secret(ctx, c.out.KeySecret)
	if err != nil {
		return err
	}
	key, err := options.ShardKey(secret)
	if err != nil {
		return err
	}
	if c.token, err = c.cfg.JoinToken(key, shardName); err != nil {
		return err
	}
	if err := c.found(ctx); err != nil {
		return err
	}
	if err := c.standIn(ctx); err != nil {
		return err
	}
	return c.wake(ctx)
}

// deploy builds the functions and applies Terraform; a second plan must find
// nothing to do.
func (c *Cloud) deploy(ctx context.Context) (err error) {
	arch := map[string]string{"arm64": "arm64", "amd64": "x86_64"}[runtime.GOARCH]
	if arch == "" {
		return fmt.Errorf("functions do not run on %s", runtime.GOARCH)
	}
	zips := filepath.Join(c.dir, "zips")
	c.cfg.Say("building the functions")
	if err := provision.BuildFunctions(ctx, c.cfg.Source, zips, arch, provision.Functions); err != nil {
		return err
	}
	dir := filepath.Join(c.dir, "deployment")
	if c.emulator.fresh { // it knows nothing of what an earlier one was told
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	c.stack, err = provision.Open(ctx, provision.Options{Env: c.cfg.Env, Dir: dir, Environ: c.environ(os.Environ()), Say: c.cfg.Say})
	if err != nil {
		return err
	}
	variables := provision.Variables{
		"region": region, "emulator": true, "arch": arch, "zips": zips, "launcher": c.cfg.Launcher, "deletion_protection": false,
		"warm_instances": 1,
	}
	if len(c.launchers()) > 1 {
		variables["first_limit"] = map[string]int{"nodes": firstNodes, "gateways": firstGateways}
	}
	for name, v := range map[string]any{"policy": c.cfg.Policy, "node_actors": c.cfg.NodeActors, "max_nodes": c.cfg.MaxNodes, "max_gateways": c.cfg.MaxGateways} {
		if v != "" && v != 0 {
			variables[name] = v
		}
	}
	for name, d := range map[string]time.Duration{"cooldown": c.cfg.Cooldown, "sleep_after": c.cfg.SleepAfter} {
		if d > 0 {
			variables[name] = d.String()
		}
	}
	c.cfg.Say("deploying")
	plan, err := c.stack.Plan(ctx, variables)
	if err != nil {
		return err
	}
	if err := c.stack.Apply(ctx, plan); err != nil {
		return err
	}
	again, err := c.stack.Plan(ctx, variables)
	if err != nil {
		return err
	}
	if c.figures.PlanEmpty = again.Empty(); !c.figures.PlanEmpty {
		c.cfg.Log.Error("the second plan is not empty", "plan", again.String(), "changes", again.Changes)
	}
	made, err := c.stack.Left(ctx)
	if err != nil {
		return err
	}
	c.figures.Resources, c.standing = len(made), standingOf(made)
	if c.out, err = c.stack.Output(ctx); err != nil {
		return err
	}
	c.figures.ZipBytes = map[string]int64{}
	for name, zip := range c.out.Zips {
		info, err := os.Stat(zip)
		if err != nil {
			return err
		}
		c.figures.ZipBytes[name] = info.Size()
	}
	return nil
}

// launchers are those that are deployed, in their order.
func (c *Cloud) launchers() []string { return strings.Split(c.cfg.Launcher, ",") }

// environ is base with what leads to the emulator in place of credentials.
func (c *Cloud) environ(base []string) []string {
	kept := slices.DeleteFunc(slices.Clone(base), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	return append(kept, "AWS_ENDPOINT_URL="+c.emulator.url, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
		"AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+accessKey, "AWS_EC2_METADATA_DISABLED=true")
}

func (c *Cloud) found(ctx context.Context) error {
	shard := c.cfg.Shard
	shard.Name = shardName
	zones := c.cfg.Zones
	if zones <= 0 {
		zones = 1
	}
	policy := c.cfg.Policy
	if policy == "" {
		policy = "kdsplit"
	}
	boxes, err := partition.Genesis(policy, shard, zones)
	if err != nil {
		return err
	}
	c.cfg.Say("founding the world")
	return local.Found(ctx, c.store, shard, boxes, c.cfg.Chunks)
}

// standIn begins to run what the emulator does not.
func (c *Cloud) standIn(ctx context.Context) (err error) {
	owner := label.Owner{Shard: shardName, Env: c.cfg.Env}
	base := c.environ(local.Inherited(os.Environ()))
	if c.joinURL = c.out.JoinURL; !c.emulator.runs["lambda"] {
		zips := map[string]string{}
		for role, name := range c.out.Functions {
			zips[name] = c.out.Zips[role]
		}
		c.cfg.Say("starting the functions")
		c.host, err = startHost(ctx, hostConfig{
			api: c.api, prefix: c.out.Prefix, zips: zips, dir: filepath.Join(c.dir, "functions"), env: append(base, "WEFT_MAX_ZONES="+maxZones), words: c.cfg.Words, log: c.cfg.Log,
		})
		if err != nil {
			return err
		}
		u := c.host.urls[c.out.Functions["join"]]
		if u == nil {
			return errors.New("function join has no URL")
		}
		c.joinURL = u.url()
	}
	c.fleets = map[string]fleet{}
	for _, l := range c.launchers() {
		if c.fleets[l] = newEC2Fleet(c.api, owner); l == "ecs" {
			c.fleets[l] = newECSFleet(c.api, c.out.Cluster, owner)
		}
	}
	c.compute = newCompute(computeConfig{
		fleets: c.fleets, command: c.cfg.Command, env: base, last: onThisMachine, words: c.cfg.Words, log: c.cfg.Log,
		publish: func(source, kind string, resources []string, detail any) {
			if c.host != nil {
				c.host.publish(c.host.event(source, kind, resources, detail))
			}
		},
	})
	c.compute.start(ctx)
	c.meter = startMeter(ctx, c)
	return nil
}

// onThisMachine is where a process listens here, and at which pace it writes.
func onThisMachine(r mesh.Role) []string {
	if r == mesh.RoleGateway {
		return []string{"WEFT_CLIENT_LISTEN=127.0.0.1:0", "WEFT_CLIENT_ADVERTISE="}
	}
	return []string{"WEFT_LISTEN=127.0.0.1:0", "WEFT_ADVERTISE=", "WEFT_COMMIT_EVERY=" + commitEvery, "WEFT_POSES_EVERY=" + posesEvery}
}

// wake asks for a ticket until there are gateways for it.
func (c *Cloud) wake(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wakePatience, fmt.Errorf("%w: no gateway was ready after %s", local.ErrNotReady, wakePatience))
	defer cancel()
	c.cfg.Say("waking the world")
	for {
		gateways, _, err := c.Join(ctx, 1)
		if err == nil && len(gateways) > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, errNotYet) {
			c.cfg.Log.Warn("nobody can join", "err", err)
		}
		if !pause(ctx, askEvery) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// errNotYet: the world wakes, or is full; ask again.
var errNotYet = errors.New("there is no place yet; ask again")

// Store is a handle on the replication store.
func (c *Cloud) Store() store.Store { return c.store }

// StoreURL is where the store is, for processes with Environ.
func (c *Cloud) StoreURL() string { return c.out.StoreURL }

// Kill ends a process with SIGKILL.
func (c *Cloud) Kill(id mesh.NodeID) error { return c.compute.signal(id, syscall.SIGKILL) }

// Pause stops a process in its tracks until Resume.
func (c *Cloud) Pause(id mesh.NodeID) error { return c.compute.signal(id, syscall.SIGSTOP) }

// Resume lets a paused process go on. One that has ended is none the worse.
func (c *Cloud) Resume(id mesh.NodeID) error {
	if err := c.compute.signal(id, syscall.SIGCONT); !errors.Is(err, launch.ErrNotFound) {
		return err
	}
	return nil
}

// Stop sets the world to stopped and waits until the deployed functions have
// drained it: no task and no instance runs. The store stays until Close.
func (c *Cloud) Stop(ctx context.Context) error {
	c.stop.Do(func() { c.stopErr = c.rest(ctx) })
	return c.stopErr
}

func (c *Cloud) rest(ctx context.Context) error {
	left, err := provision.Empty(ctx, c.store, restPatience, true, c.cfg.Say) // as weft destroy does
	if err != nil {
		return err
	}
	for { // what has said goodbye also ends
		_, running := c.compute.counts()
		if running == 0 || len(left) > 0 || !pause(ctx, askEvery) {
			break
		}
	}
	c.meter.close()
	if c.host != nil { // its hour does not come here
		for _, f := range c.host.functions {
			if f.name == c.out.Functions["bill"] {
				if _, err := f.invoke(ctx, c.host.requestID(), c.host.event("aws.events", "Scheduled Event", nil, map[string]any{})); err != nil {
					return err
				}
			}
		}
	}
	running := 0
	for _, f := range c.fleets {
		n, err := f.count(ctx)
		if err != nil {
			return err
		}
		running += n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures.TasksLeft = running
	if running == 0 && len(left) > 0 {
		return fmt.Errorf("the world is not empty: %s", strings.Join(left, ", "))
	}
	return nil
}

// Destroy takes the deployment away. Stop comes before.
func (c *Cloud) Destroy(ctx context.Context) error {
	c.cfg.Say("taking it all away")
	c.Figures() // while there are functions to count
	if err := c.endProcesses(); err != nil {
		return err
	}
	err := c.stack.Destroy(ctx)
	left, lerr := c.stack.Left(ctx)
	c.mu.Lock()
	c.figures.Left = left
	c.mu.Unlock()
	return errors.Join(err, lerr)
}

// Figures returns what it came to so far.
func (c *Cloud) Figures() Figures {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.host != nil {
		c.figures.Invocations, c.figures.GivenUp = c.host.invocations(), c.host.given.Load()
		c.figures.ColdStartMS, c.figures.FirstInvokeMS = map[string]float64{}, map[string]float64{}
		for name, f := range c.host.functions {
			name = strings.TrimPrefix(name, c.out.Prefix+"-")
			if us := f.coldMicros.Load(); us > 0 {
				c.figures.ColdStartMS[name], c.figures.FirstInvokeMS[name] = float64(us)/1000, float64(f.firstMicros.Load())/1000
			}
		}
	}
	if c.compute != nil {
		launched, _ := c.compute.counts()
		c.figures.TasksLaunched, c.figures.InstancesLaunched = launched["ecs"], launched["ec2"]
	}
	return c.figures
}

// endProcesses ends what the stand-in runs.
func (c *Cloud) endProcesses() (err error) {
	if c.meter != nil {
		c.meter.close()
	}
	if c.compute != nil {
		err = c.compute.close()
	}
	if c.host != nil {
		err = errors.Join(err, c.host.close())
	}
	return err
}

// abandon gives everything back after a start that failed.
func (c *Cloud) abandon() error {
	var faults []error
	if c.stack != nil && !c.emulator.fresh {
		ctx, cancel := context.WithTimeout(context.Background(), restPatience)
		defer cancel()
		faults = append(faults, c.stack.Destroy(ctx))
	}
	return errors.Join(append(faults, c.Close())...)
}

// Close ends all processes and the emulator, if it was started here. What is
// deployed to another emulator stays unless Destroy took it away.
func (c *Cloud) Close() error {
	err := c.endProcesses()
	c.compute, c.host = nil, nil
	c.client.CloseIdleConnections()
	if c.store != nil {
		err = errors.Join(err, c.store.Close())
	}
	if c.stack != nil {
		err = errors.Join(err, c.stack.Close())
	}
	if c.api != nil {
		c.api.close()
	}
	if c.emulator != nil {
		err = errors.Join(err, c.emulator.close())
	}
	if c.ours {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}
