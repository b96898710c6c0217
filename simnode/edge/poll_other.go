//go:build !linux

package edge

import (
	"context"
	"net"
	"time"
)

// poller: here every connection has its goroutines.
type poller struct{}

type polled struct{ outlet }

func newPoller() (*poller, error) { return &poller{}, nil }

func (*poller) adopt(net.Conn, func(int)) (*polled, bool) { return nil, false }

func (*polled) serve(*client, func(*client, []byte) (time.Duration, error)) {}

func (*poller) run(context.Context) {}

func (*poller) release() {}
