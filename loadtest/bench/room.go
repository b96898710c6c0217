package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
	"weft/loadtest/bot"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
	"weft/simnode/replication"
)

var room800all = Row{
	Name: "room-800-all",
	What: "800 clients in one room who all walk, and each is told of everyone at 20 Hz",
	Bars: []Bar{
		{Figure: "gateway cpu", Unit: "% of a core", Limit: 20},
		{Figure: "delivered", Unit: "% of the updates due", Limit: 99, AtLeast: true},
		{Figure: "age p99", Unit: "ms", Limit: 75},
		{Figure: "node cpu", Unit: "% of a core", Told: true},
		{Figure: "client cpu", Unit: "% of a core", Told: true},
		{Figure: "bytes per client", Unit: "kB/s", Told: true},
		{Figure: "tick p99", Unit: "ms", Told: true},
	},
	Measure: room{players: 800, radiusM: 24, everyone: true}.measure("room-800-all"),
	Parts:   map[string]Part{swarmPart: runSwarm},
}

var room2000 = Row{
	Name: "room-2000",
	What: "2,000 clients in one room who all walk: each is told of its nearest 60 at 20 Hz, of the next 140 at 5 Hz, of the rest at 0.5 Hz",
	Bars: []Bar{
		{Figure: "gateway cpu", Unit: "% of a core", Limit: 60},
		{Figure: "delivered", Unit: "% of the updates due", Limit: 99, AtLeast: true},
		{Figure: "age p99", Unit: "ms", Limit: 100},
		{Figure: "bytes per client", Unit: "kB/s", Limit: 25},
		{Figure: "tick p99", Unit: "ms", Limit: 50},
		{Figure: "node cpu", Unit: "% of a core", Told: true},
		{Figure: "client cpu", Unit: "% of a core", Told: true},
	},
	Measure: room{players: 2000, radiusM: 30}.measure("room-2000"),
	Parts:   map[string]Part{swarmPart: runSwarm},
}

var idle2000 = Row{
	Name: "idle-2000",
	What: "2,000 connected clients where nothing moves",
	Bars: []Bar{
		{Figure: "gateway cpu", Unit: "% of a core", Limit: 2},
		{Figure: "node cpu", Unit: "% of a core", Told: true},
		{Figure: "bytes per client", Unit: "kB/s", Told: true},
	},
	Measure: room{players: 2000, radiusM: 30, still: true}.measure("idle-2000"),
	Parts:   map[string]Part{swarmPart: runSwarm},
}

var connMemory = Row{
	Name: "conn-memory",
	What: "what the gateway's process keeps for each of 2,000 connections: idle, and where all walk in one room",
	Bars: []Bar{
		{Figure: "active", Unit: "kB", Limit: 20},
		{Figure: "idle", Unit: "kB", Limit: 20},
	},
	Measure: measureMemory,
	Parts:   map[string]Part{swarmPart: runSwarm},
}

// room is a world of one node and one gateway, and its crowd in one place.
type room struct {
	players  int
	radiusM  int
	everyone bool // each is told of all in every view
	still    bool
}

const (
	swarmPart   = "swarm"
	roomHz      = 20
	settle      = 6 * time.Second // from when all are in
	roomWindow  = 10 * time.Second
	smallWindow = time.Second
)

// invitation is what the clients are told.
type invitation struct {
	Address  stage.Address `json:"address"`
	Players  int           `json:"players"`
	CenterM  int32         `json:"center_m"`
	RadiusM  int           `json:"radius_m"`
	Still    bool          `json:"still"`
	Rates    bot.Rates     `json:"rates"`
	WindowMS int64         `json:"window_ms"`
}

// sighting is what the clients say.
type sighting struct {
	Joined    bool       `json:"joined,omitempty"`
	Over      bool       `json:"over,omitempty"` // the window
	Due       int64      `json:"due,omitempty"`
	Delivered int64      `json:"delivered,omitempty"`
	Wrong     int64      `json:"wrong,omitempty"`
	Missed    bot.Missed `json:"missed"`
	Views     int64      `json:"views,omitempty"`
	Bytes     int64      `json:"bytes,omitempty"`
	Ended     int        `json:"ended,omitempty"`
	AgeP50    float64    `json:"age_p50,omitempty"` // ms
	AgeP99    float64    `json:"age_p99,omitempty"`
	AgeMax    float64    `json:"age_max,omitempty"`
}

func (r room) rates() bot.Rates {
	if r.everyone {
		return bot.Rates{Near: r.players, MidTicks: 4, FarTicks: 40}
	}
	return bot.Rates{Near: 60, Mid: 140, MidTicks: 4, FarTicks: 40}
}

