package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"weft/control/mesh"
	"weft/simnode/replication"
)

// Promise is an event that a client was told is decided and safe.
type Promise struct {
	Number  uint32
	Action  mesh.Action
	Outcome mesh.Outcome
	// Item and Hop are what the acknowledgement said that the event moved; zero
	// in one that was repeated.
	Item mesh.EntityID
	Hop  uint32
	// Asked and Told are where the player's body was, as far as its client
	// knew, when it first sent the event and when it had the answer.
	Asked, Told mesh.Vec
}

// Account is what one player's client was promised.
type Account struct {
	Player   mesh.PlayerID
	Promises []Promise
}

// Claims are what the store is held against.
type Claims struct {
	// Genesis are the entities that the world began with; of them nothing may
	// be missing and, rockets and players aside, nothing else may be there.
	Genesis []mesh.EntityID
	// Accounts are of all players who were welcomed.
	Accounts []Account
}

// Result is what the audit found.
type Result struct {
	Expected     int // items, NPCs and players that must be there
	Lost         int // of them in no durable home, or out of anybody's reach
	Duplicated   int // of them in more than one
	Unknown      int // entities that nobody brought into the world
	Rockets      int // in flight when the world stopped
	Acknowledged int
	EventsLost   int // acknowledged events that the store does not bear out
	// Offences are the first of them, each with what is wrong; at most MaxOffences.
	Offences []string
}

// MaxOffences is how many are told in words. All are counted.
const MaxOffences = 20

// OK reports that nothing is wrong.
func (r *Result) OK() bool { return r.Lost+r.Duplicated+r.Unknown+r.EventsLost == 0 }

// The slack of the audit: how many rockets a player can have in the air, and
// how far what was let go may lie from where its player was.
const (
	rocketsPerPlayer = 8
	strewnUnits      = 100 * mesh.UnitsPerMeter
)

// home is one durable place of an entity.
type home struct {
	zone     mesh.ZoneID
	outbound uint64 // the crossing that it waits in; 0 for a resident
	to       mesh.ZoneID
	entity   mesh.Entity
	pose     mesh.Vec // where its zone's next owner would put it
}

func (h home) String() string {
	if h.outbound == 0 {
		return fmt.Sprintf("zone %d (hop %d)", h.zone, h.entity.Hop)
	}
	return fmt.Sprintf("crossing %d from zone %d to %d (hop %d)", h.outbound, h.zone, h.to, h.entity.Hop)
}

// audit is one in progress.
type audit struct {
	Result
	layout mesh.Layout
	states map[mesh.ZoneID]*replication.State
	homes  map[mesh.EntityID][]home
	born   map[mesh.PlayerID]struct{}
	noted  map[mesh.EntityID]bool // entities with an offence: one is enough
}

// Reconcile reads every zone of the layout and holds it against the claims.
// The world must have been stopped in order, so that all of it is durable.
// An error means that the store could not be read, or holds what no owner
// could load.
func Reconcile(ctx context.Context, s Store, c Claims) (Result, error) {
	a := &audit{
		states: map[mesh.ZoneID]*replication.State{}, homes: map[mesh.EntityID][]home{},
		born: map[mesh.PlayerID]struct{}{}, noted: map[mesh.EntityID]bool{},
	}
	if err := a.read(ctx, s); err != nil {
		return Result{}, err
	}
	a.entities(c)
	a.hands()
	a.promises(c.Accounts)
	return a.Result, nil
}

func (a *audit) note(f string, args ...any) {
	if len(a.Offences) < MaxOffences {
		a.Offences = append(a.Offences, fmt.Sprintf(f, args...))
	}
}

