package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"weft/control/dashboard"
)

// page is the dashboard's server.
type page struct {
	listener net.Listener
	server   *http.Server
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("%w: %q is no address; write a host and a port, such as 127.0.0.1:7070", ErrAddress, address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: another program listens on %s; stop it or choose another address with --listen", ErrAddress, address)
	case err != nil:
		return nil, fmt.Errorf("%w on %s: %w; choose another address with --listen", ErrAddress, address, err)
	}
	return l, nil
}

func (p *page) url() string { return "http://" + p.listener.Addr().String() }

// serve begins to answer.
func (m *Mesh) serve() error {
	ctx, cancel := context.WithCancel(context.Background())
	m.page.cancel = cancel
	c := dashboard.Config{Records: m.world.Store, Note: m.cfg.Note}
	if ip := m.page.listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		c.AnyHost = true
	}
	if m.tickets != nil {
		c.Join = m.Join
	}
	if m.cfg.Map != nil {
		feed, wait, err := m.cfg.Map(ctx, m.world)
		if err != nil {
			return fmt.Errorf("show the map: %w", err)
		}
		c.Map = feed
		m.page.running.Go(wait)
	}
	d := dashboard.New(c)
	m.page.server = &http.Server{
		Handler: d, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with the page
	}
	m.page.running.Go(func() { d.Run(ctx) })
	m.page.running.Go(func() {
		if err := m.page.server.Serve(m.page.listener); !errors.Is(err, http.ErrServerClosed) {
			m.cfg.Log.Error("the page cannot be served any more", "err", err)
		}
	})
	if m.cfg.Listening != nil {
		m.cfg.Listening(m.page.url())
	}
	return nil
}

func (p *page) close() error {
	if p.server == nil { // it never began to serve
		if p.cancel != nil {
			p.cancel()
		}
		return p.listener.Close()
	}
	p.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = p.server.Close()
	}
	p.running.Wait()
	return err
}
