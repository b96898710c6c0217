package edge

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller holds the plain connections of clients without a goroutine or a buffer
// for each: one goroutine waits for all of them and reads; whoever has
// something to send writes to the socket itself, which never waits.
type poller struct {
	epoll   int
	file    *os.File // owns epoll; the runtime waits for it as for any connection
	waiting syscall.RawConn

	mu    sync.Mutex
	conns []*polled // by descriptor
	ended bool      // run has closed them
}

// polled is one connection. Only the poller closes it, under its lock.
type polled struct {
	poller  *poller
	client  *client
	count   func(n int)
	receive func(c *client, b []byte) (again time.Duration, err error)
	mu      sync.Mutex
	fd      int // -1 once closed
	events  uint32
	dead    bool // it broke, or was cut
	resume  *time.Timer
}

const (
	pollEvents = 256
	// pollBytes is how much is read of a connection at a time.
	pollBytes = 8 << 10
	// pollPause is waited after each reading, so that what comes from many clients
	// is read by few calls: what they send counts at the next tick only.
	pollPause = 4 * time.Millisecond
	// sendBufferBytes bounds what the system keeps for a client that does not read.
	sendBufferBytes = 128 << 10
)

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(epoll, true); err != nil { // says that the runtime can wait for it
		unix.Close(epoll)
		return nil, err
	}
	p := &poller{epoll: epoll, file: os.NewFile(uintptr(epoll), "epoll")}
	p.waiting, err = p.file.SyscallConn()
	if err = errors.Join(err, p.file.SetReadDeadline(time.Time{})); err != nil { // it cannot
		p.file.Close()
	}
	return p, err
}

// adopt takes a connection over if it is a plain one: then conn is closed and
// the outlet is the way to write to it.
func (p *poller) adopt(conn net.Conn, count func(int)) (*polled, bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, false
	}
	fd := -1
	if raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes)
		}
	}) != nil || err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, false
	}
	conn.Close() // ours is another descriptor of the same connection
	return &polled{poller: p, fd: fd, count: count}, true
}

// serve begins to read o for c: receive is called by run with what comes, and
// says how long to wait before more is read. An error cuts the connection. When
// it is over c.ended is called.
func (o *polled) serve(c *client, receive func(*client, []byte) (time.Duration, error)) {
	o.client, o.receive = c, receive
	p := o.poller
	p.mu.Lock()
	for len(p.conns) <= o.fd {
		p.conns = append(p.conns, make([]*polled, 256)...)
	}
	p.conns[o.fd] = o
	ended := p.ended
	p.mu.Unlock()
	if ended {
		o.close()
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return // run has ended meanwhile
	}
	o.events |= unix.EPOLLIN // room may be wanted already
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, o.fd, o.event()); err != nil {
		o.dead = true
		_ = unix.Shutdown(o.fd, unix.SHUT_RDWR)
	}
}

func (o *polled) event() *unix.EpollEvent {
	return &unix.EpollEvent{Events: o.events, Fd: int32(o.fd)}
}

// listen changes what o waits for.
func (o *polled) listen(set, unset uint32) {
	if events := o.events&^unset | set; events != o.events && o.fd >= 0 {
		o.events = events
		_ = unix.EpollCtl(o.poller.epoll, unix.EPOLL_CTL_MOD, o.fd, o.event()) // it cannot fail for one that is there
	}
}

func (o *polled) write(b []byte) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 || o.dead {
		return len(b)
	}
	n, err := write(o.fd, b)
	switch {
	case err == nil:
		o.count(n)
		return n
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0
	}
	o.dead = true
	_ = unix.Shutdown(o.fd, unix.SHUT_RDWR) // run sees it
	return len(b)
}

func (o *polled) room(wanted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if wanted {
		o.listen(unix.EPOLLOUT, 0)
	} else {
		o.listen(0, unix.EPOLLOUT)
	}
}

func (o *polled) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd >= 0 {
		_ = unix.Shutdown(o.fd, unix.SHUT_WR)
		o.listen(unix.EPOLLIN, 0)
	}
}

func (o *polled) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd >= 0 {
		o.dead = true
		_ = unix.Shutdown(o.fd, unix.SHUT_RDWR)
		o.listen(unix.EPOLLIN, 0)
	}
}

// run reads all connections until ctx ends, and then closes them.
func (p *poller) run(ctx context.Context) {
	rung := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = p.file.SetReadDeadline(time.Unix(1, 0)) // newPoller saw that it can
		close(rung)
	})
	defer func() {
		if !stop() {
			<-rung // not into what the descriptor is after release
		}
	}()
	var n int
	var failed error
	ready := make([]unix.EpollEvent, pollEvents)
	look := func(uintptr) bool {
		n, failed = events(p.epoll, ready)
		return n > 0 || failed != nil
	}
	b := make([]byte, pollBytes)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ctx.Err() == nil {
		if err := p.waiting.Read(look); err != nil || failed != nil {
			break // mostly the deadline
		}
		for _, e := range ready[:n] {
			p.mu.Lock()
			o := p.conns[e.Fd]
			p.mu.Unlock()
			if o == nil {
				continue
			}
			if e.Events&unix.EPOLLOUT != 0 {
				o.client.flush()
			}
			if e.Events&^unix.EPOLLOUT != 0 {
				o.read(b)
			}
		}
		if n < pollEvents {
			pause.Reset(pollPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
	p.mu.Lock()
	p.ended = true
	all := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, o := range all {
		if o != nil {
			o.close()
		}
	}
}

// release gives the poller's own descriptor back, after run.
func (p *poller) release() { p.file.Close() }

func (o *polled) read(b []byte) {
	n, err := read(o.fd, b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil, n == 0:
		o.close()
		return
	}
	if o.client.ending() {
		return // what it still says does not count
	}
	again, err := o.receive(o.client, b[:n])
	switch {
	case err != nil:
		o.cut()
	case again > 0:
		o.mu.Lock()
		o.listen(0, unix.EPOLLIN)
		o.resume = time.AfterFunc(again, func() {
			o.mu.Lock()
			o.listen(unix.EPOLLIN, 0)
			o.mu.Unlock()
		})
		o.mu.Unlock()
	}
}

// close ends the connection for good.
func (o *polled) close() {
	p := o.poller
	p.mu.Lock()
	p.conns[o.fd] = nil
	p.mu.Unlock()
	o.mu.Lock()
	unix.Close(o.fd)
	o.fd = -1
	if o.resume != nil {
		o.resume.Stop()
	}
	o.mu.Unlock()
	o.client.ended()
}
