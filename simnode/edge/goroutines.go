package edge

import (
	"net"
	"sync"
	"time"
)

// clientWriteTimeout is how long one message to a client may take.
const clientWriteTimeout = 10 * time.Second

// connOutlet writes to a connection, such as one over TLS, that can only be
// waited for: a goroutine takes what is written, one frame at a time.
type connOutlet struct {
	conn  net.Conn
	count func(n int)
	flush func()
	ready chan struct{} // there is something to write, or to end

	mu    sync.Mutex
	frame []byte // being written
	busy  bool
	want  bool // flush is to be called
	ended bool // shut
	dead  bool // cut
}

func newConnOutlet(conn net.Conn, count func(int)) *connOutlet {
	return &connOutlet{conn: conn, count: count, ready: make(chan struct{}, 1)}
}

func (o *connOutlet) write(b []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead {
		return len(b)
	}
	if o.busy {
		return 0
	}
	o.frame, o.busy = append(o.frame[:0], b...), true
	o.rouse()
	return len(b)
}

func (o *connOutlet) room(wanted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.want = wanted; wanted && !o.busy {
		o.rouse()
	}
}

func (o *connOutlet) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.rouse()
}

func (o *connOutlet) cut() {
	o.mu.Lock()
	o.dead = true
	o.rouse()
	o.mu.Unlock()
	o.conn.Close()
}

func (o *connOutlet) rouse() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// run writes until the connection is cut, fails, or is shut and all is written.
func (o *connOutlet) run() {
	for range o.ready {
		o.mu.Lock()
		frame, busy, dead := o.frame, o.busy, o.dead
		o.mu.Unlock()
		if dead {
			return
		}
		if busy {
			err := o.conn.SetWriteDeadline(time.Now().Add(clientWriteTimeout))
			n := 0
			if err == nil {
				n, err = o.conn.Write(frame)
			}
			if o.count(n); err != nil {
				o.cut()
				return
			}
		}
		o.mu.Lock()
		o.busy = false
		want, ended := o.want, o.ended
		o.mu.Unlock()
		if want {
			o.flush()
		} else if ended {
			if w, ok := o.conn.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
				return // the reader waits for the other side
			}
			o.conn.Close()
			return
		}
	}
}
