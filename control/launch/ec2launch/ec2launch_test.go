package ec2launch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/ec2launch"
	"weft/control/launch/label"
	"weft/control/launch/launchtest"
	"weft/control/mesh"
	"weft/control/store/dynamostore/mototest"
)

var emulator mototest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(emulator.Close(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var shards atomic.Int64

// network makes the emulator's launch templates and subnets once.
var network = sync.OnceValues(func() (subnets []string, err error) {
	server, err := emulator.Get()
	if err != nil {
		return nil, err
	}
	ctx, c := context.Background(), ec2.NewFromConfig(server.Config())
	vpc, err := c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		return nil, err
	}
	for n, zone := range []string{"us-east-1a", "us-east-1b"} {
		s, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, AvailabilityZone: &zone, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", n))})
		if err != nil {
			return nil, err
		}
		subnets = append(subnets, *s.Subnet.SubnetId)
	}
	for _, name := range []string{"weft-node", "weft-gateway"} {
		if _, err := c.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String("ami-12c6146b"), InstanceType: types.InstanceTypeC7gLarge,
		}}); err != nil {
			return nil, err
		}
	}
	return subnets, nil
})

// prepare returns a client and options for a shard that has nothing.
func prepare(t *testing.T) (*ec2.Client, ec2launch.Options) {
	t.Helper()
	server, err := emulator.Get()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	subnets, err := network()
	if err != nil {
		t.Fatal(err)
	}
	o := ec2launch.Options{
		Templates: map[mesh.Role]string{mesh.RoleNode: "weft-node", mesh.RoleGateway: "weft-gateway"},
		Subnets:   subnets, Capacity: ec2launch.OnDemand,
		Most:  map[mesh.Role]int{mesh.RoleNode: launchtest.Capacity, mesh.RoleGateway: 1},
		Owner: label.Owner{Shard: fmt.Sprint("weft-", shards.Add(1)), Env: "dev"}, Now: time.Now,
	}
	return ec2.NewFromConfig(server.Config()), o
}

// spied is the client with something before its calls; nil lets them through.
type spied struct {
	*ec2.Client
	run   func(*ec2.RunInstancesInput) error
	start func(id string) error
	tag   func() error
}

func (s spied) RunInstances(ctx context.Context, in *ec2.RunInstancesInput, f ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	if s.run != nil {
		if err := s.run(in); err != nil {
			return nil, err
		}
	}
	return s.Client.RunInstances(ctx, in, f...)
}

func (s spied) StartInstances(ctx context.Context, in *ec2.StartInstancesInput, f ...func(*ec2.Options)) (*ec2.StartInstancesOutput, error) {
	if s.start != nil {
		if err := s.start(in.InstanceIds[0]); err != nil {
			return nil, err
		}
	}
	return s.Client.StartInstances(ctx, in, f...)
}

func (s spied) CreateTags(ctx context.Context, in *ec2.CreateTagsInput, f ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	if s.tag != nil {
		if err := s.tag(); err != nil {
			return nil, err
		}
	}
	return s.Client.CreateTags(ctx, in, f...)
}

