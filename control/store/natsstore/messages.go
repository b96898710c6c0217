package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weft/control/store"
)

// message is the last one on its subject. The body is the reader's.
type message struct {
	subject  string
	sequence uint64 // 0: there is none
	body     []byte
}

// last reads the last message on a subject; sequence 0 if there is none.
func (s *Store) last(ctx context.Context, stream int, subject string) (message, error) {
	if err := ctx.Err(); err != nil {
		return message{}, unavailable(err)
	}
	m, err := s.streams[stream].GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return message{subject: subject}, nil
	}
	if err != nil {
		return message{}, unavailable(err)
	}
	return message{subject, m.Sequence, m.Data}, nil
}

// publish writes body if the subject's last sequence is expected (0: none).
// It returns errLost if it is another.
func (s *Store) publish(ctx context.Context, subject string, expected uint64, body []byte) (sequence uint64, err error) {
	return s.send(ctx, subject, body, jetstream.WithExpectLastSequencePerSubject(expected))
}

var errLost = errors.New("the subject's last sequence is another")

func (s *Store) send(ctx context.Context, subject string, body []byte, options ...jetstream.PublishOpt) (sequence uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable(err)
	}
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: body}, options...)
	if err == nil {
		return ack.Sequence, nil
	}
	if refusal := (*jetstream.APIError)(nil); errors.As(err, &refusal) &&
		(refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return 0, errLost
	}
	return 0, unavailable(err)
}

// unavailable is every failure to get an answer.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// update reads the last message, lets decide make the next one of it, and
// writes that if none came between; otherwise it decides again. Nothing is
// written if next is nil, and the error of decide is returned.
func (s *Store) update(ctx context.Context, stream int, subject string, decide func(m message) (next []byte, err error)) error {
	for range attempts {
		m, err := s.last(ctx, stream, subject)
		if err != nil {
			return err
		}
		next, err := decide(m)
		if next == nil {
			return err
		}
		if _, err := s.publish(ctx, subject, m.sequence, next); err != errLost {
			return err
		}
	}
	return fmt.Errorf("%w: %s is contended", store.ErrUnavailable, subject)
}

// put is update where the next message does not depend on the last but for
// the condition, and where the handle itself probably wrote the last: if
// follows accepts what it remembers, it writes without reading. A follows that
// accepts no memory guesses that there is no message.
func (s *Store) put(ctx context.Context, stream int, subject string, body []byte, now mark,
	follows func(was mark, ok bool) bool, decide func(m message) (write bool, err error)) error {
	if was, ok := s.recall(subject); follows(was, ok) {
		sequence, err := s.publish(ctx, subject, was.sequence, body)
		if err == nil {
			now.sequence = sequence
			s.remember(subject, now)
			return nil
		}
		s.forget(subject)
		if err != errLost {
			return err
		}
	}
	for range attempts {
		m, err := s.last(ctx, stream, subject)
		if err != nil {
			return err
		}
		if write, err := decide(m); !write {
			return err
		}
		sequence, err := s.publish(ctx, subject, m.sequence, body)
		if err == nil {
			now.sequence = sequence
			s.remember(subject, now)
		}
		if err != errLost {
			return err
		}
	}
	return fmt.Errorf("%w: %s is contended", store.ErrUnavailable, subject)
}

// batch is how many subjects one request names; the server answers to no more
// than 1,024 messages.
const batch = 256

// list reads the last messages on all subjects that match filter, as of one
// moment if they are fewer than 1,024.
func (s *Store) list(ctx context.Context, stream int, filter string) ([]message, error) {
	messages, err := s.lasts(ctx, stream, filter)
	if !errors.Is(err, errTooMany) {
		return messages, err
	}
	subjects, err := s.subjects(ctx, stream, filter)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(subjects, batch) {
		more, err := s.lasts(ctx, stream, part...)
		if err != nil {
			return nil, err
		}
		messages = append(messages, more...)
	}
	return messages, nil
}

// subjects lists those with a message, in order.
func (s *Store) subjects(ctx context.Context, stream int, filter string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	info, err := s.streams[stream].Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, unavailable(err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects)), nil
}

var errTooMany = errors.New("too many messages for one answer")

// lasts reads the last messages on subjects, wildcards allowed, as of one
// moment, in order of writing. It is the server's batched direct get, which the
// client library lacks.
func (s *Store) lasts(ctx context.Context, stream int, subjects ...string) ([]message, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	inbox := s.conn.NewInbox()
	sub, err := s.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, unavailable(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // of a connection that is gone
	request, err := json.Marshal(struct {
		MultiLast []string `json:"multi_last"`
	}{subjects})
	if err != nil {
		return nil, err
	}
	if err := s.conn.PublishRequest("$JS.API.DIRECT.GET."+s.streams[stream].CachedInfo().Config.Name, inbox, request); err != nil {
		return nil, unavailable(err)
	}
	var messages []message
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, unavailable(err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
			if err != nil {
				return nil, unavailable(fmt.Errorf("an answer without a sequence: %w", err))
			}
			messages = append(messages, message{m.Header.Get(jetstream.SubjectHeader), sequence, m.Data})
		case "204": // the end
			if left := m.Header.Get("Nats-Num-Pending"); left != "0" {
				return nil, errTooMany
			}
			return messages, nil
		case "404":
			if len(messages) > 0 {
				return nil, unavailable(errors.New("a message went while it was read"))
			}
			return nil, nil
		case "413":
			return nil, errTooMany
		default:
			return nil, unavailable(fmt.Errorf("answer %s %s", status, m.Header.Get("Description")))
		}
	}
}

// drop deletes what subject, or all that match it, had up to a sequence;
// 0 means all. A message written since stays.
func (s *Store) drop(ctx context.Context, stream int, subject string, through uint64) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	options := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(subject)}
	if through > 0 {
		options = append(options, jetstream.WithPurgeSequence(through+1))
	}
	if err := s.streams[stream].Purge(ctx, options...); err != nil {
		return unavailable(err)
	}
	return nil
}
