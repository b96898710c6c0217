package edge

import (
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Go scheduler assumes that any system call may wait. Entered while
// everything else is idle, as at the beginning of each tick, a call wakes the
// runtime's monitor thread, which then looks every 20 µs whether it must hand
// the processor on: 1,700 wakings a second, a sixth of what a gateway of 800
// clients cost. The calls of this file are on descriptors that never wait, so
// the scheduler is not told of them.

// read is read(2) on a descriptor that never waits.
func read(fd int, b []byte) (int, error) { return transfer(syscall.SYS_READ, fd, b) }

// write is write(2) on a descriptor that never waits.
func write(fd int, b []byte) (int, error) { return transfer(syscall.SYS_WRITE, fd, b) }

func transfer(call uintptr, fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// events returns what an epoll has to tell now.
func events(epoll int, into []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// stillConn is a TCP connection that is read and written by such calls, by one
// goroutine each.
type stillConn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out exchange
}

// still returns conn as one whose reads and writes leave the scheduler alone, if
// it is a plain one.
func still(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &stillConn{TCPConn: tcp, raw: raw}
	c.in.try = func(fd uintptr) bool { return c.in.once(read, fd) }
	c.out.try = func(fd uintptr) bool { return c.out.once(write, fd) }
	return c
}

// exchange is a read or a write under way.
type exchange struct {
	try func(fd uintptr) bool // once, made once: it would be allocated for each call
	b   []byte
	n   int
	err error
}

// once does as much as can be done at once, and reports false if that is nothing.
func (x *exchange) once(call func(int, []byte) (int, error), fd uintptr) bool {
	for {
		switch x.n, x.err = call(int(fd), x.b); {
		case errors.Is(x.err, unix.EINTR):
			continue
		case errors.Is(x.err, unix.EAGAIN):
			return false
		}
		return true
	}
}

// Read reads as a net.Conn does.
func (c *stillConn) Read(b []byte) (int, error) {
	c.in.b = b
	err := c.raw.Read(c.in.try)
	c.in.b = nil
	switch {
	case err != nil:
		return 0, err
	case c.in.n == 0 && c.in.err == nil && len(b) > 0:
		return 0, io.EOF
	}
	return c.in.n, c.in.err
}

// Write writes all of b, as a net.Conn does.
func (c *stillConn) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		c.out.b = b[n:]
		if err = c.raw.Write(c.out.try); err == nil {
			n, err = n+c.out.n, c.out.err
		}
		c.out.b = nil
	}
	return n, err
}
