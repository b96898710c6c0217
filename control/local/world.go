package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"weft/control/mesh"
	"weft/control/options"
	"weft/control/reconcile"
	"weft/control/store"
	"weft/control/store/natsstore"
)

// openStore makes the directory, takes its lock by starting the store in it,
// and finds or makes the shard's key.
func (m *Mesh) openStore(ctx context.Context) (err error) {
	if m.cfg.Dir == "" {
		if m.cfg.Dir, err = os.MkdirTemp("", "weft-"); err != nil {
			return fmt.Errorf("cannot make a directory for the world (%w); name one that can be written", err)
		}
		m.ours = true
	}
	var token options.Key
	if _, err := rand.Read(token[:]); err != nil {
		return err
	}
	if m.server, err = natsstore.StartServer(m.cfg.Dir, natsstore.ServerOptions{Token: token.Hex()}); err != nil {
		return err
	}
	if m.world.Key, err = shardKey(filepath.Join(m.cfg.Dir, "shard.key")); err != nil {
		return err
	}
	m.world.StoreURL = m.server.URL()
	m.world.Store, err = m.server.Open(ctx)
	return err
}

// shardKey reads the key in the file, or makes one and keeps it there.
func shardKey(file string) (options.Key, error) {
	var key options.Key
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		if key.UnmarshalText(text) != nil || key.IsZero() {
			return key, fmt.Errorf("%s is damaged: it must hold 64 hexadecimal digits; remove it to make a new key", file)
		}
		return key, nil
	case !errors.Is(err, fs.ErrNotExist):
		return key, fmt.Errorf("cannot read the shard's key: %w", err)
	}
	if _, err := rand.Read(key[:]); err != nil {
		return key, err
	}
	// Whole or not at all: a crash must not leave half a key.
	half := file + ".new"
	if err := errors.Join(os.WriteFile(half, []byte(hex.EncodeToString(key[:])), 0o600), os.Rename(half, file)); err != nil {
		return key, fmt.Errorf("cannot keep the shard's key: %w", err)
	}
	return key, nil
}

// create makes the world unless the store holds it already, and returns the
// shard as it is in the store.
func (m *Mesh) create(ctx context.Context, boxes []mesh.Box) (mesh.Shard, error) {
	st, want := m.world.Store, m.cfg.Shard
	l, err := st.Layout(ctx)
	if errors.Is(err, store.ErrNotFound) {
		if err := m.genesis(ctx, boxes); err != nil {
			return want, err
		}
		l, err = st.Layout(ctx)
	}
	if err != nil {
		return want, fmt.Errorf("read the world: %w", err)
	}
	if have := l.Shard; have.Name != want.Name || have.TickHz != want.TickHz || have.Bounds != want.Bounds {
		return want, fmt.Errorf("%w: %s keeps the world %q at %d ticks a second, not %q at %d with these bounds; choose another directory",
			ErrOtherWorld, m.cfg.Dir, have.Name, have.TickHz, want.Name, want.TickHz)
	}
	return l.Shard, nil
}

func (m *Mesh) genesis(ctx context.Context, boxes []mesh.Box) error {
	return Found(ctx, m.world.Store, m.cfg.Shard, boxes, m.cfg.Chunks)
}

// Founding is what Found needs of the replication store.
type Founding interface {
	reconcile.Store
	PutChunk(ctx context.Context, key string, data []byte) error
}

// Found makes a world: the zones in boxes, each with the snapshot that chunks
// returns for it, in pieces of at most store.MaxChunkBytes. A world that exists
// stays as it is.
func Found(ctx context.Context, st Founding, shard mesh.Shard, boxes []mesh.Box, chunks func(mesh.Box) [][]byte) error {
	if v, err := st.LayoutVersion(ctx); err != nil || v > 0 {
		return err
	}
	snapshots := map[mesh.ZoneID]mesh.Pointer{}
	for i, box := range boxes {
		zone := mesh.ZoneID(i + 1)
		pointer := mesh.Pointer{Position: -1}
		for n, chunk := range chunks(box) {
			// Below every key that an owner writes: owners begin with epoch 1.
			key := fmt.Sprintf("%s%020d-genesis-%d", reconcile.ZonePrefix(zone), 0, n)
			if err := st.PutChunk(ctx, key, chunk); err != nil {
				return fmt.Errorf("write the first state of zone %d: %w", zone, err)
			}
			pointer.Chunks = append(pointer.Chunks, key)
		}
		snapshots[zone] = pointer
	}
	return reconcile.Genesis(ctx, st, shard, boxes, snapshots)
}

// fallAsleep says in the layout that nobody takes zones over any more, so that
// nodes store what they have and stop. The planner of the next start wakes the world.
func (m *Mesh) fallAsleep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	l, err := m.world.Store.Layout(ctx)
	if err != nil || l.Asleep {
		return err
	}
	l.Version, l.Asleep = l.Version+1, true
	return m.world.Store.PutLayout(ctx, l)
}
