// Package process is the boundary of the pure processes, node and gateway:
// what they take in and what they want done. Their Step methods decide; an
// edge (real sockets and stores, or the simulator) feeds them Events and
// carries their Effects out.
//
// The contract of effects: they are carried out in the order given. Slices
// and pointers inside an effect are valid until the next Step unless its doc
// says otherwise; an edge that defers copies them. Messages to one peer arrive
// in order or not at all as far as a connection lives, but nothing may rest on
// that: late, lost and repeated messages must be harmless.
package process

import (
	"weft/control/mesh"
	"weft/simnode/wire"
)

// EventKind says which fields of an Event count.
type EventKind uint8

const (
	// EventTick: Tick is due. Ticks come in order; some may be left out when
	// the process was late, then Skipped says how many.
	EventTick EventKind = iota + 1
	// EventPeerUp: a connection to Peer stands, proved with the shard's key.
	EventPeerUp
	// EventPeerDown: it broke. Gone says that an attempt to make it again was
	// refused at once: nobody listens there any more.
	EventPeerDown
	// EventPeer: Message came from Peer.
	EventPeer
	// EventLayout: Layout is newer than the last one given.
	EventLayout
	// EventAnswer: the store answered a request.
	EventAnswer
	// EventDrain: the process should empty itself and stop.
	EventDrain
	// EventFleet: Fleet lists the processes that are ready, gateways foremost.
	EventFleet

	// EventClientUp: a client opened Client and said Hello, whose ticket the
	// edge has verified. Fresh is a session number above all that went before.
	EventClientUp
	// EventClient: ClientMessage came on Client.
	EventClient
	// EventClientDown: Client's connection ended.
	EventClientDown
	// EventClientSlow: Client did not take its last view in time; it was dropped.
	EventClientSlow
)

// ClientID names a client's connection within one gateway process; never used twice.
type ClientID uint64

// Event is one input of a Step.
type Event struct {
	Kind        EventKind
	Tick        mesh.Tick
	Skipped     int
	LateUS      uint32 // EventTick: how long after its due time the tick began
	Peer        mesh.NodeID
	Incarnation mesh.Incarnation // of Peer, at EventPeerUp and EventPeerDown
	Role        mesh.Role        // of Peer, at EventPeerUp
	Gone        bool
	Message     wire.PeerMessage
	Layout      *mesh.Layout // not changed by anybody afterwards
	Answer      *Answer
	Fleet       []mesh.Process

	Client        ClientID
	Hello         wire.Hello // EventClientUp
	Fresh         uint64     // EventClientUp
	ClientMessage wire.ClientMessage
}

// EffectKind says which fields of an Effect count.
type EffectKind uint8

const (
	// EffectSend: send Message to Peer, if it is connected; drop it otherwise.
	EffectSend EffectKind = iota + 1
	// EffectRequest: carry Request out and feed its Answer back, whatever it
	// is. Requests may run side by side; their memory stays valid.
	EffectRequest
	// EffectFetchLayout: a layout newer than the last one given exists; read it now.
	EffectFetchLayout
	// EffectStop: the process has nothing left to do; Reason says why.
	EffectStop
	// EffectLog: worth a line in the log, at most a few a second.
	EffectLog

	// EffectClient: send ServerMessage, or where that is nil the encoded Data
	// and after it, in the same message, Shared, to Client. Shared is one and the
	// same memory for many clients. A Droppable one may be lost when the client reads too
	// slowly; the edge then says so with EventClientSlow.
	EffectClient
	// EffectClientClose: end Client's connection after ServerMessage (a Bye).
	EffectClientClose
)

// Effect is one output of a Step.
type Effect struct {
	Kind    EffectKind
	Peer    mesh.NodeID
	Message wire.PeerMessage
	Request *Request // owned by the edge from here on
	Reason  string

	Client        ClientID
	ServerMessage wire.ServerMessage
	Data, Shared  []byte
	Droppable     bool
}

// Op is a call of the store port.
type Op uint8

const (
	OpAppend Op = iota + 1
	OpReadSlots
	OpZone
	OpMovePointer
	OpPutChunk
	OpChunk
	OpChunkKeys
	OpDeleteChunk
	OpPutPoses
	OpRaisePoses
	OpPutProcess
	OpPutReport
	OpPutSuspicion
)

// Request is one store call as data. Fields are those of the port's method.
type Request struct {
	ID        uint64 // unique in the process
	Op        Op
	Zone      mesh.ZoneID
	Epoch     mesh.Epoch
	Slot      mesh.Slot
	From      int64
	Limit     int
	Pointer   mesh.Pointer
	Key       string
	Data      []byte
	Poses     mesh.PoseRecord
	Process   mesh.Process
	Report    *mesh.Report
	Suspicion mesh.Suspicion
}

// Verdict is what a store's error tells the caller to do.
type Verdict uint8

const (
	OK          Verdict = iota
	Stale               // stop; store.ErrStaleEpoch
	Conflict            // decide again; store.ErrConflict
	NotFound            // store.ErrNotFound
	Unavailable         // outcome unknown: repeat or read; store.ErrUnavailable and whatever is unknown
	TooLarge            // store.ErrTooLarge
)

// RequestIDs gives out the ids of a process's requests.
type RequestIDs struct{ last uint64 }

// Next returns an id that was never given out before.
func (r *RequestIDs) Next() uint64 { r.last++; return r.last }

// Answer is the outcome of a Request.
type Answer struct {
	ID      uint64
	Op      Op
	Zone    mesh.ZoneID
	Verdict Verdict
	Err     string // for logs
	Record  mesh.ZoneRecord
	Slots   []mesh.Slot
	Poses   mesh.PoseRecord
	Data    []byte
	Keys    []string
}
