package scenario

// Report is what came of a run. Its JSON names are a contract.
type Report struct {
	Scenario    string  `json:"scenario"`
	Seed        uint64  `json:"seed"`
	WallSeconds float64 `json:"wall_seconds"`

	Players   Players    `json:"players"`
	ResumeMS  Quantiles  `json:"resume_ms"`
	Nodes     Nodes      `json:"nodes"`
	Zones     Zones      `json:"zones"`
	Crossings Crossings  `json:"crossings"`
	Recovery  []Recovery `json:"recovery"`
	Entities  Entities   `json:"entities"`
	Durable   Durable    `json:"durable"`

	TickHz int `json:"tick_hz"`
	// TickMS is how long after it was due a tick was over, over all ticks of all
	// nodes, from their reports: of the ticks since the last report half are taken
	// to have its median, the others to lie evenly up to its 99th percentile, and
	// one in a hundred to have its maximum. Max is the worst tick of any node.
	TickMS      Extremes `json:"tick_ms"`
	TicksMissed uint64   `json:"ticks_missed"` // of all nodes, killed and paused ones too
	// MeltedSeconds is the longest time for which some node missed more than a
	// fifth of its ticks, as its reports tell.
	MeltedSeconds float64 `json:"melted_seconds"`

	UpdateAgeMS     Quantiles `json:"update_age_ms"` // from when the tick of a client's own body was due to its arrival there
	ClientBytesPerS Quantiles `json:"client_bytes_per_s"`
	Store           Store     `json:"store"`
	Layers          Layers    `json:"layers"`
	Expect          []Verdict `json:"expect"`

	// Offences are the first losses and duplicates that the audit found, each
	// with its reason; BotFaults the first disconnects and refusals that the
	// bots met.
	Offences  []string `json:"offences,omitempty"`
	BotFaults []string `json:"bot_faults,omitempty"`
}

// Quantiles of a measure; all zero if nothing was measured.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Extremes are Quantiles and the worst.
type Extremes struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Players counts connections as the bots saw them.
type Players struct {
	Joined      int `json:"joined"` // players who were welcomed at least once
	Peak        int `json:"peak"`   // welcomed at the same time
	Disconnects int `json:"disconnects"`
	Resumed     int `json:"resumed"`
	Rejected    int `json:"rejected"` // logins that were refused for good
}

// Nodes counts simulation nodes.
type Nodes struct {
	Peak     int `json:"peak"`  // that owned a zone at the same time
	Final    int `json:"final"` // that own a zone at the end, before the world is put to sleep
	Launched int `json:"launched"`
	Killed   int `json:"killed"`
}

// Zones counts zones of the layout, retiring ones included.
type Zones struct {
	Peak  int `json:"peak"`
	Final int `json:"final"`
}

// Crossings are changes of authority over entities. Count is of the nodes'
// reports; a stall is how long a client had no news of its own body when that
// crossed, where no crash had part in it.
type Crossings struct {
	Count   uint64   `json:"count"`
	StallMS Extremes `json:"stall_ms"`
}

// Recovery is what one killed node cost. FirstTickMS is until the slowest of
// its zones in which a player stood ticked again under a new epoch, as bots
// saw it; a zone that never did counts until the end of the run.
type Recovery struct {
	Node             string  `json:"node"`
	KilledAtS        float64 `json:"killed_at_s"`
	FirstTickMS      float64 `json:"first_tick_ms"`
	ClientStallMSP99 float64 `json:"client_stall_ms_p99"`
}

// Entities is the audit's count of items and players.
type Entities struct {
	Expected   int `json:"expected"`
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
}

// Durable is the audit's count of acknowledged events.
type Durable struct {
	Acknowledged int       `json:"acknowledged"`
	Lost         int       `json:"lost"`
	AckMS        Quantiles `json:"ack_ms"` // from the first sending to the acknowledgement
}

// Store is what the run wrote to the replication store.
type Store struct {
	Writes         uint64  `json:"writes"`
	WriteUnits     uint64  `json:"write_units"`
	WriteUnitsPerS float64 `json:"write_units_per_s"`
}

// Layers tells of layers that had owners of their own.
type Layers struct {
	// PropsOwnersPeak is the most nodes at one time that owned Props zones and
	// no others.
	PropsOwnersPeak int `json:"props_owners_peak"`
}

// Verdict is one expectation with what came of it.
type Verdict struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Got   any    `json:"got"`
}

// OK reports that every expectation was met.
func (r *Report) OK() bool {
	for _, v := range r.Expect {
		if !v.OK {
			return false
		}
	}
	return true
}
