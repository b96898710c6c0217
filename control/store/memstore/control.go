package memstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// PutProcess implements store.Control.
func (s *Store) PutProcess(ctx context.Context, p mesh.Process) error {
	if err := bounded(p, p.ID); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	stored, ok := s.processes[p.ID]
	if _, err := rule.PutProcess(stored, ok, p); err != nil {
		return err
	}
	s.processes[p.ID] = p
	s.changed(store.ProcessChanged, string(p.ID))
	return nil
}

// Processes implements store.Control; ordered by ID.
func (s *Store) Processes(ctx context.Context) ([]mesh.Process, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return ordered(s.processes, cmp.Compare[mesh.NodeID]), nil
}

// RemoveProcess implements store.Control.
func (s *Store) RemoveProcess(ctx context.Context, id mesh.NodeID, inc mesh.Incarnation) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	stored, ok := s.processes[id]
	if _, err := rule.RemoveProcess(stored, ok, inc); err != nil {
		return err
	}
	delete(s.processes, id)
	if s.reports[id].Process.Incarnation <= inc {
		delete(s.reports, id)
	}
	maps.DeleteFunc(s.suspicions, func(a accusation, sus mesh.Suspicion) bool {
		return a.suspect == id && sus.Incarnation <= inc
	})
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
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	id := r.Process.ID
	stored, ok := s.reports[id]
	write, err := rule.PutReport(stored.Report, ok, r, stored.body, body)
	if !write {
		return err
	}
	s.reports[id] = report{cloneReport(r), body}
	s.changed(store.ReportChanged, string(id))
	return nil
}

// Reports implements store.Control; ordered by process.
func (s *Store) Reports(ctx context.Context) ([]mesh.Report, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	stored := ordered(s.reports, cmp.Compare[mesh.NodeID])
	reports := make([]mesh.Report, len(stored))
	for i := range stored {
		reports[i] = cloneReport(stored[i].Report)
	}
	return reports, nil
}

// cloneReport copies r as a round trip through its JSON would.
func cloneReport(r mesh.Report) mesh.Report {
	r.Zones = cloneNonEmpty(r.Zones)
	for i := range r.Zones {
		z := &r.Zones[i]
		z.OutboundTo = cloneNonEmpty(z.OutboundTo)
		z.Density = mesh.Density{XEdges: cloneNonEmpty(z.Density.XEdges), YEdges: cloneNonEmpty(z.Density.YEdges), Counts: cloneNonEmpty(z.Density.Counts)}
	}
	return r
}

func cloneNonEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return slices.Clone(s)
}

// PutSuspicion implements store.Control.
func (s *Store) PutSuspicion(ctx context.Context, sus mesh.Suspicion) error {
	if err := bounded(sus, sus.Suspect, sus.Witness); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.suspicions[accusation{sus.Suspect, sus.Witness}] = sus
	s.changed(store.SuspicionChanged, string(sus.Suspect))
	return nil
}

// Suspicions implements store.Control; ordered by suspect, then witness.
func (s *Store) Suspicions(ctx context.Context) ([]mesh.Suspicion, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return ordered(s.suspicions, compareAccusations), nil
}

// DeleteSuspicion implements store.Control.
func (s *Store) DeleteSuspicion(ctx context.Context, suspect, witness mesh.NodeID) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.suspicions, accusation{suspect, witness})
	return nil
}

// PutIntent implements store.Control.
func (s *Store) PutIntent(ctx context.Context, i mesh.Intent) error {
	if err := bounded(i, i.Token); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.intents[i.Token] = i
	s.changed(store.IntentChanged, i.Token)
	return nil
}

// Intents implements store.Control; ordered by token.
func (s *Store) Intents(ctx context.Context) ([]mesh.Intent, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	return ordered(s.intents, cmp.Compare[string]), nil
}

// DeleteIntent implements store.Control.
func (s *Store) DeleteIntent(ctx context.Context, token string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.intents, token)
	return nil
}

// PutDecision implements store.Control.
func (s *Store) PutDecision(ctx context.Context, d mesh.Decision) error {
	if err := bounded(d, d.ID); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d.Alternatives = cloneNonEmpty(d.Alternatives)
	i, ok := slices.BinarySearchFunc(s.decisions, d.ID, func(d mesh.Decision, id string) int { return cmp.Compare(d.ID, id) })
	if ok {
		s.decisions[i] = d
		return nil
	}
	s.decisions = slices.Insert(s.decisions, i, d)
	if n := len(s.decisions); n > 2*store.KeptDecisions {
		s.decisions = slices.Delete(s.decisions, 0, n-store.KeptDecisions)
	}
	return nil
}

// Decisions implements store.Control.
func (s *Store) Decisions(ctx context.Context, limit int) ([]mesh.Decision, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	newest := slices.Clone(s.decisions[max(0, len(s.decisions)-max(0, limit)):])
	slices.Reverse(newest)
	for i := range newest {
		newest[i].Alternatives = slices.Clone(newest[i].Alternatives)
	}
	return newest, nil
}

// PlannerState implements store.Control.
func (s *Store) PlannerState(ctx context.Context) (mesh.PlannerState, error) {
	if err := s.begin(ctx); err != nil {
		return mesh.PlannerState{}, err
	}
	defer s.mu.Unlock()
	return mesh.PlannerState{Version: s.planner.Version, Data: bytes.Clone(s.planner.Data)}, nil
}

// PutPlannerState implements store.Control.
func (s *Store) PutPlannerState(ctx context.Context, p mesh.PlannerState) error {
	if err := rule.PlannerState(p); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := rule.NextVersion("planner state", s.planner.Version, p.Version); err != nil {
		return err
	}
	s.planner = mesh.PlannerState{Version: p.Version, Data: bytes.Clone(p.Data)}
	return nil
}

// bounded refuses bad keys and records that no driver would take.
func bounded[S ~string](v any, keys ...S) error {
	if err := rule.Key(keys...); err != nil {
		return err
	}
	_, err := rule.Encode(v)
	return err
}
