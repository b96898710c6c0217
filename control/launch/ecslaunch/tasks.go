package ecslaunch

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"weft/control/launch"
	"weft/control/launch/label"
)

// What ECS lists and describes at once, and what a launcher looks at at most.
const (
	atOnce   = 100
	maxTasks = 10_000
)

// all returns every task of the owner that runs, stops or stopped lately.
func (l *Launcher) all(ctx context.Context) ([]task, error) {
	byARN := map[string]task{}
	for _, family := range l.o.Families {
		for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
			found, err := l.tasks(ctx, &ecs.ListTasksInput{Family: &family, DesiredStatus: status})
			if err != nil {
				return nil, fmt.Errorf("list the tasks of %s in cluster %s: %w", family, l.o.Cluster, err)
			}
			for _, t := range found {
				byARN[t.arn] = t
			}
		}
	}
	return slices.Collect(maps.Values(byARN)), nil
}

// Used reports whether token started a task that runs, or ended within the hour.
func (l *Launcher) Used(ctx context.Context, token string) (bool, error) {
	all, err := l.all(ctx)
	return slices.ContainsFunc(all, func(t task) bool { return t.startedBy == l.startedBy(token) }), err
}

// tasks returns the owner's tasks that in lists, page by page.
func (l *Launcher) tasks(ctx context.Context, in *ecs.ListTasksInput) (found []task, err error) {
	in.Cluster, in.MaxResults = &l.o.Cluster, aws.Int32(atOnce)
	var arns []string
	for {
		out, err := l.list.ListTasks(ctx, in)
		if err != nil {
			return nil, err
		}
		if arns = append(arns, out.TaskArns...); len(arns) > maxTasks {
			return nil, fmt.Errorf("there are more than %d tasks", maxTasks)
		}
		if in.NextToken = out.NextToken; deref(in.NextToken) == "" {
			break
		}
	}
	for some := range slices.Chunk(arns, atOnce) {
		described, err := l.describe(ctx, some)
		if err != nil {
			return nil, err
		}
		found = append(found, described...)
	}
	return found, nil
}

// describe leaves out what is not the owner's. A task that has stopped may
// have lost its tags; what is left of it counts.
func (l *Launcher) describe(ctx context.Context, arns []string) ([]task, error) {
	out, err := l.list.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &l.o.Cluster, Tasks: arns, Include: []types.TaskField{types.TaskFieldTags}})
	if err != nil {
		return nil, err
	}
	var found []task
	for _, t := range out.Tasks {
		if r := read(t); r.ended || l.o.Owner.Owns(tagsOf(t)) {
			found = append(found, r)
		}
	}
	return found, nil
}

// read makes a task of ours out of one of ECS.
func read(t types.Task) task {
	r := task{
		arn: deref(t.TaskArn), startedBy: deref(t.StartedBy),
		leaving: deref(t.DesiredStatus) == string(types.DesiredStatusStopped), ended: deref(t.LastStatus) == "STOPPED" || deref(t.LastStatus) == "DELETED",
	}
	r.Instance, _ = label.Instance(tagsOf(t))
	if t.CreatedAt != nil {
		r.created = *t.CreatedAt
	}
	return r
}

func tagsOf(t types.Task) map[string]string {
	tags := map[string]string{}
	for _, tag := range t.Tags {
		tags[deref(tag.Key)] = deref(tag.Value)
	}
	return tags
}

// started is the answer to who started the task for spec.
func (t task) started(spec launch.Spec) (launch.Instance, error) {
	if t.ended || t.leaving {
		return launch.Instance{}, fmt.Errorf("the task of %s has ended: %w", spec.Token, launch.ErrNotFound)
	}
	return launch.Instance{Role: spec.Role, Token: spec.Token, Node: spec.Node}, nil
}

// sorted ranges over m in order of its keys.
func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
