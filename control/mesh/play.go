package mesh

// Command steers a player's body until the next one. Move is a direction on
// the ground in 1/127 of the top speed; longer than 127 is refused.
type Command struct {
	Sequence     uint32 // grows; an older one is dropped
	MoveX, MoveY int8
	Yaw          uint16 // where the body looks, 1/65536 turns
}

// Action is what a durable event does.
type Action uint8

const (
	// ActDrop lays down what the player holds.
	ActDrop Action = iota + 1
	// ActPickUp takes the item Target, as seen with hop Hop, into the hand.
	ActPickUp
	// ActThrow throws what the player holds with velocity Aim.
	ActThrow
	// ActFire fires a rocket with velocity Aim.
	ActFire
	// ActBoard steps onto the ship Target; Target zero steps off.
	ActBoard
)

// Event is a durable act: it is acknowledged once its outcome is safe, and
// repeated by the client until then. Numbers start at 1 and have no gaps; at most
// EventWindow are open at once.
type Event struct {
	Number uint32
	Action Action
	Target EntityID
	Hop    uint32
	Aim    Vec // units a second
}

// Pick names the event on whose behalf an item crosses to a player. Zero
// Player is none.
type Pick struct {
	Player PlayerID
	Event  uint32
}

// Impact is one effect on one entity: applied once, in the next tick.
type Impact struct {
	Target EntityID
	Source EntityID
	Push   Vec // change of velocity, units a second
	Damage int16
}
