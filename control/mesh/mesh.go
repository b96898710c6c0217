// Package mesh holds the words that every room of Weft shares: identifiers,
// fixed-point space, entities, the layout of a shard, what processes report
// and the records that the replication store keeps. It decides nothing and
// imports nothing of ours.
package mesh

import "fmt"

// ZoneID names a zone of a shard. Zero is no zone. An id is never used twice
// in the life of a shard, so a late message can always be told from a fresh one.
type ZoneID uint32

// Cradle is the zone in which players are born. It exists from the first
// layout of a shard on and is never retired: the roster of everyone who was
// ever born lives in its durable state (see docs/design.md, "Birth").
const Cradle ZoneID = 1

// Epoch is a zone's fencing token. It grows by one whenever the owner changes.
type Epoch uint64

// Tick numbers the fixed simulation steps of a shard since its origin.
type Tick uint64

// NodeID names a process, node or gateway, for as long as its machine lives.
type NodeID string

// Incarnation tells two lives of the same NodeID apart: a restarted process is
// a new incarnation and owns nothing of the old one.
type Incarnation uint64

// Owner is who may change a zone: one incarnation of one node.
type Owner struct {
	Node        NodeID      `json:"node"`
	Incarnation Incarnation `json:"incarnation"`
	Address     string      `json:"address"` // host:port of its TCP listener for peers
}

// Same reports whether o and p are the same life of the same process.
func (o Owner) Same(p Owner) bool { return o.Node == p.Node && o.Incarnation == p.Incarnation }

// IsZero reports that nobody owns.
func (o Owner) IsZero() bool { return o.Node == "" }

// Layer is a class of entities that may be owned apart in the same space.
type Layer uint8

const (
	// Actors are players, NPCs, ships and whatever these carry.
	Actors Layer = iota
	// Props are items that lie or fly, and projectiles. Where no zone of this
	// layer covers a place, the place's Actors zone owns its props too.
	Props
)

func (l Layer) String() string {
	switch l {
	case Actors:
		return "actors"
	case Props:
		return "props"
	}
	return fmt.Sprintf("layer(%d)", uint8(l))
}

// Role is what a process does in the fleet.
type Role uint8

const (
	// RoleNode simulates zones.
	RoleNode Role = iota + 1
	// RoleGateway holds client connections.
	RoleGateway
)

func (r Role) String() string {
	switch r {
	case RoleNode:
		return "node"
	case RoleGateway:
		return "gateway"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}
