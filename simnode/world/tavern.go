package world

import "weft/control/mesh"

const m = mesh.UnitsPerMeter

// Tavern is the game of the demo: people walk, throw bottles and fire
// rockets; guests wander about the place where they were put, and every
// sixteenth of them, the bartenders, stays behind the bar.
type Tavern struct {
	// ActorWork is how many rounds of a hash each awake actor costs in a tick:
	// real work, that stands for a richer game on a small machine. The caller
	// times Burn to choose it.
	ActorWork uint32
}

var _ interface {
	Rules
	Worker
} = Tavern{}

// Limits implements Rules: people of 0.6 m across who run at 6 m/s, bottles
// thrown at up to 20 m/s and rockets at up to 40 m/s.
func (Tavern) Limits() Limits {
	return Limits{
		WalkSpeed: 6 * m, WalkAccel: 24 * m, BodyRadius: 3 * m / 10, BodyHeight: 18 * m / 10,
		ShipSpeed: 12 * m, ShipAccel: 3 * m, ShipRadius: 6 * m, ShipHeight: 4 * m,
		PropRadius: m / 8, Gravity: 98 * m / 10, Restitution: 96, GroundDrag: 768, RestSpeed: 3 * m / 10,
		MaxSpeed: 50 * m, ThrowSpeed: 20 * m, RocketSpeed: 40 * m, Reach: 2 * m, HandHeight: 13 * m / 10,
		BlastRadius: 4 * m, FuseMillis: 3000, CooldownMillis: 500, CommandMillis: 1000,
	}
}

const fullHealth = 100

// Born implements Rules: within 4 m of spawn.
func (Tavern) Born(player mesh.PlayerID, spawn mesh.Vec, seed uint64) mesh.Entity {
	id := mesh.PlayerEntity(player)
	return mesh.Entity{Pose: mesh.Pose{ID: id, Health: fullHealth, Pos: disc(spawn, 4*m, hash(seed, 0, id))}}
}

// Drive implements Rules. The home of an NPC is its Data: X in the upper
// half, Y in the lower; one without takes the place where it stands. Ships
// cruise in circles.
func (Tavern) Drive(e *mesh.Entity, tick mesh.Tick, random uint64) mesh.Command {
	if e.ID.Kind() == mesh.KindShip {
		x, y := compass(uint8(tick >> 3))
		return mesh.Command{MoveX: x, MoveY: y, Yaw: uint16(tick>>3&0xff) << 8}
	}
	if e.Data == 0 {
		e.Data = uint64(uint32(e.Pos.X))<<32 | uint64(uint32(e.Pos.Y))
	}
	roam := int64(6 * m)
	if e.ID.Number()%16 == 1 { // a bartender
		roam = m
	}
	dx, dy := int64(int32(e.Data>>32))-int64(e.Pos.X), int64(int32(e.Data))-int64(e.Pos.Y)
	if d := isqrt(dx*dx + dy*dy); d > roam { // home, at a stroll
		return mesh.Command{MoveX: int8(dx * 30 / d), MoveY: int8(dy * 30 / d), Yaw: e.Yaw}
	}
	if random%40 != 0 { // go on as before; stand two times of three
		if e.Yaw>>8%3 != 0 {
			return mesh.Command{Yaw: e.Yaw}
		}
		x, y := compass(uint8(e.Yaw >> 8))
		return mesh.Command{MoveX: x / 5, MoveY: y / 5, Yaw: e.Yaw}
	}
	return mesh.Command{Yaw: uint16(random >> 16)}
}

// Hit implements Rules. A bottle shoves by a quarter of its speed and hurts
// from 8 m/s on; a blast throws and hurts the more the nearer it is.
func (t Tavern) Hit(h Hit) (mesh.Vec, int16) {
	if !h.Blast {
		if h.Source.Kind() == mesh.KindRocket {
			return scale(h.Speed, 1, 8), 25
		}
		speed := isqrt(h.Speed.Dist2(mesh.Vec{}))
		return scale(h.Speed, 1, 4), int16(min(max(speed-8*m, 0)/m, 10))
	}
	r := int64(t.Limits().BlastRadius)
	d := isqrt(h.Offset.Dist2(mesh.Vec{}))
	push := scale(h.Offset, 8*m, max(d, 1))
	return scale(push, max(r-d, 0), r), int16(60 * max(r-d, 0) / r)
}

// Respawn implements Rules: at spawn, with full health.
func (Tavern) Respawn(e *mesh.Entity, spawn mesh.Vec, random uint64) {
	e.Health, e.Pos = fullHealth, disc(spawn, 4*m, random)
}

// Work implements Worker.
func (t Tavern) Work(id mesh.EntityID, tick mesh.Tick) uint64 {
	return Burn(t.ActorWork, uint64(id)^uint64(tick))
}

// Burn runs rounds of a hash over x, about a nanosecond or two each.
func Burn(rounds uint32, x uint64) uint64 {
	for range rounds {
		x = mix(x + 0x9e3779b97f4a7c15)
	}
	return x
}
