// Replan plans on what the change stream of the control table tells, as soon
// as Lambda hands it over.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"

	"weft/control/launch/launchurl/ec2url"
	"weft/control/launch/launchurl/ecsurl"
	"weft/functions/internal/shard"
	"weft/functions/internal/targets"
)

func main() { shard.Main(open) }

func open(ctx context.Context) (*shard.Shard, func(context.Context, batch) (events.DynamoDBEventResponse, error), error) {
	s, err := shard.Open(ctx, "WEFT_LAUNCHER")
	if err != nil {
		return nil, nil, err
	}
	launcher, err := s.Launcher(ctx, ecsurl.Driver, ec2url.Driver)
	if err != nil {
		return nil, nil, err
	}
	planner, err := s.Reconciler(launcher)
	return s, (&handler{s, planner, targets.New(s.AWS, s.Options.TargetGroup, s.Store)}).handle, err
}
