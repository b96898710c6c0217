// Package ec2url opens launchers on Amazon EC2. It is slow to compile, as EC2's
// client is: import it only where it is needed.
package ec2url

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"weft/control/launch/ec2launch"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
)

// Driver opens
//
//	ec2://NODE-TEMPLATE?gateway=TEMPLATE&subnets=A,B&max_nodes=N&warm=W
//
// with capacity=on-demand (or spot: the kind to begin with), region=R and
// max_gateways=N. Credentials, the region if absent, and AWS_ENDPOINT_URL are
// the environment's.
var Driver = launchurl.Driver{
	Scheme:     "ec2",
	Form:       "ec2://NODE-TEMPLATE?gateway=TEMPLATE&subnets=A,B&max_nodes=N&warm=W",
	Parameters: []string{"gateway", "subnets", "capacity", "warm", "max_nodes", "max_gateways", "region"},
	Open:       open,
}

func open(ctx context.Context, u *url.URL, o launchurl.Options) (launchurl.Opened, error) {
	query := u.Query()
	most, err := launchurl.Most(u)
	warm, werr := launchurl.Number(u, "warm", 0)
	if err = cmp.Or(err, werr); err != nil {
		return launchurl.Opened{}, err
	}
	options := ec2launch.Options{
		Templates: map[mesh.Role]string{mesh.RoleNode: u.Host, mesh.RoleGateway: query.Get("gateway")},
		Subnets:   launchurl.List(u, "subnets"), Capacity: cmp.Or(query.Get("capacity"), ec2launch.OnDemand),
		Warm: warm, Most: most, Owner: o.Owner, Now: time.Now,
	}
	if err := options.Validate(); err != nil {
		return launchurl.Opened{}, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(query.Get("region")))
	if err != nil {
		return launchurl.Opened{}, fmt.Errorf("AWS settings cannot be loaded: %w", err)
	}
	if cfg.Region == "" {
		return launchurl.Opened{}, errors.New("no region is given; add &region=NAME or set AWS_REGION")
	}
	client := ec2.NewFromConfig(cfg)
	l, err := ec2launch.New(options, client, client, client)
	if err != nil {
		return launchurl.Opened{}, err
	}
	return launchurl.Opened{Launcher: l, Tend: l.Refill, Release: l.Release, Used: l.Used}, nil
}
