package planner

import (
	"errors"
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/scale"
)

// Config is how a mesh is to be run. It is validated once, by Validate.
type Config struct {
	Policy     string // a name that partition.ByName knows
	NodeActors int    // actors that one node carries, where a process declares no capacity

	// Cooldown is the rest of a zone before a change in the other direction, of
	// quiet zones before they merge, and of a surplus before it is drained.
	Cooldown time.Duration
	// Settle is the rest of a zone between two splits; less than Cooldown.
	Settle time.Duration
	// SmoothUp and SmoothDown are the time constants with which a zone's load
	// follows its reports as they rise and as they fall.
	SmoothUp, SmoothDown time.Duration

	HighLoad partition.Load // a node above it is relieved
	RoomLoad partition.Load // a node is not filled above it on purpose
	LowLoad  partition.Load // sibling zones merge when together below it

	MinZoneMeters int // no zone becomes narrower
	MaxZones      int // in a layout, retiring ones included
	MaxChanges    int // of a layout in one plan, takeovers and drains not counted

	Fleet scale.Limits

	// ReportTimeout is how long a process may go without a new report; more
	// than three times the interval of reports.
	ReportTimeout time.Duration
	// SuspicionLife is how long a suspicion counts after the planner first saw it.
	SuspicionLife time.Duration
	// SilenceEvery is the least time between two takeovers of a zone for
	// silence alone.
	SilenceEvery time.Duration
	// LaunchTimeout is how long a launched process may take to make itself
	// known, and how long a world without any node waits for all it needs.
	LaunchTimeout time.Duration
	// DrainTimeout is how long a draining process may take; then its zones are
	// taken over and it is stopped.
	DrainTimeout time.Duration
	// StopGrace is how long a process that said goodbye may take to end.
	StopGrace time.Duration

	// SleepAfter is how long nobody may be here before the world is put to
	// sleep: no nodes, no gateways, until somebody wakes it. 0 is never.
	SleepAfter time.Duration
	// WakeFor is how long a wake counts as somebody's being here.
	WakeFor time.Duration

	// PropsMoving is how many props must fly over Actors zones before the props
	// of that area get a node of their own; they give it back when fewer than a
	// quarter fly for a cooldown. 0 is never.
	PropsMoving int
}

// DefaultConfig returns the configuration of a world of one machine.
func DefaultConfig() Config {
	return Config{
		Policy: "kdsplit", NodeActors: 120,
		Cooldown: 5 * time.Second, Settle: time.Second, SmoothUp: 500 * time.Millisecond, SmoothDown: 2 * time.Second,
		HighLoad: 900, RoomLoad: 750, LowLoad: 550, MinZoneMeters: 2, MaxZones: 256, MaxChanges: 16,
		Fleet: scale.Limits{
			MinNodes: 1, MaxNodes: 12, WarmNodes: 1, NodeLoad: 800,
			MinGateways: 2, MaxGateways: 8, ClientsPerGateway: 1000,
		},
		ReportTimeout: 8 * time.Second, SuspicionLife: 10 * time.Second, SilenceEvery: 10 * time.Second,
		LaunchTimeout: 20 * time.Second, DrainTimeout: 20 * time.Second, StopGrace: 3 * time.Second,
		WakeFor: 2 * time.Minute, PropsMoving: 8,
	}
}

// Validate reports every fault of c, each with what would be right.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, f string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(f, a...))
		}
	}
	if _, err := partition.ByName(c.Policy); err != nil {
		errs = append(errs, err)
	}
	check(c.NodeActors > 0, "node actors is %d; it must be positive", c.NodeActors)
	check(c.Cooldown > 0 && c.Settle >= 0 && c.Settle <= c.Cooldown, "cooldown is %s and settle %s; cooldown must be positive and no shorter than settle", c.Cooldown, c.Settle)
	check(c.SmoothUp >= 0 && c.SmoothDown >= 0, "smoothing times must not be negative")
	check(0 < c.LowLoad && c.LowLoad < c.RoomLoad && c.RoomLoad < c.HighLoad && c.HighLoad <= partition.MaxLoad,
		"loads are low %d, room %d, high %d thousandths; they must be positive and ascend", c.LowLoad, c.RoomLoad, c.HighLoad)
	check(c.LowLoad < c.HighLoad*2/3, "low load is %d thousandths; it must be below two thirds of the high load, %d, or zones flap", c.LowLoad, c.HighLoad)
	check(c.MinZoneMeters > 0 && c.MinZoneMeters <= 1<<20, "the least zone width is %d m; it must be from 1 to %d", c.MinZoneMeters, 1<<20)
	check(c.MaxZones > 0 && c.MaxChanges > 0, "max zones is %d and max changes %d; both must be positive", c.MaxZones, c.MaxChanges)
	check(c.SleepAfter == 0 || c.SleepAfter >= c.ReportTimeout, "sleep after is %s; it must be 0 for never, or no shorter than the report timeout, %s", c.SleepAfter, c.ReportTimeout)
	check(c.SleepAfter == 0 || c.WakeFor > 0, "wake for is %s; it must be positive where the world may sleep", c.WakeFor)
	check(c.PropsMoving >= 0, "props moving is %d; it must not be negative", c.PropsMoving)
	for name, d := range map[string]time.Duration{"report timeout": c.ReportTimeout, "suspicion life": c.SuspicionLife, "silence every": c.SilenceEvery,
		"launch timeout": c.LaunchTimeout, "drain timeout": c.DrainTimeout, "stop grace": c.StopGrace} {
		check(d > 0, "%s is %s; it must be positive", name, d)
	}
	if err := c.Fleet.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) limits() partition.Limits {
	return partition.Limits{
		High: c.HighLoad, Low: c.LowLoad, Room: c.RoomLoad, Width: int32(c.MinZoneMeters) * mesh.UnitsPerMeter,
		Zones: c.MaxZones, Changes: c.MaxChanges, Cooldown: c.Cooldown, Settle: c.Settle,
	}
}
