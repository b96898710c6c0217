package ecslaunch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/ecslaunch"
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

var clusters atomic.Int64

// prepare makes a cluster with two task families and returns its client and
// options for it.
func prepare(t *testing.T) (*ecs.Client, ecslaunch.Options) {
	t.Helper()
	server, err := emulator.Get()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	client := ecs.NewFromConfig(server.Config())
	o := ecslaunch.Options{
		Cluster: fmt.Sprintf("weft-%d-", clusters.Add(1)), Families: map[mesh.Role]string{},
		Subnets: []string{"subnet-a", "subnet-b"}, Groups: []string{"sg-nodes"}, Capacity: ecslaunch.OnDemand,
		Most:  map[mesh.Role]int{mesh.RoleNode: launchtest.Capacity, mesh.RoleGateway: 1},
		Owner: label.Owner{Shard: "weft", Env: "dev"},
	}
	if _, err := client.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: &o.Cluster}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		o.Families[r] = o.Cluster + r.String()
		_, err := client.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
			Family: aws.String(o.Families[r]), Cpu: aws.String("256"), Memory: aws.String("512"),
			ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String(r.String()), Image: aws.String("weft"), Cpu: 256, Memory: aws.Int32(512)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return client, o
}

func open(t *testing.T, o ecslaunch.Options, run ecslaunch.Runner, list ecslaunch.Lister) *ecslaunch.Launcher {
	t.Helper()
	l, err := ecslaunch.New(o, run, list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// described returns the tasks of the cluster that run.
func described(t *testing.T, c *ecs.Client, o ecslaunch.Options) []types.Task {
	t.Helper()
	l, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: &o.Cluster, DesiredStatus: types.DesiredStatusRunning})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.TaskArns) == 0 {
		return nil
	}
	d, err := c.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: &o.Cluster, Tasks: l.TaskArns, Include: []types.TaskField{types.TaskFieldTags}})
	if err != nil {
		t.Fatal(err)
	}
	return d.Tasks
}

func node(token string, id mesh.NodeID) launch.Spec {
	return launch.Spec{Role: mesh.RoleNode, Token: token, Node: id}
}

func TestConformance(t *testing.T) {
	launchtest.Run(t, func(t *testing.T) launchtest.Harness {
		client, o := prepare(t)
		l := open(t, o, client, client)
		return launchtest.Harness{Launcher: l, Ended: func(ctx context.Context, id mesh.NodeID) error {
			waiter, in := ecs.NewTasksStoppedWaiter(client), &ecs.DescribeTasksInput{Cluster: &o.Cluster}
			all, err := client.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &o.Cluster})
			in.Tasks = all.TaskArns
			return errors.Join(err, waiter.Wait(ctx, in, launchtest.Patience))
		}}
	})
}

func TestATaskIsToldAndTagged(t *testing.T) {
	client, o := prepare(t)
	var asked *ecs.RunTaskInput
	l := open(t, o, runner{client, func(in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) { asked = in; return nil, nil }}, client)
	s := launch.Spec{Role: mesh.RoleGateway, Token: "launch-gateway-1", Node: "gateway-1", Env: []string{"WEFT_STORE=dynamodb://weft-dev?region=us-east-1", "A=b=c"}}
	if _, err := l.Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	task := described(t, client, o)[0]
	tags := map[string]string{}
	for _, tag := range task.Tags {
		tags[*tag.Key] = *tag.Value
	}
	for key, want := range map[string]string{
		"weft:shard": "weft", "weft:env": "dev", "weft:decision": "launch-gateway-1", "weft:token": "launch-gateway-1",
		"weft:role": "gateway", "weft:node": "gateway-1",
	} {
		if tags[key] != want {
			t.Errorf("tag %s is %q, want %q", key, tags[key], want)
		}
	}
	var env []string
	for _, e := range task.Overrides.ContainerOverrides[0].Environment {
		env = append(env, *e.Name+"="+*e.Value)
	}
	if want := []string{"A=b=c", "WEFT_NODE_ID=gateway-1", "WEFT_STORE=dynamodb://weft-dev?region=us-east-1", "WEFT_KIND=FARGATE"}; !slices.Equal(env, want) {
		t.Errorf("the environment is %q, want %q", env, want)
	}
	if name := *task.Overrides.ContainerOverrides[0].Name; name != "gateway" {
		t.Errorf("container %q is told", name)
	}
	if !strings.Contains(*task.TaskDefinitionArn, o.Families[mesh.RoleGateway]) {
		t.Errorf("it is a task of %s", *task.TaskDefinitionArn)
	}
	if n := len(*task.StartedBy); n != 36 || *asked.ClientToken == "" || !slices.Equal(asked.NetworkConfiguration.AwsvpcConfiguration.Subnets, o.Subnets) {
		t.Errorf("started by %q (%d characters), client token %q, network %v", *task.StartedBy, n, *asked.ClientToken, asked.NetworkConfiguration)
	}
}

