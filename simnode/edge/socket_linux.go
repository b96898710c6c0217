package edge

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnanswered makes a connection break when the other machine stops
// acknowledging; keep-alives alone do not while bytes are under way.
func limitUnanswered(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unansweredTimeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return set
}