func (r room) scenario() *scenario.Scenario {
	var sleepers []scenario.Group
	if r.still { // who is born is pushed away by those who stand there
		sleepers = []scenario.Group{{Count: r.players, Asleep: true, Behave: scenario.Stand}}
	}
	return &scenario.Scenario{
		Groups: sleepers,
		Name:   "room", Seed: 7, TickHz: roomHz, SizeM: [3]float64{256, 256, 50}, SpawnM: [3]float64{128, 128, 0},
		Gateways: 1, GatewayClients: r.players, Duration: time.Minute,
		Policy: "static", Zones: 1, NodeActors: 2 * r.players, MinNodes: 1, MaxNodes: 1, Cooldown: 5 * time.Second,
	}
}

// fullRoom is a room whose clients are in.
type fullRoom struct {
	mesh    stage.Mesh
	clients *Process
	gateway []int
	node    []int
	empty   Use // of the gateway before anyone came
}

// open puts the room up and lets the crowd in.
func (r room) open(ctx context.Context, row string, window time.Duration) (o fullRoom, err error) {
	options := stage.Options{Errs: os.Stderr}
	if r.everyone {
		options.Env = func(launch.Spec) []string { return []string{"WEFT_VIEW_NEAR=" + strconv.Itoa(r.players)} }
	}
	s := r.scenario()
	if o.mesh, err = stage.Start(ctx, s, options); err != nil {
		return o, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	var err1, err2 error
	o.gateway, err1 = Children(stage.GatewayCommand)
	o.node, err2 = Children(stage.NodeCommand)
	if err = errors.Join(err1, err2); err == nil && (len(o.gateway) != 1 || len(o.node) != 1) {
		err = fmt.Errorf("%d gateways and %d nodes run, not one each", len(o.gateway), len(o.node))
	}
	if err != nil {
		return o, err
	}
	if o.empty, err = UseOf(o.gateway[0]); err != nil {
		return o, err
	}
	o.clients, err = Start(ctx, row, swarmPart, invitation{Address: o.mesh.Address(), Players: r.players, CenterM: 128, RadiusM: r.radiusM,
		Still: r.still, Rates: r.rates(), WindowMS: window.Milliseconds()})
	if err != nil {
		return o, err
	}
	var heard sighting
	if err = o.clients.Hear(&heard); err == nil && !heard.Joined {
		err = errors.New("the clients did not get in")
	}
	return o, err
}

func (o fullRoom) close() (err error) {
	if o.clients != nil {
		err = o.clients.Close()
	}
	return errors.Join(err, o.mesh.Close())
}

func (r room) measure(row string) func(context.Context, Options) (Sample, error) {
	return func(ctx context.Context, opts Options) (s Sample, err error) {
		window, pause := roomWindow, settle
		if opts.Small {
			r.players, window, pause = min(r.players, 40), smallWindow, settle/6
		}
		o, err := r.open(ctx, row, window)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, o.close()) }()
		opts.Say("%d clients are in", r.players)
		if err := wait(ctx, pause); err != nil {
			return s, err
		}
		f, seen, err := o.watch()
		if err != nil {
			return s, err
		}
		seconds := window.Seconds()
		f["bytes per client"] = float64(seen.Bytes) / float64(r.players) / seconds / 1000
		f["views a second"] = float64(seen.Views) / float64(r.players) / seconds
		if !r.still {
			f["delivered"] = 100 * float64(seen.Delivered) / float64(max(seen.Due, 1))
			f["age p50"], f["age p99"], f["age max"] = seen.AgeP50, seen.AgeP99, seen.AgeMax
			for why, n := range map[string]int64{"view left out": seen.Missed.Unshown, "reads too slowly": seen.Missed.Left,
				"near": seen.Missed.Near, "middle": seen.Missed.Mid, "far": seen.Missed.Far} {
				f["missed, "+why] = 100 * float64(n) / float64(max(seen.Due, 1))
			}
			f["updates a second"] = float64(seen.Delivered) / seconds
		}
		switch {
		case seen.Ended > 0:
			err = fmt.Errorf("%d connections broke", seen.Ended)
		case seen.Wrong > 0:
			err = fmt.Errorf("%d views tell other places than the node's", seen.Wrong)
		case !r.still && seen.Due == 0:
			err = errors.New("nothing was due, so nothing was measured")
		}
		if err == nil {
			f["tick p99"], f["ticks missed"], err = o.nodeTick(ctx)
		}
		return Sample{Figures: f}, err
	}
}

