// Package natsstore keeps the replication store in NATS JetStream. [StartServer]
// runs a server inside this process with its files in a data directory; [Open]
// connects to it from this or any other process.
//
// Every record is the last message on a subject of its own, and every condition
// is the server's check that the subject's last sequence is the one that was
// read (or none). What a handle remembers of its own writes saves reading
// before the next: an append costs one round trip. It is never believed without
// that check.
//
//	stream         subjects                                 synced
//	weft_journal   weft.slot.<zone>.<ring slot>             each write
//	weft_state     weft.zone.<zone> weft.layout weft.planner each write
//	weft_chunks    weft.chunk.<key, a token a segment>      each write
//	weft_control   weft.process.<id> weft.report.<id>       each write
//	               weft.suspicion.<suspect>.<witness>
//	               weft.intent.<token>
//	weft_decisions weft.decision.<id>                       each write
//	weft_poses     weft.pose.<zone>                         now and then
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weft/control/store"
)

const (
	// patience bounds a call whose context has no deadline.
	patience = 5 * time.Second
	// attempts bounds how often a lost compare-and-set is decided anew.
	attempts = 64
	// maxMarks bounds what a handle remembers of its own writes.
	maxMarks = 1 << 16
	// maxMessageBytes holds the largest record and its header.
	maxMessageBytes = store.MaxPoseBytes + 16<<10
)

// The streams, in the order of Store.streams.
const (
	journal = iota
	state
	chunks
	control
	decisions
	poses
	streamCount
)

func streamConfigs() [streamCount]jetstream.StreamConfig {
	config := func(name string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: "weft_" + name, Subjects: subjects,
			Storage: jetstream.FileStorage, Replicas: 1, AllowDirect: true,
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, MaxMsgSize: maxMessageBytes,
		}
	}
	c := [streamCount]jetstream.StreamConfig{
		journal:   config("journal", "weft.slot.>"),
		state:     config("state", "weft.zone.>", "weft.layout", "weft.planner"),
		chunks:    config("chunks", "weft.chunk.>"),
		control:   config("control", "weft.process.>", "weft.report.>", "weft.suspicion.>", "weft.intent.>"),
		decisions: config("decisions", "weft.decision.>"),
		poses:     config("poses", "weft.pose.>"),
	}
	c[decisions].MaxMsgs = 2 * store.KeptDecisions
	c[poses].PersistMode = jetstream.AsyncPersistMode
	return c
}

// Store is one handle on the store: a connection.
type Store struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	streams [streamCount]jetstream.Stream

	mu    sync.Mutex
	marks map[string]mark         // by subject
	link  context.Context         // ends when the connection breaks
	cut   context.CancelCauseFunc // ends link
}

var _ store.Store = (*Store)(nil)

// Open connects to the server at url, nats://token@host:port, and creates the
// streams that it lacks. The connection mends itself until Close.
func Open(ctx context.Context, url string) (*Store, error) { return open(ctx, url) }

func open(ctx context.Context, url string, options ...nats.Option) (*Store, error) {
	s := &Store{marks: map[string]mark{}}
	s.link, s.cut = context.WithCancelCause(context.Background())
	timeout := patience
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	conn, err := nats.Connect(url, append([]nats.Option{
		nats.Name("weft"), nats.Timeout(timeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 0),
		nats.ReconnectBufSize(-1), // a write while disconnected fails at once
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.broke(err) }),
		nats.ClosedHandler(func(*nats.Conn) { s.broke(nats.ErrConnectionClosed) }),
		nats.ReconnectHandler(func(*nats.Conn) { s.mended() }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the calls return their errors
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: no NATS server at %s: %w", store.ErrUnavailable, redacted(url), err)
	}
	s.conn = conn
	if err := s.bootstrap(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// redacted is url without its token.
func redacted(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

// bootstrap creates the streams, or brings older ones up to date.
func (s *Store) bootstrap(ctx context.Context) (err error) {
	if s.js, err = jetstream.New(s.conn); err != nil {
		return unavailable(err)
	}
	for i, c := range streamConfigs() {
		s.streams[i], err = s.js.CreateStream(ctx, c)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s.streams[i], err = s.js.UpdateStream(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, unavailable(err))
		}
	}
	return nil
}

// Close ends the connection. The server lives on.
func (s *Store) Close() error {
	s.conn.Close()
	return nil
}

// broke ends the watches and forgets what might be another server's next time.
func (s *Store) broke(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.marks)
	s.cut(fmt.Errorf("%w: connection lost: %w", store.ErrUnavailable, errors.Join(err)))
}

func (s *Store) mended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.marks)
	s.link, s.cut = context.WithCancelCause(context.Background())
}

// mark is what a handle remembers of the last message on a subject: the
// sequence, and the two numbers that the record's condition compares.
type mark struct{ sequence, major, minor uint64 }

func (s *Store) recall(subject string) (mark, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.marks[subject]
	return m, ok
}

func (s *Store) remember(subject string, m mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.marks) >= maxMarks {
		clear(s.marks)
	}
	s.marks[subject] = m
}

func (s *Store) forget(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.marks, subject)
}

// Watch implements store.Stream. It ends with store.ErrUnavailable when the
// connection breaks; the caller then watches and reads again.
func (s *Store) Watch(ctx context.Context, ready func(), f func(store.Change)) error {
	s.mu.Lock()
	link := s.link
	s.mu.Unlock()
	linked, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(link, func() { cancel(context.Cause(link)) })()
	ended := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if cause := context.Cause(linked); cause != nil {
			return cause
		}
		return unavailable(err)
	}
	consumer, err := s.streams[control].CreateConsumer(linked, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverNewPolicy,
		MemoryStorage: true, InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return ended(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		// If the server is gone the consumer ends by its inactivity.
		_ = s.streams[control].DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}()
	messages, err := consumer.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return ended(err)
	}
	defer messages.Stop()
	ready()
	for want := uint64(1); ; want++ {
		m, err := messages.Next(jetstream.NextContext(linked))
		if err != nil {
			return ended(err)
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != want {
			return fmt.Errorf("%w: the change stream skipped an entry", store.ErrUnavailable)
		}
		change, err := changeOf(m.Subject())
		if err != nil {
			return err
		}
		f(change)
	}
}

// changeOf reads the change off the subject of a control record.
func changeOf(subject string) (store.Change, error) {
	parts := strings.Split(subject, ".")
	kinds := map[string]store.ChangeKind{
		"process": store.ProcessChanged, "report": store.ReportChanged,
		"suspicion": store.SuspicionChanged, "intent": store.IntentChanged,
	}
	if len(parts) < 3 || kinds[parts[1]] == 0 {
		return store.Change{}, fmt.Errorf("no control record has subject %q", subject)
	}
	id, err := unescape(parts[2])
	return store.Change{Kind: kinds[parts[1]], ID: id}, err
}
