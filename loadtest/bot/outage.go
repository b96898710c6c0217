package bot

import (
	"sync/atomic"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// Outage is one blow to a node, as the bots see its zones come back. It is
// safe for concurrent use.
type Outage struct {
	at      time.Time
	zones   map[mesh.ZoneID]*deadZone // not changed once struck
	pending atomic.Int32              // zones that have not come back
	stalls  *histogram
}

// deadZone is a zone of the struck node.
type deadZone struct {
	epoch mesh.Epoch
	stood bool         // a bot's body was in it
	back  atomic.Int64 // nanoseconds after the blow; 0 is not yet
}

// Stalls is how long the clients whose bodies stood in the node's zones had no
// news of them.
func (o *Outage) Stalls() Spread { return o.stalls.spread(1000) }

// FirstTick is how long after the blow the slowest of the zones in which a
// bot's body stood was seen to tick under a new epoch; where nobody stood,
// that of the zones in sight. One that did not come back counts until end.
func (o *Outage) FirstTick(end time.Time) time.Duration {
	var slowest, sighted time.Duration
	stood := false
	for _, z := range o.zones {
		back := time.Duration(z.back.Load())
		sighted = max(sighted, back)
		if z.stood {
			stood = true
			if back == 0 {
				back = end.Sub(o.at)
			}
			slowest = max(slowest, back)
		}
	}
	if !stood {
		return sighted
	}
	return slowest
}

// observe looks for the zones in what a client was shown.
func (o *Outage) observe(v *wire.View, now time.Time) {
	if o.pending.Load() == 0 {
		return
	}
	o.saw(v.Self.Zone, v.Self.Epoch, now)
	for i := range v.Clocks {
		o.saw(v.Clocks[i].Zone, v.Clocks[i].Epoch, now)
	}
}

func (o *Outage) saw(zone mesh.ZoneID, epoch mesh.Epoch, now time.Time) {
	if z := o.zones[zone]; z != nil && epoch > z.epoch && z.back.Load() == 0 {
		if z.back.CompareAndSwap(0, max(int64(now.Sub(o.at)), 1)) {
			o.pending.Add(-1)
		}
	}
}

// hit reports whether a body last heard of in the zone under that epoch was
// under the blow.
func (o *Outage) hit(zone mesh.ZoneID, epoch mesh.Epoch) bool {
	z := o.zones[zone]
	return z != nil && epoch <= z.epoch
}
