package launchurl_test

import (
	"strings"
	"testing"

	"weft/control/launch/label"
	"weft/control/launch/launchurl"
	"weft/control/launch/launchurl/ec2url"
	"weft/control/launch/launchurl/ecsurl"
)

func TestOpen(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	const ecs, ec2 = "ecs://weft-dev?node=n&gateway=g&subnets=a,b&groups=s", "ec2://weft-dev-node?gateway=g&subnets=a"
	for _, c := range []struct{ url, fault string }{
		{"proc:", ""},
		{"proc:?capacity=3", ""},
		{"dryrun:?capacity=3", ""},
		{ecs + "&capacity=FARGATE_SPOT&public=true&max_nodes=4&region=eu-west-1", ""},
		{ec2 + "&max_nodes=4&max_gateways=2&warm=3&capacity=spot&region=eu-west-1", ""},
		{ecs + "&max_nodes=1&region=eu-west-1 " + ec2 + "&max_nodes=4&region=eu-west-1", ""},
		{ecs + "&max_nodes=1&region=eu-west-1 " + ec2, "at most 0 nodes are allowed"},
		{ecs + "&max_nodes=1&region=eu-west-1 proc:", `"proc:" cannot be one of several`},
		{"lambda:", `no launcher is called "lambda" here; write one as dryrun:?capacity=N or proc:?capacity=N or ecs://CLUSTER?`},
		{"", "write one as dryrun:"},
		{"%", "write one as dryrun:"},
		{"proc:?capacity=many", "give a whole number"},
		{"proc:?room=3", `there is no parameter "room", only capacity`},
		{"proc:?capacity=1&capacity=2", "capacity is given 2 times"},
		{"proc:?capacity=%zz", "what follows the question mark is malformed; write it as proc:"},
		{ecs + "&region=eu-west-1", "at most 0 nodes are allowed"},
		{ecs + "&max_nodes=4", "no region is given"},
		{ecs + "&max_nodes=x", `max_nodes is "x"; give a whole number`},
		{ecs + "&max_nodes=4&public=yes", `public is "yes"; it must be true or false`},
		{ecs + "&max_nodes=4&capacity=spot", `the capacity is "spot"; it must be FARGATE or FARGATE_SPOT`},
		{ecs + "&max_nodes=4&warm=2", `there is no parameter "warm"`},
		{"ecs:?max_nodes=4", "the cluster is missing"},
		{ec2 + "&max_nodes=4", "no region is given"},
		{ec2 + "&max_nodes=4&warm=-1", `warm is "-1"; give a whole number`},
		{ec2 + "&max_nodes=4&warm=100", "keep 0 to 64"},
		{"ec2://?max_nodes=4", "the launch template of nodes is missing"},
	} {
		o := launchurl.Options{Owner: label.Owner{Shard: "weft", Env: "dev"}}
		opened, err := launchurl.Open(t.Context(), c.url, o, append(launchurl.Local, ecsurl.Driver, ec2url.Driver)...)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q: got %v, want %q", c.url, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.url, err)
			continue
		}
		if opened.Complete != strings.HasPrefix(c.url, "proc:") {
			t.Errorf("%q says complete: %v", c.url, opened.Complete)
		}
		if opened.Tend == nil {
			t.Errorf("%q cannot be tended", c.url)
		}
		if err := opened.Close(); err != nil {
			t.Errorf("%q: close: %v", c.url, err)
		}
	}
}

// A cloud's launcher without an owner would take all machines for its own.
func TestTheCloudWantsAnOwner(t *testing.T) {
	_, err := launchurl.Open(t.Context(), "ecs://c?node=n&gateway=g&subnets=a&max_nodes=1&region=r", launchurl.Options{}, ecsurl.Driver)
	if err == nil || !strings.Contains(err.Error(), "the shard's name and environment are missing") {
		t.Errorf("got %v", err)
	}
}
