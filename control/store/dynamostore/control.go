package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// keptSeconds is how long after its making a decision expires, where the table
// has expiry on.
const keptSeconds = 90 * 24 * 3600

// controlItem is any control record: its JSON, and what conditions look at.
type controlItem struct {
	key
	blob
	Incarnation uint64 `dynamodbav:"inc"`
	Sequence    uint64 `dynamodbav:"seq"`
	Stopped     bool   `dynamodbav:"stopped,omitempty"`
	Version     uint64 `dynamodbav:"ver,omitempty"`
	Expires     int64  `dynamodbav:"expires,omitempty"` // Unix seconds
}

// record decodes the JSON of an item, if there is one.
func record[T any](i controlItem, ok bool) (v T, err error) {
	if ok {
		v, err = decode[T](i.blob)
	}
	return v, err
}

// listed decodes the records of sp. A damaged one is left out, so that it stops
// nobody else; on the change stream, Image tells of it.
func listed[T any](ctx context.Context, s *Store, sp span, limit int) ([]T, error) {
	var records []T
	sp.lenient = true
	err := query(ctx, s, s.control, sp, func(i controlItem) bool {
		v, err := decode[T](i.blob)
		if err == nil {
			records = append(records, v)
		}
		return limit == 0 || len(records) < limit
	})
	return records, err
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
	item := controlItem{key: key{"process", string(p.ID)}, Incarnation: uint64(p.Incarnation), Stopped: p.State == mesh.Stopped, blob: pack(body)}
	return put(ctx, s, s.control, item,
		"attribute_not_exists(pk) OR inc < :inc OR (inc = :inc AND attribute_not_exists(stopped))", values{":inc": p.Incarnation},
		func(stored controlItem, ok bool) (bool, error) {
			was, err := record[mesh.Process](stored, ok)
			if err != nil {
				return false, err
			}
			return rule.PutProcess(was, ok, p)
		})
}

// Processes implements store.Control.
func (s *Store) Processes(ctx context.Context) ([]mesh.Process, error) {
	return listed[mesh.Process](ctx, s, span{pk: "process"}, 0)
}

