package storetest

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
	"weft/control/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each of these drivers breaks one thing that the fence rests on, and must be caught.
func TestBrokenDriversAreCaught(t *testing.T) {
	v := Volume{Histories: 12, Zones: 4, Clients: 6, Operations: 60}
	for name, c := range map[string]struct {
		broken func(store.Store) store.Store
		object string
	}{
		"pointers without the epoch":                   {func(s store.Store) store.Store { return anyPointer{s} }, "record"},
		"appends without the epoch":                    {func(s store.Store) store.Store { return anyAppend{s} }, "ring slot"},
		"a compare-and-set in two steps":               {func(s store.Store) store.Store { return &torn{Store: s, recs: map[mesh.ZoneID]mesh.ZoneRecord{}} }, "record"},
		"an append decided when it came, written late": {func(s store.Store) store.Store { return &tardy{Store: s, ring: map[object]mesh.Slot{}} }, "ring slot"},
		"records read from a copy":                     {func(s store.Store) store.Store { return &cached{Store: s} }, "record"},
		"poses that go back":                           {func(s store.Store) store.Store { return &anyPoses{Store: s} }, "poses"},
		"a repeat refused":                             {func(s store.Store) store.Store { return once{s} }, "ring slot"},
	} {
		t.Run(name, func(t *testing.T) {
			fault := ""
			for seed := uint64(1); fault == "" && seed <= uint64(v.Histories); seed++ {
				_, fault = linearize(t.Context(), []store.Store{c.broken(memstore.New())}, v, seed)
			}
			if !strings.HasPrefix(fault, c.object) || !strings.Contains(fault, "not linearizable") {
				t.Fatalf("%d histories, and the fault found is %q", v.Histories, fault)
			}
		})
	}
}

// The decorators below are stores, each with one promise broken.

type anyPointer struct{ store.Store }

func (s anyPointer) MovePointer(ctx context.Context, zone mesh.ZoneID, _ mesh.Epoch, ptr mesh.Pointer) error {
	rec, err := s.Zone(ctx, zone)
	if err != nil {
		return store.ErrStaleEpoch
	}
	return s.Store.MovePointer(ctx, zone, rec.Epoch, ptr)
}

type anyAppend struct{ store.Store }

func (s anyAppend) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	there, err := s.ReadSlots(ctx, zone, slot.Position-mesh.RingSlots, 1)
	if err == nil && len(there) == 1 {
		slot.Epoch = max(slot.Epoch, there[0].Epoch)
	}
	return s.Store.Append(ctx, zone, slot)
}

// torn reads a record, decides, and writes it whole, with nothing in between.
type torn struct {
	store.Store
	mu   sync.Mutex
	recs map[mesh.ZoneID]mesh.ZoneRecord
}

func (s *torn) change(zone mesh.ZoneID, decide func(*mesh.ZoneRecord, bool) (bool, error)) error {
	s.mu.Lock()
	rec, ok := s.recs[zone]
	s.mu.Unlock()
	write, err := decide(&rec, ok)
	runtime.Gosched()
	if write {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.recs[zone] = rec
	}
	return err
}

func (s *torn) CreateZone(_ context.Context, rec mesh.ZoneRecord) error {
	return s.change(rec.Zone, func(r *mesh.ZoneRecord, ok bool) (bool, error) {
		if ok {
			return false, store.ErrConflict
		}
		*r = rec
		return true, nil
	})
}

func (s *torn) Zone(_ context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.recs[zone]
	if !ok {
		return rec, store.ErrNotFound
	}
	return rec, nil
}

func (s *torn) RaiseEpoch(_ context.Context, zone mesh.ZoneID, from mesh.Epoch, owner mesh.Owner) error {
	return s.change(zone, func(r *mesh.ZoneRecord, ok bool) (bool, error) {
		write, err := rule.RaiseEpoch(*r, ok, from, owner)
		r.Epoch, r.Owner = from+1, owner
		return write, err
	})
}

