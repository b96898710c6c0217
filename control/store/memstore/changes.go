package memstore

import (
	"context"

	"weft/control/store"
)

// Changes collects what Watch would deliver. What changes several times
// between two drains is told once, so it holds at most one entry a record.
type Changes struct {
	s       *Store
	pending []store.Change // in order of their first change since the last drain
	known   map[store.Change]struct{}
	wake    chan struct{} // holds a token while pending is not empty
}

// Changes begins to collect changes from now on. The caller must Close it.
func (s *Store) Changes() *Changes {
	c := &Changes{s: s, known: map[store.Change]struct{}{}, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds[c] = struct{}{}
	return c
}

// Drain returns the changes since the last call; it never blocks.
func (c *Changes) Drain() []store.Change {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	pending := c.pending
	c.pending = nil
	clear(c.known)
	select {
	case <-c.wake:
	default:
	}
	return pending
}

// Close ends the collection.
func (c *Changes) Close() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.feeds, c)
}

// changed tells every feed; s.mu is held.
func (s *Store) changed(kind store.ChangeKind, id string) {
	change := store.Change{Kind: kind, ID: id}
	for c := range s.feeds {
		if _, ok := c.known[change]; ok {
			continue
		}
		c.known[change] = struct{}{}
		c.pending = append(c.pending, change)
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Watch implements store.Stream.
func (s *Store) Watch(ctx context.Context, ready func(), f func(store.Change)) error {
	c := s.Changes()
	defer c.Close()
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
			for _, change := range c.Drain() {
				f(change)
			}
		}
	}
}
