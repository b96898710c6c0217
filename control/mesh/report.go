package mesh

// ProcessState is a process's own word of where it is in its life.
type ProcessState uint8

const (
	// Ready: it takes zones or clients.
	Ready ProcessState = iota + 1
	// Draining: it wants to stop and should be emptied.
	Draining
	// Stopped: it said goodbye.
	Stopped
)

func (s ProcessState) String() string {
	switch s {
	case Ready:
		return "ready"
	case Draining:
		return "draining"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// Process is the record by which a node or gateway makes itself known.
type Process struct {
	ID          NodeID       `json:"id"`
	Incarnation Incarnation  `json:"incarnation"`
	Role        Role         `json:"role"`
	State       ProcessState `json:"state"`
	Address     string       `json:"address"`              // for peers
	ClientURL   string       `json:"client_url,omitempty"` // gateways: where clients connect
	Capacity    int          `json:"capacity"`             // nodes: declared actors; gateways: clients
	OSProcess   int          `json:"os_process,omitempty"` // pid on its machine, for drills
	// Kind is what it runs on, as that is priced: FARGATE, FARGATE_SPOT, an
	// instance type; empty if it does not know. Machine is the cloud's name of
	// it, by which notices of its end speak of it.
	Kind    string `json:"kind,omitempty"`
	Machine string `json:"machine,omitempty"`
}

// Owner returns p as the owner of a zone.
func (p Process) Owner() Owner { return Owner{p.ID, p.Incarnation, p.Address} }

// Report is what a process says of its load every second or two, also when
// nothing moves: it is its heartbeat. Durations are microseconds.
type Report struct {
	Process       Process    `json:"process"`
	Sequence      uint64     `json:"sequence"` // grows with every report of an incarnation
	LayoutVersion uint64     `json:"layout_version"`
	Tick          Tick       `json:"tick"`
	TickBudgetUS  uint32     `json:"tick_budget_us"`
	TickP50US     uint32     `json:"tick_p50_us"` // from when a tick was due to its end
	TickP99US     uint32     `json:"tick_p99_us"`
	TickMaxUS     uint32     `json:"tick_max_us"`
	BusyUS        uint32     `json:"busy_us"`      // mean work of a tick, waiting left out
	TicksMissed   uint64     `json:"ticks_missed"` // since the process began
	Ticks         uint64     `json:"ticks"`
	Clients       int        `json:"clients,omitempty"`
	Counters      Counters   `json:"counters"`
	Zones         []ZoneLoad `json:"zones,omitempty"`
}

// Counters only grow in the life of a process.
type Counters struct {
	BytesToPeers    uint64 `json:"bytes_to_peers"`
	BytesToClients  uint64 `json:"bytes_to_clients"`
	Crossings       uint64 `json:"crossings"`         // arrivals made durable
	DurableEvents   uint64 `json:"durable_events"`    // acknowledged
	StoreWrites     uint64 `json:"store_writes"`      // requests that write
	StoreWriteUnits uint64 `json:"store_write_units"` // of 1 KiB, as DynamoDB bills them
	StoreRefused    uint64 `json:"store_refused"`     // fenced or otherwise conditional-failed
	RefusedInputs   uint64 `json:"refused_inputs"`    // malformed, out of range, too many
	DroppedFrames   uint64 `json:"dropped_frames"`    // of lower epochs
}

// ZoneLoad is a node's word on one zone it owns.
type ZoneLoad struct {
	Zone  ZoneID `json:"zone"`
	Epoch Epoch  `json:"epoch"`
	Open  bool   `json:"open"` // loaded, sealed and ticking
	// Actors are awake actors; Props are items and projectiles not carried;
	// Moving are the props among them that fly; Asleep are stored bodies.
	Actors, Props, Moving, Asleep int
	// Outbound counts crossings out of the zone that are not yet forgotten;
	// OutboundTo lists the zones that they name.
	Outbound   int      `json:"outbound"`
	OutboundTo []ZoneID `json:"outbound_to,omitempty"`
	BusyUS     uint32   `json:"busy_us"` // mean work of a tick
	Density    Density  `json:"density"`
}

// Density is an equi-depth histogram of a zone's awake actors and moving props
// over the ground: the edges are quantiles of the load along each axis, so that
// a crowd in a corner of a large zone is resolved as finely as one that fills it.
type Density struct {
	XEdges []int32  `json:"x_edges,omitempty"` // len nx+1, ascending, in units; empty when there is no load
	YEdges []int32  `json:"y_edges,omitempty"` // len ny+1
	Counts []uint16 `json:"counts,omitempty"`  // nx·ny, row by row along X
}

// DensityCells is the resolution of Density along each axis.
const DensityCells = 16
