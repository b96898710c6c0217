// Package ec2launch starts processes as instances of Amazon EC2, one each,
// nodes and gateways each from a launch template of their own. The package is
// slow to compile, as EC2's client is: import it only where it is needed.
//
// What a process is, is written on its instance's tags, and its machine reads
// them there (see simnode/metadata): the launch template turns tags in the
// metadata on, asks for IMDSv2, names no network interface, and makes a service
// that at each boot starts the process with WEFT_MACHINE=ec2 and powers the
// machine off when that has ended.
//
// A drain is a tag, too: the process looks for it every two seconds. An
// instance that was started for a process powers off into termination.
//
// The warm pool are instances without a process: loaded, with none coming they
// have powered off, into the stopped state, from which they start in seconds. Of two
// launchers that start the same one EC2 tells which was first. A started one
// without a process powers off again. Call [Launcher.Refill] every minute.
package ec2launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

// Starter starts instances.
type Starter interface {
	RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	StartInstances(context.Context, *ec2.StartInstancesInput, ...func(*ec2.Options)) (*ec2.StartInstancesOutput, error)
	ModifyInstanceAttribute(context.Context, *ec2.ModifyInstanceAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyInstanceAttributeOutput, error)
}

// Tagger tags and ends instances.
type Tagger interface {
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// Lister finds instances.
type Lister interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

// The kinds of instances.
const (
	OnDemand = "on-demand"
	Spot     = "spot" // cheaper, taken back with two minutes' notice
)

// Limits of a launcher.
const (
	MaxSubnets = 16
	MaxWarm    = 64
	// warmTries is how many instances of the pool a Start tries.
	warmTries = 4
	// refillAtOnce is how many a Refill adds: EC2 lets two a second through.
	refillAtOnce = 4
	// bootPatience is how long an instance of the pool may run before it has
	// powered off, or before it has a process.
	bootPatience = 15 * time.Minute
)

// Options say where and what. All but Warm must be given.
type Options struct {
	Templates map[mesh.Role]string // launch templates' names, by role
	Subnets   []string             // one or more, best of several zones
	// Capacity is the kind to begin with; where it has no room, the other is
	// taken. The warm pool is always OnDemand.
	Capacity string
	// Most bounds the running instances of each role, the warm pool aside.
	Most map[mesh.Role]int
	// Warm is how many stopped instances are kept ready to be nodes.
	Warm int
	// Owner is whose instances they are.
	Owner label.Owner
	Now   func() time.Time
}

// Validate reports everything that is wrong with o.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, f string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(f, a...))
		}
	}
	check(o.Owner.Shard != "" && o.Owner.Env != "", "the shard's name and environment are missing")
	check(len(o.Subnets) > 0 && len(o.Subnets) <= MaxSubnets, "%d subnets are given; give 1 to %d", len(o.Subnets), MaxSubnets)
	check(o.Capacity == OnDemand || o.Capacity == Spot, "the capacity is %q; it must be %s or %s", o.Capacity, OnDemand, Spot)
	check(o.Warm >= 0 && o.Warm <= MaxWarm, "%d instances are to be kept warm; keep 0 to %d", o.Warm, MaxWarm)
	check(o.Now != nil, "the clock is missing")
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		check(o.Templates[r] != "", "the launch template of %ss is missing", r)
		check(o.Most[r] > 0, "at most %d %ss are allowed; allow one or more", o.Most[r], r)
	}
	return errors.Join(faults...)
}

// Launcher starts instances. It remembers nothing: EC2 does, and shows a
// terminated instance for about an hour, which is how long a token of a process
// that ended is known to be used up.
type Launcher struct {
	o      Options
	start  Starter
	tag    Tagger
	list   Lister
	starts chan struct{} // holds a token while a Start is under way
}

// New returns a launcher, or what is wrong with o. An *ec2.Client is Starter,
// Tagger and Lister.
func New(o Options, start Starter, tag Tagger, list Lister) (*Launcher, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Launcher{o: o, start: start, tag: tag, list: list, starts: make(chan struct{}, 1)}, nil
}

// Start implements launch.Launcher.
func (l *Launcher) Start(ctx context.Context, spec launch.Spec) (launch.Instance, error) {
	tags, err := l.tags(spec)
	if err = cmp.Or(ctx.Err(), spec.Validate(), err); err != nil {
		return launch.Instance{}, err
	}
	select {
	case l.starts <- struct{}{}:
		defer func() { <-l.starts }()
	case <-ctx.Done():
		return launch.Instance{}, ctx.Err()
	}
	all, err := l.all(ctx)
	if err != nil {
		return launch.Instance{}, err
	}
	if m, ok, err := l.settle(ctx, all, spec.Token); err != nil || ok {
		return m.Instance, err
	}
	if err := l.room(all, spec); err != nil {
		return launch.Instance{}, fmt.Errorf("start %s: %w", spec.Node, err)
	}
	ok, err := l.fromPool(ctx, all, spec, tags)
	if err == nil && !ok {
		err = l.somewhere(ctx, spec, tags)
	}
	if err != nil {
		return launch.Instance{}, fmt.Errorf("start %s: %w", spec.Node, err)
	}
	// Another Start of the token, in another process, may have been as fast.
	if all, err = l.all(ctx, tagged(label.Token, spec.Token)); err != nil {
		return launch.Instance{}, err
	}
	if m, ok, err := l.settle(ctx, all, spec.Token); err != nil || ok {
		return m.Instance, err
	}
	return launch.Instance{Role: spec.Role, Token: spec.Token, Node: spec.Node}, nil // not listed yet
}