// watch measures what everyone uses while the clients keep what they are shown.
func (o fullRoom) watch() (f map[string]float64, seen sighting, err error) {
	gateway, err1 := CPU(o.gateway...)
	node, err2 := CPU(o.node...)
	clients, err3 := CPU(o.clients.PID())
	rest, err4 := CPU(os.Getpid())
	if err = errors.Join(err1, err2, err3, err4, o.clients.Tell(true)); err != nil {
		return nil, seen, err
	}
	if err = o.clients.Hear(&seen); err != nil {
		return nil, seen, err
	}
	f = map[string]float64{}
	for name, end := range map[string]func() (float64, error){"gateway cpu": gateway, "node cpu": node, "client cpu": clients, "planner and store cpu": rest} {
		if f[name], err = end(); err != nil {
			return nil, seen, err
		}
	}
	f["servers cpu"] = f["gateway cpu"] + f["node cpu"]
	return f, seen, o.clients.Hear(&seen)
}

// nodeTick returns what the node says of its last seconds.
func (o fullRoom) nodeTick(ctx context.Context) (p99, missed float64, err error) {
	reports, err := o.mesh.Store().Reports(ctx)
	for i := range reports {
		if r := &reports[i]; r.Process.Role == mesh.RoleNode {
			return float64(r.TickP99US) / 1000, float64(r.TicksMissed), err
		}
	}
	return 0, 0, errors.Join(err, errors.New("no report of the node"))
}

// measureMemory compares the gateway's resident memory with what it was before
// anyone came, the half of it that the collector may leave included.
func measureMemory(ctx context.Context, opts Options) (s Sample, err error) {
	s.Figures = map[string]float64{}
	for name, still := range map[string]bool{"idle": true, "active": false} {
		r := room{players: 2000, radiusM: 30, still: still}
		pause := 2 * settle
		if opts.Small {
			r.players, pause = 40, settle/6
		}
		o, err := r.open(ctx, "conn-memory", smallWindow)
		if err != nil {
			return s, err
		}
		err = wait(ctx, pause)
		var full Use
		if err == nil {
			full, err = UseOf(o.gateway[0])
		}
		if err = errors.Join(err, o.clients.Tell(true), o.close()); err != nil {
			return s, err
		}
		s.Figures[name] = float64(full.Resident-o.empty.Resident) / float64(r.players) / 1000
	}
	return s, nil
}

// runSwarm is the clients' program: they join, say so, wait to be told, keep
// what they are shown for the window, and say what it was worth.
func runSwarm(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ear, mouth := json.NewDecoder(in), json.NewEncoder(out)
	var inv invitation
	if err := ear.Decode(&inv); err != nil {
		return err
	}
	guest, err := stage.Visit(ctx, inv.Address, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guest.Close()) }()
	window := time.Duration(inv.WindowMS) * time.Millisecond
	shard := guest.Shard()
	swarm := bot.NewSwarm(bot.SwarmConfig{
		Players: inv.Players, Seed: 7, Shard: shard, Center: mesh.Meters(inv.CenterM, inv.CenterM, 0), RadiusUnits: int32(inv.RadiusM) * mesh.UnitsPerMeter,
		Still: inv.Still, Join: guest.Join, MaxGlimpses: int((window+2*time.Second)/time.Second) * roomHz,
	})
	defer cancel()
	if err := swarm.Join(ctx); err != nil {
		return err
	}
	running := make(chan struct{})
	go func() { defer close(running); swarm.Run(ctx) }()
	defer func() { cancel(); <-running }()
	truth := bot.NewTruth(inv.Players)
	observer, err := guest.Watch(ctx)
	if err != nil {
		return err
	}
	defer func() { cancel(); observer.Wait() }()
	if err := mouth.Encode(sighting{Joined: true}); err != nil {
		return err
	}
	var told bool
	if err := ear.Decode(&told); err != nil {
		return err
	}
	observer.Hear(func(f *replication.FrameDecoder) { truth.Add(f.Tick, f.Poses) })
	swarm.Record(true)
	const lead = time.Second / 2
	from := shard.TickAt(time.Now().Add(lead))
	if err := wait(ctx, lead+window+lead); err != nil {
		return err
	}
	swarm.Record(false)
	observer.Hear(nil)
	if err := mouth.Encode(sighting{Over: true}); err != nil {
		return err
	}
	d, err := swarm.Audit(truth, inv.Rates, from, from+mesh.Tick(window*roomHz/time.Second))
	if err != nil {
		return err
	}
	ms := func(q float64) float64 { return float64(d.AgesUS.ValueAtQuantile(q)) / 1000 }
	return mouth.Encode(sighting{Due: d.Due, Delivered: d.Delivered, Wrong: d.Wrong, Missed: d.Missed, Views: d.Views, Bytes: d.Bytes, Ended: swarm.Ended(),
		AgeP50: ms(50), AgeP99: ms(99), AgeMax: ms(100)})
}
