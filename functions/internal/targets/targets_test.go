package targets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"weft/control/mesh"
	"weft/control/store/dynamostore/mototest"
)

var emulator mototest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if err := emulator.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// fleet is a store of processes.
type fleet []mesh.Process

func (f *fleet) Processes(context.Context) ([]mesh.Process, error) { return *f, nil }

func gateway(address string, state mesh.ProcessState) mesh.Process {
	return mesh.Process{ID: mesh.NodeID("gateway " + address), Role: mesh.RoleGateway, State: state, Address: address}
}

// counted counts calls.
type counted struct {
	Balancer
	calls int
	fail  error
}

func (c *counted) DescribeTargetHealth(ctx context.Context, in *elb.DescribeTargetHealthInput, o ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error) {
	c.calls++
	if c.fail != nil {
		return nil, c.fail
	}
	return c.Balancer.DescribeTargetHealth(ctx, in, o...)
}

func TestSync(t *testing.T) {
	server, err := emulator.Get()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	network := ec2.NewFromConfig(server.Config())
	vpc, err := network.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.84.0.0/16"), InstanceTenancy: ec2types.TenancyDefault})
	if err != nil {
		t.Fatal(err)
	}
	client := elb.NewFromConfig(server.Config())
	group, err := client.CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{
		Name: aws.String("gateways"), Protocol: types.ProtocolEnumTls, Port: aws.Int32(7443), TargetType: types.TargetTypeEnumIp, VpcId: vpc.Vpc.VpcId,
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := *group.TargetGroups[0].TargetGroupArn
	targets := func() (list []string) {
		out, err := client.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range out.TargetHealthDescriptions {
			list = append(list, net.JoinHostPort(*d.Target.Id, strconv.Itoa(int(*d.Target.Port))))
		}
		slices.Sort(list)
		return list
	}
	f := &fleet{
		gateway("10.84.0.4:7443", mesh.Ready), gateway("10.84.1.5:7443", mesh.Ready), gateway("10.84.0.6:7443", mesh.Draining),
		{ID: "node-1", Role: mesh.RoleNode, State: mesh.Ready, Address: "10.84.0.9:7400"},
	}
	b := &counted{Balancer: client}
	k := With(b, arn, f)
	check := func(calls int, want ...string) {
		t.Helper()
		if got := targets(); !slices.Equal(got, want) || b.calls != calls {
			t.Errorf("targets %v after %d looks; want %v after %d", got, b.calls, want, calls)
		}
	}
	for range 3 { // once is enough while nothing changes
		if err := k.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(1, "10.84.0.4:7443", "10.84.1.5:7443")
	}
	(*f)[0].State, (*f)[2].State = mesh.Draining, mesh.Ready
	if err := k.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(2, "10.84.0.6:7443", "10.84.1.5:7443")
	if err := With(client, arn, &fleet{}).Sync(t.Context()); err != nil { // somebody else's view
		t.Fatal(err)
	}
	if err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(3, "10.84.0.6:7443", "10.84.1.5:7443")

	b.fail = errors.New("throttled")
	(*f)[1].State = mesh.Stopped
	if err := k.Follow(t.Context()); !errors.Is(err, b.fail) {
		t.Error(err)
	}
	b.fail = nil
	if err := k.Follow(t.Context()); err != nil { // what failed is done again
		t.Error(err)
	}
	check(5, "10.84.0.6:7443")
	*f = append(*f, gateway("nowhere", mesh.Ready), gateway("10.84.0.7:7443", mesh.Ready))
	if err := k.Follow(t.Context()); err == nil { // one that cannot be registered keeps no other out
		t.Error("an address without a port is taken")
	}
	check(6, "10.84.0.6:7443", "10.84.0.7:7443")
}

func TestWithoutABalancer(t *testing.T) {
	k := New(aws.Config{}, "", &fleet{})
	if err := errors.Join(k.Sync(t.Context()), k.Follow(t.Context())); k != nil || err != nil {
		t.Error(k, err)
	}
}