func open(t *testing.T, o ec2launch.Options, c spied) *ec2launch.Launcher {
	t.Helper()
	l, err := ec2launch.New(o, c, c, c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// instances returns those of the shard that are in one of the states, by the order of EC2.
func instances(t *testing.T, c *ec2.Client, o ec2launch.Options, states ...types.InstanceStateName) []types.Instance {
	t.Helper()
	out, err := c.DescribeInstances(context.WithoutCancel(t.Context()), &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:weft:shard"), Values: []string{o.Owner.Shard}}}})
	if err != nil {
		t.Fatal(err)
	}
	var found []types.Instance
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if len(states) == 0 || slices.Contains(states, i.State.Name) {
				found = append(found, i)
			}
		}
	}
	return found
}

func tagsOf(i types.Instance) map[string]string {
	tags := map[string]string{}
	for _, t := range i.Tags {
		tags[*t.Key] = *t.Value
	}
	return tags
}

// powerOff does what the machines of the pool do that have no process.
func powerOff(t *testing.T, c *ec2.Client, o ec2launch.Options) {
	t.Helper()
	var ids []string
	for _, i := range instances(t, c, o, types.InstanceStateNameRunning) {
		if tags := tagsOf(i); tags[label.Warm] != "" && tags[label.Token] == "" {
			ids = append(ids, *i.InstanceId)
		}
	}
	if len(ids) == 0 {
		t.Fatal("the pool has no running instance")
	}
	if _, err := c.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
}

func node(token string, id mesh.NodeID, env ...string) launch.Spec {
	return launch.Spec{Role: mesh.RoleNode, Token: token, Node: id, Env: env}
}

func TestConformance(t *testing.T) {
	launchtest.Run(t, func(t *testing.T) launchtest.Harness {
		client, o := prepare(t)
		return launchtest.Harness{Launcher: open(t, o, spied{Client: client}), Ended: func(ctx context.Context, id mesh.NodeID) error {
			// A machine that finds the tag empties its process and powers off.
			for _, i := range instances(t, client, o, types.InstanceStateNameRunning) {
				if tags := tagsOf(i); tags[label.Node] == string(id) && tags[label.Drain] != "" {
					_, err := client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
					return err
				}
			}
			return errors.New("no running instance is told to drain")
		}}
	})
}

func TestAnInstanceIsToldAndTagged(t *testing.T) {
	client, o := prepare(t)
	var asked *ec2.RunInstancesInput
	l := open(t, o, spied{Client: client, run: func(in *ec2.RunInstancesInput) error { asked = in; return nil }})
	long := strings.Repeat("x", 400)
	if _, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleGateway, Token: "launch-gateway-1", Node: "gateway-1", Env: []string{"A=b?c=d&é", "LONG=" + long}}); err != nil {
		t.Fatal(err)
	}
	i := instances(t, client, o)[0]
	tags := tagsOf(i)
	for key, want := range map[string]string{
		"weft:shard": o.Owner.Shard, "weft:env": "dev", "weft:decision": "launch-gateway-1", "weft:token": "launch-gateway-1",
		"weft:role": "gateway", "weft:node": "gateway-1",
	} {
		if tags[key] != want {
			t.Errorf("tag %s is %q, want %q", key, tags[key], want)
		}
	}
	env, err := label.Unpack(tags)
	if want := []string{"A=b?c=d&é", "LONG=" + long, "WEFT_NODE_ID=gateway-1"}; err != nil || !slices.Equal(env, want) {
		t.Errorf("the environment is %q (%v), want %q", env, err, want)
	}
	if *asked.LaunchTemplate.LaunchTemplateName != "weft-gateway" || asked.InstanceInitiatedShutdownBehavior != types.ShutdownBehaviorTerminate || *asked.ClientToken == "" {
		t.Errorf("template %q, shutdown %q, client token %q", *asked.LaunchTemplate.LaunchTemplateName, asked.InstanceInitiatedShutdownBehavior, *asked.ClientToken)
	}
	if !slices.Contains(o.Subnets, *i.SubnetId) || i.InstanceType != types.InstanceTypeC7gLarge {
		t.Errorf("it is a %s in %s", i.InstanceType, *i.SubnetId)
	}
	_, err = l.Start(t.Context(), node("t", "a", "LONG="+strings.Repeat("x", label.MaxEnvironBytes)))
	if !errors.Is(err, launch.ErrInvalid) {
		t.Errorf("an environment that does not fit gives %v", err)
	}
}

func said(code string) error { return &smithy.GenericAPIError{Code: code, Message: "…"} }

func TestWhereItIsFullItGoesElsewhere(t *testing.T) {
	for _, c := range []struct {
		name     string
		capacity string
		answers  []error // in order; then nil
		kinds    string  // tried
		want     error
		started  int
	}{
		{"one zone is full", ec2launch.OnDemand, []error{said("InsufficientInstanceCapacity")}, "dd", nil, 1},
		{"a subnet has no address left", ec2launch.OnDemand, []error{said("InsufficientFreeAddressesInSubnet")}, "dd", nil, 1},
		{"the quota of a kind is used up", ec2launch.OnDemand, []error{said("VcpuLimitExceeded"), said("VcpuLimitExceeded")}, "dds", nil, 1},
		{"no spot", ec2launch.Spot, []error{said("MaxSpotInstanceCountExceeded"), said("UnfulfillableCapacity")}, "ssd", nil, 1},
		{"all is full", ec2launch.OnDemand, []error{said("InsufficientInstanceCapacity"), said("Unsupported"), said("MaxSpotInstanceCountExceeded"), said("SpotMaxPriceTooLow")}, "ddss", launch.ErrNoCapacity, 0},
		{"the other kind is not open", ec2launch.OnDemand, []error{said("InstanceLimitExceeded"), said("InstanceLimitExceeded"), said("InvalidParameterCombination"), said("InvalidParameterCombination")}, "ddss", launch.ErrNoCapacity, 0},
		{"a wrong request is not repeated", ec2launch.OnDemand, []error{said("InvalidSubnetID.NotFound")}, "d", launch.ErrInvalid, 0},
		{"a denied one neither", ec2launch.OnDemand, []error{said("UnauthorizedOperation")}, "d", launch.ErrInvalid, 0},
		{"no answer is none", ec2launch.OnDemand, []error{said("RequestLimitExceeded")}, "d", nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, o := prepare(t)
			o.Capacity = c.capacity
			kinds, places, tokens := "", map[string]bool{}, map[string]bool{}
			l := open(t, o, spied{Client: client, run: func(in *ec2.RunInstancesInput) error {
				kind := "d"
				if in.InstanceMarketOptions != nil {
					kind = "s"
				}
				n := len(kinds)
				kinds, places[kind+*in.SubnetId], tokens[*in.ClientToken] = kinds+kind, true, true
				if n < len(c.answers) {
					return c.answers[n]
				}
				return nil
			}})
			_, err := l.Start(t.Context(), node("t", "a"))
			switch {
			case c.want != nil && !errors.Is(err, c.want), c.started == 1 && err != nil, c.started == 0 && err == nil:
				t.Errorf("Start says %v, want %v", err, c.want)
			case c.want == nil && (errors.Is(err, launch.ErrInvalid) || errors.Is(err, launch.ErrNoCapacity)):
				t.Errorf("an unknown outcome became %v", err)
			}
			if kinds != c.kinds || len(places) != len(kinds) || len(tokens) != len(kinds) {
				t.Errorf("tried %q in %v with %d client tokens; want %q, each once", kinds, places, len(tokens), c.kinds)
			}
			if list, err := l.List(t.Context()); err != nil || len(list) != c.started {
				t.Errorf("%v run (%v), want %d", list, err, c.started)
			}
		})
	}
}