// RemoveProcess implements store.Control. The process's own record goes last,
// so that what a failure half-way leaves can be removed again.
func (s *Store) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	own := key{"process", string(id)}
	item, ok, err := get[controlItem](ctx, s, s.control, own)
	if err != nil {
		return err
	}
	p, err := record[mesh.Process](item, ok)
	if err != nil {
		return err
	}
	if _, err := rule.RemoveProcess(p, ok, inc); err != nil {
		return err
	}
	dead := []key{{"report", string(id)}}
	err = query(ctx, s, s.control, span{pk: "suspicion", prefix: suspectPrefix(id)}, func(i controlItem) bool {
		if i.Incarnation <= uint64(inc) {
			dead = append(dead, i.key)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, k := range append(dead, own) {
		err := s.remove(ctx, s.control, k, "attribute_not_exists(pk) OR inc <= :inc", values{":inc": inc})
		if errors.Is(err, errRefused) && k == own {
			return fmt.Errorf("%w: process %s has begun another life", store.ErrStaleEpoch, id)
		}
		if err != nil && !errors.Is(err, errRefused) {
			return err
		}
	}
	return nil
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
	item := controlItem{key: key{"report", string(r.Process.ID)}, Incarnation: uint64(r.Process.Incarnation), Sequence: r.Sequence, blob: pack(body)}
	return put(ctx, s, s.control, item,
		"attribute_not_exists(pk) OR inc < :inc OR (inc = :inc AND seq < :seq)", values{":inc": item.Incarnation, ":seq": item.Sequence},
		func(stored controlItem, ok bool) (bool, error) {
			was, err := record[mesh.Report](stored, ok)
			if err != nil {
				return false, err
			}
			wasBody, err := stored.bytes()
			if err != nil {
				return false, err
			}
			return rule.PutReport(was, ok, r, wasBody, body)
		})
}

// Reports implements store.Control.
func (s *Store) Reports(ctx context.Context) ([]mesh.Report, error) {
	return listed[mesh.Report](ctx, s, span{pk: "report"}, 0)
}

// suspectPrefix begins the sort keys of the suspicions against suspect. The
// length tells where the suspect's name ends.
func suspectPrefix(suspect mesh.NodeID) string {
	return strconv.Itoa(len(suspect)) + ":" + string(suspect)
}

// PutSuspicion implements store.Control.
func (s *Store) PutSuspicion(ctx context.Context, sus mesh.Suspicion) error {
	if err := rule.Key(sus.Suspect, sus.Witness); err != nil {
		return err
	}
	k := key{"suspicion", suspectPrefix(sus.Suspect) + string(sus.Witness)}
	return s.replace(ctx, controlItem{key: k, Incarnation: uint64(sus.Incarnation)}, sus)
}

// Suspicions implements store.Control.
func (s *Store) Suspicions(ctx context.Context) ([]mesh.Suspicion, error) {
	return listed[mesh.Suspicion](ctx, s, span{pk: "suspicion"}, 0)
}

// DeleteSuspicion implements store.Control.
func (s *Store) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	return s.remove(ctx, s.control, key{"suspicion", suspectPrefix(suspect) + string(witness)}, "", nil)
}

// PutIntent implements store.Control.
func (s *Store) PutIntent(ctx context.Context, i mesh.Intent) error {
	if err := rule.Key(i.Token); err != nil {
		return err
	}
	return s.replace(ctx, controlItem{key: key{"intent", i.Token}}, i)
}

// Intents implements store.Control.
func (s *Store) Intents(ctx context.Context) ([]mesh.Intent, error) {
	return listed[mesh.Intent](ctx, s, span{pk: "intent"}, 0)
}

// DeleteIntent implements store.Control.
func (s *Store) DeleteIntent(ctx context.Context, token string) error {
	return s.remove(ctx, s.control, key{"intent", token}, "", nil)
}

// PutDecision implements store.Control.
func (s *Store) PutDecision(ctx context.Context, d mesh.Decision) error {
	if err := rule.Key(d.ID); err != nil {
		return err
	}
	return s.replace(ctx, controlItem{key: key{"decision", d.ID}, Expires: d.UnixMilli/1000 + keptSeconds}, d)
}

// Decisions implements store.Control.
func (s *Store) Decisions(ctx context.Context, limit int) ([]mesh.Decision, error) {
	if limit <= 0 {
		return nil, nil
	}
	return listed[mesh.Decision](ctx, s, span{pk: "decision", newestFirst: true, pageItems: int32(min(limit, 1000))}, limit)
}

// replace writes v as the body of item, without a condition.
func (s *Store) replace(ctx context.Context, item controlItem, v any) error {
	body, err := rule.Encode(v)
	if err != nil {
		return err
	}
	item.blob = pack(body)
	return put(ctx, s, s.control, item, "", nil, nil)
}

var plannerKey = key{"planner", "state"}

// PlannerState implements store.Control.
func (s *Store) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	item, _, err := get[controlItem](ctx, s, s.control, plannerKey)
	if err != nil {
		return mesh.PlannerState{}, err
	}
	data, err := item.bytes()
	return mesh.PlannerState{Version: item.Version, Data: data}, err
}

// PutPlannerState implements store.Control.
func (s *Store) PutPlannerState(ctx context.Context, p mesh.PlannerState) error {
	if err := rule.PlannerState(p); err != nil {
		return err
	}
	if p.Version == 0 {
		return rule.NextVersion("planner state", 0, 0)
	}
	condition, v := "ver = :before", values{":before": p.Version - 1}
	if p.Version == 1 {
		condition, v = "attribute_not_exists(pk)", nil
	}
	return put(ctx, s, s.control, controlItem{key: plannerKey, Version: p.Version, blob: pack(p.Data)}, condition, v, func(stored controlItem, _ bool) (bool, error) {
		err := rule.NextVersion("planner state", stored.Version, p.Version)
		return err == nil, err
	})
}

// ChangeOf returns the change that a record of the control table's stream
// tells of: eventName is INSERT, MODIFY or REMOVE, pk and sk are its keys. It
// returns false for deletions, decisions and planner state, which are no changes.
func ChangeOf(eventName, pk, sk string) (store.Change, bool) {
	if eventName == "REMOVE" {
		return store.Change{}, false
	}
	switch pk {
	case "process":
		return store.Change{Kind: store.ProcessChanged, ID: sk}, true
	case "report":
		return store.Change{Kind: store.ReportChanged, ID: sk}, true
	case "intent":
		return store.Change{Kind: store.IntentChanged, ID: sk}, true
	case "suspicion":
		length, names, _ := strings.Cut(sk, ":")
		if n, err := strconv.Atoi(length); err == nil && n >= 0 && n <= len(names) {
			return store.Change{Kind: store.SuspicionChanged, ID: names[:n]}, true
		}
	}
	return store.Change{}, false
}