// read loads all zones and finds the homes of all entities: residents, and
// members of a crossing that its target has not taken in.
func (a *audit) read(ctx context.Context, s Store) error {
	var err error
	if a.layout, err = s.Layout(ctx); err != nil {
		return fmt.Errorf("read the layout: %w", err)
	}
	volatile := map[mesh.ZoneID]map[mesh.EntityID]mesh.Pose{}
	ticks := map[mesh.ZoneID]mesh.Tick{}
	for _, z := range a.layout.Zones {
		state, rec, err := Load(ctx, s, z.ID)
		if err != nil {
			return err
		}
		a.states[z.ID] = state
		if volatile[z.ID], ticks[z.ID], err = poses(ctx, s, rec); err != nil {
			return err
		}
		if z.ID == mesh.Cradle {
			a.born = state.Born
		}
	}
	for _, z := range a.layout.Zones {
		state := a.states[z.ID]
		for id, e := range state.Entities {
			h := home{zone: z.ID, entity: e, pose: e.Pos}
			if p, ok := volatile[z.ID][id]; ok && p.Hop == e.Hop && ticks[z.ID] >= e.Placed {
				h.pose = p.Pos
			}
			a.homes[id] = append(a.homes[id], h)
		}
		for n, o := range state.Outbound {
			target := a.states[o.To]
			if target != nil && target.Has(z.ID, n) {
				continue // it stands there; the record is about to be forgotten
			}
			for _, e := range o.Members {
				if target == nil {
					a.note("%s: crossing %d from zone %d waits for zone %d, which the layout has removed", name(e.ID), n, z.ID, o.To)
					a.noted[e.ID] = true
					continue
				}
				a.homes[e.ID] = append(a.homes[e.ID], home{z.ID, n, o.To, e, e.Pos})
			}
		}
	}
	for _, homes := range a.homes {
		slices.SortFunc(homes, func(x, y home) int { return cmp.Or(cmp.Compare(x.zone, y.zone), cmp.Compare(x.outbound, y.outbound)) })
	}
	return nil
}

