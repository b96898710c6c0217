package edge

import (
	"context"
	"net"
	"sync"
)

// seats is a listener that bounds its connections.
type seats struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

// seat is a connection that takes one, until it is closed.
type seat struct {
	net.Conn
	release func()
}

func newSeats(l net.Listener, n int) *seats {
	return &seats{Listener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

func (s *seats) Accept() (net.Conn, error) {
	select {
	case s.free <- struct{}{}:
	case <-s.closed:
		return nil, net.ErrClosed
	}
	conn, err := s.Listener.Accept()
	if err != nil {
		<-s.free
		return nil, err
	}
	return &seat{conn, sync.OnceFunc(func() { <-s.free })}, nil
}

func (s *seats) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

func (s *seat) Close() error {
	s.release()
	return s.Conn.Close()
}

type rawConn struct{}

// withConn lets seated find the connection under a request.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, rawConn{}, c)
}

// seated returns the connection under a request, which conn is, without its
// seat, and what gives the seat back once it is closed.
func seated(ctx context.Context, conn net.Conn) (net.Conn, func()) {
	if s, ok := ctx.Value(rawConn{}).(*seat); ok {
		return s.Conn, s.release
	}
	return conn, func() {}
}
