package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"

	"weft/control/mesh"
	"weft/control/store"
)

// seedVariable replays the history that a failed test printed.
const seedVariable = "WEFT_STORETEST_SEED"

// historyLength is enough for every operation with several outcomes each, and
// little enough for an emulator that takes 10 ms a write.
const historyLength = 400

// compareRandomly makes one random history of calls on the suite's handles and
// on the reference and fails at the first call that they answer differently.
// Keys, epochs and positions are few, so that conditions are met and missed.
func compareRandomly(s *suite, reference store.Store) {
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.t.Fatalf("%s=%s is not a seed", seedVariable, text)
		}
	}
	h := history{s: s, rand: rand.New(rand.NewPCG(seed, 0))}
	var log []string
	for range historyLength {
		name, call := h.next()
		log = append(log, name)
		got, want := outcome(call(h.s.handles[h.rand.IntN(len(s.handles))])), outcome(call(reference))
		if !reflect.DeepEqual(got, want) {
			s.t.Fatalf("%s:\n got %+v\nwant %+v\nlast calls: %q\nreplay with %s=%d", name, got, want, log[max(0, len(log)-30):], seedVariable, seed)
		}
	}
}

type answer struct {
	value any
	err   error
}

// outcome reduces an answer to what callers may depend on.
func outcome(value any, err error) answer {
	for _, kind := range []error{store.ErrStaleEpoch, store.ErrConflict, store.ErrNotFound, store.ErrTooLarge, store.ErrUnavailable} {
		if errors.Is(err, kind) {
			return answer{nil, kind}
		}
	}
	return answer{normal(value), err}
}

// normal makes equal what means the same: nil and empty, lists without order.
func normal(value any) any {
	switch v := value.(type) {
	case []mesh.Slot:
		return slotsString(v)
	case mesh.ZoneRecord:
		return fmt.Sprintf("%+v", v)
	case mesh.PoseRecord:
		return fmt.Sprintf("%d %d %q", v.Epoch, v.Tick, v.Data)
	case mesh.PlannerState:
		return fmt.Sprintf("%d %q", v.Version, v.Data)
	case []byte:
		return string(v)
	}
	if list := reflect.ValueOf(value); list.Kind() == reflect.Slice {
		texts := []string{}
		for i := range list.Len() {
			texts = append(texts, fmt.Sprintf("%+v", list.Index(i).Interface()))
		}
		if list.Type() != reflect.TypeFor[[]mesh.Decision]() {
			slices.Sort(texts)
		}
		return texts
	}
	return value
}

// history draws calls that lean towards those that succeed: positions, epochs
// and versions lie around the last ones that did.
type history struct {
	s       *suite
	rand    *rand.Rand
	at      [2]int64 // per zone, about the next position
	version uint64   // about the next version
}

type call = func(st store.Store) (any, error)

func (h *history) pick(n int) int { return h.rand.IntN(n) }

func (h *history) next() (string, call) {
	ctx, z := h.s.ctx, h.pick(2)
	zone := mesh.ZoneID(z + 1)
	epoch := mesh.Epoch(1 + h.pick(3))
	node := mesh.NodeID(string("ab"[h.pick(2)]))
	inc := mesh.Incarnation(1 + h.pick(2))
	data := []byte(fmt.Sprint("data ", h.pick(2)))
	unit := func(name string, f func(st store.Store) error) (string, call) {
		return name, func(st store.Store) (any, error) { return nil, f(st) }
	}
	switch h.pick(12) {
	case 0, 1, 2:
		return h.journal(zone, epoch, data)
	case 3:
		rec := mesh.ZoneRecord{Zone: zone, Owner: owner(node, inc), Epoch: epoch, Pointer: mesh.Pointer{Position: -1}}
		return unit(fmt.Sprintf("CreateZone(%+v)", rec), func(st store.Store) error { return st.CreateZone(ctx, rec) })
	case 4:
		return unit(fmt.Sprintf("RaiseEpoch(%d, %d, %s %d)", zone, epoch, node, inc), func(st store.Store) error { return st.RaiseEpoch(ctx, zone, epoch, owner(node, inc)) })
	case 5:
		ptr := mesh.Pointer{Position: int64(h.pick(8)), Chunks: []string{string(data)}}
		return unit(fmt.Sprintf("MovePointer(%d, %d, %+v)", zone, epoch, ptr), func(st store.Store) error { return st.MovePointer(ctx, zone, epoch, ptr) })
	case 6:
		return fmt.Sprintf("Zone(%d)", zone), func(st store.Store) (any, error) { return st.Zone(ctx, zone) }
	case 7:
		if h.pick(8) == 0 {
			return unit(fmt.Sprintf("RemoveZone(%d)", zone), func(st store.Store) error { return st.RemoveZone(ctx, zone) })
		}
		rec := mesh.PoseRecord{Epoch: epoch, Tick: mesh.Tick(h.pick(6)), Data: data}
		return unit(fmt.Sprintf("PutPoses(%d, %d %d %s)", zone, rec.Epoch, rec.Tick, rec.Data), func(st store.Store) error { return st.PutPoses(ctx, zone, rec) })
	case 8:
		return fmt.Sprintf("RaisePoses(%d, %d)", zone, epoch), func(st store.Store) (any, error) { return st.RaisePoses(ctx, zone, epoch) }
	case 9:
		return h.chunk(data)
	case 10:
		return h.versioned(data)
	}
	return h.control(node, inc)
}

