package gateway

import (
	"errors"
	"fmt"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// Config bounds what a gateway does. The zero value is not valid; start from
// DefaultConfig. Ticks are the shard's.
type Config struct {
	// MaxClients is how many connections are held at once; MaxPending of them
	// may wait for their body at a time. Whoever comes on top is told Full.
	MaxClients, MaxPending int
	// LoginEveryTicks is how often a login is repeated, LoginTimeoutTicks how
	// long a client waits for its body before it is told Full.
	LoginEveryTicks, LoginTimeoutTicks uint64
	// CommandsPerSecond and EventsPerSecond are what a client may send on
	// average, with a burst of one second's worth. What exceeds it is dropped and
	// counted; a client that exceeds it by FloodSeconds' worth is told Flood.
	CommandsPerSecond, EventsPerSecond, FloodSeconds int
	// AimMPerS bounds the velocity of a throw or a shot, in m/s along each axis.
	AimMPerS int32
	// InputEveryTicks is how often a moving body's command is repeated,
	// EventEveryTicks how often an unacknowledged event is.
	InputEveryTicks, EventEveryTicks uint64
	// AttendEveryTicks is how often the owner of a standing body is told that its
	// client is there: well below the nodes' AttendTicks.
	AttendEveryTicks uint64
	// LostTicks is how long a body may be in no frame before its login is repeated.
	LostTicks uint64

	// LingerTicks is how long an entity that is in no frame any more is still
	// shown: it is crossing.
	LingerTicks uint64
	// SubscribeEveryTicks is how often a zone whose frames do not come is asked again.
	SubscribeEveryTicks uint64
	// SilentTicks without a frame make a connected node suspect, unless this
	// process was itself late by more than LateTicks.
	SilentTicks, LateTicks uint64
	// SuspectEveryTicks is how often a standing suspicion is repeated.
	SuspectEveryTicks uint64
	// ReportEveryTicks is how often the report, the heartbeat, is written.
	ReportEveryTicks uint64
	// DrainTicks is over how many ticks a drain sends its clients away.
	DrainTicks uint64

	// ViewEveryTicks is how often clients are shown something. RankEveryTicks is
	// how often each client's neighbours are ranked anew.
	ViewEveryTicks, RankEveryTicks uint64
	// KeepAliveTicks is how often a client is shown a view although nothing
	// changed. Welcome tells it, and a client gives a gateway up that is silent for 3 s longer.
	KeepAliveTicks uint64
	// ViewBudgetBytes is the most that a view may weigh. It must hold Self and
	// a full update of each near neighbour.
	ViewBudgetBytes int
	// InterestM is how far a client sees, in meters. Where more than KnownMax
	// entities are in sight, the nearest are shown.
	InterestM, KnownMax int
	// NearCount neighbours are told of each view, the next MidCount every
	// MidEveryTicks, the rest every FarEveryTicks; as far as they changed.
	NearCount, MidCount          int
	MidEveryTicks, FarEveryTicks uint64
	// CellM is the edge of a cell of the interest grid, in meters.
	CellM int
}

// DefaultConfig returns what a gateway of maxClients connections uses at 20 Hz.
func DefaultConfig(maxClients int) Config {
	return Config{
		MaxClients: maxClients, MaxPending: 1024, LoginEveryTicks: 5, LoginTimeoutTicks: 1200,
		CommandsPerSecond: 40, EventsPerSecond: 20, FloodSeconds: 5, AimMPerS: 200,
		InputEveryTicks: 5, EventEveryTicks: 10, AttendEveryTicks: 100, LostTicks: 20,
		LingerTicks: 10, SubscribeEveryTicks: 20, SilentTicks: 10, LateTicks: 5,
		SuspectEveryTicks: 20, ReportEveryTicks: 20, DrainTicks: 20,
		ViewEveryTicks: 1, RankEveryTicks: 5, KeepAliveTicks: 100, ViewBudgetBytes: 2560,
		InterestM: 200, KnownMax: 4000, NearCount: 60, MidCount: 140, MidEveryTicks: 4, FarEveryTicks: 40, CellM: 8,
	}
}

// WithNear returns c with NearCount n, at most 2,000, and a budget that holds them.
func (c Config) WithNear(n int) Config {
	c.NearCount = n
	c.ViewBudgetBytes = max(c.ViewBudgetBytes, headBytes+n*maxMoveBytes)
	return c
}

// MaxKeepAliveTicks bounds Config.KeepAliveTicks.
const MaxKeepAliveTicks = 1 << 16

// ErrConfig is wrapped by what Validate finds.
var ErrConfig = errors.New("invalid gateway configuration")

// Validate reports the first field that is out of its range.
func (c Config) Validate() error {
	for _, f := range []struct {
		name            string
		value, min, max int
	}{
		{"MaxClients", c.MaxClients, 1, 100_000},
		{"MaxPending", c.MaxPending, 1, 100_000},
		{"LoginEveryTicks", int(c.LoginEveryTicks), 1, 1200},
		{"LoginTimeoutTicks", int(c.LoginTimeoutTicks), 1, 1 << 20},
		{"CommandsPerSecond", c.CommandsPerSecond, 1, 1000},
		{"EventsPerSecond", c.EventsPerSecond, 1, 1000},
		{"FloodSeconds", c.FloodSeconds, 1, 60},
		{"AimMPerS", int(c.AimMPerS), 1, 1 << 20},
		{"InputEveryTicks", int(c.InputEveryTicks), 1, 1200},
		{"AttendEveryTicks", int(c.AttendEveryTicks), 1, 1200},
		{"EventEveryTicks", int(c.EventEveryTicks), 1, 1200},
		{"LostTicks", int(c.LostTicks), 1, 1200},
		{"LingerTicks", int(c.LingerTicks), 1, 1200},
		{"SubscribeEveryTicks", int(c.SubscribeEveryTicks), 1, 1200},
		{"SilentTicks", int(c.SilentTicks), 1, 1200},
		{"LateTicks", int(c.LateTicks), 1, 1200},
		{"SuspectEveryTicks", int(c.SuspectEveryTicks), 1, 1200},
		{"ReportEveryTicks", int(c.ReportEveryTicks), 1, 1200},
		{"DrainTicks", int(c.DrainTicks), 1, 1200},
		{"ViewEveryTicks", int(c.ViewEveryTicks), 1, 100},
		{"RankEveryTicks", int(c.RankEveryTicks), 1, 100},
		{"KeepAliveTicks", int(c.KeepAliveTicks), 1, MaxKeepAliveTicks},
		{"InterestM", c.InterestM, 1, 4096},
		{"KnownMax", c.KnownMax, 1, 1 << 18},
		{"NearCount", c.NearCount, 1, 1 << 12},
		{"MidCount", c.MidCount, 0, 1 << 12},
		{"MidEveryTicks", int(c.MidEveryTicks), 1, 1200},
		{"FarEveryTicks", int(c.FarEveryTicks), 1, 1200},
		{"CellM", c.CellM, 1, 4096},
		{"ViewBudgetBytes", c.ViewBudgetBytes, headBytes + c.NearCount*maxMoveBytes, wire.MaxServerBytes},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("%w: %s is %d, must be %d to %d", ErrConfig, f.name, f.value, f.min, f.max)
		}
	}
	return nil
}

func (c Config) interest() int64 { return int64(c.InterestM) * mesh.UnitsPerMeter }
