package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/loadtest/audit"
	"weft/simnode/replication"
)

const (
	east = mesh.ZoneID(1) // the cradle
	west = mesh.ZoneID(2)
)

var bounds = mesh.Box{Max: mesh.Meters(1000, 1000, 100)}

// plot is a small world: items 1 to 5 and players 1 to 3 in two zones.
type plot struct {
	zones  map[mesh.ZoneID]*replication.State
	claims audit.Claims
	poses  map[mesh.ZoneID][]mesh.Pose
}

func item(n uint64) mesh.EntityID        { return mesh.MakeEntityID(mesh.KindItem, n) }
func body(p mesh.PlayerID) mesh.EntityID { return mesh.PlayerEntity(p) }

// newPlot: player 1 has dropped item 1 in the east; player 2 carries item 2 in
// the west; item 3 is on its way west, taken in there; item 4 is on its way and
// not yet; item 5 was never touched; player 3 did nothing.
func newPlot() *plot {
	e, w := replication.NewState(), replication.NewState()
	put := func(s *replication.State, es ...mesh.Entity) {
		for _, x := range es {
			s.Entities[x.ID] = x
		}
	}
	free := func(n uint64, hop uint32, x int32) mesh.Entity {
		return mesh.Entity{Pose: mesh.Pose{ID: item(n), Hop: hop, Pos: mesh.Meters(x, 10, 0)}}
	}
	one := mesh.Entity{Pose: mesh.Pose{ID: body(1), Pos: mesh.Meters(600, 10, 0), Flags: mesh.Asleep}, Session: 1}
	one.Decide(1, mesh.OutcomeOK)
	one.Decide(2, mesh.OutcomeOK)
	one.Decide(3, mesh.OutcomeRefused)
	two := mesh.Entity{Pose: mesh.Pose{ID: body(2), Hop: 4, Pos: mesh.Meters(100, 10, 0), Flags: mesh.Asleep}, Held: item(2), Session: 2}
	two.Decide(1, mesh.OutcomeOK)
	held := free(2, 3, 100)
	held.Carrier = body(2)
	put(e, one, free(1, 2, 601), mesh.Entity{Pose: mesh.Pose{ID: body(3), Pos: mesh.Meters(700, 1, 0)}})
	put(w, two, held, free(3, 1, 400), free(5, 0, 300))
	e.Outbound[1] = replication.Outbound{N: 1, To: west, Members: []mesh.Entity{free(3, 1, 499)}}
	e.Outbound[2] = replication.Outbound{N: 2, To: west, Members: []mesh.Entity{free(4, 1, 499)}}
	e.NextMark = 3
	w.Received[east] = map[uint64]struct{}{1: {}}
	for p := mesh.PlayerID(1); p <= 3; p++ {
		e.Born[p] = struct{}{}
	}
	p := &plot{zones: map[mesh.ZoneID]*replication.State{east: e, west: w}, poses: map[mesh.ZoneID][]mesh.Pose{}}
	for n := uint64(1); n <= 5; n++ {
		p.claims.Genesis = append(p.claims.Genesis, item(n))
	}
	p.claims.Accounts = []audit.Account{
		{Player: 1, Promises: []audit.Promise{
			{Number: 1, Action: mesh.ActPickUp, Outcome: mesh.OutcomeOK, Item: item(1), Hop: 1},
			{Number: 2, Action: mesh.ActDrop, Outcome: mesh.OutcomeOK, Item: item(1), Hop: 2, Asked: mesh.Meters(590, 10, 0), Told: mesh.Meters(600, 10, 0)},
			{Number: 3, Action: mesh.ActPickUp, Outcome: mesh.OutcomeRefused},
		}},
		{Player: 2, Promises: []audit.Promise{{Number: 1, Action: mesh.ActPickUp, Outcome: mesh.OutcomeOK, Item: item(2), Hop: 3}}},
		{Player: 3},
	}
	return p
}

// change replaces an entity of a zone.
func (p *plot) change(z mesh.ZoneID, id mesh.EntityID, f func(*mesh.Entity)) {
	e := p.zones[z].Entities[id]
	f(&e)
	p.zones[z].Entities[id] = e
}

