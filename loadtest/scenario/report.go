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
	Props           Props     `json:"props"`
	Drill           *Drill    `json:"drill,omitempty"` // of a scenario with faults
	Cloud           *Cloud    `json:"cloud,omitempty"` // of a world that was deployed
	Cost            *Cost     `json:"cost,omitempty"`
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

// Drill is what the faults of a scenario came to.
type Drill struct {
	Faults int `json:"faults"` // that were done
	// Unrecovered are those after which the mesh was not whole again in time:
	// every zone open under a living owner, and a node to spare.
	Unrecovered int `json:"unrecovered"`
	// RecoveryMS is from a fault until the mesh is whole again. FirstTickMS is
	// Recovery.FirstTickMS over all killed nodes.
	RecoveryMS  Extremes `json:"recovery_ms"`
	FirstTickMS Extremes `json:"first_tick_ms"`

	Replay Replay     `json:"replay"`
	Links  LinkFaults `json:"links"`
	Outage Outage     `json:"outage"`
}

// Replay is of the fenced writes of paused nodes, tried again when others own
// their zones: each must be refused, or be what is stored already and change nothing.
type Replay struct {
	Tried      int `json:"tried"`
	Refused    int `json:"refused"`
	Identical  int `json:"identical"`
	Violations int `json:"violations"`
}

// LinkFaults is of the connections between processes.
type LinkFaults struct {
	Delayed    int   `json:"delayed_bytes"`
	Silences   int   `json:"silences"`
	Cuts       int   `json:"cuts"`        // connections broken, and refused for a while
	ViaGateway int   `json:"via_gateway"` // messages between nodes that went through a gateway
	Crossings  int64 `json:"crossings"`   // while the faults lasted
}

// Outage is a time without a store.
type Outage struct {
	Seconds float64 `json:"seconds"`
	Held    int     `json:"held"` // durable events that waited when the store came back
	// Acknowledged are events answered while there was no store to keep them,
	// those of its first and last tick left out.
	Acknowledged    int     `json:"acknowledged"`
	SettleS         float64 `json:"settle_s"` // from its return until no event from before waited
	ViewsPerPlayerS float64 `json:"views_per_player_s"`
	NodeTicksMissed uint64  `json:"node_ticks_missed"`
	Takeovers       int     `json:"takeovers"` // zones that changed hands because of it
}

// Layers tells of layers that had owners of their own.
type Layers struct {
	// PropsOwnersPeak is the most nodes at one time that owned Props zones and
	// no others.
	PropsOwnersPeak int `json:"props_owners_peak"`
}

// Props counts items and rockets that nobody carries.
type Props struct {
	MovingPeak int `json:"moving_peak"` // in the air at the same time, as the nodes' reports tell
}

// Cloud is what a deployment came to.
type Cloud struct {
	Emulator  string `json:"emulator"`
	Resources int    `json:"resources"` // that Terraform made
	// PlanEmpty: a second plan found nothing to do. Destroyed: nothing is left.
	PlanEmpty bool `json:"plan_empty"`
	Destroyed bool `json:"destroyed"`
	// By function: how often it was called; the last time that a process was
	// started for it, until it asked for work, and what its first work then took;
	// and how large its archive is.
	Invocations   map[string]int64   `json:"invocations"`
	ColdStartMS   map[string]float64 `json:"cold_start_ms"`
	FirstInvokeMS map[string]float64 `json:"first_invoke_ms"`
	ZipBytes      map[string]int64   `json:"zip_bytes"`
	// GivenUp are events and records that a function failed on until the last try.
	GivenUp           int64 `json:"given_up"`
	TasksLaunched     int   `json:"tasks_launched"`
	InstancesLaunched int   `json:"instances_launched"`
	TasksLeft         int   `json:"tasks_left"` // and instances, when the world had stopped
}

// Cost is what the run would have cost on AWS at list prices: USDPerPlayerHour
// leaves egress aside, StaticPeakUSD is with as many processes as at the peak
// from the first to the last second.
type Cost struct {
	USDTotal         float64            `json:"usd_total"`
	USDPerPlayerHour float64            `json:"usd_per_player_hour"`
	StaticPeakUSD    float64            `json:"static_peak_usd"`
	PlayerHours      float64            `json:"player_hours"`
	Lines            map[string]float64 `json:"lines"` // dollars
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
