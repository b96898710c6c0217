package planner

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
	"weft/control/partition"
)

// poisons are what a broken or hostile process might report. Whatever it is,
// a plan must not panic, must leave a valid layout, and must not carry the
// nonsense on in its state.
var poisons = map[string]func(*Snapshot){
	"absurd counts": func(s *Snapshot) {
		z := &s.Reports[0].Zones[0]
		z.Actors, z.Props, z.Moving, z.Asleep, z.Outbound = math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt
		z.BusyUS, s.Reports[0].BusyUS, s.Reports[0].Clients = math.MaxUint32, math.MaxUint32, math.MaxInt
	},
	"negative counts": func(s *Snapshot) {
		z := &s.Reports[0].Zones[0]
		z.Actors, z.Props, z.Moving, z.Asleep, z.Outbound = math.MinInt, -1, math.MinInt, -1, -1
		s.Reports[3].Clients = math.MinInt
	},
	"no budget": func(s *Snapshot) { s.Reports[0].TickBudgetUS, s.Reports[0].BusyUS = 0, 100 },
	"a budget of one": func(s *Snapshot) {
		s.Reports[0].TickBudgetUS, s.Reports[0].BusyUS, s.Reports[0].Zones[0].BusyUS = 1, math.MaxUint32, 1
	},
	"negative capacity":  func(s *Snapshot) { s.Processes[0].Capacity, s.Reports[0].Process.Capacity = -5, -5 },
	"a nameless process": func(s *Snapshot) { s.Processes = append(s.Processes, mesh.Process{}) },
	"one process twice":  func(s *Snapshot) { s.Processes = append(s.Processes, s.Processes[0]) },
	"an unknown role":    func(s *Snapshot) { s.Processes[1].Role = 77 },
	"an unknown state":   func(s *Snapshot) { s.Processes[1].State = 77 },
	"a report of nobody": func(s *Snapshot) { s.Reports[0].Process.ID = "nobody" },
	"another's zone": func(s *Snapshot) {
		s.Reports[1].Zones = []mesh.ZoneLoad{{Zone: 1, Epoch: 3, Open: true, Actors: 100_000}}
	},
	"a zone twice": func(s *Snapshot) { s.Reports[0].Zones = append(s.Reports[0].Zones, s.Reports[0].Zones[0]) },
	"zones there are not": func(s *Snapshot) {
		s.Reports[0].Zones = append(s.Reports[0].Zones, mesh.ZoneLoad{Zone: 0}, mesh.ZoneLoad{Zone: math.MaxUint32, OutboundTo: []mesh.ZoneID{0, 99}})
	},
	"zones nobody reports": func(s *Snapshot) { s.Reports[0].Zones = nil },
	"no reports":           func(s *Snapshot) { s.Reports = nil },
	"no processes":         func(s *Snapshot) { s.Processes = nil },
	"edges in disorder":    withDensity([]int32{5, 1, 9}, []int32{1, 2}, 3, 3),
	"too few counts":       withDensity([]int32{1, 5, 9}, []int32{1, 2, 3}, 3),
	"one edge":             withDensity([]int32{1}, []int32{1}),
	"no weight":            withDensity([]int32{1, 5}, []int32{1, 2}, 0),
	"edges at the ends":    withDensity([]int32{math.MinInt32, math.MaxInt32}, []int32{math.MinInt32, math.MaxInt32}, math.MaxUint16),
	"all in one point":     withDensity([]int32{7, 7}, []int32{7, 7}, 500),
	"far outside":          withDensity([]int32{math.MaxInt32, math.MaxInt32}, []int32{math.MinInt32, math.MinInt32}, 500),
	"a wild suspicion": func(s *Snapshot) {
		s.Suspicions = []mesh.Suspicion{{}, {Suspect: "a", Witness: "a", Kind: 99, Incarnation: 7}, {Suspect: "a", Witness: "g", Kind: 99, Incarnation: 7}}
	},
	"wild intents": func(s *Snapshot) {
		s.Intents = []mesh.Intent{{}, {What: "dance", Target: "a", Token: "x", State: 9}, {What: launch, Target: "", Token: "y", CreatedUnixMilli: math.MaxInt64}}
	},
	"a clock that went back": func(s *Snapshot) {
		s.State = State{RunMilli: math.MaxInt64 / 2, ColdMilli: math.MaxInt64 / 2,
			Seen:  map[mesh.NodeID]Seen{"a": {7, 10, math.MaxInt64 / 2}},
			Zones: map[mesh.ZoneID]ZoneState{1: {Load: 5, Milli: math.MaxInt64 / 2, Memory: partition.Memory{ChangedMilli: math.MaxInt64 / 2, QuietMilli: math.MaxInt64 / 2}}}}
	},
	"a state of nonsense": func(s *Snapshot) {
		s.State = State{Zones: map[mesh.ZoneID]ZoneState{1: {Load: math.MaxInt64, Milli: -5, Memory: partition.Memory{Step: math.MaxInt64, Dir: 3, Last: 200}}},
			Removed: []Removed{{Zone: 1, Version: math.MaxUint64}, {}}, Failures: map[mesh.Role]int{1: -3, 2: math.MaxInt}, NextNumber: math.MaxUint64}
	},
	"an empty world": func(s *Snapshot) { s.Layout.Shard.Bounds, s.Layout.Zones = mesh.Box{}, nil },
}