// store writes the plot as nodes would: half of it as a snapshot, half of it
// as journal records after that.
func (p *plot) store(t *testing.T) *memstore.Store {
	t.Helper()
	ctx := context.Background()
	s := memstore.New()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	left, right := bounds.Cut(0, 500*mesh.UnitsPerMeter)
	owner := mesh.Owner{Node: "node", Incarnation: 1, Address: "127.0.0.1:1"}
	check(s.PutLayout(ctx, mesh.Layout{Version: 1, Shard: mesh.Shard{Name: "plot", TickHz: 20, Bounds: bounds}, NextZone: 3, Zones: []mesh.Zone{
		{ID: east, Box: right, Owner: owner, Epoch: 1}, {ID: west, Box: left, Owner: owner, Epoch: 1},
	}}))
	for id, state := range p.zones {
		check(s.CreateZone(ctx, mesh.ZoneRecord{Zone: id, Owner: owner, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}))
		old := replication.NewState() // crossings, the roster and items; then players come
		old.Outbound, old.Received, old.Low, old.NextMark, old.Born = state.Outbound, state.Received, state.Low, state.NextMark, state.Born
		var late []replication.Record
		for _, e := range state.Entities {
			if e.ID.Kind() == mesh.KindItem {
				old.Entities[e.ID] = e
			} else {
				late = append(late, replication.Record{Kind: replication.RecordPut, Entities: []mesh.Entity{e}})
			}
		}
		old.Entities[item(99)] = mesh.Entity{Pose: mesh.Pose{ID: item(99)}} // that the journal removes
		late = append(late, replication.Record{Kind: replication.RecordRemove, IDs: []mesh.EntityID{item(99)}})
		var pointer mesh.Pointer
		for i, c := range replication.Chunks(old.Encode(nil), 50) {
			pointer.Chunks = append(pointer.Chunks, fmt.Sprintf("z%d/%d", id, i))
			check(s.PutChunk(ctx, pointer.Chunks[i], c))
		}
		check(s.MovePointer(ctx, id, 1, pointer))
		// More slots than a read returns, and seals.
		for n := range int64(70) {
			slot := mesh.Slot{Position: n, Epoch: 1, Seal: n%10 == 0}
			if n == 0 { // before the pointer: not to be read
				slot.Seal, slot.Data = false, replication.EncodeRecords(nil, []replication.Record{{Kind: replication.RecordRemove, IDs: p.claims.Genesis}})
			} else if n == 69 {
				slot.Data = replication.EncodeRecords(nil, late)
			}
			check(s.Append(ctx, id, slot))
		}
		check(s.PutPoses(ctx, id, mesh.PoseRecord{Epoch: 1, Tick: 100, Data: replication.EncodePoses(nil, p.poses[id])}))
	}
	return s
}

