package world

import (
	"math/bits"

	"weft/control/mesh"
)

// Rules is where a studio puts its own game. Every method is a pure function
// of its arguments; random is a hash of seed, tick and entity.
type Rules interface {
	// Limits are the figures of bodies and motion, asked for once.
	Limits() Limits
	// Born returns the body of a player who comes into the shard at spawn: its
	// place, health and whatever else the game gives. The rest is the caller's.
	Born(player mesh.PlayerID, spawn mesh.Vec, seed uint64) mesh.Entity
	// Drive steers an NPC or ship for one tick. It may change e.Data, which is
	// the rules' own for these kinds, and nothing else of e.
	Drive(e *mesh.Entity, tick mesh.Tick, random uint64) mesh.Command
	// Hit returns what a thrown item or a rocket does to what it meets: a
	// change of velocity in units a second, and damage to its health.
	Hit(h Hit) (push mesh.Vec, damage int16)
	// Respawn stands a dead actor up: it must give it health, and may move it.
	// Its hands are empty and it is on no deck; what it held lies where it fell.
	Respawn(e *mesh.Entity, spawn mesh.Vec, random uint64)
}

// Worker is asked of Rules that do real work for each awake actor and tick.
// What it returns is kept from the optimizer and otherwise ignored.
type Worker interface {
	Work(id mesh.EntityID, tick mesh.Tick) uint64
}

// Hit is one encounter of a prop with an actor, or, for a Blast, of a bursting
// rocket with an actor or with an item in the air.
type Hit struct {
	Source, Target mesh.EntityID
	Blast          bool
	// Speed is the source's velocity as the target sees it, units a second.
	Speed mesh.Vec
	// Offset is how far a blast was: from it to the target's middle. It is
	// shorter than Limits.BlastRadius.
	Offset mesh.Vec
}

// Limits are the figures of bodies and motion. Lengths are in units, speeds
// in units a second.
type Limits struct {
	WalkSpeed, ShipSpeed int32
	WalkAccel, ShipAccel int32 // units a second²

	BodyRadius, BodyHeight int32 // of players and NPCs, standing on Pos; radius at most 1 m
	ShipRadius, ShipHeight int32 // its deck is as wide
	PropRadius             int32 // of items and rockets; at most 1 m

	Gravity     int32 // units a second²
	Restitution int32 // share of speed kept when bouncing, of 256
	GroundDrag  int32 // share of speed lost on the ground in a second, of 256; may exceed it
	RestSpeed   int32 // an item that is slower on the ground comes to rest

	MaxSpeed    int32 // of anything
	ThrowSpeed  int32 // a faster throw is refused
	RocketSpeed int32 // a faster shot is refused
	Reach       int32 // from a body to what it picks up or boards
	HandHeight  int32 // above Pos: where throws and shots begin

	BlastRadius    int32
	FuseMillis     int32 // a rocket burns out this long after its shot
	CooldownMillis int32 // between the shots of a player
	CommandMillis  int32 // a command lasts so long without a newer one
}

// The most that a tick can honour.
const (
	maxStepUnits   = 32 * mesh.UnitsPerMeter
	maxRadiusUnits = mesh.UnitsPerMeter
	maxShipUnits   = 64 * mesh.UnitsPerMeter
)

// limits is Limits, sound, with what follows from them per tick.
type limits struct {
	Limits
	hz       int32
	floor    int32
	pull     int32 // change of speed by gravity
	walkStep int32 // how far a hit looks ahead of an actor
	meeting  int32 // how near to an actor's middle a prop's way is that may meet it
	inverse  int64 // of hz, see perTick
	places   uint
	fuse     mesh.Tick
	cooldown uint16
	command  uint8
	radius   int32 // InteractionRadius
}

func newLimits(l Limits, cfg Config) limits {
	hz := int64(cfg.TickHz)
	within := func(v *int32, lo, hi int64) { *v = int32(min(max(int64(*v), lo), hi)) }
	within(&l.MaxSpeed, 0, min(maxStepUnits*hz, 1<<22))
	for _, v := range []*int32{&l.WalkSpeed, &l.ShipSpeed, &l.ThrowSpeed, &l.RocketSpeed, &l.RestSpeed} {
		within(v, 0, int64(l.MaxSpeed))
	}
	for _, v := range []*int32{&l.BodyRadius, &l.PropRadius} {
		within(v, 1, maxRadiusUnits)
	}
	for _, v := range []*int32{&l.BodyHeight, &l.ShipRadius, &l.ShipHeight, &l.Reach, &l.HandHeight, &l.BlastRadius} {
		within(v, 0, maxShipUnits)
	}
	for _, v := range []*int32{&l.WalkAccel, &l.ShipAccel, &l.Gravity, &l.GroundDrag, &l.FuseMillis, &l.CooldownMillis, &l.CommandMillis} {
		within(v, 0, 1<<24)
	}
	within(&l.Restitution, 0, 256)
	ticks := func(millis int32, most int64) int64 { return min((int64(millis)*hz+999)/1000, most) }
	step := int32(divRound(int64(l.MaxSpeed), hz)) + 1
	d := limits{
		Limits: l, hz: int32(hz),
		floor:    max(0, cfg.Bounds.Min.Z),
		pull:     int32(divRound(int64(l.Gravity), hz)),
		walkStep: int32(divRound(int64(l.WalkSpeed), hz)),
		fuse:     mesh.Tick(ticks(l.FuseMillis, 1<<40)),
		cooldown: uint16(ticks(l.CooldownMillis, 1<<16-1)),
		command:  uint8(ticks(l.CommandMillis, 1<<8-1)),
	}
	d.meeting = l.BodyRadius + l.PropRadius + d.walkStep
	d.places = uint(31 + bits.Len64(uint64(hz-1)))
	d.inverse = int64((uint64(1)<<d.places + uint64(hz) - 1) / uint64(hz))
	body := max(l.BodyRadius, l.ShipRadius, l.BodyHeight, l.ShipHeight)
	d.radius = step + max(l.BlastRadius, body+l.PropRadius+d.walkStep, 2*l.BodyRadius, 2*l.PropRadius)
	return d
}