// runner asks before before it runs a task.
type runner struct {
	*ecs.Client
	before func(*ecs.RunTaskInput) (*ecs.RunTaskOutput, error)
}

func (r runner) RunTask(ctx context.Context, in *ecs.RunTaskInput, f ...func(*ecs.Options)) (*ecs.RunTaskOutput, error) {
	if out, err := r.before(in); out != nil || err != nil {
		return out, err
	}
	return r.Client.RunTask(ctx, in, f...)
}

func said(code, message string) error { return &smithy.GenericAPIError{Code: code, Message: message} }

var (
	errFull  = said("ClientException", "Capacity is unavailable at this time. Please try again later or in a different availability zone")
	errQuota = said("ClientException", "You've reached the limit on the number of vCPUs you can run concurrently")
)

func TestWhereItIsFullItGoesElsewhere(t *testing.T) {
	client, base := prepare(t)
	all := []string{"FARGATE subnet-a,subnet-b", "FARGATE subnet-a", "FARGATE subnet-b", "FARGATE_SPOT subnet-a,subnet-b", "FARGATE_SPOT subnet-a", "FARGATE_SPOT subnet-b"}
	for _, c := range []struct {
		name    string
		refuse  map[string]error // by place
		other   error            // in places not named
		tried   []string
		want    error
		reply   *types.Failure // instead of err in the first place
		started int
	}{
		{name: "one zone is full", other: nil, refuse: map[string]error{all[0]: errFull, all[1]: errFull}, tried: all[:3], started: 1},
		{name: "one kind is full", refuse: map[string]error{all[0]: errFull, all[1]: errFull, all[2]: errQuota}, tried: all[:4], started: 1},
		{name: "all is full", other: errFull, tried: all, want: launch.ErrNoCapacity},
		{name: "a failure in a good reply", reply: &types.Failure{Reason: aws.String("RESOURCE:ENI")}, tried: all[:2], started: 1},
		{name: "the other kind is not open", other: said("InvalidParameterException", "no such capacity provider"),
			refuse: map[string]error{all[0]: errFull, all[1]: errFull, all[2]: errFull}, tried: all, want: launch.ErrNoCapacity},
		{name: "a wrong request is not repeated", other: said("InvalidParameterException", "subnet"), tried: all[:1], want: launch.ErrInvalid},
		{name: "a denied one neither", other: said("AccessDeniedException", "no"), tried: all[:1], want: launch.ErrInvalid},
		{name: "no answer is none", other: said("ServerException", "oops"), tried: all[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := base
			o.Owner.Shard = c.name
			var tried []string
			l := open(t, o, runner{client, func(in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
				kind := string(in.LaunchType)
				if len(in.CapacityProviderStrategy) > 0 {
					kind = *in.CapacityProviderStrategy[0].CapacityProvider
				}
				place := kind + " " + strings.Join(in.NetworkConfiguration.AwsvpcConfiguration.Subnets, ",")
				tried = append(tried, place)
				if c.reply != nil && len(tried) == 1 {
					return &ecs.RunTaskOutput{Failures: []types.Failure{*c.reply}}, nil
				}
				if err, ok := c.refuse[place]; ok {
					return nil, err
				}
				return nil, c.other
			}}, client)
			_, err := l.Start(t.Context(), node("t", "a"))
			switch {
			case c.want != nil && !errors.Is(err, c.want), c.started == 1 && err != nil, c.started == 0 && err == nil:
				t.Errorf("Start says %v, want %v", err, c.want)
			case c.want == nil && (errors.Is(err, launch.ErrInvalid) || errors.Is(err, launch.ErrNoCapacity)):
				t.Errorf("an unknown outcome became %v", err)
			}
			if !slices.Equal(tried, c.tried) {
				t.Errorf("tried %q, want %q", tried, c.tried)
			}
			if list, err := l.List(t.Context()); err != nil || len(list) != c.started {
				t.Errorf("%v run (%v), want %d", list, err, c.started)
			}
		})
	}
}

// Two launchers that do not see each other start one token at once, which the
// emulator allows: one task is left.
func TestARaceLeavesOne(t *testing.T) {
	client, o := prepare(t)
	quick := open(t, o, client, client)
	slow := open(t, o, runner{client, func(*ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
		_, err := quick.Start(t.Context(), node("t", "a")) // after slow has looked
		return nil, err
	}}, client)
	if _, err := slow.Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	if tasks := described(t, client, o); len(tasks) != 1 {
		t.Errorf("%d tasks run", len(tasks))
	}
}