func TestWhole(t *testing.T) {
	p := newPlot()
	got, err := audit.Reconcile(context.Background(), p.store(t), p.claims)
	if err != nil {
		t.Fatal(err)
	}
	if !got.OK() || got.Expected != 8 || got.Acknowledged != 4 || len(got.Offences) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestPlanted: each kind of loss is found, counted once and explained.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name   string
		plant  func(p *plot)
		want   [4]int // lost, duplicated, unknown, events lost
		saying string
	}{
		{"an item vanished", func(p *plot) { delete(p.zones[west].Entities, item(5)) }, [4]int{1, 0, 0, 0}, "item 5 is in no zone and in no crossing"},
		{"a player vanished", func(p *plot) { delete(p.zones[east].Entities, body(3)) }, [4]int{1, 0, 0, 0}, "player 3 is in no zone"},
		{"an item in two zones", func(p *plot) { p.zones[east].Entities[item(5)] = p.zones[west].Entities[item(5)] }, [4]int{0, 1, 0, 0}, "item 5 has 2 durable homes: [zone 1 (hop 0) zone 2 (hop 0)]"},
		{"a player in two zones", func(p *plot) { p.zones[west].Entities[body(3)] = p.zones[east].Entities[body(3)] }, [4]int{0, 1, 0, 0}, "player 3 has 2 durable homes"},
		{"taken in, and not noted", func(p *plot) { delete(p.zones[west].Received, east) }, [4]int{0, 1, 0, 0}, "item 3 has 2 durable homes: [crossing 1 from zone 1 to 2 (hop 1) zone 2 (hop 1)]"},
		{"noted, and not taken in", func(p *plot) { delete(p.zones[west].Entities, item(3)) }, [4]int{1, 0, 0, 0}, "item 3 is in no zone"},
		{"noted by watermark, and not taken in", func(p *plot) {
			delete(p.zones[west].Received, east)
			p.zones[west].Low[east] = 3
		}, [4]int{1, 0, 0, 0}, "item 4 is in no zone"},
		{"a crossing to nowhere", func(p *plot) {
			o := p.zones[east].Outbound[2]
			o.To = 9
			p.zones[east].Outbound[2] = o
		}, [4]int{1, 0, 0, 0}, "item 4: crossing 2 from zone 1 waits for zone 9"},
		{"a crossing forgotten too early", func(p *plot) { delete(p.zones[east].Outbound, 2) }, [4]int{1, 0, 0, 0}, "item 4 is in no zone"},
		{"sent twice", func(p *plot) {
			o := p.zones[east].Outbound[2]
			o.N = 3
			p.zones[east].Outbound[3] = o
		}, [4]int{0, 1, 0, 0}, "item 4 has 2 durable homes: [crossing 2 from zone 1 to 2 (hop 1) crossing 3"},
		{"something from nowhere", func(p *plot) { p.zones[west].Entities[item(77)] = mesh.Entity{Pose: mesh.Pose{ID: item(77)}} }, [4]int{0, 0, 1, 0}, "item 77 was never brought"},
		{"somebody from nowhere", func(p *plot) { p.zones[west].Entities[body(9)] = mesh.Entity{Pose: mesh.Pose{ID: body(9)}} }, [4]int{0, 0, 1, 0}, "player 9 was never brought"},
		{"not on the roster", func(p *plot) { delete(p.zones[east].Born, 3) }, [4]int{1, 0, 0, 0}, "player 3 was welcomed, but is not on the roster"},
		{"more rockets than could fly", func(p *plot) {
			for n := range uint32(25) {
				id := mesh.RocketEntity(1, n)
				p.zones[west].Entities[id] = mesh.Entity{Pose: mesh.Pose{ID: id}}
			}
		}, [4]int{0, 0, 1, 0}, "25 rockets"},
		{"carried by nobody", func(p *plot) { p.change(west, body(2), func(e *mesh.Entity) { e.Held = 0 }) }, [4]int{1, 0, 0, 0}, "item 2 is carried by player 2, who holds nobody"},
		{"held, and not carried", func(p *plot) {
			p.claims.Accounts[1].Promises = nil
			p.change(west, item(2), func(e *mesh.Entity) { e.Carrier = 0 })
		}, [4]int{1, 0, 0, 0}, "item 2 is held by player 2"},
		{"carried from afar", func(p *plot) {
			p.zones[east].Entities[item(2)] = p.zones[west].Entities[item(2)]
			delete(p.zones[west].Entities, item(2))
		}, [4]int{1, 0, 0, 0}, "item 2 is in zone 1 (hop 3), but player 2 who carries it is in zone 2"},
		{"outside the world", func(p *plot) {
			p.change(west, item(5), func(e *mesh.Entity) { e.Pos = mesh.Meters(2000, 0, 0) })
		}, [4]int{1, 0, 0, 0}, "item 5 lies outside the world"},
		{"a pose outside the world", func(p *plot) {
			p.poses[west] = []mesh.Pose{{ID: item(5), Pos: mesh.Meters(0, 0, -5)}}
		}, [4]int{1, 0, 0, 0}, "item 5 lies outside the world"},
		{"an event forgotten by its player", func(p *plot) {
			p.change(east, body(1), func(e *mesh.Entity) { e.LastEvent, e.Outcomes = 2, e.Outcomes>>2 })
		}, [4]int{0, 0, 0, 1}, "event 3 (pick-up, refused) of player 1: the player remembers only 2 events"},
		{"all events forgotten", func(p *plot) {
			p.change(east, body(1), func(e *mesh.Entity) { e.LastEvent, e.Outcomes = 0, 0 })
		}, [4]int{0, 0, 0, 3}, "event 1 (pick-up, done) of player 1: the player remembers only 0 events"},
		{"an outcome that turned", func(p *plot) {
			p.change(east, body(1), func(e *mesh.Entity) { e.Outcomes ^= 3 })
		}, [4]int{0, 0, 0, 1}, "event 3 (pick-up, refused) of player 1: the player remembers it as done"},
		{"a drop undone", func(p *plot) {
			p.change(east, item(1), func(e *mesh.Entity) { e.Hop, e.Carrier = 1, body(1) })
			p.change(east, body(1), func(e *mesh.Entity) { e.Held = item(1) })
		}, [4]int{0, 0, 0, 1}, "event 2 (drop, done) of player 1: item 1 has hop 1"},
		{"a drop that did not let go", func(p *plot) {
			p.change(east, item(1), func(e *mesh.Entity) { e.Carrier = body(1) })
			p.change(east, body(1), func(e *mesh.Entity) { e.Held = item(1) })
		}, [4]int{0, 0, 0, 1}, "is in the hand of player 1 yet"},
		{"a drop that lies where it never was", func(p *plot) {
			p.change(east, item(1), func(e *mesh.Entity) { e.Pos = mesh.Meters(900, 900, 0) })
		}, [4]int{0, 0, 0, 1}, "was let go at"},
		{"a pick-up undone", func(p *plot) {
			p.change(west, item(2), func(e *mesh.Entity) { e.Hop, e.Carrier = 2, 0 })
			p.change(west, body(2), func(e *mesh.Entity) { e.Held = 0 })
		}, [4]int{0, 0, 0, 1}, "event 1 (pick-up, done) of player 2: item 2 has hop 2"},
		{"a pick-up given to another", func(p *plot) {
			p.change(west, body(2), func(e *mesh.Entity) { e.Held = 0 })
			p.zones[west].Entities[body(3)] = mesh.Entity{Pose: mesh.Pose{ID: body(3)}, Held: item(2)}
			delete(p.zones[east].Entities, body(3))
			p.change(west, item(2), func(e *mesh.Entity) { e.Carrier = body(3) })
		}, [4]int{0, 0, 0, 1}, "item 2 was picked up with hop 3, but is carried by player 3"},
		{"one item promised to two", func(p *plot) {
			p.change(east, body(3), func(e *mesh.Entity) { e.Decide(1, mesh.OutcomeOK) })
			p.claims.Accounts[2].Promises = []audit.Promise{{Number: 1, Action: mesh.ActPickUp, Outcome: mesh.OutcomeOK, Item: item(2), Hop: 3}}
		}, [4]int{0, 0, 0, 1}, "item 2 was promised with hop 3 to player 2 as well"},
		{"a player gone with its events", func(p *plot) {
			delete(p.zones[west].Entities, body(2))
			p.change(west, item(2), func(e *mesh.Entity) { e.Hop, e.Carrier = 4, 0 })
		}, [4]int{1, 0, 0, 1}, "event 1 (pick-up, done) of player 2: the player is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlot()
			c.plant(p)
			r, err := audit.Reconcile(context.Background(), p.store(t), p.claims)
			if err != nil {
				t.Fatal(err)
			}
			if got := [4]int{r.Lost, r.Duplicated, r.Unknown, r.EventsLost}; got != c.want || r.OK() {
				t.Errorf("lost, duplicated, unknown, events lost: %v, want %v", got, c.want)
			}
			if all := strings.Join(r.Offences, "\n"); !strings.Contains(all, c.saying) {
				t.Errorf("%q is not among\n%s", c.saying, all)
			}
		})
	}
}

