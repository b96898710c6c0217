//go:build !linux

package bot

import "context"

// poller reads nothing here: a goroutine for each connection does.
type poller struct{}

func (*poller) begin(*Swarm) error  { return nil }
func (*poller) adopt(*walker) bool  { return false }
func (*poller) run(context.Context) {}
