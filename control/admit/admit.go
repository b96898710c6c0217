// Package admit decides where a player who wants to join goes: to two gateways,
// or into a queue; and it wakes a world that sleeps. Begin with Player.
package admit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
)

// Store is what admission needs of the replication store.
type Store interface {
	Processes(ctx context.Context) ([]mesh.Process, error)
	Reports(ctx context.Context) ([]mesh.Report, error)
	Intents(ctx context.Context) ([]mesh.Intent, error)
	PutIntent(ctx context.Context, i mesh.Intent) error
	DeleteIntent(ctx context.Context, token string) error
}

// ErrStopped: the world was told to stop and lets nobody in.
var ErrStopped = errors.New("this world is stopped")

const (
	// GatewaysAtOnce is how many gateways a client is told of: one, and one in
	// case that dies.
	GatewaysAtOnce = 2
	// knockEvery is how often a stream of players says that somebody comes.
	knockEvery = 15 * time.Second
	// queueLife is how long a place in the queue is kept for one who does not
	// ask again; queueLeft is when it is forgotten.
	queueLife, queueLeft = 20 * time.Second, 5 * time.Minute
	// maxQueue bounds the places; who comes later has none yet.
	maxQueue = 256
	// sweptAtOnce bounds the forgotten places that one admission deletes.
	sweptAtOnce = 8
	// wakingPause and fullPause are after how long one who waits asks again.
	wakingPause, fullPause = 5 * time.Second, 10 * time.Second
	// QueuePrefix begins the tokens of the intents that are places in the queue.
	QueuePrefix = "queue-"
	queued      = "queue"
)

// Answer is to a player: Gateways, best first, or a Place in the queue.
type Answer struct {
	Gateways []mesh.Process
	// Place is 1 for the next to be let in; RetryAfter is when to ask again, at
	// the latest queueLife later, or the place is lost.
	Place      int
	RetryAfter time.Duration
	Why        string
}

// Player answers player at now. It says to the planner that somebody comes,
// whatever the answer. Errors are the store's, or ErrStopped.
func Player(ctx context.Context, st Store, player mesh.PlayerID, now time.Time) (Answer, error) {
	intents, err := st.Intents(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("intents: %w", err)
	}
	knocked, stopped := planner.Woken(intents)
	if stopped {
		return Answer{}, ErrStopped
	}
	if age := now.Sub(knocked); age >= knockEvery || age < -knockEvery {
		if err := st.PutIntent(ctx, planner.WakeIntent(now, "a player joins")); err != nil {
			return Answer{}, fmt.Errorf("wake the world: %w", err)
		}
	}
	processes, err := st.Processes(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("processes: %w", err)
	}
	reports, err := st.Reports(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("reports: %w", err)
	}
	doors := open(processes, reports)
	if len(doors) == 0 {
		return Answer{Place: 1, RetryAfter: wakingPause, Why: "the world is waking; all who wait are let in together"}, nil
	}
	return inLine(ctx, st, intents, doors, player, now)
}

// door is a gateway that takes clients.
type door struct {
	mesh.Process
	free int
}

// open returns the gateways that are ready.
func open(processes []mesh.Process, reports []mesh.Report) (doors []door) {
	for _, p := range processes {
		if p.Role != mesh.RoleGateway || p.State != mesh.Ready || p.ClientURL == "" {
			continue
		}
		d := door{p, p.Capacity}
		for _, r := range reports {
			if r.Process.ID == p.ID && r.Process.Incarnation == p.Incarnation {
				d.free -= max(r.Clients, 0)
			}
		}
		d.free = max(d.free, 0)
		doors = append(doors, d)
	}
	return doors
}

// place is one in the queue.
type place struct {
	token       string
	first, last int64 // when it was asked for first and last, milliseconds
}

// line returns the queue, first come first, and the tokens of places that
// nobody has asked for any more.
func line(intents []mesh.Intent, now time.Time) (waiting []place, left []string) {
	for _, i := range intents {
		first, err := strconv.ParseInt(i.Reason, 10, 64)
		switch age := now.UnixMilli() - i.CreatedUnixMilli; {
		case i.What != queued:
		case err != nil, age > queueLeft.Milliseconds():
			left = append(left, i.Token)
		case age <= queueLife.Milliseconds():
			waiting = append(waiting, place{i.Token, first, i.CreatedUnixMilli})
		}
	}
	slices.SortFunc(waiting, func(a, b place) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.token, b.token)) })
	return waiting, left
}

// inLine lets player in if there is a seat beyond those for who came before.
func inLine(ctx context.Context, st Store, intents []mesh.Intent, doors []door, player mesh.PlayerID, now time.Time) (Answer, error) {
	free := 0
	for _, d := range doors {
		free += d.free
	}
	waiting, left := line(intents, now)
	token := QueuePrefix + strconv.FormatUint(uint64(player), 10)
	before := slices.IndexFunc(waiting, func(p place) bool { return p.token == token })
	known := before >= 0
	if !known {
		before = len(waiting)
	}
	if before < free {
		if known || slices.ContainsFunc(intents, func(i mesh.Intent) bool { return i.Token == token }) {
			left = append([]string{token}, left...)
		}
		for _, t := range left[:min(len(left), sweptAtOnce)] {
			if err := st.DeleteIntent(ctx, t); err != nil {
				return Answer{}, fmt.Errorf("clear the queue: %w", err)
			}
		}
		return Answer{Gateways: choose(doors, player)}, nil
	}
	a := Answer{Place: before - free + 1, RetryAfter: fullPause, Why: "the world is full"}
	if !known && before >= maxQueue {
		a.Why = "the world is full, and so is the queue"
		return a, nil
	}
	first := now.UnixMilli()
	if known {
		first = waiting[before].first
	}
	err := st.PutIntent(ctx, mesh.Intent{
		Token: token, What: queued, State: mesh.IntentDone, CreatedUnixMilli: now.UnixMilli(), Reason: strconv.FormatInt(first, 10),
	})
	if err != nil {
		return Answer{}, fmt.Errorf("keep a place in the queue: %w", err)
	}
	return a, nil
}

// choose returns the doors for player, by weighted rendezvous hashing (Schindelhauer
// and Schomaker, 2005): each gets players in proportion to its free seats, without
// anybody counting who was sent where since the last report.
func choose(doors []door, player mesh.PlayerID) (out []mesh.Process) {
	score := func(d door) float64 {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s/%d/%d", d.ID, d.Incarnation, player)
		u := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
		return math.Log(u) / (float64(d.free) + 1e-6) // nearest to 0 is best
	}
	doors = slices.Clone(doors)
	slices.SortFunc(doors, func(a, b door) int { return cmp.Or(cmp.Compare(score(b), score(a)), cmp.Compare(a.ID, b.ID)) })
	for _, d := range doors[:min(len(doors), GatewaysAtOnce)] {
		out = append(out, d.Process)
	}
	return out
}

// mix spreads the bits of a hash (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
