package planner

import (
	"weft/control/mesh"
	"weft/control/partition"
)

// State is what the planner remembers between runs. It is stored as JSON; its
// times are milliseconds of the planner's clock since 1970. A lost State costs
// patience, never safety.
type State struct {
	RunMilli   int64                     `json:"run"`  // when it was made
	NextNumber uint64                    `json:"next"` // of the next process to launch
	Zones      map[mesh.ZoneID]ZoneState `json:"zones,omitempty"`
	Seen       map[mesh.NodeID]Seen      `json:"seen,omitempty"`
	Suspicions map[string]Seen           `json:"suspicions,omitempty"` // by suspect/witness; Sequence is their Number
	Silenced   map[mesh.ZoneID]Silenced  `json:"silenced,omitempty"`
	Clear      map[mesh.ZoneID]Seen      `json:"clear,omitempty"` // see removable
	Draining   map[mesh.NodeID]int64     `json:"draining,omitempty"`
	Failures   map[mesh.Role]int         `json:"failures,omitempty"` // launches in a row that came to nothing
	Surplus    map[mesh.Role]int64       `json:"surplus,omitempty"`  // since when there are too many
	ColdMilli  int64                     `json:"cold,omitempty"`     // since when no zone has a living owner
	Removed    []Removed                 `json:"removed,omitempty"`  // zones whose records are still there
	QuietMilli int64                     `json:"quiet,omitempty"`    // since when nobody is here; 0: somebody is
	Meter      Meter                     `json:"meter,omitzero"`
	Woken      Seen                      `json:"woken,omitzero"` // the last wake; Sequence is when it was written
}

// ZoneState is what is remembered of a zone.
type ZoneState struct {
	Load   partition.Load   `json:"l,omitempty"` // smoothed
	Milli  int64            `json:"t,omitempty"` // as of when
	Memory partition.Memory `json:"m,omitzero"`
}

// Seen is an observation: the sequence that an incarnation showed, and when it
// was first seen to. No two clocks are ever compared.
type Seen struct {
	Incarnation mesh.Incarnation `json:"i"`
	Sequence    uint64           `json:"s"`
	Milli       int64            `json:"t"`
}

// Silenced says whose zone was last taken over for silence alone, and when.
type Silenced struct {
	Node        mesh.NodeID      `json:"n"`
	Incarnation mesh.Incarnation `json:"i"`
	Milli       int64            `json:"t"`
}

// Removed is a zone that was taken out of the layout in a version.
type Removed struct {
	Zone    mesh.ZoneID `json:"z"`
	Version uint64      `json:"v"`
}
