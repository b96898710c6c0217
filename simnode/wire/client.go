package wire

import "weft/control/mesh"

// Messages between a client and its gateway, one per WebSocket binary message.
// README.md documents the bytes for people who write engine clients.

// ClientMessage goes from a client to its gateway.
type ClientMessage interface {
	message
	clientType() byte
}

// ServerMessage goes from a gateway to a client.
type ServerMessage interface {
	message
	serverType() byte
}

// Hello opens or resumes a session. It must be a client's first message.
type Hello struct {
	Player mesh.PlayerID
	// Session is 0 for a new session; a client that resumes names its own.
	Session uint64
	// Ticket admits the player: from join for a new session, from Welcome.Resume
	// for one that resumes. At most MaxTicketBytes.
	Ticket string
	// LastEvent is the last event number whose Ack the client has.
	LastEvent uint32
}

// Steer carries the body's newest command.
type Steer struct{ Command mesh.Command }

// Do carries one durable event.
type Do struct{ Event mesh.Event }

// Goodbye ends a session: the body is logged out at once.
type Goodbye struct{}

// Welcome answers Hello once the body stands.
type Welcome struct {
	Session         uint64
	Entity          mesh.EntityID
	LastEvent       uint32 // the last event the server has decided: repeat those after it
	TickHz          uint32
	OriginUnixMilli int64
	Tick            mesh.Tick
	// KeepAliveMilli is how often the gateway says something at the least, in ms; one
	// that is silent for SilenceMilli longer is gone.
	KeepAliveMilli uint32
	// Resume is the ticket with which this session may resume on any gateway.
	Resume string
	// Gateways are the URLs to resume on, best first; at most MaxGateways.
	Gateways []string
}

// EventAck is the Ack that a client sees.
type EventAck struct {
	Event   uint32
	Outcome mesh.Outcome
	Entity  mesh.EntityID
	Hop     uint32
}

// Gateways replaces the list of Welcome.
type Gateways struct{ URLs []string }

// Bye ends the connection, with the reason. Resume tells the client to go to
// its next gateway with the same session; otherwise it must not come back by itself.
type Bye struct {
	Reason ByeReason
	Resume bool
	Text   string // one sentence for a log
}

// ByeReason is why a gateway ends a connection.
type ByeReason uint8

const (
	ByeMalformed ByeReason = iota + 1 // a message did not decode
	ByeVersion                        // a version the gateway does not speak
	ByeTicket                         // the ticket is not good
	ByeReplaced                       // the player logged in elsewhere
	ByeFlood                          // more messages than allowed
	ByeSlow                           // did not read for too long
	ByeDraining                       // the gateway stops: resume on another
	ByeFull                           // no place: resume on another
	ByeIdle                           // said nothing for too long
)

// View is what a client is told of a tick: its own place, the clocks of the
// zones it sees, and what entered, changed and left its interest. Entities
// that are told of by enter keep their Handle until they leave; a handle may be
// given to another entity in the same view, so leaves apply first.
type View struct {
	Tick   mesh.Tick
	Self   Self
	Clocks []Clock
	Leaves []uint32 // handles
	Enters []Enter
	// Moves may name handles that the client does not know, since its own
	// body, or what has not entered yet, is among what all near it are told: they
	// are not for it.
	Moves []Move
}

// Self is the client's own body, exactly.
type Self struct {
	Zone   mesh.ZoneID
	Epoch  mesh.Epoch
	Hop    uint32
	Tick   mesh.Tick // of the authority's frame that says so
	Pos    mesh.Vec
	Held   mesh.EntityID
	Health int16
}

// Clock says how far a zone has come; a zone whose tick stands still has no
// authority just now.
type Clock struct {
	Zone  mesh.ZoneID
	Epoch mesh.Epoch
	Tick  mesh.Tick
}

// Enter is the full state of an entity new to the client.
type Enter struct {
	Handle  uint32
	ID      mesh.EntityID
	Hop     uint32
	Flags   mesh.Flags
	Health  int16
	Carrier mesh.EntityID
	Pos     mesh.Vec // exact
	Yaw     uint16
}

// Move is a quantised update: it is 1/16 m and modulo 4,096 m, so the client
// takes the place congruent to it that is nearest to the last one it knows.
// Vel and such are left to the client's own interpolation.
type Move struct {
	Handle  uint32
	X, Y, Z uint16 // 1/16 m, modulo 2¹⁶
	Yaw     uint8  // 1/256 turns
	// Changed marks that Hop, Flags, Health and Carrier follow.
	Changed bool
	Hop     uint32
	Flags   mesh.Flags
	Health  int16
	Carrier mesh.EntityID
}