func (s *torn) MovePointer(_ context.Context, zone mesh.ZoneID, epoch mesh.Epoch, ptr mesh.Pointer) error {
	return s.change(zone, func(r *mesh.ZoneRecord, ok bool) (bool, error) {
		write, err := rule.MovePointer(*r, ok, epoch, ptr)
		r.Pointer = ptr
		return write, err
	})
}

// tardy decides on an append at once and writes every fourth a little later,
// over whatever is there by then.
type tardy struct {
	store.Store
	mu      sync.Mutex
	ring    map[object]mesh.Slot
	appends int
	pending func()
}

func (s *tardy) Append(_ context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := object{zone, slotObject, rule.Ring(slot.Position)}
	there, ok := s.ring[at]
	write, err := rule.Append(there, ok, slot)
	s.appends++
	switch {
	case write && s.pending == nil && s.appends%4 == 0:
		s.pending = func() { s.ring[at] = slot }
	case write:
		s.ring[at] = slot
	}
	if s.pending != nil && s.appends%4 == 3 {
		s.pending()
		s.pending = nil
	}
	return err
}

func (s *tardy) ReadSlots(_ context.Context, zone mesh.ZoneID, from int64, limit int) (slots []mesh.Slot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range rule.Span(from, limit) {
		there, ok := s.ring[object{zone, slotObject, rule.Ring(from + int64(len(slots)))}]
		if !ok {
			break
		}
		take, more := rule.Contiguous(slots, from, there)
		if take {
			slots = append(slots, there)
		}
		if !more {
			break
		}
	}
	return slots, nil
}

// cached answers every other read of a record from the one before.
type cached struct {
	store.Store
	mu    sync.Mutex
	last  mesh.ZoneRecord
	reads int
}

func (s *cached) Zone(ctx context.Context, zone mesh.ZoneID) (mesh.ZoneRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads++; s.reads%2 == 0 && s.last.Zone == zone {
		return s.last, nil
	}
	rec, err := s.Store.Zone(ctx, zone)
	if err == nil {
		s.last = rec
	}
	return rec, err
}

// anyPoses takes poses whatever their tick, as long as the epoch is right.
type anyPoses struct {
	store.Store
	mu    sync.Mutex
	poses map[mesh.ZoneID]mesh.PoseRecord
}

func (s *anyPoses) PutPoses(_ context.Context, zone mesh.ZoneID, rec mesh.PoseRecord) error {
	return s.change(zone, func(was mesh.PoseRecord) (mesh.PoseRecord, error) {
		if was.Epoch > rec.Epoch {
			return was, store.ErrStaleEpoch
		}
		return rec, nil
	})
}

func (s *anyPoses) RaisePoses(_ context.Context, zone mesh.ZoneID, epoch mesh.Epoch) (now mesh.PoseRecord, err error) {
	err = s.change(zone, func(was mesh.PoseRecord) (mesh.PoseRecord, error) {
		if was.Epoch > epoch {
			return was, store.ErrStaleEpoch
		}
		was.Epoch = epoch
		now = was
		return was, nil
	})
	return now, err
}

func (s *anyPoses) change(zone mesh.ZoneID, f func(mesh.PoseRecord) (mesh.PoseRecord, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poses == nil {
		s.poses = map[mesh.ZoneID]mesh.PoseRecord{}
	}
	rec, err := f(s.poses[zone])
	s.poses[zone] = rec
	return err
}

// once refuses an append that is there already.
type once struct{ store.Store }

func (s once) Append(ctx context.Context, zone mesh.ZoneID, slot mesh.Slot) error {
	there, err := s.ReadSlots(ctx, zone, slot.Position, 1)
	if err == nil && len(there) == 1 && there[0].Position == slot.Position {
		return store.ErrStaleEpoch
	}
	return s.Store.Append(ctx, zone, slot)
}
