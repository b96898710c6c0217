// Package ecslaunch starts processes as tasks of Amazon ECS on Fargate, nodes
// and gateways each from a task family of their own, with a container that is
// called node or gateway.
//
// A drain is ECS's own way of stopping a task: SIGTERM, upon which the process
// empties itself, and the end after the container's stopTimeout (give it 120 s,
// the most there is). ECS knows no faster way, so Stop does the same: a process
// that does not listen lives that long, which the fence of the store makes
// harmless.
package ecslaunch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

// Runner starts and stops tasks.
type Runner interface {
	RunTask(context.Context, *ecs.RunTaskInput, ...func(*ecs.Options)) (*ecs.RunTaskOutput, error)
	StopTask(context.Context, *ecs.StopTaskInput, ...func(*ecs.Options)) (*ecs.StopTaskOutput, error)
}

// Lister finds tasks.
type Lister interface {
	ListTasks(context.Context, *ecs.ListTasksInput, ...func(*ecs.Options)) (*ecs.ListTasksOutput, error)
	DescribeTasks(context.Context, *ecs.DescribeTasksInput, ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error)
}

// The kinds of Fargate.
const (
	OnDemand = "FARGATE"
	Spot     = "FARGATE_SPOT" // about 70 % cheaper, taken back with two minutes' notice
)

// MaxSubnets is how many subnets ECS takes.
const MaxSubnets = 16

// Options say where and what. All but Groups and Public must be given.
type Options struct {
	Cluster  string
	Families map[mesh.Role]string // task families, by role
	Subnets  []string             // one or more, best of several zones
	Groups   []string             // security groups
	// GatewayGroups are those of gateways; none: Groups.
	GatewayGroups []string
	// Capacity is the kind to begin with; where it has no room, the other kind is taken.
	Capacity string
	// Public gives tasks a public address.
	Public bool
	// Most bounds the tasks of each role.
	Most map[mesh.Role]int
	// Owner is whose tasks they are.
	Owner label.Owner
}

// Validate reports everything that is wrong with o.
func (o Options) Validate() error {
	var faults []error
	check := func(ok bool, f string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(f, a...))
		}
	}
	check(o.Cluster != "", "the cluster is missing")
	check(o.Owner.Shard != "" && o.Owner.Env != "", "the shard's name and environment are missing")
	check(len(o.Subnets) > 0 && len(o.Subnets) <= MaxSubnets, "%d subnets are given; give 1 to %d", len(o.Subnets), MaxSubnets)
	check(o.Capacity == OnDemand || o.Capacity == Spot, "the capacity is %q; it must be %s or %s", o.Capacity, OnDemand, Spot)
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		check(o.Families[r] != "", "the task family of %ss is missing", r)
		check(o.Most[r] > 0, "at most %d %ss are allowed; allow one or more", o.Most[r], r)
	}
	return errors.Join(faults...)
}

// Launcher starts tasks. It remembers nothing: ECS does, and shows a stopped
// task for about an hour, which is how long a token of a process that ended is
// known to be used up.
type Launcher struct {
	o      Options
	run    Runner
	list   Lister
	starts chan struct{} // holds a token while a Start is under way
}

// New returns a launcher, or what is wrong with o. An *ecs.Client is both
// Runner and Lister.
func New(o Options, run Runner, list Lister) (*Launcher, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Launcher{o: o, run: run, list: list, starts: make(chan struct{}, 1)}, nil
}

// Start implements launch.Launcher.
func (l *Launcher) Start(ctx context.Context, spec launch.Spec) (launch.Instance, error) {
	env, err := label.Environ(spec)
	if err = cmp.Or(ctx.Err(), spec.Validate(), err); err != nil {
		return launch.Instance{}, err
	}
	select {
	case l.starts <- struct{}{}:
		defer func() { <-l.starts }()
	case <-ctx.Done():
		return launch.Instance{}, ctx.Err()
	}
	if t, ok, err := l.settle(ctx, spec.Token); err != nil || ok {
		return t.Instance, err
	}
	if err := l.room(ctx, spec); err != nil {
		return launch.Instance{}, fmt.Errorf("start %s: %w", spec.Node, err)
	}
	i, err := l.somewhere(ctx, spec, env)
	if err != nil {
		return launch.Instance{}, fmt.Errorf("start %s in cluster %s: %w", spec.Node, l.o.Cluster, err)
	}
	// Another Start of the token, in another process, may have been as fast, on
	// another kind or in another zone.
	if t, ok, err := l.settle(ctx, spec.Token); err != nil || ok {
		return t.Instance, err
	}
	return i, nil // not listed yet
}

