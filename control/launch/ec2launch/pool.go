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

// fromPool starts an instance of the warm pool for spec, or says that there is
// none. It is started first and tagged last: EC2 says who started it, and what
// is cut short in between powers off again for want of a process.
func (l *Launcher) fromPool(ctx context.Context, all []machine, spec launch.Spec, tags map[string]string) (bool, error) {
	pool := slices.DeleteFunc(slices.Clone(all), func(m machine) bool { return m.warm != spec.Role || m.state != types.InstanceStateNameStopped })
	// Launches at once try different ones first.
	slices.SortFunc(pool, func(a, b machine) int {
		return cmp.Compare(l.o.Owner.Digest(spec.Token, a.id), l.o.Owner.Digest(spec.Token, b.id))
	})
	for _, m := range pool[:min(len(pool), warmTries)] {
		out, err := l.start.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{m.id}})
		if err = classify(err); taken(err) || errors.Is(err, launch.ErrNoCapacity) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !first(out) {
			continue
		}
		if _, err := l.start.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
			InstanceId: &m.id, Attribute: types.InstanceAttributeNameInstanceInitiatedShutdownBehavior, Value: aws.String(string(types.ShutdownBehaviorTerminate)),
		}); err != nil {
			return false, fmt.Errorf("let instance %s end with its process: %w", m.id, err)
		}
		return true, l.mark(ctx, m.id, tags)
	}
	return false, nil
}

// first reports that the instance was stopped until then.
func first(out *ec2.StartInstancesOutput) bool {
	for _, c := range out.StartingInstances {
		if c.PreviousState != nil && c.PreviousState.Name == types.InstanceStateNameStopped {
			return true
		}
	}
	return false
}

// Refill brings the warm pool to its size, a few instances at a time, and
// terminates what is too many, hangs, or was switched off with a process. Call
// it every minute; it is safe to run twice at once. ErrNoCapacity if there is
// no room for another now.
func (l *Launcher) Refill(ctx context.Context) error {
	all, err := l.all(ctx)
	if err != nil {
		return err
	}
	var pool, done []machine
	var ids []string
	for _, m := range all {
		switch {
		case m.over():
		case m.Token != "" && m.state == types.InstanceStateNameStopped:
			done = append(done, m)
		case m.warm == 0:
		case m.runs() && l.o.Now().Sub(m.launched) > bootPatience:
			done = append(done, m)
		default:
			pool = append(pool, m)
			ids = append(ids, m.id)
		}
	}
	if len(pool) > l.o.Warm {
		slices.SortFunc(pool, func(a, b machine) int { return cmp.Compare(a.id, b.id) })
		for _, m := range pool[l.o.Warm:] {
			if !m.runs() { // it may just have been started for a process
				done = append(done, m)
			}
		}
	}
	if err := l.terminate(ctx, done...); err != nil {
		return err
	}
	slices.Sort(ids)
	// Two who see the same pool in the same minute add the same.
	token := l.o.Owner.Digest(append(ids, "warm", l.o.Now().Truncate(time.Minute).UTC().String())...)
	for n := range min(l.o.Warm-len(pool), refillAtOnce) {
		if err := l.add(ctx, fmt.Sprint(token, n)); err != nil {
			return fmt.Errorf("fill the warm pool, which has %d of %d: %w", len(pool)+n, l.o.Warm, err)
		}
	}
	return nil
}

// Release terminates the warm pool and what was switched off with a process, and
// returns how many instances of the owner there still are, on their way out
// aside. Call it instead of Refill before the world is taken away.
func (l *Launcher) Release(ctx context.Context) (held int, err error) {
	all, err := l.all(ctx)
	if err != nil {
		return 0, err
	}
	var done []machine
	for _, m := range all {
		switch {
		case m.over():
		case m.Token == "" || m.state == types.InstanceStateNameStopped:
			done = append(done, m)
		default:
			held++
		}
	}
	return held, l.terminate(ctx, done...)
}

// add adds an instance to the warm pool, in the first zone that has room.
func (l *Launcher) add(ctx context.Context, token string) (full error) {
	tags := map[string]string{label.Shard: l.o.Owner.Shard, label.Env: l.o.Owner.Env, label.Warm: mesh.RoleNode.String()}
	for _, subnet := range l.subnets(token) {
		in := l.request(mesh.RoleNode, subnet, tags)
		in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorStop
		in.ClientToken = aws.String(l.o.Owner.Digest(token, subnet))
		_, err := l.start.RunInstances(ctx, in)
		if err = classify(err); !errors.Is(err, launch.ErrNoCapacity) {
			return err
		}
		full = err
	}
	return full
}