// entities checks that whoever should be there is there once, and nobody else.
func (a *audit) entities(c Claims) {
	expected := map[mesh.EntityID]bool{}
	for _, id := range c.Genesis {
		expected[id] = true
	}
	for p := range a.born {
		expected[mesh.PlayerEntity(p)] = true
	}
	for _, acc := range c.Accounts {
		id := mesh.PlayerEntity(acc.Player)
		expected[id] = true
		if _, ok := a.born[acc.Player]; !ok {
			a.lose(id, "was welcomed, but is not on the roster: its next login would bear it again")
		}
	}
	a.Expected = len(expected)
	for _, id := range slices.Sorted(maps.Keys(expected)) {
		switch homes := a.homes[id]; {
		case len(homes) == 0 && a.noted[id]:
			a.Lost++
		case len(homes) == 0:
			a.lose(id, "is in no zone and in no crossing")
		case len(homes) > 1:
			a.Duplicated++
			a.noted[id] = true
			a.note("%s has %d durable homes: %v", name(id), len(homes), homes)
		case !a.layout.Shard.Bounds.Contains(homes[0].pose):
			a.lose(id, fmt.Sprintf("lies outside the world, at %v, in %v", homes[0].pose, homes[0]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.homes)) {
		if id.Kind() == mesh.KindRocket {
			a.Rockets++
		} else if !expected[id] {
			a.Unknown++
			a.noted[id] = true
			a.note("%s was never brought into the world, and is in %v", name(id), a.homes[id])
		}
	}
	if most := rocketsPerPlayer * len(a.born); a.Rockets > most {
		a.Unknown += a.Rockets - most
		a.note("%d rockets are in the air; %d players cannot have fired more than %d", a.Rockets, len(a.born), most)
	}
}

func (a *audit) lose(id mesh.EntityID, why string) {
	if !a.noted[id] {
		a.noted[id] = true
		a.Lost++
		a.note("%s %s", name(id), why)
	}
}

// hands checks that what is carried is in the hands of its carrier: else
// nobody could ever take it up.
func (a *audit) hands() {
	for _, id := range slices.Sorted(maps.Keys(a.homes)) {
		homes := a.homes[id]
		if len(homes) != 1 || a.noted[id] {
			continue
		}
		h := homes[0]
		if carrier := h.entity.Carrier; carrier != 0 && id.Kind() != mesh.KindRocket {
			c := a.homes[carrier]
			switch {
			case len(c) == 0:
				a.lose(id, fmt.Sprintf("is carried by %s, which is nowhere", name(carrier)))
			case c[0].zone != h.zone || c[0].outbound != h.outbound:
				a.lose(id, fmt.Sprintf("is in %v, but %s who carries it is in %v", h, name(carrier), c[0]))
			case carrier.Player() != 0 && c[0].entity.Held != id:
				a.lose(id, fmt.Sprintf("is carried by %s, who holds %s", name(carrier), name(c[0].entity.Held)))
			}
		}
		if held := h.entity.Held; held != 0 {
			if x := a.homes[held]; len(x) == 1 && x[0].entity.Carrier != id {
				a.lose(held, fmt.Sprintf("is held by %s in %v, but carried by %s in %v", name(id), h, name(x[0].entity.Carrier), x[0]))
			}
		}
	}
}

// claim is the promise to one player about one item.
type claim struct {
	player mesh.PlayerID
	Promise
}

// promises checks that every acknowledged event is remembered by its player,
// and that each item bears the last one that moved it.
func (a *audit) promises(accounts []Account) {
	last := map[mesh.EntityID]claim{} // the claim of the item's highest hop
	lost := map[mesh.Pick]bool{}
	lose := func(player mesh.PlayerID, p Promise, f string, args ...any) {
		key := mesh.Pick{Player: player, Event: p.Number}
		if !lost[key] {
			lost[key] = true
			a.EventsLost++
			a.note("event %d (%s, %s) of player %d: %s", p.Number, actionText(p.Action), outcomeText(p.Outcome), player, fmt.Sprintf(f, args...))
		}
	}
	for _, acc := range accounts {
		homes := a.homes[mesh.PlayerEntity(acc.Player)]
		for _, p := range acc.Promises {
			a.Acknowledged++
			if len(homes) == 0 {
				lose(acc.Player, p, "the player is gone")
				continue
			}
			e := homes[len(homes)-1].entity
			if e.LastEvent < p.Number {
				lose(acc.Player, p, "the player remembers only %d events, in %v", e.LastEvent, homes[len(homes)-1])
			} else if o := e.Outcome(p.Number); o != mesh.OutcomeNone && o != p.Outcome {
				lose(acc.Player, p, "the player remembers it as %s", outcomeText(o))
			}
			if p.Outcome != mesh.OutcomeOK || p.Item.Kind() != mesh.KindItem || p.Hop == 0 {
				continue
			}
			c := claim{acc.Player, p}
			before, ok := last[p.Item]
			switch {
			case !ok || before.Hop < p.Hop:
				last[p.Item] = c
			case before.Hop == p.Hop && (before.player != c.player || before.Number != c.Number):
				lose(acc.Player, p, "%s was promised with hop %d to player %d as well, in event %d", name(p.Item), p.Hop, before.player, before.Number)
			}
			if homes := a.homes[p.Item]; len(homes) == 0 {
				lose(acc.Player, p, "%s, that it moved, is gone", name(p.Item))
			} else if h := newest(homes); h.entity.Hop < p.Hop {
				lose(acc.Player, p, "%s has hop %d in %v, before the event's %d", name(p.Item), h.entity.Hop, h, p.Hop)
			}
		}
	}
	for _, item := range slices.Sorted(maps.Keys(last)) {
		c := last[item]
		if homes := a.homes[item]; len(homes) > 0 && newest(homes).entity.Hop == c.Hop {
			if why := unfit(c, newest(homes)); why != "" {
				lose(c.player, c.Promise, "%s %s", name(item), why)
			}
		}
	}
}

// newest returns the home with the highest hop.
func newest(homes []home) home {
	return slices.MaxFunc(homes, func(x, y home) int { return cmp.Compare(x.entity.Hop, y.entity.Hop) })
}

// unfit says why an item that nothing moved since c is not where c put it.
func unfit(c claim, h home) string {
	body := mesh.PlayerEntity(c.player)
	switch c.Action {
	case mesh.ActPickUp:
		if h.entity.Carrier != body {
			return fmt.Sprintf("was picked up with hop %d, but is carried by %s in %v", c.Hop, name(h.entity.Carrier), h)
		}
	case mesh.ActDrop, mesh.ActThrow:
		if h.entity.Carrier == body {
			return fmt.Sprintf("was let go with hop %d, but is in the hand of %s yet, in %v", c.Hop, name(body), h)
		}
		if d := min(h.pose.Dist2(c.Asked), h.pose.Dist2(c.Told)); h.entity.Carrier == 0 && d > strewnUnits*strewnUnits {
			return fmt.Sprintf("was let go at %v, but lies at %v in %v", c.Told, h.pose, h)
		}
	}
	return ""
}

func name(id mesh.EntityID) string {
	switch id.Kind() {
	case 0:
		return "nobody"
	case mesh.KindPlayer:
		return fmt.Sprintf("player %d", id.Number())
	case mesh.KindNPC:
		return fmt.Sprintf("NPC %d", id.Number())
	case mesh.KindItem:
		return fmt.Sprintf("item %d", id.Number())
	case mesh.KindRocket:
		return fmt.Sprintf("rocket %d of player %d", id.Number()&(1<<24-1), id.Number()>>24)
	case mesh.KindShip:
		return fmt.Sprintf("ship %d", id.Number())
	}
	return fmt.Sprintf("entity %#x", uint64(id))
}

func actionText(a mesh.Action) string {
	return [...]string{"act", "drop", "pick-up", "throw", "shot", "boarding"}[min(a, mesh.ActBoard)]
}

func outcomeText(o mesh.Outcome) string {
	return [...]string{"undecided", "done", "refused"}[min(o, mesh.OutcomeRefused)]
}
