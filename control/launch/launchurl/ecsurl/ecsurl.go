// Package ecsurl opens launchers on Amazon ECS.
package ecsurl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"weft/control/launch/ecslaunch"
	"weft/control/launch/launchurl"
	"weft/control/mesh"
)

// Driver opens
//
//	ecs://CLUSTER?node=FAMILY&gateway=FAMILY&subnets=A,B&groups=G&max_nodes=N
//
// with gateway_groups=G (default those of groups), capacity=FARGATE (or
// FARGATE_SPOT: the kind to begin with), public=true (default false), region=R
// and max_gateways=N. Credentials, the region if
// absent, and AWS_ENDPOINT_URL are the environment's.
var Driver = launchurl.Driver{
	Scheme:     "ecs",
	Form:       "ecs://CLUSTER?node=FAMILY&gateway=FAMILY&subnets=A,B&groups=G&max_nodes=N",
	Parameters: []string{"node", "gateway", "subnets", "groups", "gateway_groups", "capacity", "public", "max_nodes", "max_gateways", "region"},
	Open:       open,
}

func open(ctx context.Context, u *url.URL, o launchurl.Options) (launchurl.Opened, error) {
	query := u.Query()
	most, err := launchurl.Most(u)
	if err != nil {
		return launchurl.Opened{}, err
	}
	public := query.Get("public")
	if public != "" && public != "true" && public != "false" {
		return launchurl.Opened{}, fmt.Errorf("public is %q; it must be true or false", public)
	}
	options := ecslaunch.Options{
		Cluster: u.Host, Families: map[mesh.Role]string{mesh.RoleNode: query.Get("node"), mesh.RoleGateway: query.Get("gateway")},
		Subnets: launchurl.List(u, "subnets"), Groups: launchurl.List(u, "groups"), GatewayGroups: launchurl.List(u, "gateway_groups"),
		Capacity: cmp.Or(query.Get("capacity"), ecslaunch.OnDemand), Public: public == "true", Most: most, Owner: o.Owner,
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
	client := ecs.NewFromConfig(cfg)
	l, err := ecslaunch.New(options, client, client)
	if err != nil {
		return launchurl.Opened{}, err
	}
	return launchurl.Opened{Launcher: l, Used: l.Used}, nil
}
