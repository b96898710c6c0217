package proclaunch

import (
	"fmt"
	"syscall"

	"weft/control/launch"
	"weft/control/mesh"
)

// Signal sends s to a child, for drills: what comes of it counts as the
// child's own doing. launch.ErrNotFound if it is over.
func (l *Launcher) Signal(node mesh.NodeID, s syscall.Signal) error {
	l.mu.Lock()
	c := l.running[node]
	l.mu.Unlock()
	if c == nil {
		return fmt.Errorf("send %s to %s: %w", s, node, launch.ErrNotFound)
	}
	return c.signal(s)
}
