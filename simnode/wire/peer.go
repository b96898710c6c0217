package wire

import "weft/control/mesh"

// Messages between processes of a shard: nodes with nodes, gateways with
// nodes. They travel in order on one TCP connection per pair, each behind a
// length, but every receiver stands them late, lost and repeated: the
// simulator sends them so.

// PeerMessage is a message between processes of a shard. The concrete types
// are the pointers to the structs below.
type PeerMessage interface {
	message
	peerType() byte
}

// Subscribe asks the owner of Zone for its frames: a key frame first, then one
// a tick. Off ends it. It is repeated whenever the subscriber misses a frame.
type Subscribe struct {
	Zone mesh.ZoneID
	Off  bool
}

// Frame carries one encoded frame of replication.FrameEncoder, opaque here.
// Zone, Epoch and Tick are what the bytes say too.
type Frame struct {
	Zone  mesh.ZoneID
	Epoch mesh.Epoch
	Tick  mesh.Tick
	Data  []byte
}

// Login asks for the body of a player under a session. A gateway sends it to
// the owner of every zone until one answers LoggedIn; the owner of the cradle
// bears a player who was never born.
type Login struct {
	Player  mesh.PlayerID
	Session uint64
}

// LoggedIn says that Player's body stands in Zone, durably, under Session.
type LoggedIn struct {
	Zone      mesh.ZoneID
	Epoch     mesh.Epoch
	Player    mesh.PlayerID
	Session   uint64
	LastEvent uint32
}

// Logout says that the client of a session is gone. Now asks for the durable
// logout at once (the client said goodbye); otherwise the body waits first.
type Logout struct {
	Player  mesh.PlayerID
	Session uint64
	Now     bool
}

// Inputs carries the newest command of each player whose body is in Zone.
type Inputs struct {
	Zone   mesh.ZoneID
	Inputs []Input
}

// Input is one player's steering: volatile, the newest replaces the older.
type Input struct {
	Player  mesh.PlayerID
	Session uint64
	Command mesh.Command
}

// Act is a durable event of a client, on its way to the zone of the player's
// body. It is repeated until its Ack. A zone that has sent the body on
// forwards it to where the body went; Hops bounds that. Gateway is who is to
// have the Ack; a gateway may leave it empty.
type Act struct {
	Player  mesh.PlayerID
	Session uint64
	Hops    uint8
	Gateway mesh.NodeID
	Event   mesh.Event
}

// Ack says that an event is decided and durable.
type Ack struct {
	Player  mesh.PlayerID
	Session uint64
	Event   uint32
	Outcome mesh.Outcome
	// Entity and Hop are the item or rocket that the event moved, as it is
	// after the event; zero where there is none.
	Entity mesh.EntityID
	Hop    uint32
}

// Transfer is crossing (From, N): the full states of its members as of Tick,
// the crossing's root first. It goes to the owner of zone To and is repeated
// until DurableAck.
type Transfer struct {
	From    mesh.ZoneID
	N       uint64
	To      mesh.ZoneID
	Tick    mesh.Tick
	Members []mesh.Entity
	Pick    mesh.Pick // set when the transfer answers a pick-up request
}

// Installed says that crossing (From, N) is simulated in To, DurableAck that
// its arrival is durable there.
type Installed struct {
	From mesh.ZoneID
	N    uint64
	To   mesh.ZoneID
}

// DurableAck ends a crossing: From forgets outbound N.
type DurableAck struct {
	From mesh.ZoneID
	N    uint64
	To   mesh.ZoneID
}

// Low is From's watermark for To: no crossing below N will be sent again, so
// To drops what it remembers of them and refuses them.
type Low struct {
	From mesh.ZoneID
	To   mesh.ZoneID
	N    uint64
}

// PickRequest asks the owner of zone To to hand an item to a player of zone
// From, if the item is unheld and has the hop that the client saw.
type PickRequest struct {
	From mesh.ZoneID
	To   mesh.ZoneID
	Pick mesh.Pick
	Item mesh.EntityID
	Hop  uint32
}

// PickRefusal answers that the item is not to be had.
type PickRefusal struct {
	From mesh.ZoneID // the zone that was asked
	To   mesh.ZoneID // the player's zone
	Pick mesh.Pick
	Item mesh.EntityID
}

// Impacts carries effects of From's entities on entities that To owns,
// numbered from First within (From, Epoch, To). Base is the lowest number that
// may still be taken; a receiver that knows nothing of the source begins there.
// They are meant for the owner under ToEpoch alone: another one drops them.
type Impacts struct {
	From    mesh.ZoneID
	Epoch   mesh.Epoch
	To      mesh.ZoneID
	ToEpoch mesh.Epoch
	Base    uint64
	First   uint64
	Impacts []mesh.Impact
}

// ImpactAck says that To has taken impacts of (From, Epoch) below Next.
type ImpactAck struct {
	From  mesh.ZoneID
	Epoch mesh.Epoch
	To    mesh.ZoneID
	Next  uint64
}

// Freshen offers a zone's new owner the newest poses the sender was showing of
// that zone, from frames of a lower epoch.
type Freshen struct {
	Zone  mesh.ZoneID
	Epoch mesh.Epoch // of the frames
	Tick  mesh.Tick
	Poses []byte // replication.EncodePoses
}

// News tells a peer that a layout of this version exists.
type News struct{ Version uint64 }

// Late says that the sender's loop was late and its silence means nothing.
type Late struct{ Tick mesh.Tick }

// Relay asks a gateway to pass Message on to the node named To, because the
// sender cannot reach it.
type Relay struct {
	To      mesh.NodeID
	Message []byte // one encoded peer message, never a Relay
}
