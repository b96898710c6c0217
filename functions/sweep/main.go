// Sweep is the backstop, each minute: it plans, ends orphans, fills the warm
// pool, and with the plan meters what is billed each hour.
package main

import (
	"context"
	"encoding/json"

	"weft/control/launch/launchurl/ec2url"
	"weft/control/launch/launchurl/ecsurl"
	"weft/functions/internal/shard"
	"weft/functions/internal/targets"
)

func main() { shard.Main(open) }

func open(ctx context.Context) (*shard.Shard, func(context.Context, json.RawMessage) (summary, error), error) {
	s, err := shard.Open(ctx, "WEFT_LAUNCHER")
	if err != nil {
		return nil, nil, err
	}
	launcher, err := s.Launcher(ctx, ecsurl.Driver, ec2url.Driver)
	if err != nil {
		return nil, nil, err
	}
	sweeper, err := s.Reconciler(launcher)
	return s, (&handler{s, sweeper, targets.New(s.AWS, s.Options.TargetGroup, s.Store)}).handle, err
}
