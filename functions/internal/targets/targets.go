// Package targets keeps the targets of a load balancer to the gateways that
// take clients, for deployments that have one. Begin with New.
package targets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"weft/control/mesh"
)

// Balancer is what is called of the load balancer.
type Balancer interface {
	DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error)
	RegisterTargets(context.Context, *elb.RegisterTargetsInput, ...func(*elb.Options)) (*elb.RegisterTargetsOutput, error)
	DeregisterTargets(context.Context, *elb.DeregisterTargetsInput, ...func(*elb.Options)) (*elb.DeregisterTargetsOutput, error)
}

// Store tells of the processes.
type Store interface {
	Processes(ctx context.Context) ([]mesh.Process, error)
}

// Keeper keeps one target group. A nil Keeper keeps nothing.
type Keeper struct {
	group    string
	store    Store
	balancer Balancer

	mu   sync.Mutex
	done string // for which targets all was done last
}

// New returns a keeper of the target group of that ARN, or nil for none.
func New(cfg aws.Config, group string, st Store) *Keeper {
	if group == "" {
		return nil
	}
	return With(elb.NewFromConfig(cfg), group, st)
}

// With is New over a balancer.
func With(b Balancer, group string, st Store) *Keeper {
	return &Keeper{group: group, store: st, balancer: b}
}

// Follow does what Sync does if the gateways are others than this keeper did it
// for last; for whoever calls often.
func (k *Keeper) Follow(ctx context.Context) error { return k.sync(ctx, false) }

// Sync registers the gateways that are ready and deregisters whatever else is
// in the group. It is safe to repeat, and to run twice at once.
func (k *Keeper) Sync(ctx context.Context) error { return k.sync(ctx, true) }

func (k *Keeper) sync(ctx context.Context, always bool) error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	processes, err := k.store.Processes(ctx)
	if err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	want := map[string]bool{}
	for _, p := range processes {
		if p.Role == mesh.RoleGateway && p.State == mesh.Ready && p.Address != "" {
			want[p.Address] = true
		}
	}
	all := strings.Join(slices.Sorted(maps.Keys(want)), " ")
	if !always && all == k.done {
		return nil
	}
	k.done = ""
	out, err := k.balancer.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &k.group})
	if err != nil {
		return fmt.Errorf("look at the targets of %s: %w", k.group, err)
	}
	var gone, fresh []types.TargetDescription
	for _, t := range out.TargetHealthDescriptions {
		if t.Target == nil || t.TargetHealth != nil && t.TargetHealth.State == types.TargetHealthStateEnumDraining {
			continue
		}
		address := net.JoinHostPort(aws.ToString(t.Target.Id), strconv.Itoa(int(aws.ToInt32(t.Target.Port))))
		if !want[address] {
			gone = append(gone, *t.Target)
		}
		delete(want, address)
	}
	var faults []error
	for _, address := range slices.Sorted(maps.Keys(want)) {
		host, port, err := net.SplitHostPort(address)
		n, nerr := strconv.ParseUint(port, 10, 16)
		if err != nil || nerr != nil {
			faults = append(faults, fmt.Errorf("a gateway gives %q as its address", address))
			continue
		}
		fresh = append(fresh, types.TargetDescription{Id: &host, Port: aws.Int32(int32(n))})
	}
	if len(fresh) > 0 {
		if _, err := k.balancer.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: &k.group, Targets: fresh}); err != nil {
			faults = append(faults, fmt.Errorf("register gateways with %s: %w", k.group, err))
		}
	}
	if len(gone) > 0 {
		if _, err := k.balancer.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &k.group, Targets: gone}); err != nil {
			faults = append(faults, fmt.Errorf("take gateways out of %s: %w", k.group, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	k.done = all
	return nil
}
