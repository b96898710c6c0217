package bot

import (
	"math"
	"math/rand/v2"
	"time"

	"weft/control/mesh"
	"weft/simnode/client"
)

// Spec is one player of a crowd.
type Spec struct {
	Player mesh.PlayerID
	// JoinAt is when it logs in, since the crowd began.
	JoinAt time.Duration
	// Still makes it stand where it is; otherwise it strolls about.
	Still bool
	// Roam makes it stroll about all over the world.
	Roam bool
	// Shuttle makes it run over the plane x = PlaneX and back each second.
	Shuttle bool
	PlaneX  int32
	// Path, if set, is where it walks: it is present, and logged in, while ok.
	Path func(at time.Duration) (place mesh.Vec, ok bool)
}

// Figures of how bots walk and act. Lengths are in meters, speeds in shares
// of the top speed, times in seconds.
const (
	strollM, strollPace = 25, 0.3
	millPace            = 0.2
	arriveM             = 0.5
	leaveM              = 80
	leaveMinS           = 3
	leaveSpreadS        = 8
	reachShare          = 0.8 // of the reach, since places are quantised and things move
	seekM               = 15
	actMinS             = 1.0
	actSpreadS          = 1.5
	lookAheadS          = 0.4 // along a path
	throwMin, throwMax  = 5, 11
	throwUpMin          = 3
	throwUpMax          = 5
	shotMPerS           = 39
)

// body is the game's figures that a bot has to know.
type body struct {
	walkUnits  int32 // top speed, a second
	reachUnits int32
	bounds     mesh.Box
}

// sense is what a bot knows at a moment.
type sense struct {
	now      time.Duration // since the crowd began
	pos      mesh.Vec
	held     mesh.EntityID
	free     bool // no event of it is open
	eachItem func(f func(e *client.Entity))
}

// intent is what a bot wants.
type intent struct {
	moveX, moveY int8
	yaw          uint16
	do           mesh.Event // Action 0 is none
	leave        bool       // log out, for good if gone
	gone         bool
	next         time.Duration // when to think again
}

type mode uint8

const (
	modeOwn    mode = iota // as the Spec says
	modeGather             // to spot, and stay
	modeLeave              // off, and out
)

// mind decides what a bot does. The same seed and senses give the same acts.
type mind struct {
	spec Spec
	body body
	rng  *rand.Rand
	mode mode

	home   mesh.Vec // of a stroll
	homed  bool
	spot   mesh.Vec // of a gathering
	radius int32
	due    time.Duration

	target    mesh.Vec
	aimed     bool // target is set
	targetEnd time.Duration
	pace      float64
	restUntil time.Duration
	leaveAt   time.Duration

	shuttle  shuttle
	acts     []mesh.Action
	actUntil time.Duration
	actAt    time.Duration
}

func newMind(seed uint64, spec Spec, b body) mind {
	return mind{spec: spec, body: b, rng: rand.New(rand.NewPCG(seed, uint64(spec.Player)))}
}

// present reports whether the bot wants to be logged in at now. Whoever has a
// path is there as long as that says, whatever calls it.
func (m *mind) present(now time.Duration) bool {
	if m.mode == modeLeave && now >= m.leaveAt || now < m.spec.JoinAt {
		return false
	}
	if m.spec.Path == nil {
		return true
	}
	_, ok := m.spec.Path(now)
	return ok
}

func (m *mind) gather(spot mesh.Vec, radius int32, due time.Duration) {
	m.mode, m.spot, m.radius, m.due, m.aimed = modeGather, spot, radius, due, false
}

func (m *mind) act(do []mesh.Action, now, until time.Duration) {
	m.acts, m.actUntil = do, until
	m.actAt = now + m.seconds(0, actMinS+actSpreadS)
}

// disperse ends gathering and acting; the bot walks off and then logs out.
func (m *mind) disperse(now time.Duration) {
	m.mode, m.acts, m.aimed = modeLeave, nil, false
	m.leaveAt = now + m.seconds(leaveMinS, leaveSpreadS)
}

func (m *mind) seconds(least, spread float64) time.Duration {
	return time.Duration((least + spread*m.rng.Float64()) * float64(time.Second))
}

// think decides on what s shows.
func (m *mind) think(s sense) intent {
	in := intent{next: s.now + 200*time.Millisecond}
	if !m.present(s.now) {
		in.leave, in.gone = true, m.mode == modeLeave
		return in
	}
	if !m.homed {
		m.home, m.homed = s.pos, true
	}
	m.aim(s)
	if len(m.acts) > 0 && s.now < m.actUntil {
		m.handle(s, &in)
	}
	if m.spec.Shuttle {
		in.next = s.now + 50*time.Millisecond
	}
	in.moveX, in.moveY, in.yaw = m.steer(s)
	return in
}