// settle returns the running task of token. Of several only the oldest is left
// running, so that all who started one agree.
func (l *Launcher) settle(ctx context.Context, token string) (task, bool, error) {
	found, err := l.tasks(ctx, &ecs.ListTasksInput{StartedBy: aws.String(l.startedBy(token))})
	if err != nil {
		return task{}, false, fmt.Errorf("look for the task of %s: %w", token, err)
	}
	found = slices.DeleteFunc(found, func(t task) bool { return t.leaving || t.Token != token })
	if len(found) == 0 {
		return task{}, false, nil
	}
	slices.SortFunc(found, func(a, b task) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.arn, b.arn)) })
	for _, t := range found[1:] {
		if err := l.stop(ctx, t, "another task of the same launch runs"); err != nil {
			return task{}, false, err
		}
	}
	return found[0], true, nil
}

// room reports why spec cannot be started beside the tasks that there are.
func (l *Launcher) room(ctx context.Context, spec launch.Spec) error {
	all, err := l.all(ctx)
	if err != nil {
		return err
	}
	running := 0
	for _, t := range all {
		switch {
		case t.startedBy == l.startedBy(spec.Token):
			return fmt.Errorf("the task of %s has ended: %w", spec.Token, launch.ErrNotFound)
		case t.ended:
		case t.Node == spec.Node:
			return fmt.Errorf("it runs already, under another token: %w", launch.ErrInvalid)
		case t.Role == spec.Role:
			running++
		}
	}
	if most := l.o.Most[spec.Role]; running >= most {
		return fmt.Errorf("all %d %ss that the launcher allows run: %w", most, spec.Role, launch.ErrNoCapacity)
	}
	return nil
}

// place is where a task may be asked for.
type place struct {
	kind    string
	subnets []string
}

// places lists them, best first: each kind in any zone, then in each zone for
// itself, since ECS gives up when the zone that it picks is full.
func (l *Launcher) places() (list []place) {
	other := map[string]string{OnDemand: Spot, Spot: OnDemand}
	for _, kind := range []string{l.o.Capacity, other[l.o.Capacity]} {
		list = append(list, place{kind, l.o.Subnets})
		for i := 0; i < len(l.o.Subnets) && len(l.o.Subnets) > 1; i++ {
			list = append(list, place{kind, l.o.Subnets[i : i+1]})
		}
	}
	return list
}

// somewhere runs the task in the first place that has room.
func (l *Launcher) somewhere(ctx context.Context, spec launch.Spec, env map[string]string) (launch.Instance, error) {
	var full error
	for _, p := range l.places() {
		i, err := l.runTask(ctx, spec, env, p)
		switch {
		case err == nil:
			return i, nil
		case errors.Is(err, launch.ErrNoCapacity):
			full = cmp.Or(full, err)
		case full != nil && errors.Is(err, launch.ErrInvalid):
			// The other kind is not open to this cluster.
		default:
			return launch.Instance{}, err
		}
	}
	return launch.Instance{}, full
}

func (l *Launcher) runTask(ctx context.Context, spec launch.Spec, env map[string]string, p place) (launch.Instance, error) {
	out, err := l.run.RunTask(ctx, l.request(spec, env, p))
	var conflict *types.ConflictException
	if errors.As(err, &conflict) && len(conflict.ResourceIds) > 0 {
		// The token was used with other settings: what it started then, counts.
		found, err := l.describe(ctx, conflict.ResourceIds)
		if err != nil || len(found) == 0 {
			return launch.Instance{}, errors.Join(conflict, err)
		}
		return found[0].started(spec)
	}
	switch {
	case err != nil:
		return launch.Instance{}, classify(err)
	case len(out.Tasks) > 0:
		return read(out.Tasks[0]).started(spec)
	case len(out.Failures) > 0:
		return launch.Instance{}, failed(out.Failures[0])
	}
	return launch.Instance{}, errors.New("ECS started nothing and says no reason")
}