// TestLater: what happened after a promise, and what was only seen, is no loss.
func TestLater(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(p *plot)
	}{
		{"another took the item since", func(p *plot) {
			p.change(east, item(1), func(e *mesh.Entity) { e.Hop, e.Carrier = 3, body(3) })
			p.change(east, body(3), func(e *mesh.Entity) { e.Held = item(1) })
		}},
		{"the item rolled a little", func(p *plot) {
			p.poses[east] = []mesh.Pose{{ID: item(1), Hop: 2, Pos: mesh.Meters(640, 10, 0)}}
		}},
		{"a pose of an older hop", func(p *plot) {
			p.poses[west] = []mesh.Pose{{ID: item(3), Hop: 0, Pos: mesh.Meters(0, 0, -5)}}
		}},
		{"a pose from before the last durable place", func(p *plot) {
			p.change(west, item(5), func(e *mesh.Entity) { e.Placed = 101 })
			p.poses[west] = []mesh.Pose{{ID: item(5), Pos: mesh.Meters(0, 0, -5)}}
		}},
		{"events that nobody was told of", func(p *plot) {
			p.change(east, body(1), func(e *mesh.Entity) { e.Decide(4, mesh.OutcomeOK) })
		}},
		{"an answer that was repeated names no item", func(p *plot) { p.claims.Accounts[1].Promises[0].Item, p.claims.Accounts[1].Promises[0].Hop = 0, 0 }},
		{"an outcome too old to be remembered", func(p *plot) {
			p.change(east, body(1), func(e *mesh.Entity) {
				for n := uint32(4); n < 30; n++ {
					e.Decide(n, mesh.OutcomeOK)
				}
			})
		}},
		{"a player of an earlier run", func(p *plot) {
			p.zones[east].Born[8] = struct{}{}
			p.zones[west].Entities[body(8)] = mesh.Entity{Pose: mesh.Pose{ID: body(8), Flags: mesh.Asleep}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlot()
			c.plant(p)
			r, err := audit.Reconcile(context.Background(), p.store(t), p.claims)
			if err != nil || !r.OK() {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestUnreadable: a zone that no owner could load fails the audit.
func TestUnreadable(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		slot mesh.Slot
	}{
		{"records that do not decode", mesh.Slot{Position: 70, Epoch: 1, Data: []byte{0xff}}},
		{"a slot of an epoch that the record does not know", mesh.Slot{Position: 70, Epoch: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlot()
			s := p.store(t)
			if err := s.Append(ctx, west, c.slot); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Reconcile(ctx, s, p.claims); !errors.Is(err, audit.ErrUnreadable) {
				t.Errorf("%v", err)
			}
		})
	}
	p := newPlot()
	s := p.store(t)
	if err := s.DeleteChunk(ctx, "z2/0"); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Reconcile(ctx, s, p.claims); err == nil {
		t.Error("a snapshot without a chunk was read")
	}
}
