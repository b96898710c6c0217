package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/dashboard"
	"weft/control/local"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/store"
	"weft/control/store/natsstore"
	"weft/control/store/storeurl"
)

// The test binary is also what the mesh launches: a process that makes itself
// known and leaves when told, or one that cannot even begin.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2]))
	}
	quick()
	goleak.VerifyTestMain(m)
}

// quick spares each child under the race detector a second at its end.
func quick() {
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
}

func child(role string) int {
	if strings.HasPrefix(role, "broken ") {
		f, err := os.OpenFile(strings.TrimPrefix(role, "broken "), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString("x")
		}
		fmt.Fprintln(os.Stderr, "the flux capacitor is empty; fill it", err)
		return 4
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	ctx := context.Background()
	o, err := options.ReadGateway(os.Environ()) // a node's are the same as far as we need them
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_, _ = os.NewFile(uintptr(o.LifelineFD), "lifeline").Read(make([]byte, 1))
		os.Exit(3)
	}()
	st, err := storeurl.Open(ctx, o.Store)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p := mesh.Process{ID: o.NodeID, Incarnation: mesh.Incarnation(time.Now().UnixNano()), Role: mesh.RoleNode, State: mesh.Ready, Address: "127.0.0.1:1", OSProcess: os.Getpid()}
	if role == "gateway" {
		p.Role, p.ClientURL = mesh.RoleGateway, "ws://127.0.0.1:1/"+string(o.NodeID)
	}
	if err := st.PutProcess(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	<-term
	p.State = mesh.Stopped
	if err := st.PutProcess(ctx, p); err != nil {
		return 1
	}
	return 0
}

func config(dir string) local.Config {
	return local.Config{
		Dir:      dir,
		Shard:    mesh.Shard{Name: "inn", OriginUnixMilli: 1000, TickHz: 20, Seed: 3, Bounds: mesh.Box{Max: mesh.Meters(90, 90, 9)}, Spawn: mesh.Meters(45, 45, 0)},
		Gateways: 2,
		Chunks: func(zone mesh.Box) [][]byte {
			return [][]byte{fmt.Append(nil, zone.Min.X), fmt.Append(nil, zone.Min.Y)}
		},
		Command: func(r mesh.Role) []string {
			return []string{os.Args[0], "child", r.String()}
		},
		Tickets: func(w local.World) (func(mesh.PlayerID, []mesh.NodeID) string, error) {
			return func(p mesh.PlayerID, _ []mesh.NodeID) string { return fmt.Sprintf("%s admits %d", w.Shard.Name, p) }, nil
		},
	}
}

func start(t *testing.T, cfg local.Config) *local.Mesh {
	t.Helper()
	m, err := local.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestStartAndGoOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "world")
	cfg := config(dir)
	m := start(t, cfg)
	if m.Shard() != cfg.Shard {
		t.Errorf("the shard is %+v", m.Shard())
	}
	rec, err := m.Store().Zone(t.Context(), mesh.Cradle)
	if err != nil || len(rec.Pointer.Chunks) != 2 || rec.Pointer.Position != -1 {
		t.Errorf("the cradle's record is %+v, %v", rec, err)
	}
	if chunk, err := m.Store().Chunk(t.Context(), rec.Pointer.Chunks[1]); err != nil || string(chunk) != "0" {
		t.Errorf("its second chunk is %q, %v", chunk, err)
	}
	key := m.World().Key
	if info, err := os.Stat(filepath.Join(dir, "shard.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	processes, err := m.Store().Processes(t.Context()) // the store outlives the processes
	if err != nil {
		t.Error(err)
	}
	for _, p := range processes {
		if p.State != mesh.Stopped || alive(p.OSProcess) {
			t.Errorf("%s is %s, running %v", p.ID, p.State, alive(p.OSProcess))
		}
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}

	cfg.Shard.OriginUnixMilli, cfg.Shard.Seed = 99, 99
	cfg.Chunks = func(mesh.Box) [][]byte { t.Error("genesis was repeated"); return nil }
	again := start(t, cfg)
	if s := again.Shard(); s.OriginUnixMilli != 1000 || s.Seed != 3 || again.World().Key != key {
		t.Errorf("the world began anew: %+v", s)
	}
	ids := map[mesh.NodeID]bool{}
	for _, p := range processes {
		ids[p.ID] = true
	}
	if _, err := again.Join(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestTemporaryWorldIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	m := start(t, config(""))
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "weft-*")); len(left) != 1 {
		t.Fatalf("worlds: %v", left)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFaultsAreSentences(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	start(t, config(dir))
	other := filepath.Join(t.TempDir(), "other")
	if err := start(t, config(other)).Close(); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "shard.key"), []byte("beef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*local.Config)
		is     error
		says   string
	}{
		"port taken":     {func(c *local.Config) { c.Listen = taken.Addr().String() }, local.ErrAddress, "another program listens on " + taken.Addr().String()},
		"no address":     {func(c *local.Config) { c.Listen = "7070" }, local.ErrAddress, "write a host and a port"},
		"not writable":   {func(c *local.Config) { c.Dir = "/dev/null/x" }, natsstore.ErrDirectory, "choose another"},
		"in use":         {func(c *local.Config) { c.Dir = dir }, natsstore.ErrDirectoryUsed, "another process keeps its world in"},
		"another world":  {func(c *local.Config) { c.Dir, c.Shard.Name = other, "pub" }, local.ErrOtherWorld, `keeps the world "inn"`},
		"key damaged":    {func(c *local.Config) { c.Dir = damaged }, nil, "is damaged"},
		"no such policy": {func(c *local.Config) { c.Policy = "chaos" }, nil, `"chaos"`},
		"tiny share":     {func(c *local.Config) { c.NodeCPU = 1 }, nil, "share of a core"},
		"no program":     {func(c *local.Config) { c.Command = func(mesh.Role) []string { return []string{"/no/such/program"} } }, local.ErrNotReady, "check that /no/such/program exists"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(filepath.Join(t.TempDir(), "w"))
			c.change(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			m, err := local.Start(ctx, cfg)
			if err == nil {
				m.Close()
				t.Fatal("it started")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q", err)
			}
		})
	}
}

// A child that dies at once is told of, and not started over and over.
func TestChildrenThatCannotBegin(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	cfg := config("")
	cfg.Command = func(mesh.Role) []string { return []string{os.Args[0], "child", "broken " + count} }
	began := time.Now()
	_, err := local.Start(t.Context(), cfg)
	if !errors.Is(err, local.ErrNotReady) || !strings.Contains(err.Error(), "the flux capacitor is empty; fill it") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %q", err)
	}
	if starts, err := os.ReadFile(count); err != nil || len(starts) > 8 {
		t.Errorf("%d starts in %v, %v", len(starts), time.Since(began), err)
	}
}

func TestJoin(t *testing.T) {
	m := start(t, config(""))
	first := map[string]int{}
	for p := range mesh.PlayerID(10) {
		in, err := m.Join(t.Context(), p)
		if err != nil || len(in.Gateways) != 2 || in.Ticket != fmt.Sprintf("inn admits %d", p) {
			t.Fatalf("player %d: %+v, %v", p, in, err)
		}
		first[in.Gateways[0]]++
	}
	if len(first) != 2 {
		t.Errorf("all begin at %v", first)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Join(t.Context(), 1); !errors.Is(err, dashboard.ErrNobodyHome) {
		t.Errorf("a sleeping world answers %v", err)
	}
	cfg := config("")
	cfg.Tickets = nil
	if _, err := start(t, cfg).Join(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "no tickets") {
		t.Errorf("a world without tickets answers %v", err)
	}
}

// What is killed is replaced; what is paused goes on.
func TestKillPauseResume(t *testing.T) {
	var words bytes.Buffer
	cfg := config("")
	cfg.Words = &words
	m := start(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	gateways := func() map[mesh.NodeID]mesh.Process {
		all, err := m.Store().Processes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[mesh.NodeID]mesh.Process{}
		for _, p := range all {
			if p.Role == mesh.RoleGateway && p.State == mesh.Ready {
				out[p.ID] = p
			}
		}
		return out
	}
	var victim mesh.Process
	old := gateways()
	for _, victim = range old {
		break
	}
	watch, stop := context.WithCancel(ctx)
	ready, fresh := make(chan struct{}), make(chan struct{}, 1)
	watched := make(chan error, 1)
	go func() {
		watched <- m.Store().Watch(watch, func() { close(ready) }, func(c store.Change) {
			if _, known := old[mesh.NodeID(c.ID)]; c.Kind == store.ProcessChanged && !known && strings.HasPrefix(c.ID, "gateway") {
				select {
				case fresh <- struct{}{}:
				default:
				}
			}
		})
	}()
	<-ready
	if err := errors.Join(m.Pause(victim.ID), m.Resume(victim.ID), m.Kill(victim.ID)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-fresh:
	case <-ctx.Done():
		t.Fatal("nobody came in its place")
	}
	stop()
	<-watched
	if alive(victim.OSProcess) {
		t.Errorf("%s lives", victim.ID)
	}
	if err := m.Resume(victim.ID); err != nil {
		t.Errorf("resuming one that has ended: %v", err)
	}
	if err := m.Kill("nobody"); err == nil {
		t.Error("nobody was killed")
	}
}

// A start that is given up leaves nothing.
func TestStartIsGivenUp(t *testing.T) {
	cfg := config("")
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Command = func(mesh.Role) []string { cancel(); return []string{os.Args[0], "child", "node"} } // no gateway ever
	if _, err := local.Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestPage(t *testing.T) {
	cfg := config("")
	cfg.Listen = "127.0.0.1:0"
	cfg.Note = func() string { return "a note" }
	m := start(t, cfg)
	for path, want := range map[string]string{"/": "<title>Weft</title>", "/api/state": `"note":"a note"`, "/join?player=5": "inn admits 5"} {
		resp, err := http.Get(m.PageURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		if resp.Body.Close(); err != nil || !strings.Contains(body.String(), want) {
			t.Errorf("%s answers %s, %v", path, body.String(), err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
