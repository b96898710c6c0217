package ec2launch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

// machine is an instance of ours.
type machine struct {
	launch.Instance // zero in the warm pool
	id              string
	state           types.InstanceStateName
	warm            mesh.Role // waits to be one of these
	launched        time.Time // or started again
}

func (m machine) runs() bool {
	return m.state == types.InstanceStateNamePending || m.state == types.InstanceStateNameRunning
}

// over reports that the instance is gone or sure to be.
func (m machine) over() bool {
	return m.state == types.InstanceStateNameShuttingDown || m.state == types.InstanceStateNameTerminated
}

// What a launcher looks at: at once, and at most.
const (
	atOnce      = 500
	maxMachines = 10_000
)

// tagged is a filter.
func tagged(key, value string) types.Filter {
	return types.Filter{Name: aws.String("tag:" + key), Values: []string{value}}
}

// all returns the owner's instances, those that have lately been terminated
// included, as far as they pass the filters.
func (l *Launcher) all(ctx context.Context, filters ...types.Filter) (found []machine, err error) {
	in := &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(atOnce),
		Filters:    append([]types.Filter{tagged(label.Shard, l.o.Owner.Shard), tagged(label.Env, l.o.Owner.Env)}, filters...),
	}
	for {
		out, err := l.list.DescribeInstances(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list the shard's instances: %w", err)
		}
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				found = append(found, read(i))
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(in.NextToken) == "" {
			return found, nil
		}
		if len(found) > maxMachines {
			return nil, fmt.Errorf("there are more than %d instances", maxMachines)
		}
	}
}

// Used reports whether token started an instance that runs, or was terminated
// within the hour.
func (l *Launcher) Used(ctx context.Context, token string) (bool, error) {
	all, err := l.all(ctx, tagged(label.Token, token))
	return slices.ContainsFunc(all, func(m machine) bool { return m.Token == token }), err
}

// read makes a machine of ours out of one of EC2.
func read(i types.Instance) machine {
	tags := map[string]string{}
	for _, t := range i.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	m := machine{id: aws.ToString(i.InstanceId), launched: aws.ToTime(i.LaunchTime)}
	if i.State != nil {
		m.state = i.State.Name
	}
	var ok bool
	if m.Instance, ok = label.Instance(tags); !ok {
		m.Instance, m.warm = launch.Instance{}, label.RoleOf(tags[label.Warm])
	}
	return m
}

func tagList(tags map[string]string) (list []types.Tag) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: &key, Value: aws.String(tags[key])})
	}
	return list
}

func (l *Launcher) mark(ctx context.Context, id string, tags map[string]string) error {
	if _, err := l.tag.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(tags)}); err != nil {
		return fmt.Errorf("tag instance %s: %w", id, err)
	}
	return nil
}

func (l *Launcher) terminate(ctx context.Context, machines ...machine) error {
	var ids []string
	for _, m := range machines {
		ids = append(ids, m.id)
	}
	if len(ids) == 0 {
		return nil
	}
	if _, err := l.tag.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		return fmt.Errorf("terminate %v: %w", ids, err)
	}
	return nil
}
