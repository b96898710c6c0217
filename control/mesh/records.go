package mesh

// RingSlots is K, the number of journal slots of a zone. Position n lives in
// slot n mod K.
const RingSlots = 256

// ZoneRecord is the authority on who owns a zone. Reconcile moves owner and
// epoch; the owner moves the pointer.
type ZoneRecord struct {
	Zone    ZoneID
	Owner   Owner
	Epoch   Epoch
	Pointer Pointer
}

// Pointer names a zone's snapshot: the durable state through Position, whose
// encoded bytes are the concatenation of Chunks. Position −1 with no chunks is
// the empty state.
type Pointer struct {
	Position int64
	Chunks   []string
}

// Slot is one entry of a zone's journal ring.
type Slot struct {
	Position int64
	Epoch    Epoch
	Seal     bool   // written by a takeover; carries no records
	Data     []byte // replication.EncodeRecords; owned by the reader
}

// PoseRecord is the volatile state of a zone as of a tick.
type PoseRecord struct {
	Epoch Epoch
	Tick  Tick
	Data  []byte // replication.EncodePoses
}

// SuspicionKind is what made a process suspect another.
type SuspicionKind uint8

const (
	// Broken: the connection to it broke and could not be made again.
	Broken SuspicionKind = iota + 1
	// Silent: its frames stopped while the connection stood.
	Silent
	// Refusing: it says itself that it cannot go on (fenced, or store lost).
	Refusing
)

// Suspicion is a gateway's or neighbour's word that a process is gone.
// It accuses one incarnation only.
type Suspicion struct {
	Suspect     NodeID        `json:"suspect"`
	Incarnation Incarnation   `json:"incarnation"`
	Kind        SuspicionKind `json:"kind"`
	Witness     NodeID        `json:"witness"`
	WitnessRole Role          `json:"witness_role"`
	Tick        Tick          `json:"tick"` // the witness's tick when it saw
	Number      uint64        `json:"number"`
}

// IntentState is how far an intent has come.
type IntentState uint8

const (
	// IntentWritten: about to be carried out; repeat it until it is known done.
	IntentWritten IntentState = iota + 1
	// IntentDone: carried out.
	IntentDone
	// IntentFailed: given up, with the reason in its decision.
	IntentFailed
)

// Intent is written before a machine is launched or stopped, so that whoever
// reads it after a crash repeats the same act with the same token.
type Intent struct {
	Token  string      `json:"token"`
	What   string      `json:"what"` // "launch", "drain" or "stop"; the rest are words to the planner
	Role   Role        `json:"role"`
	Target NodeID      `json:"target"`
	State  IntentState `json:"state"`
	// CreatedUnixMilli is the planner's clock when it decided.
	CreatedUnixMilli int64  `json:"created_unix_milli"`
	Reason           string `json:"reason"`
}

// Decision is one planner action with its inputs, what was refused instead,
// and why.
type Decision struct {
	ID            string   `json:"id"` // sorts by time
	UnixMilli     int64    `json:"unix_milli"`
	LayoutVersion uint64   `json:"layout_version"` // the version it made, or saw
	Action        string   `json:"action"`         // one word: split, merge, move, takeover, launch …
	Subject       string   `json:"subject"`        // zone or node
	Reason        string   `json:"reason"`
	Alternatives  []string `json:"alternatives,omitempty"` // each with the reason it was refused
	// Data is what there is to a decision of that action besides words; of a
	// bill, its lines (see control/bill). JSON, or empty.
	Data string `json:"data,omitempty"`
}

// PlannerState is what the planner remembers between runs, as opaque JSON with
// a version for compare-and-set.
type PlannerState struct {
	Version uint64
	Data    []byte
}
