// Package storetest is the conformance suite of the store port. A driver's
// tests call [Run] and, if several processes can share its store, [RunShared];
// what the port says, and nothing else, is tested here once for all drivers.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
)

// patience bounds every test of the suite: long enough for a slow emulator.
const patience = time.Minute

// Run tests the driver whose empty stores open returns; open registers any
// clean-up with t. The stores are closed by the suite.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"append takes the ring's free and oldest places only", testAppend},
		{"append refuses lower epochs for ever", testAppendEpochs},
		{"append takes repeats and refuses late copies", testAppendRepeats},
		{"append goes round the ring", testRing},
		{"slots are read while contiguous", testReadSlots},
		{"slots of higher epochs are seen", testReadSlotsHigherEpoch},
		{"sizes at and over the limits", testSizes},
		{"zones are created once", testCreateZone},
		{"epochs rise by compare-and-set", testRaiseEpoch},
		{"pointers only move on", testMovePointer},
		{"raising the epoch leaves the pointer", testEpochAndPointerApart},
		{"zones are removed whole", testRemoveZone},
		{"chunks", testChunks},
		{"poses grow by epoch and tick", testPutPoses},
		{"raised poses keep tick and data", testRaisePoses},
		{"layouts follow by version", testLayout},
		{"processes live by incarnation", testProcesses},
		{"processes are removed by incarnation", testRemoveProcess},
		{"reports grow by incarnation and sequence", testReports},
		{"suspicions", testSuspicions},
		{"intents", testIntents},
		{"decisions come newest first", testDecisions},
		{"planner state follows by version", testPlannerState},
		{"records keep every field", testFidelity},
		{"memory belongs to the caller", testOwnership},
		{"changes are told", testWatch},
		{"two watchers are told alike", testTwoWatchers},
		{"a cancelled context ends every call", testCancelled},
		{"random history like the reference", func(s *suite) { compareRandomly(s, memstore.New()) }},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(begin(t, open(t))) })
	}
	t.Run("concurrent", func(t *testing.T) {
		runConcurrent(t, func(t *testing.T) []store.Store { return []store.Store{open(t)} })
	})
}

// RunShared tests what two handles on one and the same empty store must agree
// on, as two processes that share it would have them.
func RunShared(t *testing.T, open func(t *testing.T) (a, b store.Store)) {
	t.Run("random history alternating", func(t *testing.T) {
		a, b := open(t)
		compareRandomly(begin(t, a, b), memstore.New())
	})
	t.Run("one fences the other", func(t *testing.T) {
		a, b := open(t)
		testFenced(begin(t, a), begin(t, b))
	})
	t.Run("one watches the other", func(t *testing.T) {
		a, b := open(t)
		testWatchOther(begin(t, a), begin(t, b))
	})
	t.Run("concurrent", func(t *testing.T) {
		runConcurrent(t, func(t *testing.T) []store.Store {
			a, b := open(t)
			return []store.Store{a, b}
		})
	})
}

// suite is one test on one store.
type suite struct {
	store.Store               // the first of handles
	handles     []store.Store // all on the same store
	t           *testing.T
	ctx         context.Context
}

func begin(t *testing.T, handles ...store.Store) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		cancel()
		for _, st := range handles {
			if err := st.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return &suite{handles[0], handles, t, ctx}
}

// ok fails the test on an error.
func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// is fails the test unless err is want; nil is no error.
func (s *suite) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("got error %v, want %v", err, want)
	}
}

// must returns v and fails the test on an error.
func must[T any](v T, err error) func(s *suite) T {
	return func(s *suite) T {
		s.t.Helper()
		s.ok(err)
		return v
	}
}

func owner(node mesh.NodeID, inc mesh.Incarnation) mesh.Owner {
	return mesh.Owner{Node: node, Incarnation: inc, Address: string(node) + ":7000"}
}

func slot(position int64, epoch mesh.Epoch, data string) mesh.Slot {
	return mesh.Slot{Position: position, Epoch: epoch, Data: []byte(data)}
}

func filled(n int) []byte { return bytes.Repeat([]byte{0xa7}, n) }
