// Package replication is what is kept and shown of a zone: the durable state
// with the journal records that change it, snapshots, poses, and the frames
// that tell peers of every tick. It is data and its bytes; simnode/authority
// decides.
package replication

import "weft/control/mesh"

// State is the durable state of a zone at a journal position: what a snapshot
// holds and what Apply of the records after it leads to.
type State struct {
	// Entities are the residents, asleep ones included.
	Entities map[mesh.EntityID]mesh.Entity
	// Outbound are the crossings marked and not forgotten, by N.
	Outbound map[uint64]Outbound
	// Received are the crossings taken in, by source and number, at or above Low.
	Received map[mesh.ZoneID]map[uint64]struct{}
	// Low is each source's watermark: what is below was received or never will be.
	Low map[mesh.ZoneID]uint64
	// NextMark is the number of the zone's next crossing.
	NextMark uint64
	// Born is the roster of players, in the cradle only.
	Born map[mesh.PlayerID]struct{}
}

// Outbound is a crossing under way: its members left Entities when it was
// marked, each with its hop already raised.
type Outbound struct {
	N       uint64
	To      mesh.ZoneID
	Pick    mesh.Pick
	Members []mesh.Entity // the root first; owned by the state, never changed in place
}

// RecordKind is what a journal record does.
type RecordKind uint8

const (
	// RecordPut sets residents to the states in Entities (a login, drop,
	// pick-up, throw, death, birth of a rocket, coming to rest). A player put
	// with Birth joins the roster.
	RecordPut RecordKind = iota + 1
	// RecordRemove ends residents for ever (a rocket that exploded).
	RecordRemove
	// RecordMark moves members from residents to Outbound N.
	RecordMark
	// RecordCancel takes Outbound N back: its members are residents again,
	// with the hop they had.
	RecordCancel
	// RecordForget drops Outbound N.
	RecordForget
	// RecordArrive takes crossing (Zone, N) in: Entities become residents.
	RecordArrive
	// RecordLow raises Low[Zone] to N and drops what was received below it.
	RecordLow
	// RecordDropSource forgets Low and Received of a Zone that was removed.
	RecordDropSource
)

// Record is one change of a zone's durable state. Which fields count depends
// on Kind; the rest are zero.
type Record struct {
	Kind     RecordKind
	N        uint64
	Zone     mesh.ZoneID // Mark: to; Arrive, Low, DropSource: from
	Birth    bool
	Pick     mesh.Pick
	Entities []mesh.Entity // Put, Arrive: full states; Mark: full states, hop raised, root first
	IDs      []mesh.EntityID
}

// NewState returns the empty state, in which numbering of crossings starts at 1.
func NewState() *State {
	return &State{
		Entities: map[mesh.EntityID]mesh.Entity{},
		Outbound: map[uint64]Outbound{},
		Received: map[mesh.ZoneID]map[uint64]struct{}{},
		Low:      map[mesh.ZoneID]uint64{},
		NextMark: 1,
		Born:     map[mesh.PlayerID]struct{}{},
	}
}

// Apply changes s by r. Records of a journal are applied in order, each once.
// Apply keeps r's slices: the caller must not change them afterwards.
func (s *State) Apply(r Record) {
	switch r.Kind {
	case RecordPut:
		for _, e := range r.Entities {
			s.Entities[e.ID] = e
			if r.Birth {
				s.Born[e.ID.Player()] = struct{}{}
			}
		}
	case RecordRemove:
		for _, id := range r.IDs {
			delete(s.Entities, id)
		}
	case RecordMark:
		for _, e := range r.Entities {
			delete(s.Entities, e.ID)
		}
		s.Outbound[r.N] = Outbound{N: r.N, To: r.Zone, Pick: r.Pick, Members: r.Entities}
		s.NextMark = max(s.NextMark, r.N+1)
	case RecordCancel:
		for _, e := range s.Outbound[r.N].Members {
			e.Hop--
			s.Entities[e.ID] = e
		}
		delete(s.Outbound, r.N)
	case RecordForget:
		delete(s.Outbound, r.N)
	case RecordArrive:
		for _, e := range r.Entities {
			s.Entities[e.ID] = e
		}
		s.receive(r.Zone, r.N)
	case RecordLow:
		s.raiseLow(r.Zone, r.N)
	case RecordDropSource:
		delete(s.Low, r.Zone)
		delete(s.Received, r.Zone)
	}
}

func (s *State) receive(from mesh.ZoneID, n uint64) {
	if s.Received[from] == nil {
		s.Received[from] = map[uint64]struct{}{}
	}
	s.Received[from][n] = struct{}{}
}

func (s *State) raiseLow(from mesh.ZoneID, n uint64) {
	if n <= s.Low[from] {
		return
	}
	s.Low[from] = n
	for m := range s.Received[from] {
		if m < n {
			delete(s.Received[from], m)
		}
	}
	if len(s.Received[from]) == 0 {
		delete(s.Received, from)
	}
}

// Has reports whether crossing (from, n) needs nothing more: it was received,
// or lies below the watermark.
func (s *State) Has(from mesh.ZoneID, n uint64) bool {
	if n < s.Low[from] {
		return true
	}
	_, ok := s.Received[from][n]
	return ok
}

// LowFor returns the watermark to tell zone to: the lowest crossing outstanding
// to it, else the next number. It must be asked of the durable state only.
func (s *State) LowFor(to mesh.ZoneID) uint64 {
	low := s.NextMark
	for n, o := range s.Outbound {
		if o.To == to {
			low = min(low, n)
		}
	}
	return low
}