func withDensity(x, y []int32, counts ...uint16) func(*Snapshot) {
	return func(s *Snapshot) {
		s.Reports[0].Zones[0].Actors = 500
		s.Reports[0].Zones[0].Density = mesh.Density{XEdges: x, YEdges: y, Counts: counts}
	}
}

func TestPoison(t *testing.T) {
	for name, poison := range poisons {
		t.Run(name, func(t *testing.T) { digest(t, scene(poison), 700) })
	}
}

// digest plans s over and over for 20 s, and checks plans and states.
func digest(t interface{ Fatalf(string, ...any) }, s Snapshot, stepMilli int64) {
	for ms := int64(0); ms < 20_000; ms += stepMilli {
		before, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("the snapshot: %v", err)
		}
		actions, state := Plan(DefaultConfig(), s, at(ms))
		if after, _ := json.Marshal(s); string(after) != string(before) {
			t.Fatalf("the plan changed its snapshot")
		}
		draft := s.Layout.Clone()
		draft.Version++
		changed := false
		for _, a := range actions {
			if a.Do == ChangeLayout {
				changed = true
				if err := a.Change.Apply(&draft); err != nil {
					t.Fatalf("%+v: %v", a.Change, err)
				}
			}
		}
		if err := draft.Validate(); changed && err != nil {
			t.Fatalf("%v", err)
		}
		if len(actions) > 200 {
			t.Fatalf("%d actions", len(actions))
		}
		for id, z := range state.Zones {
			if z.Load < 0 || z.Load > partition.MaxLoad || z.Memory.ChangedMilli > at(ms).UnixMilli() || z.Memory.QuietMilli > at(ms).UnixMilli() {
				t.Fatalf("zone %d is remembered as %+v", id, z)
			}
		}
		data, err := json.Marshal(state)
		if err != nil {
			t.Fatalf("the state: %v", err)
		}
		s.State = State{}
		if err := json.Unmarshal(data, &s.State); err != nil {
			t.Fatalf("the state: %v", err)
		}
		if changed {
			s.Layout = draft
		}
	}
}

// TestPoisonsTogether mixes them.
func TestPoisonsTogether(t *testing.T) {
	names := sortedKeys(poisons)
	rapid.Check(t, func(t *rapid.T) {
		digest(t, scene(func(s *Snapshot) {
			for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 4).Draw(t, "poisons") {
				if len(s.Reports) > 0 && len(s.Reports[0].Zones) > 0 && len(s.Processes) > 1 && len(s.Layout.Zones) > 0 {
					poisons[name](s)
				}
			}
		}), 5000)
	})
}
