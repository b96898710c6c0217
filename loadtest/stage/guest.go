package stage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"weft/control/local"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/control/store/storeurl"
	"weft/simnode/edge"
)

// Address is what another process of this machine needs to play on a mesh.
// It lets whoever has it do anything there.
type Address struct {
	StoreURL string `json:"store_url"`
	Key      string `json:"key"` // hexadecimal
}

// Address returns where m is.
func (m Mesh) Address() Address {
	w := m.World()
	return Address{w.StoreURL, w.Key.Hex()}
}

// Guest is a mesh of another process as a run wants it, to have the players in
// a process of their own. Close gives the store back.
type Guest struct {
	store   store.Store
	world   local.World
	tickets func(mesh.PlayerID, []mesh.NodeID) string
	end     func(context.Context) error

	mu       sync.Mutex
	at       time.Time
	gateways []mesh.Process
}

// Visit returns the mesh at a; end asks its process to put it to sleep, and
// returns when it has.
func Visit(ctx context.Context, a Address, end func(context.Context) error) (*Guest, error) {
	w := local.World{StoreURL: a.StoreURL}
	if err := w.Key.UnmarshalText([]byte(a.Key)); err != nil {
		return nil, errors.Join(options.ErrInvalid, err)
	}
	s, err := storeurl.Open(ctx, a.StoreURL)
	if err != nil {
		return nil, err
	}
	layout, err := s.Layout(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	w.Shard = layout.Shard
	g := &Guest{store: s, world: w, end: end}
	if g.tickets, err = tickets(w); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return g, nil
}

// rosterLife is how long a list of gateways serves joins.
const rosterLife = 500 * time.Millisecond

// Join implements run.Mesh, as the mesh itself does.
func (g *Guest) Join(player mesh.PlayerID) (urls []string, ticket string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) >= rosterLife {
		ctx, cancel := context.WithTimeout(context.Background(), joinPatience)
		defer cancel()
		all, err := g.store.Processes(ctx)
		if err != nil {
			return nil, "", err
		}
		g.at, g.gateways = time.Now(), nil
		for _, p := range all {
			if p.Role == mesh.RoleGateway && p.State == mesh.Ready && p.ClientURL != "" {
				g.gateways = append(g.gateways, p)
			}
		}
	}
	if len(g.gateways) == 0 {
		return nil, "", errors.New("no gateway takes clients")
	}
	var ids []mesh.NodeID
	for i := range min(len(g.gateways), 2) {
		p := g.gateways[(int(player)+i)%len(g.gateways)]
		urls, ids = append(urls, p.ClientURL), append(ids, p.ID)
	}
	return urls, g.tickets(player, ids), nil
}

// Shard returns the shard that is played.
func (g *Guest) Shard() mesh.Shard { return g.world.Shard }

// Watch returns what is seen of the whole world, from now until ctx ends. Wait
// for that.
func (g *Guest) Watch(ctx context.Context) (*edge.Observer, error) {
	return edge.Observe(ctx, g.store, g.world.Key, slog.New(slog.DiscardHandler))
}

// Store implements run.Mesh.
func (g *Guest) Store() store.Store { return g.store }

// errGuest: a guest strikes nobody.
var errGuest = errors.New("the mesh is of another process: leave kills and pauses out of the scenario")

// Kill, Pause and Resume implement run.Mesh and fail.
func (*Guest) Kill(mesh.NodeID) error   { return errGuest }
func (*Guest) Pause(mesh.NodeID) error  { return errGuest }
func (*Guest) Resume(mesh.NodeID) error { return errGuest }

// Stop implements run.Mesh.
func (g *Guest) Stop(ctx context.Context) error { return g.end(ctx) }

// Close gives the store back.
func (g *Guest) Close() error { return g.store.Close() }