// aim chooses the target and the pace.
func (m *mind) aim(s sense) {
	switch m.mode {
	case modeGather:
		far := distM(s.pos, m.spot) > float64(m.radius)/mesh.UnitsPerMeter
		if far {
			if !m.aimed || distM(m.target, m.spot) > float64(m.radius)/mesh.UnitsPerMeter {
				m.choose(s.now, m.spot, m.radius)
			}
			left := max((m.due-s.now).Seconds()*0.8, 0.1)
			m.pace = min(max(distM(s.pos, m.target)*mesh.UnitsPerMeter/left/float64(m.body.walkUnits), 0.3), 1)
			return
		}
		if m.pace = millPace; !m.aimed || s.now >= m.targetEnd || distM(s.pos, m.target) < arriveM {
			m.choose(s.now, m.spot, m.radius)
		}
	case modeLeave:
		if m.pace = 1; !m.aimed {
			a := m.rng.Float64() * 2 * math.Pi
			m.setTarget(s.pos.Add(mesh.Vec{X: units(leaveM * math.Cos(a)), Y: units(leaveM * math.Sin(a))}))
		}
	default:
		m.own(s)
	}
}

// own is what a bot does that no event moves.
func (m *mind) own(s sense) {
	if m.spec.Path != nil {
		place, ok := m.spec.Path(s.now + time.Duration(lookAheadS*float64(time.Second)))
		if !ok {
			place, _ = m.spec.Path(s.now)
		}
		m.setTarget(place)
		m.pace = min(distM(s.pos, m.target)*mesh.UnitsPerMeter/lookAheadS/float64(m.body.walkUnits), 1)
		return
	}
	if m.spec.Shuttle {
		m.run(s)
		return
	}
	if m.spec.Still {
		m.aimed = false
		return
	}
	m.pace = strollPace
	switch {
	case s.now < m.restUntil:
		m.aimed = false
	case !m.aimed && m.spec.Roam:
		size := m.body.bounds.Max.Sub(m.body.bounds.Min)
		m.setTarget(m.body.bounds.Min.Add(mesh.Vec{X: int32(m.rng.Float64() * float64(size.X)), Y: int32(m.rng.Float64() * float64(size.Y))}))
		m.targetEnd = s.now + m.seconds(10, 20)
	case !m.aimed:
		m.choose(s.now, m.home, units(strollM))
	case s.now >= m.targetEnd || distM(s.pos, m.target) < arriveM:
		m.aimed = false
		m.restUntil = s.now + m.seconds(0, 1)
	}
}

// Figures of a shuttle: the pace at which a body turns fast enough, and how far
// beyond its plane it is to get, which is more than the hysteresis of a border.
const (
	shuttlePace  = 0.9
	shuttlePeakM = 0.85
	shuttleMostM = 2
)

// shuttle is a bot's running over a plane and back.
type shuttle struct {
	side float64 // to which it runs: ±1
	turn float64 // how far beyond the plane it turns, in meters; less than zero is before
	peak float64 // the furthest it got on the other side
}

// run turns where a body that is late to hear of it, and takes its time to
// stand, gets as far beyond the plane as it should; each turn corrects the next.
func (m *mind) run(s sense) {
	r := &m.shuttle
	if r.side == 0 {
		r.side = float64(1 - 2*m.rng.IntN(2))
	}
	off := float64(s.pos.X-m.spec.PlaneX) / mesh.UnitsPerMeter
	r.peak = max(r.peak, -r.side*off)
	if r.side*off >= r.turn {
		if r.peak > 0 {
			r.turn = min(max(r.turn+(shuttlePeakM-min(r.peak, shuttleMostM))/4, -shuttleMostM), shuttlePeakM)
		}
		r.side, r.peak = -r.side, 0
	}
	m.target = mesh.Vec{X: s.pos.X + units(r.side*shuttleMostM), Y: s.pos.Y, Z: s.pos.Z}
	m.aimed, m.pace = true, shuttlePace
}

// choose takes a target within radius of around, for 1 to 8 s.
func (m *mind) choose(now time.Duration, around mesh.Vec, radius int32) {
	m.setTarget(m.within(around, radius))
	m.targetEnd = now + m.seconds(1, 7)
}

// within returns a place evenly on the disc of radius around.
func (m *mind) within(around mesh.Vec, radius int32) mesh.Vec {
	r, a := float64(radius)*math.Sqrt(m.rng.Float64()), m.rng.Float64()*2*math.Pi
	return around.Add(mesh.Vec{X: int32(r * math.Cos(a)), Y: int32(r * math.Sin(a))})
}

