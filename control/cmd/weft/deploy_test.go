package main

import (
	"slices"
	"testing"

	"weft/control/mesh"
	"weft/control/provision"
)

func TestForgotten(t *testing.T) {
	fleet := []mesh.Process{
		{ID: "task", State: mesh.Ready, Kind: "FARGATE_SPOT"}, {ID: "instance", State: mesh.Draining, Kind: "c8g.large"},
		{ID: "old task", State: mesh.Stopped, Kind: "FARGATE"}, {ID: "old instance", State: mesh.Stopped, Kind: "c8g.large"},
	}
	for _, c := range []struct {
		was, is string
		warm    any
		want    []string
	}{
		{"", "", nil, nil},
		{"ecs", "ecs,ec2", nil, nil},
		{"ecs,ec2", "ec2,ecs", nil, nil},
		{"", "ec2", nil, []string{"task"}},
		{"ec2,ecs", "ec2", nil, []string{"task"}},
		{"ecs,ec2", "ecs", nil, []string{"instance", "the warm pool"}},
		{"ec2", "", float64(2), []string{"instance", "the warm pool"}},
		{"ec2", "ecs", float64(0), []string{"instance"}},
	} {
		was, is := provision.Variables{}, provision.Variables{}
		if c.was != "" {
			was["launcher"] = c.was
		}
		if c.is != "" {
			is["launcher"] = c.is
		}
		if c.warm != nil {
			was["warm_instances"] = c.warm
		}
		if got := forgotten(was, is, fleet); !slices.Equal(got, c.want) {
			t.Errorf("from %q to %q: %q, want %q", c.was, c.is, got, c.want)
		}
	}
}
