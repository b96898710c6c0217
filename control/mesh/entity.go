package mesh

// EntityID names an entity for ever. The top byte is its Kind, so an id never
// changes its nature; the rest is the number given at birth.
type EntityID uint64

// PlayerID is a player's account number within a shard; zero is nobody.
type PlayerID uint32

// Kind is the nature of an entity.
type Kind uint8

const (
	KindPlayer Kind = iota + 1
	KindNPC
	KindItem   // lies, is carried or flies; never created or destroyed by play
	KindRocket // lives from its firing to its explosion
	KindShip   // a carrier: it has a crew and cargo
)

// MakeEntityID returns the id of the n-th entity of kind k; n < 2⁵⁶.
func MakeEntityID(k Kind, n uint64) EntityID { return EntityID(uint64(k)<<56 | n&(1<<56-1)) }

// PlayerEntity returns the id of the body of p.
func PlayerEntity(p PlayerID) EntityID { return MakeEntityID(KindPlayer, uint64(p)) }

// RocketEntity returns the id of the rocket that event number n of player p
// fires: the same event fires the same rocket, however often it is repeated.
func RocketEntity(p PlayerID, n uint32) EntityID {
	return MakeEntityID(KindRocket, uint64(p)<<24|uint64(n)&(1<<24-1))
}

// Kind returns the nature that id names.
func (id EntityID) Kind() Kind { return Kind(id >> 56) }

// Number returns id without its kind.
func (id EntityID) Number() uint64 { return uint64(id) & (1<<56 - 1) }

// Player returns whose body id is, or zero.
func (id EntityID) Player() PlayerID {
	if id.Kind() != KindPlayer {
		return 0
	}
	return PlayerID(id)
}

// Layer returns the layer in which an entity of id belongs while nothing
// carries it. What is carried goes with its carrier.
func (id EntityID) Layer() Layer {
	if k := id.Kind(); k == KindItem || k == KindRocket {
		return Props
	}
	return Actors
}

// Flags are an entity's yes-or-no states.
type Flags uint8

const (
	// Asleep: a player's body is logged out. It is stored, not simulated, not
	// shown and cannot be touched.
	Asleep Flags = 1 << iota
	// Flying: an item or rocket is in the air; without it an item lies still.
	Flying
	// Idle: the player's client is gone; the body stands and waits.
	Idle
	// Outbound: a copy that is no longer simulated here because its crossing
	// has been sent. Only frames carry it.
	Outbound
)

// Pose is what others see of an entity and what it may lose at most one
// snapshot of in a crash. Velocities are in units a second, Yaw in 1/65536 turns.
type Pose struct {
	ID      EntityID
	Hop     uint32 // transfer count; the highest is the one to believe
	Flags   Flags
	Health  int16
	Yaw     uint16
	Carrier EntityID // whose hands or deck it is in; zero when free
	Pos     Vec
	Vel     Vec
}

// Entity is everything there is to know of an entity: what a crossing
// transfers and what the durable state of a zone keeps, exactly.
type Entity struct {
	Pose
	Placed Tick     // the tick of its last durable place: older poses are not used
	Held   EntityID // what a player has in hand
	Data   uint64   // meaning given by the rules (a rocket's fuse and owner, say)

	// Of players only.
	Session   uint64 // the client session that controls the body; a lower one is refused
	LastEvent uint32 // the last durable event of the client that was decided
	Outcomes  uint32 // outcomes of the last 16 events, 2 bits each, newest lowest
}

// Outcome is how a durable event ended.
type Outcome uint8

const (
	OutcomeNone    Outcome = iota
	OutcomeOK              // done
	OutcomeRefused         // decided against; nothing changed
)

// EventWindow is how many events a client may have unacknowledged, and how
// many outcomes a player's entity remembers.
const EventWindow = 16

// Decide records the outcome of event n, which must be e.LastEvent+1.
func (e *Entity) Decide(n uint32, o Outcome) {
	e.LastEvent = n
	e.Outcomes = e.Outcomes<<2 | uint32(o&3)
}

// Outcome returns how event n ended, or OutcomeNone if it is undecided or so
// old that the client must have had its answer.
func (e *Entity) Outcome(n uint32) Outcome {
	if n == 0 || n > e.LastEvent || e.LastEvent-n >= EventWindow {
		return OutcomeNone
	}
	return Outcome(e.Outcomes >> (2 * (e.LastEvent - n)) & 3)
}
