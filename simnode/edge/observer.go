package edge

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// Observer watches a whole shard as a gateway does, by the frames of every
// zone, but has no clients and is no part of the fleet. It asks for frames
// only while Each is called every few seconds.
type Observer struct {
	asked atomic.Bool   // Each was called since the last look
	ended chan struct{} // closed when it has

	mu      sync.Mutex // the loop steps under it, Each reads under it
	heard   func(*replication.FrameDecoder)
	layout  *mesh.Layout
	peers   map[mesh.NodeID]bool
	sights  map[mesh.ZoneID]*sight
	now     mesh.Tick
	active  bool
	shown   map[mesh.EntityID]mesh.ZoneID // of Each
	effects []process.Effect
}

// sight is what is seen of one zone.
type sight struct {
	owner   mesh.Owner
	frames  replication.FrameDecoder
	askedAt mesh.Tick // when frames were last asked for
	heardAt mesh.Tick // when one last came
}

const (
	observeTicks   = 60 // without a call of Each, and it rests
	resightTicks   = 20 // without a frame, and it is asked for again
	sightAgainTick = 3  // at the soonest
)

// Observe watches the shard in s until ctx ends. S stays the caller's.
func Observe(ctx context.Context, s store.Store, key options.Key, log *slog.Logger) (*Observer, error) {
	h := newHost(ctx, s, nil, log)
	layout, err := firstLayout(ctx, s)
	if err != nil {
		return nil, err
	}
	o := &Observer{ended: make(chan struct{}), peers: map[mesh.NodeID]bool{}, sights: map[mesh.ZoneID]*sight{}, shown: map[mesh.EntityID]mesh.ZoneID{}}
	self := h.process(options.Process{NodeID: "observer-" + madeUpID()}, mesh.RoleGateway, 0)
	service, err := h.newService(options.Process{ShardKey: key}, o, self, layout)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(o.ended)
		_ = service.serve(nil, nil) // it ends with ctx only, and then without an error
	}()
	return o, nil
}

// Wait returns when ctx of Observe has ended and nothing runs any more.
func (o *Observer) Wait() { <-o.ended }

// Hear has f called with each frame that was taken in, from the observer's own
// goroutine, and frames asked for. F must return soon and keep nothing. The f of
// before is not called any more once Hear returns; nil hears nothing.
func (o *Observer) Hear(f func(*replication.FrameDecoder)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = f
}

// Each calls f for every entity that is in the world and in nobody's hands,
// each once, with the zone whose word it is. F must return soon.
func (o *Observer) Each(f func(zone mesh.ZoneID, pose *mesh.Pose)) {
	o.asked.Store(true)
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.shown)
	best := o.shown
	for zone, s := range o.sights {
		for i := range s.frames.Poses {
			p := &s.frames.Poses[i]
			if other, ok := best[p.ID]; ok && !firmer(p, o.pose(other, p.ID)) {
				continue
			}
			best[p.ID] = zone
		}
	}
	for id, zone := range best {
		if p := o.pose(zone, id); p.Carrier == 0 {
			f(zone, p)
		}
	}
}

func (o *Observer) pose(zone mesh.ZoneID, id mesh.EntityID) *mesh.Pose {
	s := o.sights[zone]
	slot, _ := s.frames.Slot(id)
	return &s.frames.Poses[slot]
}

// firmer reports that p is to be believed rather than q: see gateway.
func firmer(p, q *mesh.Pose) bool {
	if p.Hop != q.Hop {
		return p.Hop > q.Hop
	}
	return q.Flags&mesh.Outbound != 0 && p.Flags&mesh.Outbound == 0
}

// Observe implements core: an observer reports nothing.
func (o *Observer) Observe(mesh.Report) {}

// Step implements core.
func (o *Observer) Step(ev process.Event) []process.Effect {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.effects)
	o.effects = o.effects[:0]
	switch ev.Kind {
	case process.EventTick:
		o.tick(ev.Tick)
	case process.EventPeerUp:
		o.peers[ev.Peer] = true
		o.lookAgain(ev.Peer)
	case process.EventPeerDown:
		delete(o.peers, ev.Peer)
	case process.EventLayout:
		o.setLayout(ev.Layout)
	case process.EventPeer:
		o.fromPeer(ev.Peer, ev.Message)
	}
	return o.effects
}

func (o *Observer) tick(now mesh.Tick) {
	o.now = now
	if active := o.asked.Load() || o.heard != nil; active != o.active && (active || now%observeTicks == 0) {
		o.active = active
		for zone, s := range o.sights {
			s.frames = replication.FrameDecoder{}
			o.subscribe(zone, s)
		}
	} else if now%observeTicks == 0 {
		o.asked.Store(false)
	}
	if !o.active {
		return
	}
	for zone, s := range o.sights {
		if now >= s.heardAt+resightTicks && now >= s.askedAt+resightTicks {
			o.subscribe(zone, s)
		}
	}
}

// subscribe asks the owner of zone for its frames, or for no more of them.
func (o *Observer) subscribe(zone mesh.ZoneID, s *sight) {
	if o.peers[s.owner.Node] {
		s.askedAt = o.now
		o.send(s.owner.Node, &wire.Subscribe{Zone: zone, Off: !o.active})
	}
}

func (o *Observer) lookAgain(peer mesh.NodeID) {
	for zone, s := range o.sights {
		if o.active && s.owner.Node == peer {
			o.subscribe(zone, s)
		}
	}
}

func (o *Observer) setLayout(l *mesh.Layout) {
	o.layout = l
	maps.DeleteFunc(o.sights, func(z mesh.ZoneID, _ *sight) bool { return l.Index(z) < 0 })
	for _, z := range l.Zones {
		s := o.sights[z.ID]
		if s == nil {
			s = &sight{}
			o.sights[z.ID] = s
		}
		if !s.owner.Same(z.Owner) {
			s.owner = z.Owner
			if o.active {
				o.subscribe(z.ID, s)
			}
		}
	}
	for _, peer := range slices.Sorted(maps.Keys(o.peers)) {
		o.send(peer, &wire.News{Version: l.Version})
	}
}

func (o *Observer) fromPeer(from mesh.NodeID, m wire.PeerMessage) {
	switch m := m.(type) {
	case *wire.Frame:
		s := o.sights[m.Zone]
		if s == nil || !o.active {
			return
		}
		switch err := s.frames.Apply(m.Data); {
		case err == nil:
			s.heardAt = o.now
			if o.heard != nil {
				o.heard(&s.frames)
			}
		case o.now >= s.askedAt+sightAgainTick:
			o.subscribe(m.Zone, s)
		}
	case *wire.News:
		if o.layout != nil && m.Version > o.layout.Version {
			o.effects = append(o.effects, process.Effect{Kind: process.EffectFetchLayout})
		}
	case *wire.Relay: // a node takes us for a gateway, and so may ask this of us
		inner, err := wire.DecodePeer(m.Message)
		if _, nested := inner.(*wire.Relay); err == nil && !nested {
			o.send(m.To, inner)
		}
	}
}

func (o *Observer) send(to mesh.NodeID, m wire.PeerMessage) {
	o.effects = append(o.effects, process.Effect{Kind: process.EffectSend, Peer: to, Message: m})
}
