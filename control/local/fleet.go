package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"weft/control/launch"
	"weft/control/launch/proclaunch"
	"weft/control/mesh"
	"weft/control/store"
)

// fleet launches children with what they need to know.
type fleet struct {
	*proclaunch.Launcher
	m      *Mesh
	killed sync.Map      // ids of Mesh.Kill
	gone   chan struct{} // told whenever a child has ended
}

func newFleet(m *Mesh) *fleet {
	f := &fleet{m: m, gone: make(chan struct{}, 1)}
	f.Launcher = proclaunch.New(proclaunch.Options{
		Argv: func(s launch.Spec) []string { return m.cfg.Command(s.Role) },
		Env:  Inherited(os.Environ()), NodeCPU: m.cfg.NodeCPU, Grace: nodeGrace, Stderr: m.cfg.Words, Exited: f.exited,
	})
	return f
}

// Inherited is what children get of our environment: nothing that they do not
// need, least of all credentials. Where we serve profiles they do, too, each at
// a port of its own.
func Inherited(environ []string) []string {
	profiles := false
	kept := slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		profiles = profiles || name == "WEFT_PPROF" && value != ""
		return !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "TZ", "GODEBUG", "GORACE", "GOTRACEBACK", "GOCOVERDIR", "SystemRoot"}, name)
	})
	if profiles {
		kept = append(kept, "WEFT_PPROF=127.0.0.1:0")
	}
	return kept
}

// Start implements launch.Launcher.
func (f *fleet) Start(ctx context.Context, s launch.Spec) (launch.Instance, error) {
	s.Env = append(slices.Clone(s.Env),
		"WEFT_STORE="+f.m.world.StoreURL, "WEFT_SHARD_KEY="+f.m.world.Key.Hex(), "WEFT_NODE_ID="+string(s.Node))
	if s.Role == mesh.RoleNode {
		s.Env = append(s.Env, fmt.Sprintf("WEFT_NODE_ACTORS=%d", f.m.cfg.NodeActors), fmt.Sprintf("WEFT_ACTOR_COST_US=%d", f.m.cfg.ActorCostUS))
	}
	if s.Role == mesh.RoleGateway {
		s.Env = append(s.Env, fmt.Sprintf("WEFT_GATEWAY_CLIENTS=%d", 2*f.m.cfg.GatewayClients), fmt.Sprintf("WEFT_VIEW_HZ=%d", f.m.cfg.ViewHz))
	}
	if f.m.cfg.Env != nil {
		s.Env = append(s.Env, f.m.cfg.Env(s)...)
	}
	i, err := f.Launcher.Start(ctx, s)
	if err != nil && ctx.Err() == nil {
		f.failed(err)
	}
	return i, err
}

// failed tells a start that waits for the first processes.
func (f *fleet) failed(err error) {
	if !f.m.ready.Load() {
		select {
		case f.m.deaths <- err:
		default:
		}
	}
}

// exited says of a child how it ended.
func (f *fleet) exited(e proclaunch.Exit) {
	if _, drill := f.killed.LoadAndDelete(e.Instance.Node); e.Err != nil && !drill {
		f.m.cfg.Log.Warn("a process ended by itself", "process", e.Instance.Node, "err", e.Err)
		f.failed(e.Err)
	} else {
		f.m.cfg.Log.Info("a process ended", "process", e.Instance.Node)
	}
	select {
	case f.gone <- struct{}{}:
	default:
	}
}

// leave asks the gateways to send their clients away, and waits for that.
func (f *fleet) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	asked := map[mesh.NodeID]bool{}
	for {
		running, err := f.List(ctx)
		if err != nil {
			return
		}
		waiting := false
		for _, i := range running {
			if i.Role != mesh.RoleGateway {
				continue
			}
			waiting = true
			if !asked[i.Node] {
				asked[i.Node] = true
				_ = f.Drain(ctx, i.Node) // one that cannot hear it is killed with the rest
			}
		}
		if !waiting {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-f.gone:
		}
	}
}

// gateways returns the gateways that are ready to take clients.
func (m *Mesh) gateways(ctx context.Context) (ready []mesh.Process, err error) {
	all, err := m.world.Store.Processes(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Role == mesh.RoleGateway && p.State == mesh.Ready && p.ClientURL != "" && m.fleet.runs(p) {
			ready = append(ready, p)
		}
	}
	return ready, nil
}

// rosterLife is how long a list of gateways serves joins before it is read
// anew; an older one still serves while the store is away.
const rosterLife = 500 * time.Millisecond

// roster is the last list of gateways that was read.
type roster struct {
	mu   sync.Mutex
	at   time.Time
	list []mesh.Process
}

// forget drops the list: those on it have left.
func (r *roster) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.list = time.Time{}, nil
}

// invite returns the gateways for a client that joins. A crowd that joins at
// once reads the store once.
func (m *Mesh) invite(ctx context.Context) ([]mesh.Process, error) {
	m.roster.mu.Lock()
	defer m.roster.mu.Unlock()
	if time.Since(m.roster.at) < rosterLife {
		return m.roster.list, nil
	}
	list, err := m.gateways(ctx)
	switch {
	case err == nil:
		m.roster.at, m.roster.list = time.Now(), list
	case len(m.roster.list) == 0:
		return nil, err
	}
	return m.roster.list, nil
}

// runs reports whether the process that made p known is a child of ours: a
// record may be of an earlier run.
func (f *fleet) runs(p mesh.Process) bool {
	running, _ := f.List(context.Background())
	return slices.ContainsFunc(running, func(i launch.Instance) bool {
		return i.Node == p.ID && (p.OSProcess == 0 || p.OSProcess == i.PID)
	})
}

// awaitGateways waits until n gateways take clients.
func (m *Mesh) awaitGateways(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("%w: no gateway was ready after %s", ErrNotReady, startPatience))
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	watched := make(chan error, 1)
	go func() {
		watched <- m.world.Store.Watch(ctx, tell, func(c store.Change) {
			if c.Kind == store.ProcessChanged {
				tell()
			}
		})
	}()
	deaths := 0
	err := func() error {
		for {
			select {
			case <-changed:
				if ready, err := m.gateways(ctx); err == nil && len(ready) >= n {
					return nil
				}
			case err := <-m.deaths:
				if deaths++; deaths >= deathsAtStart {
					return fmt.Errorf("%w: its processes do not run: %w", ErrNotReady, err)
				}
			case err := <-watched:
				watched <- err
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return fmt.Errorf("%w: the store does not tell of changes: %w", ErrNotReady, err)
			}
		}
	}()
	m.ready.Store(true)
	cancel()
	if watch := <-watched; err == nil && watch != nil && !errors.Is(watch, context.Canceled) {
		m.cfg.Log.Warn("the change stream broke", "err", watch)
	}
	return err
}