// tags returns those of an instance for spec, its environment included.
func (l *Launcher) tags(spec launch.Spec) (map[string]string, error) {
	env, err := label.Environ(spec)
	if err != nil {
		return nil, err
	}
	tags, err := label.Pack(env)
	if err != nil {
		return nil, err
	}
	for key, value := range l.o.Owner.Tags(spec) {
		tags[key] = value
	}
	return tags, nil
}

// settle returns the running instance of token. Of several only the oldest is
// left running, so that all who started one agree.
func (l *Launcher) settle(ctx context.Context, all []machine, token string) (machine, bool, error) {
	var found []machine
	for _, m := range all {
		if m.Token == token && m.runs() {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return machine{}, false, nil
	}
	slices.SortFunc(found, func(a, b machine) int { return cmp.Or(a.launched.Compare(b.launched), cmp.Compare(a.id, b.id)) })
	return found[0], true, l.terminate(ctx, found[1:]...)
}

// room reports why spec cannot be started beside the instances that there are.
func (l *Launcher) room(all []machine, spec launch.Spec) error {
	running := 0
	for _, m := range all {
		switch {
		case m.Token == spec.Token:
			return fmt.Errorf("the instance of %s has ended: %w", spec.Token, launch.ErrNotFound)
		case m.Token == "" || !m.runs():
		case m.Node == spec.Node:
			return fmt.Errorf("it runs already, under another token: %w", launch.ErrInvalid)
		case m.Role == spec.Role:
			running++
		}
	}
	if most := l.o.Most[spec.Role]; running >= most {
		return fmt.Errorf("all %d %ss that the launcher allows run: %w", most, spec.Role, launch.ErrNoCapacity)
	}
	return nil
}

// somewhere runs a new instance in the first kind and zone that has room.
func (l *Launcher) somewhere(ctx context.Context, spec launch.Spec, tags map[string]string) error {
	other := map[string]string{OnDemand: Spot, Spot: OnDemand}
	var full error
	for _, kind := range []string{l.o.Capacity, other[l.o.Capacity]} {
		for _, subnet := range l.subnets(spec.Token) {
			in := l.request(spec.Role, subnet, tags)
			in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
			in.ClientToken = aws.String(l.o.Owner.Digest(spec.Token, kind, subnet))
			if kind == Spot {
				in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
			}
			out, err := l.start.RunInstances(ctx, in)
			err = classify(err)
			switch {
			case errors.Is(err, launch.ErrNoCapacity):
				full = cmp.Or(full, err)
			case full != nil && errors.Is(err, launch.ErrInvalid):
				// The other kind is not open to this account or type.
			case err == nil && len(out.Instances) > 0 && !read(out.Instances[0]).runs():
				return fmt.Errorf("the instance of %s has ended: %w", spec.Token, launch.ErrNotFound)
			default:
				return err
			}
		}
	}
	return full
}

// subnets returns them in an order of the token's, so that all zones get some.
func (l *Launcher) subnets(token string) []string {
	return slices.SortedFunc(slices.Values(l.o.Subnets), func(a, b string) int {
		return cmp.Compare(l.o.Owner.Digest(token, a), l.o.Owner.Digest(token, b))
	})
}

func (l *Launcher) request(role mesh.Role, subnet string, tags map[string]string) *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String(l.o.Templates[role]), Version: aws.String("$Default")},
		MinCount:       aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: &subnet,
	}
	for _, kind := range []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume} {
		in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: kind, Tags: tagList(tags)})
	}
	return in
}

// Drain implements launch.Launcher: it tags the instance, which the process
// sees within seconds.
func (l *Launcher) Drain(ctx context.Context, node mesh.NodeID) error {
	found, err := l.find(ctx, node)
	if err != nil {
		return fmt.Errorf("drain %s: %w", node, err)
	}
	for _, m := range found {
		if err := l.mark(ctx, m.id, map[string]string{label.Drain: "1"}); err != nil {
			return fmt.Errorf("drain %s: %w", node, err)
		}
	}
	return nil
}

// Stop implements launch.Launcher: it terminates the instance.
func (l *Launcher) Stop(ctx context.Context, node mesh.NodeID) error {
	found, err := l.find(ctx, node)
	if err == nil {
		err = l.terminate(ctx, found...)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", node, err)
	}
	return nil
}

// find returns the running instances of node, normally one.
func (l *Launcher) find(ctx context.Context, node mesh.NodeID) ([]machine, error) {
	found, err := l.all(ctx, tagged(label.Node, string(node)))
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(m machine) bool { return m.Node != node || !m.runs() })
	if len(found) == 0 {
		return nil, launch.ErrNotFound
	}
	return found, nil
}

// List implements launch.Launcher. EC2 lists a new instance after a moment only.
func (l *Launcher) List(ctx context.Context) ([]launch.Instance, error) {
	all, err := l.all(ctx)
	if err != nil {
		return nil, err
	}
	var out []launch.Instance
	for _, m := range all {
		if m.Token != "" && m.runs() {
			out = append(out, m.Instance)
		}
	}
	slices.SortFunc(out, func(a, b launch.Instance) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Token, b.Token))
	})
	return out, nil
}