// Two launchers that do not see each other start one token at once, which the
// emulator allows: one instance is left.
func TestARaceLeavesOne(t *testing.T) {
	client, o := prepare(t)
	quick := open(t, o, spied{Client: client})
	slow := open(t, o, spied{Client: client, run: func(*ec2.RunInstancesInput) error {
		_, err := quick.Start(t.Context(), node("t", "a")) // after slow has looked
		return err
	}})
	if _, err := slow.Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	if left := instances(t, client, o, types.InstanceStateNameRunning); len(left) != 1 {
		t.Errorf("%d instances run", len(left))
	}
}

func TestTheWarmPool(t *testing.T) {
	client, o := prepare(t)
	o.Warm = 2
	now := time.Now()
	o.Now = func() time.Time { return now }
	var ran []types.ShutdownBehavior
	l := open(t, o, spied{Client: client, run: func(in *ec2.RunInstancesInput) error {
		ran = append(ran, in.InstanceInitiatedShutdownBehavior)
		return nil
	}})
	refill := func() {
		t.Helper()
		if err := l.Refill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refill()
	refill() // it is being filled
	if want := []types.ShutdownBehavior{types.ShutdownBehaviorStop, types.ShutdownBehaviorStop}; !slices.Equal(ran, want) {
		t.Fatalf("the pool began with %v", ran)
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("the pool is listed as %v (%v)", list, err)
	}
	powerOff(t, client, o)

	// One of the pool becomes a node, and behaves like one.
	i, err := l.Start(t.Context(), node("t", "a", "COLOUR=blue"))
	if err != nil || len(ran) != 2 {
		t.Fatalf("Start says %v, %v; %d instances were made, want the pool's 2", i, err, len(ran))
	}
	started := instances(t, client, o, types.InstanceStateNameRunning)
	if len(started) != 1 {
		t.Fatalf("%d instances run", len(started))
	}
	if env, err := label.Unpack(tagsOf(started[0])); err != nil || !slices.Equal(env, []string{"COLOUR=blue", "WEFT_NODE_ID=a"}) {
		t.Errorf("it finds %q (%v)", env, err)
	}
	attribute, err := client.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{
		InstanceId: started[0].InstanceId, Attribute: types.InstanceAttributeNameInstanceInitiatedShutdownBehavior})
	if err != nil || *attribute.InstanceInitiatedShutdownBehavior.Value != "terminate" {
		t.Errorf("when its process ends it will not terminate (%v)", err)
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 1 || list[0] != i {
		t.Errorf("List names %v (%v), want %v", list, err, i)
	}
	// The pool is refilled; a gateway does not take from it.
	refill()
	powerOff(t, client, o)
	if _, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleGateway, Token: "g", Node: "g"}); err != nil || len(ran) != 4 {
		t.Errorf("%v; %d instances were made, want 4: the pool's 3 and the gateway's", err, len(ran))
	}
	// What was switched off with a process is over; what is too many goes.
	if _, err := client.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{*started[0].InstanceId}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(t.Context(), node("t", "a")); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("its token gives %v", err)
	}
	o.Warm = 1
	l = open(t, o, spied{Client: client})
	refill()
	if left := instances(t, client, o, types.InstanceStateNameStopped); len(left) != 1 || tagsOf(left[0])[label.Token] != "" {
		t.Errorf("%d stopped instances are left", len(left))
	}
	// Before the world is taken away the pool goes, and what has a process counts.
	if held, err := l.Release(t.Context()); err != nil || held != 1 || len(instances(t, client, o, types.InstanceStateNameStopped)) != 0 {
		t.Errorf("%d instances are held, %v", held, err)
	}
	if err := l.Stop(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if held, err := l.Release(t.Context()); err != nil || held != 0 {
		t.Errorf("%d instances are held in the end, %v", held, err)
	}
}