func (l *Launcher) request(spec launch.Spec, env map[string]string, p place) *ecs.RunTaskInput {
	container := types.ContainerOverride{Name: aws.String(spec.Role.String())}
	for name, value := range sorted(env) {
		container.Environment = append(container.Environment, types.KeyValuePair{Name: &name, Value: &value})
	}
	if _, given := env["WEFT_KIND"]; !given { // what it is priced by
		container.Environment = append(container.Environment, types.KeyValuePair{Name: aws.String("WEFT_KIND"), Value: &p.kind})
	}
	in := &ecs.RunTaskInput{
		Cluster: &l.o.Cluster, TaskDefinition: aws.String(l.o.Families[spec.Role]), Count: aws.Int32(1),
		StartedBy:            aws.String(l.startedBy(spec.Token)),
		ClientToken:          aws.String(l.o.Owner.Digest(append([]string{spec.Token, p.kind}, p.subnets...)...)),
		EnableECSManagedTags: true,
		Overrides:            &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{container}},
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{
			Subnets: p.subnets, SecurityGroups: l.groups(spec.Role), AssignPublicIp: types.AssignPublicIpDisabled,
		}},
	}
	if l.o.Public {
		in.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp = types.AssignPublicIpEnabled
	}
	for key, value := range sorted(l.o.Owner.Tags(spec)) {
		in.Tags = append(in.Tags, types.Tag{Key: &key, Value: &value})
	}
	if p.kind == OnDemand {
		in.LaunchType = types.LaunchTypeFargate
	} else {
		in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: &p.kind, Weight: 1}}
	}
	return in
}

func (l *Launcher) groups(r mesh.Role) []string {
	if r == mesh.RoleGateway && len(l.o.GatewayGroups) > 0 {
		return l.o.GatewayGroups
	}
	return l.o.Groups
}

// startedBy is how ECS knows the token: 36 characters.
func (l *Launcher) startedBy(token string) string { return "weft-" + l.o.Owner.Digest(token) }

// Drain implements launch.Launcher.
func (l *Launcher) Drain(ctx context.Context, node mesh.NodeID) error {
	return l.end(ctx, node, "drained by the planner")
}

// Stop implements launch.Launcher. The task is sure to be over when its
// stopTimeout has passed.
func (l *Launcher) Stop(ctx context.Context, node mesh.NodeID) error {
	return l.end(ctx, node, "stopped by the planner")
}

func (l *Launcher) end(ctx context.Context, node mesh.NodeID, reason string) error {
	all, err := l.all(ctx)
	if err != nil {
		return err
	}
	err = fmt.Errorf("end %s: %w", node, launch.ErrNotFound)
	for _, t := range all {
		switch {
		case t.Node != node || t.ended:
		case t.leaving:
			err = nil
		default:
			return l.stop(ctx, t, reason)
		}
	}
	return err
}

func (l *Launcher) stop(ctx context.Context, t task, reason string) error {
	_, err := l.run.StopTask(ctx, &ecs.StopTaskInput{Cluster: &l.o.Cluster, Task: &t.arn, Reason: &reason})
	if err != nil {
		return fmt.Errorf("stop %s, task %s: %w", t.Node, t.arn, err)
	}
	return nil
}

// List implements launch.Launcher. ECS lists a new task after a moment only.
func (l *Launcher) List(ctx context.Context) ([]launch.Instance, error) {
	all, err := l.all(ctx)
	if err != nil {
		return nil, err
	}
	var out []launch.Instance
	for _, t := range all {
		if !t.ended {
			out = append(out, t.Instance)
		}
	}
	slices.SortFunc(out, func(a, b launch.Instance) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Token, b.Token))
	})
	return out, nil
}

// task is a task of ours.
type task struct {
	launch.Instance
	arn, startedBy string
	created        time.Time
	leaving, ended bool // was asked to stop; has stopped
}