func (m *mind) setTarget(p mesh.Vec) {
	m.target, m.aimed = m.body.bounds.Clamp(p), true
}

// steer turns target and pace into a command.
func (m *mind) steer(s sense) (x, y int8, yaw uint16) {
	dx, dy := float64(m.target.X-s.pos.X), float64(m.target.Y-s.pos.Y)
	d := math.Hypot(dx, dy)
	if !m.aimed || d < arriveM/4*mesh.UnitsPerMeter {
		return 0, 0, 0
	}
	speed := 127 * min(m.pace, d/(0.2*float64(m.body.walkUnits))) // not past it before the next thought
	turn := math.Atan2(dy, dx) / (2 * math.Pi)
	return int8(speed * dx / d), int8(speed * dy / d), uint16(int64(turn * 65536))
}

// handle takes up, lays down or throws something if it is time and makes
// sense. An empty hand that finds nothing in reach walks to the nearest thing.
func (m *mind) handle(s sense, in *intent) {
	if !s.free || s.now < m.actAt {
		return
	}
	if m.pick(mesh.ActFire) != 0 && (len(m.acts) == 1 || m.rng.IntN(2) == 0) {
		in.do = mesh.Event{Action: mesh.ActFire, Aim: m.shot()}
	} else if s.held != 0 {
		switch m.pick(mesh.ActDrop, mesh.ActThrow) {
		case mesh.ActDrop:
			in.do = mesh.Event{Action: mesh.ActDrop}
		case mesh.ActThrow:
			in.do = mesh.Event{Action: mesh.ActThrow, Aim: m.throw(s)}
		}
	} else if m.pick(mesh.ActPickUp) != 0 {
		m.seek(s, in)
	}
	if in.do.Action != 0 {
		m.actAt = s.now + m.seconds(actMinS, actSpreadS)
	}
}

// pick returns one of those actions that are among the bot's acts, or 0.
func (m *mind) pick(among ...mesh.Action) mesh.Action {
	n, chosen := 0, mesh.Action(0)
	for _, a := range m.acts {
		for _, b := range among {
			if a == b {
				if n++; m.rng.IntN(n) == 0 {
					chosen = a
				}
			}
		}
	}
	return chosen
}

// seek picks up any free item in reach, or walks to the nearest in sight.
func (m *mind) seek(s sense, in *intent) {
	reach := reachShare * float64(m.body.reachUnits) / mesh.UnitsPerMeter
	nearest, n := float64(seekM), 0
	var at mesh.Vec
	s.eachItem(func(e *client.Entity) {
		if e.ID.Kind() != mesh.KindItem || e.Carrier != 0 || e.Flags&(mesh.Flying|mesh.Outbound) != 0 {
			return
		}
		d := distM(s.pos, e.Pos)
		if d < nearest {
			nearest, at = d, e.Pos
		}
		if d <= reach && abs(e.Pos.Z-s.pos.Z) < m.body.reachUnits/2 {
			if n++; m.rng.IntN(n) == 0 {
				in.do = mesh.Event{Action: mesh.ActPickUp, Target: e.ID, Hop: e.Hop}
			}
		}
	})
	if n == 0 && nearest < seekM {
		m.setTarget(at)
		m.targetEnd = s.now + m.seconds(2, 1)
	}
}

// throw aims at somebody in the gathering, or anywhere.
func (m *mind) throw(s sense) mesh.Vec {
	goal := m.within(s.pos, units(10))
	if m.mode == modeGather {
		goal = m.within(m.spot, m.radius)
	}
	dx, dy := float64(goal.X-s.pos.X), float64(goal.Y-s.pos.Y)
	d := max(math.Hypot(dx, dy), 1)
	speed := throwMin + (throwMax-throwMin)*m.rng.Float64()
	return mesh.Vec{X: units(speed * dx / d), Y: units(speed * dy / d), Z: units(throwUpMin + (throwUpMax-throwUpMin)*m.rng.Float64())}
}

// shot aims anywhere, from level to half way up.
func (m *mind) shot() mesh.Vec {
	turn, up := m.rng.Float64()*2*math.Pi, m.rng.Float64()*math.Pi/4
	return mesh.Vec{X: units(shotMPerS * math.Cos(up) * math.Cos(turn)), Y: units(shotMPerS * math.Cos(up) * math.Sin(turn)), Z: units(shotMPerS * math.Sin(up))}
}

func units(m float64) int32 { return int32(m * mesh.UnitsPerMeter) }

// distM is the distance over the ground in meters.
func distM(p, q mesh.Vec) float64 {
	return math.Hypot(float64(p.X-q.X), float64(p.Y-q.Y)) / mesh.UnitsPerMeter
}

func abs(v int32) int32 { return max(v, -v) }
