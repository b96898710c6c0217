// Package authority is the protocol by which exactly one process may change a
// zone, and by which entities cross from one zone to another without being
// lost or doubled: Protocols 1 and 2 of docs/design.md. It is a state machine:
// Zone.Step takes an Event and returns Effects. It holds the zone's durable
// state; the simulated, volatile state is the caller's.
//
// The rules were found by exhaustive search over models of them; every check
// here that looks redundant has a counter-example without it.
package authority

import (
	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// Config is the pace of a zone's protocol, in ticks unless said otherwise.
type Config struct {
	CommitEveryTicks   mesh.Tick // least distance of two appends; 0: as soon as the last is answered
	LazyTicks          mesh.Tick // how long a record that nobody waits for may wait for company
	RepeatTicks        mesh.Tick // a transfer is repeated this often until it is durable
	RetryTicks         mesh.Tick // a store call is repeated this long after it failed
	SnapshotEverySlots int64     // at most mesh.RingSlots/2
	SnapshotEveryTicks mesh.Tick // with anything new in the journal
	LowTicks           mesh.Tick // how often changed watermarks are told
	LowAllTicks        mesh.Tick // how often all watermarks are told
	MaxBatchBytes      int       // of one append
	MaxPendingRecords  int       // above it Full holds new durable events back
	ChunkBytes         int
}

// DefaultConfig fits a store that answers in milliseconds, at 20 ticks a second.
func DefaultConfig() Config {
	return Config{
		LazyTicks: 40, RepeatTicks: 10, RetryTicks: 10,
		SnapshotEverySlots: mesh.RingSlots / 2, SnapshotEveryTicks: 1200,
		LowTicks: 20, LowAllTicks: 600,
		MaxBatchBytes: 192 << 10, MaxPendingRecords: 8192, ChunkBytes: 256 << 10,
	}
}

// EventKind says which fields of an Event count.
type EventKind uint8

const (
	// Start begins the takeover. It must be the first event.
	Start EventKind = iota + 1
	// TickEvent: Tick has come. Drives repeats and snapshots.
	TickEvent
	// AnswerEvent: the store's Answer to one of the zone's requests.
	AnswerEvent
	// Journal makes Records durable, in this order, after all before them.
	// Token, if not zero, comes back with Durable. Lazy ones wait for company.
	Journal
	// Mark begins a crossing of Members to zone To, numbered NextMark() before
	// the call. Members come as they are now; their hops are raised here. From
	// now on the caller applies no durable event to them.
	Mark
	// Cancel takes back crossing N, which this owner marked and has not Sent.
	Cancel
	// Sent answers the effect MarkDurable: Members as of Tick, hops raised.
	Sent
	// TransferEvent: a Transfer came. Entities are its members as they shall
	// stand here, with whatever else the arrival changes; nil unless Wants(Transfer).
	TransferEvent
	// InstalledEvent, DurableEvent, LowEvent: these messages came.
	InstalledEvent
	DurableEvent
	LowEvent
	// ZonesEvent: Zones are all that exist in the newest layout, which has
	// given out the ids below NextZone.
	ZonesEvent
	// Flush makes lazy records prompt, for a zone that retires.
	Flush
	// Barrier flushes; Token comes back with Durable once all that was journaled
	// before is durable, at once if it is.
	Barrier
)

// Event is one input of a Step.
type Event struct {
	Kind     EventKind
	Tick     mesh.Tick
	Answer   *process.Answer
	Records  []replication.Record // kept
	Token    uint64
	Lazy     bool
	N        uint64
	To       mesh.ZoneID
	Pick     mesh.Pick
	Members  []mesh.Entity // kept
	Transfer *wire.Transfer
	Entities []mesh.Entity // kept
	From     mesh.ZoneID   // Installed, Durable: the target that answers; Low: the source
	Zones    []mesh.ZoneID // ascending; kept
	NextZone mesh.ZoneID
}

// EffectKind says which fields of an Effect count.
type EffectKind uint8

const (
	// Request a call of the store.
	Request EffectKind = iota + 1
	// Message to the owner of zone To.
	Message
	// Opened: the zone is ours and loaded; simulate State.Entities, freshened
	// by Poses. State belongs to the Zone and must not be changed.
	Opened
	// Durable: the records of Token are safe: acknowledge.
	Durable
	// MarkDurable: crossing N may be sent: answer with Sent, or Cancel, at once.
	MarkDurable
	// Landed: the members of crossing N are simulated at their target.
	Landed
	// Forgotten: the members of crossing N are durable at their target.
	Forgotten
	// Stopped: the zone is lost to another owner, or cannot go on for Reason.
	// Stop simulating it, acknowledge nothing more. No further effects come.
	Stopped
)

// Effect is one output of a Step.
type Effect struct {
	Kind    EffectKind
	Request *process.Request
	To      mesh.ZoneID
	Message wire.PeerMessage
	State   *replication.State
	Poses   mesh.PoseRecord
	Token   uint64
	N       uint64
	Reason  string
}

type phase uint8

const (
	phaseNew phase = iota
	phaseRecord
	phaseChunks
	phaseSlots
	phaseRoom // a snapshot makes room in a full ring before the seal
	phaseSeal
	phasePoses
	phaseRecheck
	phaseOpen
	phaseStopped
)

// Zone is one process's hold on one zone under one epoch. It is not safe for
// concurrent use.
type Zone struct {
	id    mesh.ZoneID
	me    mesh.Owner
	epoch mesh.Epoch
	cfg   Config
	ids   *process.RequestIDs

	phase       phase
	tick        mesh.Tick
	out         []Effect
	wait        map[uint64]*process.Request // unanswered, by id
	retry       []retry
	unreachable bool // the last answer was that there is none

	zones    []mesh.ZoneID // of the newest layout, ascending
	nextZone mesh.ZoneID   // that layout has given out all below

	// durable is the state through position next−1, never memory; memory is
	// what durable becomes once everything queued is appended, its Entities left out.
	durable *replication.State
	memory  *replication.State
	next    int64        // the next journal position
	pointer mesh.Pointer // the confirmed one
	chunks  [][]byte     // loading: by place in pointer.Chunks
	missing int
	gone    []string // the chunks of a pointer of which one was not there
	poses   mesh.PoseRecord

	journal  journal
	snapshot snapshot
	outbound map[uint64]*outbound
	told     map[mesh.ZoneID]uint64 // the watermark last told
	lowAt    mesh.Tick              // when watermarks are told next
	lowAllAt mesh.Tick
	due      []uint64
}

type retry struct {
	at  mesh.Tick
	req *process.Request
}

// New returns the hold of owner me on zone id under epoch, not yet begun.
// Request ids are drawn from ids, which the process's other zones share.
func New(id mesh.ZoneID, me mesh.Owner, epoch mesh.Epoch, cfg Config, ids *process.RequestIDs) *Zone {
	return &Zone{
		id: id, me: me, epoch: epoch, cfg: cfg, ids: ids,
		wait:     map[uint64]*process.Request{},
		outbound: map[uint64]*outbound{},
		told:     map[mesh.ZoneID]uint64{},
	}
}

// Open reports whether the zone is ours, loaded and not lost.
func (z *Zone) Open() bool { return z.phase == phaseOpen }

// Lost reports whether the hold has ended.
func (z *Zone) Lost() bool { return z.phase == phaseStopped }

// Epoch is the epoch under which the zone is held.
func (z *Zone) Epoch() mesh.Epoch { return z.epoch }

// Idle reports whether the zone is open and nothing of it is on its way into
// the store: whoever loads it next finds all there is.
func (z *Zone) Idle() bool {
	return z.phase == phaseOpen && len(z.journal.pending)+len(z.journal.flight)+len(z.wait)+len(z.retry) == 0
}

// NextMark is the number that the next Mark must carry.
func (z *Zone) NextMark() uint64 { return z.memory.NextMark }

// Position is the journal position of the last durable record.
func (z *Zone) Position() int64 { return z.next - 1 }

// Outbounds returns how many crossings out of the zone are not forgotten, and
// appends the zones that they name to dst, with repeats.
func (z *Zone) Outbounds(dst []mesh.ZoneID) (int, []mesh.ZoneID) {
	n := 0
	for _, s := range []*replication.State{z.memory, z.durable} {
		if s == nil {
			continue
		}
		n = max(n, len(s.Outbound))
		for _, o := range s.Outbound {
			dst = append(dst, o.To)
		}
	}
	return n, dst
}

// Born reports whether player p was ever born, as far as is queued here.
func (z *Zone) Born(p mesh.PlayerID) bool {
	_, ok := z.memory.Born[p]
	return ok
}

// Durable returns entity id as the durable state has it.
func (z *Zone) Durable(id mesh.EntityID) (mesh.Entity, bool) {
	e, ok := z.durable.Entities[id]
	return e, ok
}

// Step takes one event and returns what to do, in order. The slice is reused
// by the next Step; what it points to is the caller's, State excepted.
func (z *Zone) Step(ev Event) []Effect {
	z.out = z.out[:0]
	switch {
	case z.phase == phaseStopped:
		return nil
	case ev.Kind == Start:
		z.begin()
	case ev.Kind == TickEvent:
		z.tick = ev.Tick
		z.repeatRequests()
		if z.phase == phaseOpen {
			z.repeatTransfers()
			z.tellLow()
			z.keepSnapshot()
		}
	case ev.Kind == AnswerEvent:
		z.answer(ev.Answer)
	case ev.Kind == ZonesEvent:
		z.zones, z.nextZone = ev.Zones, ev.NextZone
		z.dropSources()
	case z.phase != phaseOpen:
		return nil // messages to a zone that is not open are repeated by their senders
	default:
		z.open(ev)
	}
	if z.phase == phaseOpen {
		z.commit()
	}
	return z.out
}

func (z *Zone) open(ev Event) {
	switch ev.Kind {
	case Journal:
		for i, r := range ev.Records {
			e := entry{record: r, lazy: ev.Lazy}
			if i == len(ev.Records)-1 {
				e.token = ev.Token
			}
			z.queue(e)
		}
	case Mark:
		z.mark(ev)
	case Cancel:
		z.cancel(ev.N)
	case Sent:
		z.sent(ev)
	case TransferEvent:
		z.transfer(ev)
	case InstalledEvent:
		if o := z.outbound[ev.N]; o != nil && o.to == ev.From && !o.landed {
			o.landed = true
			z.emit(Effect{Kind: Landed, N: ev.N})
		}
	case DurableEvent:
		z.forget(ev)
	case LowEvent:
		z.low(ev.From, ev.N)
	case Flush:
		z.journal.flush()
	case Barrier:
		z.journal.flush()
		z.journal.barriers = append(z.journal.barriers, barrier{z.journal.queued, ev.Token})
		z.passBarriers()
	}
}

func (z *Zone) emit(e Effect) { z.out = append(z.out, e) }

func (z *Zone) stop(reason string) {
	z.phase = phaseStopped
	z.wait, z.retry = nil, nil
	z.emit(Effect{Kind: Stopped, Reason: reason})
}

// request sends r to the store; every request is answered, however late.
func (z *Zone) request(r process.Request) {
	r.ID, r.Zone = z.ids.Next(), z.id
	z.wait[r.ID] = &r
	z.emit(Effect{Kind: Request, Request: &r})
}

func (z *Zone) repeatRequests() {
	if len(z.retry) == 0 {
		return
	}
	due := z.retry
	z.retry = nil
	for _, r := range due {
		if r.at > z.tick {
			z.retry = append(z.retry, r)
			continue
		}
		again := *r.req
		z.request(again)
	}
}

// answer matches an answer to its request. Where the outcome is unknown the
// same request is repeated; its conditions make that harmless.
func (z *Zone) answer(a *process.Answer) {
	req := z.wait[a.ID]
	if req == nil {
		return
	}
	delete(z.wait, a.ID)
	z.unreachable = a.Verdict == process.Unavailable
	if z.unreachable {
		z.retry = append(z.retry, retry{z.tick + z.cfg.RetryTicks, req})
		return
	}
	switch {
	case req.Op == process.OpDeleteChunk || req.Op == process.OpChunkKeys:
		z.collected(req, a)
	case z.snapshot.takes(req):
		z.snapshotAnswer(req, a)
	case z.phase == phaseOpen:
		z.appended(req, a)
	default:
		z.loaded(req, a)
	}
}

// Stalled reports that the store did not answer when it was last asked, so
// that nothing may cross until it does.
func (z *Zone) Stalled() bool { return z.unreachable }