func TestAStartThatIsRepeatedWithOtherSettingsCounts(t *testing.T) {
	client, o := prepare(t)
	if _, err := open(t, o, client, client).Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	arn := *described(t, client, o)[0].TaskArn
	// The list is late, so ECS is asked once more and refuses.
	l := open(t, o, runner{client, func(*ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
		return nil, &types.ConflictException{ResourceIds: []string{arn}}
	}}, blind{client})
	if i, err := l.Start(t.Context(), node("t", "a")); err != nil || i.Node != "a" {
		t.Errorf("Start says %v, %v", i, err)
	}
	if _, err := client.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: &o.Cluster, Task: &arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(t.Context(), node("t", "a")); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("Start of a stopped one says %v", err)
	}
}

// blind lists nothing.
type blind struct{ *ecs.Client }

func (blind) ListTasks(context.Context, *ecs.ListTasksInput, ...func(*ecs.Options)) (*ecs.ListTasksOutput, error) {
	return &ecs.ListTasksOutput{}, nil
}

// Tasks of another shard and by other hands are left alone.
func TestOthersAreLeftAlone(t *testing.T) {
	client, o := prepare(t)
	other := o
	other.Owner.Env = "prod"
	if _, err := open(t, other, client, client).Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	l := open(t, o, client, client)
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

// paged hands out a list one by one.
type paged struct{ *ecs.Client }

func (p paged) ListTasks(ctx context.Context, in *ecs.ListTasksInput, f ...func(*ecs.Options)) (*ecs.ListTasksOutput, error) {
	whole := *in
	whole.NextToken = nil
	out, err := p.Client.ListTasks(ctx, &whole, f...)
	if err != nil {
		return nil, err
	}
	slices.Sort(out.TaskArns)
	at := 0
	if in.NextToken != nil {
		fmt.Sscan(*in.NextToken, &at) //nolint:errcheck // our own
	}
	if at+1 < len(out.TaskArns) {
		out.NextToken = aws.String(fmt.Sprint(at + 1))
	}
	out.TaskArns = out.TaskArns[min(at, len(out.TaskArns)):min(at+1, len(out.TaskArns))]
	return out, nil
}

func TestPages(t *testing.T) {
	client, o := prepare(t)
	l := open(t, o, client, paged{client})
	for _, id := range []mesh.NodeID{"c", "a", "b"} {
		if _, err := l.Start(t.Context(), node("t"+string(id), id)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.List(t.Context())
	if err != nil || len(list) != 3 || list[0].Node != "a" || list[2].Node != "c" {
		t.Errorf("List names %v (%v)", list, err)
	}
}

// A task that was told to stop counts until it has.
func TestADrainingTaskIsListed(t *testing.T) {
	client, o := prepare(t)
	l := open(t, o, client, leaving{client})
	if _, err := l.Start(t.Context(), node("t", "a")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Drain(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("List names %v (%v)", list, err)
	}
	if _, err := l.Start(t.Context(), node("t", "a")); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("Start says %v", err)
	}
}

// leaving shows stopped tasks as ECS does while their processes still run.
type leaving struct{ *ecs.Client }

func (l leaving) DescribeTasks(ctx context.Context, in *ecs.DescribeTasksInput, f ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error) {
	out, err := l.Client.DescribeTasks(ctx, in, f...)
	for i := range out.Tasks {
		if aws.ToString(out.Tasks[i].LastStatus) == "STOPPED" {
			out.Tasks[i].LastStatus = aws.String("DEACTIVATING")
		}
	}
	return out, err
}

func TestOptions(t *testing.T) {
	_, err := ecslaunch.New(ecslaunch.Options{Capacity: "LAMBDA"}, nil, nil)
	for _, want := range []string{
		"the cluster is missing", "the shard's name and environment are missing", "0 subnets are given; give 1 to 16",
		`the capacity is "LAMBDA"; it must be FARGATE or FARGATE_SPOT`, "the task family of gateways is missing", "at most 0 nodes are allowed",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// The clients' port is open on gateways only.
func TestGatewaysHaveGroupsOfTheirOwn(t *testing.T) {
	client, o := prepare(t)
	o.GatewayGroups = []string{"sg-nodes", "sg-clients"}
	got := map[string][]string{}
	l := open(t, o, runner{client, func(in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
		got[*in.Overrides.ContainerOverrides[0].Name] = in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups
		return nil, nil
	}}, client)
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		if _, err := l.Start(t.Context(), launch.Spec{Role: r, Token: "t" + r.String(), Node: mesh.NodeID(r.String())}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got["node"], o.Groups) || !slices.Equal(got["gateway"], o.GatewayGroups) {
		t.Errorf("groups are %v", got)
	}
}
