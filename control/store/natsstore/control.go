package natsstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// A versioned record is its version before its body.
const versionBytes = 8

func splitVersion(m message) (version uint64, body []byte, err error) {
	if m.sequence == 0 {
		return 0, nil, nil
	}
	if len(m.body) < versionBytes {
		return 0, nil, fmt.Errorf("damaged record at %s of %d bytes", m.subject, len(m.body))
	}
	return binary.BigEndian.Uint64(m.body), m.body[versionBytes:], nil
}

// putVersion writes body if the record's version is the one before.
func (s *Store) putVersion(ctx context.Context, subject, what string, version uint64, body []byte) error {
	next := append(binary.BigEndian.AppendUint64(make([]byte, 0, versionBytes+len(body)), version), body...)
	return s.update(ctx, state, subject, func(m message) ([]byte, error) {
		stored, _, err := splitVersion(m)
		if err != nil {
			return nil, err
		}
		if err := rule.NextVersion(what, stored, version); err != nil {
			return nil, err
		}
		return next, nil
	})
}

// Layout implements store.Layouts.
func (s *Store) Layout(ctx context.Context) (mesh.Layout, error) {
	m, err := s.last(ctx, state, "weft.layout")
	if err != nil {
		return mesh.Layout{}, err
	}
	version, body, err := splitVersion(m)
	if err != nil {
		return mesh.Layout{}, err
	}
	if version == 0 {
		return mesh.Layout{}, fmt.Errorf("%w: the shard has no layout yet", store.ErrNotFound)
	}
	return rule.Decode[mesh.Layout](body)
}

// LayoutVersion implements store.Layouts.
func (s *Store) LayoutVersion(ctx context.Context) (uint64, error) {
	m, err := s.last(ctx, state, "weft.layout")
	if err != nil {
		return 0, err
	}
	version, _, err := splitVersion(m)
	return version, err
}

// PutLayout implements store.Layouts.
func (s *Store) PutLayout(ctx context.Context, l mesh.Layout) error {
	body, err := rule.Encode(l)
	if err != nil {
		return err
	}
	return s.putVersion(ctx, "weft.layout", "layout", l.Version, body)
}

// PlannerState implements store.Control.
func (s *Store) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	m, err := s.last(ctx, state, "weft.planner")
	if err != nil {
		return mesh.PlannerState{}, err
	}
	version, body, err := splitVersion(m)
	return mesh.PlannerState{Version: version, Data: body}, err
}

// PutPlannerState implements store.Control.
func (s *Store) PutPlannerState(ctx context.Context, p mesh.PlannerState) error {
	if err := rule.PlannerState(p); err != nil {
		return err
	}
	return s.putVersion(ctx, "weft.planner", "planner state", p.Version, p.Data)
}

// decodeLast is the record in m, if there is one.
func decodeLast[T any](m message) (v T, ok bool, err error) {
	if m.sequence == 0 {
		return v, false, nil
	}
	v, err = rule.Decode[T](m.body)
	return v, err == nil, err
}

