package natsstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"weft/control/store"
)

// ServerOptions are the choices of StartServer. The zero value is a server on
// a free port of the loopback interface that lets everyone in.
type ServerOptions struct {
	Host  string // to listen on; empty is 127.0.0.1
	Port  int    // 0 takes a free one
	Token string // that clients must show; empty needs none

	MaxStoreBytes  int64 // of files; 0 is 16 GiB
	MaxConnections int   // 0 is 1,024
}

// Errors of StartServer that a program may want to tell apart. Their texts are
// sentences for the user.
var (
	ErrPortTaken     = errors.New("port taken")
	ErrDirectory     = errors.New("data directory unusable")
	ErrDirectoryUsed = errors.New("data directory in use")
)

// loopback is where a server listens unless it is told.
const loopback = "127.0.0.1"

const (
	maxPayloadBytes = 1 << 20
	maxMemoryBytes  = 64 << 20
	// startPatience bounds the start, which reads the index of all files.
	startPatience = 30 * time.Second
)

// Server is a NATS server with JetStream in this process.
type Server struct {
	dir     string
	options ServerOptions // with the port that it has
	lock    *flock.Flock

	mu   sync.Mutex
	nats *server.Server // nil: it is down
}

// StartServer starts a server with its files in dir, which it creates if need
// be and locks against other processes until Close. Whatever was acknowledged
// before a crash is there again, poses apart: these may be a few seconds old.
func StartServer(dir string, o ServerOptions) (*Server, error) {
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, options: o, lock: lock}
	if err := s.Up(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Down stops the server until Up: whoever connects is refused, handles answer
// store.ErrUnavailable. The directory stays locked. For drills.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		s.nats = nil
	}
}

// Up starts the server again, with its files, at the address that it had.
// Handles, those of Server.Open included, mend themselves.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats != nil {
		return nil
	}
	started, err := start(s.dir, s.options)
	if err != nil {
		return err
	}
	s.nats = started
	s.options.Port = started.Addr().(*net.TCPAddr).Port
	return nil
}

// InProcessConn implements nats.InProcessConnProvider for the server that runs.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nats == nil {
		return nil, fmt.Errorf("%w: the server is down", store.ErrUnavailable)
	}
	return s.nats.InProcessConn()
}

// lockDirectory creates dir and takes the lock in it, which the system lets go
// when the process dies, however it does.
func lockDirectory(dir string) (*flock.Flock, error) {
	unusable := func(err error) error {
		return fmt.Errorf("%w: cannot write in %s (%w); make it writable or choose another one", ErrDirectory, dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, unusable(err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: another process keeps its world in %s; stop it or choose another directory", ErrDirectoryUsed, dir)
	}
	return lock, nil
}

func start(dir string, o ServerOptions) (*server.Server, error) {
	host := o.Host
	if host == "" {
		host = loopback
	}
	// The server would only log that the port is taken; so ask first.
	probe, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(o.Port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: another program listens on %s port %d; stop it or choose another port", ErrPortTaken, host, o.Port)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s port %d (%w); choose another address", host, o.Port, err)
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	orDefault := func(v, otherwise int64) int64 {
		if v == 0 {
			return otherwise
		}
		return v
	}
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "weft", Host: host, Port: port, Authorization: o.Token,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		JetStreamMaxMemory: maxMemoryBytes, JetStreamMaxStore: orDefault(o.MaxStoreBytes, 16<<30),
		MaxConn: int(orDefault(int64(o.MaxConnections), 1024)), MaxPayload: maxPayloadBytes,
		NoSigs: true, DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("store server: %w", err)
	}
	log := new(complaints)
	s.SetLogger(log, false, false)
	s.Start()
	// The server tells that it is ready only when asked, and never that it failed.
	for began := time.Now(); !log.failed() && time.Since(began) < startPatience; {
		if s.ReadyForConnections(100*time.Millisecond) && s.JetStreamEnabled() {
			return s, nil
		}
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, fmt.Errorf("%w: the store server cannot start in %s: %s; choose another directory", ErrDirectory, dir, log.last())
}

// URL is what Open takes, token included.
func (s *Server) URL() string {
	host := s.options.Host
	if host == "" {
		host = loopback
	}
	u := url.URL{Scheme: "nats", Host: net.JoinHostPort(host, strconv.Itoa(s.options.Port))}
	if s.options.Token != "" {
		u.User = url.User(s.options.Token)
	}
	return u.String()
}

// Open returns a handle that reaches the server without a socket.
func (s *Server) Open(ctx context.Context) (*Store, error) {
	return open(ctx, s.URL(), nats.InProcessServer(s))
}

// Close stops the server and gives the directory free. Handles, here and in
// other processes, answer store.ErrUnavailable from then on.
func (s *Server) Close() error {
	s.Down()
	return s.lock.Unlock()
}

// complaints is the server's logger: it keeps the fatal complaint, or the last, for the one
// sentence that StartServer gives, and is quiet otherwise.
type complaints struct {
	mu    sync.Mutex
	text  string
	fatal bool
}

func (c *complaints) keep(fatal bool, format string, v []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fatal {
		c.text, c.fatal = fmt.Sprintf(format, v...), fatal
	}
}

func (c *complaints) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fatal
}

func (c *complaints) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text == "" {
		return "it was not ready in time"
	}
	return c.text
}

func (c *complaints) Fatalf(format string, v ...any) { c.keep(true, format, v) }
func (c *complaints) Errorf(format string, v ...any) { c.keep(false, format, v) }
func (c *complaints) Warnf(string, ...any)           {}
func (c *complaints) Noticef(string, ...any)         {}
func (c *complaints) Debugf(string, ...any)          {}
func (c *complaints) Tracef(string, ...any)          {}
