package bot

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller reads all connections of a swarm from one goroutine.
type poller struct {
	swarm       *Swarm
	epoll, bell int // bell is written to when the poller should end

	mu    sync.Mutex
	conns []*descriptor // by player, nil unless it reads it
	ended bool
}

// descriptor is a connection without the runtime's network poller.
type descriptor struct {
	mu sync.Mutex
	fd int // -1 once closed
}

func (d *descriptor) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return 0, net.ErrClosed
	}
	return unix.Write(d.fd, b)
}

func (d *descriptor) Read(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return 0, net.ErrClosed
	}
	return unix.Read(d.fd, b)
}

func (d *descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd := d.fd
	if d.fd = -1; fd < 0 {
		return net.ErrClosed
	}
	return unix.Close(fd)
}

// readPause is waited after each reading: what comes for many is read in few
// rounds, and the server's writes wake nobody up meanwhile.
const readPause = 4 * time.Millisecond

func (p *poller) begin(s *Swarm) (err error) {
	p.swarm, p.conns = s, make([]*descriptor, len(s.bots))
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
	}
	if err != nil {
		unix.Close(p.epoll)
	}
	return err
}

// adopt takes w's connection over, if it can, as w.conn.
func (p *poller) adopt(w *walker) bool {
	tcp, ok := w.conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }) != nil || err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.player)}) != nil {
		unix.Close(fd)
		return false
	}
	tcp.Close() // fd is another descriptor of the same connection
	d := &descriptor{fd: fd}
	w.conn, p.conns[w.player] = d, d
	return true
}

// run reads until ctx ends, and then closes the connections.
func (p *poller) run(ctx context.Context) {
	rung := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(rung)
		_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it cannot fill
	})
	events, b := make([]unix.EpollEvent, 256), make([]byte, pollBytes)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ctx.Err() == nil {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd >= 0 {
				p.read(p.swarm.bots[e.Fd], b)
			}
		}
		if n < len(events) {
			pause.Reset(readPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, d := range p.conns {
		if d != nil {
			d.Close()
		}
	}
	unix.Close(p.epoll)
	if !stop() {
		<-rung
	}
	unix.Close(p.bell)
}

func (p *poller) read(w *walker, b []byte) {
	p.mu.Lock()
	d := p.conns[w.player]
	p.mu.Unlock()
	if d == nil {
		return
	}
	n, err := d.Read(b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err == nil && n > 0:
		err = w.hear(b[:n])
	case err == nil:
		err = net.ErrClosed
	}
	if err != nil {
		w.swarm.ended.Add(1)
		d.Close()
		p.mu.Lock()
		p.conns[w.player] = nil
		p.mu.Unlock()
	}
}