// listed decodes the records on all subjects that match filter.
func listed[T any](ctx context.Context, s *Store, stream int, filter string) ([]T, error) {
	messages, err := s.list(ctx, stream, filter)
	if err != nil {
		return nil, err
	}
	records := make([]T, len(messages))
	for i, m := range messages {
		if records[i], err = rule.Decode[T](m.body); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// PutProcess implements store.Control.
func (s *Store) PutProcess(ctx context.Context, p mesh.Process) error {
	if err := rule.Key(p.ID); err != nil {
		return err
	}
	body, err := rule.Encode(p)
	if err != nil {
		return err
	}
	return s.update(ctx, control, subject("process", p.ID), func(m message) ([]byte, error) {
		stored, ok, err := decodeLast[mesh.Process](m)
		if err != nil {
			return nil, err
		}
		if write, err := rule.PutProcess(stored, ok, p); !write {
			return nil, err
		}
		return body, nil
	})
}

// Processes implements store.Control.
func (s *Store) Processes(ctx context.Context) ([]mesh.Process, error) {
	return listed[mesh.Process](ctx, s, control, "weft.process.*")
}

// RemoveProcess implements store.Control. The process's own record goes last,
// so that what a failure half-way leaves can be removed again.
func (s *Store) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	own, err := s.last(ctx, control, subject("process", id))
	if err != nil {
		return err
	}
	p, ok, err := decodeLast[mesh.Process](own)
	if err != nil {
		return err
	}
	if _, err := rule.RemoveProcess(p, ok, inc); err != nil {
		return err
	}
	suspicions, err := s.list(ctx, control, subject("suspicion", id)+".*")
	if err != nil {
		return err
	}
	for _, m := range suspicions {
		sus, err := rule.Decode[mesh.Suspicion](m.body)
		if err != nil {
			return err
		}
		if sus.Incarnation <= inc {
			if err := s.drop(ctx, control, m.subject, m.sequence); err != nil {
				return err
			}
		}
	}
	m, err := s.last(ctx, control, subject("report", id))
	if err != nil {
		return err
	}
	r, reported, err := decodeLast[mesh.Report](m)
	if err != nil {
		return err
	}
	if reported && r.Process.Incarnation <= inc {
		if err := s.drop(ctx, control, m.subject, m.sequence); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	return s.drop(ctx, control, own.subject, own.sequence)
}

// PutReport implements store.Control.
func (s *Store) PutReport(ctx context.Context, r mesh.Report) error {
	if err := rule.Key(r.Process.ID); err != nil {
		return err
	}
	body, err := rule.Encode(r)
	if err != nil {
		return err
	}
	now := mark{major: uint64(r.Process.Incarnation), minor: r.Sequence}
	follows := func(was mark, ok bool) bool {
		return ok && (now.major > was.major || now.major == was.major && now.minor > was.minor)
	}
	return s.put(ctx, control, subject("report", r.Process.ID), body, now, follows, func(m message) (bool, error) {
		stored, ok, err := decodeLast[mesh.Report](m)
		if err != nil {
			return false, err
		}
		return rule.PutReport(stored, ok, r, m.body, body)
	})
}

// Reports implements store.Control.
func (s *Store) Reports(ctx context.Context) ([]mesh.Report, error) {
	return listed[mesh.Report](ctx, s, control, "weft.report.*")
}

// PutSuspicion implements store.Control.
func (s *Store) PutSuspicion(ctx context.Context, sus mesh.Suspicion) error {
	return s.replace(ctx, "suspicion", sus, string(sus.Suspect), string(sus.Witness))
}

// Suspicions implements store.Control.
func (s *Store) Suspicions(ctx context.Context) ([]mesh.Suspicion, error) {
	return listed[mesh.Suspicion](ctx, s, control, "weft.suspicion.*.*")
}

// DeleteSuspicion implements store.Control.
func (s *Store) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	return s.drop(ctx, control, subject("suspicion", suspect, witness), 0)
}

// PutIntent implements store.Control.
func (s *Store) PutIntent(ctx context.Context, i mesh.Intent) error {
	return s.replace(ctx, "intent", i, i.Token)
}

// Intents implements store.Control.
func (s *Store) Intents(ctx context.Context) ([]mesh.Intent, error) {
	return listed[mesh.Intent](ctx, s, control, "weft.intent.*")
}

// DeleteIntent implements store.Control.
func (s *Store) DeleteIntent(ctx context.Context, token string) error {
	return s.drop(ctx, control, subject("intent", token), 0)
}

// PutDecision implements store.Control.
func (s *Store) PutDecision(ctx context.Context, d mesh.Decision) error {
	return s.replace(ctx, "decision", d, d.ID)
}

// replace writes v without a condition.
func (s *Store) replace(ctx context.Context, kind string, v any, ids ...string) error {
	if err := rule.Key(ids...); err != nil {
		return err
	}
	body, err := rule.Encode(v)
	if err != nil {
		return err
	}
	_, err = s.send(ctx, subject(kind, ids...), body)
	return err
}

// Decisions implements store.Control.
func (s *Store) Decisions(ctx context.Context, limit int) ([]mesh.Decision, error) {
	subjects, err := s.subjects(ctx, decisions, "weft.decision.*")
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(subjects))
	for i, sub := range subjects {
		if ids[i], err = unescape(sub[len("weft.decision."):]); err != nil {
			return nil, err
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	ids = ids[:min(len(ids), max(0, limit))]
	var newest []mesh.Decision
	for part := range slices.Chunk(ids, batch) {
		wanted := make([]string, len(part))
		for i, id := range part {
			wanted[i] = subject("decision", id)
		}
		messages, err := s.lasts(ctx, decisions, wanted...)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			d, err := rule.Decode[mesh.Decision](m.body)
			if err != nil {
				return nil, err
			}
			newest = append(newest, d)
		}
	}
	slices.SortFunc(newest, func(a, b mesh.Decision) int { return cmp.Compare(b.ID, a.ID) })
	return newest, nil
}
