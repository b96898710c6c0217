// Package dryrun is a launcher that starts nothing and keeps a record of what
// would be done.
package dryrun

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"weft/control/launch"
	"weft/control/mesh"
)

// MaxRecords bounds the record; the oldest go first. So do the tokens of ended
// processes, of which tokensKept are remembered.
const (
	MaxRecords = 1000
	tokensKept = 4096
)

// Launcher records. Its processes run until they are drained or stopped.
type Launcher struct {
	mu       sync.Mutex
	capacity int
	tokens   map[string]mesh.NodeID // of running and lately ended processes
	ended    []string               // tokens of the ended ones, oldest first
	running  map[mesh.NodeID]launch.Instance
	records  []string
}

// New returns a launcher with room for capacity processes at a time; 0 is
// without limit.
func New(capacity int) *Launcher {
	return &Launcher{capacity: capacity, tokens: map[string]mesh.NodeID{}, running: map[mesh.NodeID]launch.Instance{}}
}

// Start records a start.
func (l *Launcher) Start(ctx context.Context, spec launch.Spec) (launch.Instance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := cmp.Or(ctx.Err(), spec.Validate()); err != nil {
		return launch.Instance{}, err
	}
	if node, ok := l.tokens[spec.Token]; ok {
		if i, runs := l.running[node]; runs && i.Token == spec.Token {
			return i, nil
		}
		return launch.Instance{}, fmt.Errorf("start %s: the process of token %s has ended: %w", spec.Node, spec.Token, launch.ErrNotFound)
	}
	if _, ok := l.running[spec.Node]; ok {
		return launch.Instance{}, fmt.Errorf("start %s: it runs already, under another token: %w", spec.Node, launch.ErrInvalid)
	}
	if l.capacity > 0 && len(l.running) >= l.capacity {
		return launch.Instance{}, fmt.Errorf("start %s: all %d places are taken: %w", spec.Node, l.capacity, launch.ErrNoCapacity)
	}
	i := launch.Instance{Role: spec.Role, Token: spec.Token, Node: spec.Node}
	l.tokens[spec.Token], l.running[spec.Node] = spec.Node, i
	l.record("would start %s %s", spec.Role, spec.Node)
	return i, nil
}

// Used reports whether token has started a process.
func (l *Launcher) Used(ctx context.Context, token string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, used := l.tokens[token]
	return used, ctx.Err()
}

// Drain records a drain; the process is over at once.
func (l *Launcher) Drain(ctx context.Context, node mesh.NodeID) error {
	return l.end(ctx, "drain", node)
}

// Stop records a stop.
func (l *Launcher) Stop(ctx context.Context, node mesh.NodeID) error { return l.end(ctx, "stop", node) }

func (l *Launcher) end(ctx context.Context, how string, node mesh.NodeID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	i, ok := l.running[node]
	if !ok {
		return fmt.Errorf("%s %s: %w", how, node, launch.ErrNotFound)
	}
	delete(l.running, node)
	if l.ended = append(l.ended, i.Token); len(l.ended) > tokensKept {
		delete(l.tokens, l.ended[0])
		l.ended = slices.Delete(l.ended, 0, 1)
	}
	l.record("would %s %s %s", how, i.Role, node)
	return nil
}

// List returns what would be running.
func (l *Launcher) List(ctx context.Context) ([]launch.Instance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []launch.Instance
	for _, i := range l.running {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b launch.Instance) int { return cmp.Compare(a.Node, b.Node) })
	return out, ctx.Err()
}

// Records returns what would have been done, oldest first.
func (l *Launcher) Records() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

func (l *Launcher) record(f string, a ...any) {
	if len(l.records) == MaxRecords {
		l.records = slices.Delete(l.records, 0, 1)
	}
	l.records = append(l.records, fmt.Sprintf(f, a...))
}