func TestAPoolThatHangsIsReplaced(t *testing.T) {
	client, o := prepare(t)
	o.Warm = 1
	now := time.Now()
	o.Now = func() time.Time { return now }
	l := open(t, o, spied{Client: client})
	for range 2 {
		if err := l.Refill(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	if ended, runs := instances(t, client, o, types.InstanceStateNameTerminated), instances(t, client, o, types.InstanceStateNameRunning); len(ended) != 1 || len(runs) != 1 {
		t.Errorf("%d were ended and %d run; want one each", len(ended), len(runs))
	}
}

func TestThePoolIsContended(t *testing.T) {
	client, o := prepare(t)
	o.Warm = 2
	if err := open(t, o, spied{Client: client}).Refill(t.Context()); err != nil {
		t.Fatal(err)
	}
	powerOff(t, client, o)
	fresh, tries := 0, 0

	l := open(t, o, spied{Client: client, run: func(*ec2.RunInstancesInput) error { fresh++; return nil }, start: func(id string) error {
		if tries++; tries > 1 {
			return said("InsufficientInstanceCapacity")
		}
		_, err := client.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}) // another was first
		return err
	}})
	if _, err := l.Start(t.Context(), node("t", "a")); err != nil || tries != 2 || fresh != 1 {
		t.Errorf("Start says %v after %d tries of the pool and %d new instances; want 2 and 1", err, tries, fresh)
	}
}

// A start that was cut short before its instance got its tags has started
// nothing: the machine waits for a process, in vain, and the token is good.
func TestAStartCutShort(t *testing.T) {
	client, o := prepare(t)
	o.Warm = 1
	if err := open(t, o, spied{Client: client}).Refill(t.Context()); err != nil {
		t.Fatal(err)
	}
	powerOff(t, client, o)
	l := open(t, o, spied{Client: client, tag: func() error { return said("InternalError") }})
	if _, err := l.Start(t.Context(), node("t", "a")); err == nil || errors.Is(err, launch.ErrInvalid) || errors.Is(err, launch.ErrNoCapacity) {
		t.Fatalf("Start says %v", err)
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List names %v (%v)", list, err)
	}
	if _, err := l.Start(t.Context(), node("t", "a")); err != nil {
		t.Errorf("its repetition says %v", err)
	}
}

func TestAPoolWithoutRoom(t *testing.T) {
	client, o := prepare(t)
	o.Warm = 1
	l := open(t, o, spied{Client: client, run: func(*ec2.RunInstancesInput) error { return said("InsufficientInstanceCapacity") }})
	if err := l.Refill(t.Context()); !errors.Is(err, launch.ErrNoCapacity) || !strings.Contains(err.Error(), "which has 0 of 1") {
		t.Errorf("Refill says %v", err)
	}
}

// paged hands out reservations one by one.
type paged struct{ *ec2.Client }

func (p paged) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, f ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	one := *in
	one.MaxResults = aws.Int32(1)
	return p.Client.DescribeInstances(ctx, &one, f...)
}

func TestPages(t *testing.T) {
	client, o := prepare(t)
	l, err := ec2launch.New(o, client, client, paged{client})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []mesh.NodeID{"c", "a", "b"} {
		if _, err := l.Start(t.Context(), node("t"+string(id), id)); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 3 || list[0].Node != "a" || list[2].Node != "c" {
		t.Errorf("List names %v (%v)", list, err)
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	client, o := prepare(t)
	other := o
	other.Owner.Env = "prod"
	if _, err := open(t, other, spied{Client: client}).Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	l := open(t, o, spied{Client: client})
	if list, err := l.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List names %v (%v)", list, err)
	}
	if err := l.Stop(t.Context(), "a"); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("Stop says %v", err)
	}
	if _, err := l.Start(t.Context(), node("t", "a")); err != nil {
		t.Errorf("Start says %v", err)
	}
}

func TestOptions(t *testing.T) {
	_, err := ec2launch.New(ec2launch.Options{Capacity: "cheap", Warm: 65}, nil, nil, nil)
	for _, want := range []string{
		"the shard's name and environment are missing", "0 subnets are given; give 1 to 16", `the capacity is "cheap"; it must be on-demand or spot`,
		"65 instances are to be kept warm; keep 0 to 64", "the clock is missing", "the launch template of gateways is missing", "at most 0 nodes are allowed",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