func (h *history) journal(zone mesh.ZoneID, epoch mesh.Epoch, data []byte) (string, call) {
	ctx, at := h.s.ctx, &h.at[zone-1]
	position := *at + int64(h.pick(3)) - 1
	switch h.pick(8) {
	case 0:
		position += mesh.RingSlots
	case 1:
		*at = position // the next calls are about this place, or its laps
	}
	position = max(position, 0)
	if h.pick(3) == 0 {
		limit := h.pick(6)
		return fmt.Sprintf("ReadSlots(%d, %d, %d)", zone, position, limit), func(st store.Store) (any, error) { return st.ReadSlots(ctx, zone, position, limit) }
	}
	if h.pick(3) > 0 {
		epoch = 1
	}
	sl := mesh.Slot{Position: position, Epoch: epoch, Seal: h.pick(6) == 0, Data: data}
	return fmt.Sprintf("Append(%d, %s)", zone, slotsString([]mesh.Slot{sl})), func(st store.Store) (any, error) { return nil, st.Append(ctx, zone, sl) }
}

func (h *history) chunk(data []byte) (string, call) {
	ctx, key := h.s.ctx, fmt.Sprintf("%d/%d", h.pick(2), h.pick(3))
	switch h.pick(4) {
	case 0:
		return "PutChunk " + key, func(st store.Store) (any, error) { return nil, st.PutChunk(ctx, key, data) }
	case 1:
		return "Chunk " + key, func(st store.Store) (any, error) { return st.Chunk(ctx, key) }
	case 2:
		return "DeleteChunk " + key, func(st store.Store) (any, error) { return nil, st.DeleteChunk(ctx, key) }
	}
	prefix := key[:h.pick(4)]
	return "ChunkKeys " + prefix, func(st store.Store) (any, error) { return st.ChunkKeys(ctx, prefix) }
}

func (h *history) versioned(data []byte) (string, call) {
	ctx := h.s.ctx
	if h.pick(3) == 0 {
		h.version++
	}
	v := h.version + uint64(h.pick(2))
	switch h.pick(5) {
	case 0:
		return fmt.Sprint("PutLayout ", v), func(st store.Store) (any, error) {
			return nil, st.PutLayout(ctx, mesh.Layout{Version: v, Shard: mesh.Shard{Name: string(data)}})
		}
	case 1:
		return "Layout", func(st store.Store) (any, error) { return st.Layout(ctx) }
	case 2:
		return "LayoutVersion", func(st store.Store) (any, error) { return st.LayoutVersion(ctx) }
	case 3:
		return fmt.Sprint("PutPlannerState ", v), func(st store.Store) (any, error) {
			return nil, st.PutPlannerState(ctx, mesh.PlannerState{Version: v, Data: data})
		}
	}
	return "PlannerState", func(st store.Store) (any, error) { return st.PlannerState(ctx) }
}

func (h *history) control(node mesh.NodeID, inc mesh.Incarnation) (string, call) {
	ctx, n := h.s.ctx, uint64(1+h.pick(4))
	key := fmt.Sprint("key ", n)
	switch h.pick(13) {
	case 0:
		p := process(node, inc, mesh.ProcessState(n%3+1))
		return fmt.Sprintf("PutProcess %+v", p), func(st store.Store) (any, error) { return nil, st.PutProcess(ctx, p) }
	case 1:
		return fmt.Sprintf("PutReport %s %d %d", node, inc, n), func(st store.Store) (any, error) { return nil, st.PutReport(ctx, report(node, inc, n)) }
	case 2:
		return fmt.Sprintf("RemoveProcess %s %d", node, inc), func(st store.Store) (any, error) { return nil, st.RemoveProcess(ctx, node, inc) }
	case 3:
		sus := mesh.Suspicion{Suspect: node, Incarnation: inc, Witness: mesh.NodeID(key), Number: n}
		return fmt.Sprintf("PutSuspicion %+v", sus), func(st store.Store) (any, error) { return nil, st.PutSuspicion(ctx, sus) }
	case 4:
		return "DeleteSuspicion " + string(node) + key, func(st store.Store) (any, error) { return nil, st.DeleteSuspicion(ctx, node, mesh.NodeID(key)) }
	case 5:
		return "PutIntent " + key, func(st store.Store) (any, error) {
			return nil, st.PutIntent(ctx, mesh.Intent{Token: key, Target: node})
		}
	case 6:
		return "DeleteIntent " + key, func(st store.Store) (any, error) { return nil, st.DeleteIntent(ctx, key) }
	case 7:
		return "PutDecision " + key, func(st store.Store) (any, error) {
			return nil, st.PutDecision(ctx, mesh.Decision{ID: key, Subject: string(node)})
		}
	case 8:
		return fmt.Sprint("Decisions ", n), func(st store.Store) (any, error) { return st.Decisions(ctx, int(n)) }
	case 9:
		return "Processes", func(st store.Store) (any, error) { return st.Processes(ctx) }
	case 10:
		return "Reports", func(st store.Store) (any, error) { return st.Reports(ctx) }
	case 11:
		return "Suspicions", func(st store.Store) (any, error) { return st.Suspicions(ctx) }
	}
	return "Intents", func(st store.Store) (any, error) { return st.Intents(ctx) }
}
