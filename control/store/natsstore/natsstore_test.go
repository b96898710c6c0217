package natsstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/natsstore"
	"weft/control/store/storetest"
)

// childVariable makes the test binary a server that appends until it is killed.
const childVariable = "WEFT_NATSSTORE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := appendForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

func startServer(t testing.TB, dir string) *natsstore.Server {
	t.Helper()
	s, err := natsstore.StartServer(dir, natsstore.ServerOptions{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t testing.TB, url string) *natsstore.Store {
	t.Helper()
	s, err := natsstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve is a server for the length of the test.
func serve(t testing.TB) *natsstore.Server {
	s := startServer(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return connect(t, serve(t).URL()) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) (a, b store.Store) {
		server := serve(t)
		inProcess, err := server.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return connect(t, server.URL()), inProcess
	})
}

func TestLinearizable(t *testing.T) {
	storetest.Linearize(t, func(t *testing.T) []store.Store {
		server := serve(t)
		inProcess, err := server.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return []store.Store{connect(t, server.URL()), connect(t, server.URL()), inProcess}
	}, storetest.Volume{Histories: 3, Zones: 12, Clients: 6, Operations: 60})
}

// appendForEver serves dir and appends to two zones at once, printing each
// position once it is acknowledged.
func appendForEver(dir string) error {
	server, err := natsstore.StartServer(dir, natsstore.ServerOptions{})
	if err != nil {
		return err
	}
	st, err := natsstore.Open(context.Background(), server.URL())
	if err != nil {
		return err
	}
	errs := make(chan error)
	for zone := mesh.ZoneID(1); zone <= 2; zone++ {
		go func() {
			if err := st.CreateZone(context.Background(), mesh.ZoneRecord{Zone: zone, Epoch: 1, Pointer: mesh.Pointer{Position: -1}}); err != nil {
				errs <- err
			}
			for p := int64(0); ; p++ {
				if err := st.Append(context.Background(), zone, mesh.Slot{Position: p, Epoch: 1, Data: fmt.Appendf(nil, "event %d", p)}); err != nil {
					errs <- err
				}
				fmt.Println(zone, p)
			}
		}()
	}
	return <-errs
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	for life := range 2 {
		dir, next := t.TempDir(), [3]int64{}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childVariable+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var zone, p int64
			if _, err := fmt.Sscan(lines.Text(), &zone, &p); err != nil {
				t.Fatalf("child printed %q: %v", lines.Text(), err)
			}
			next[zone] = p + 1
			if n == 600+100*life { // beyond one lap of the ring
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child was not killed")
		}
		server := startServer(t, dir)
		st := connect(t, server.URL())
		for zone := mesh.ZoneID(1); zone <= 2; zone++ {
			if _, err := st.Zone(t.Context(), zone); err != nil {
				t.Fatal(err)
			}
			acknowledged := next[zone]
			from := max(0, acknowledged-mesh.RingSlots+1) // one more may have been written unseen
			slots, err := st.ReadSlots(t.Context(), zone, from, mesh.RingSlots)
			if err != nil {
				t.Fatal(err)
			}
			if got := from + int64(len(slots)); got < acknowledged {
				t.Fatalf("zone %d: acknowledged through %d, found through %d", zone, acknowledged-1, got-1)
			}
			for _, s := range slots {
				if want := fmt.Sprint("event ", s.Position); string(s.Data) != want {
					t.Fatalf("zone %d position %d holds %q", zone, s.Position, s.Data)
				}
			}
		}
		if err := errors.Join(st.Close(), server.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEverythingIsThereAfterRestart(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	st := connect(t, server.URL())
	ctx := t.Context()
	ok := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	ok(st.PutLayout(ctx, mesh.Layout{Version: 1, Shard: mesh.Shard{Name: "x"}}),
		st.PutPoses(ctx, 1, mesh.PoseRecord{Epoch: 1, Tick: 7, Data: []byte("poses")}),
		st.PutChunk(ctx, "1/a", []byte("chunk")),
		st.PutProcess(ctx, mesh.Process{ID: "n", Incarnation: 1}),
		st.PutPlannerState(ctx, mesh.PlannerState{Version: 1, Data: []byte("p")}),
		st.PutDecision(ctx, mesh.Decision{ID: "d"}),
		st.Close(), server.Close())

	server = startServer(t, dir)
	st = connect(t, server.URL())
	l, err := st.Layout(ctx)
	ok(err)
	rec, err := st.RaisePoses(ctx, 1, 1)
	ok(err)
	chunk, err := st.Chunk(ctx, "1/a")
	ok(err)
	processes, err := st.Processes(ctx)
	ok(err)
	planner, err := st.PlannerState(ctx)
	ok(err)
	decisions, err := st.Decisions(ctx, 5)
	ok(err)
	if l.Shard.Name != "x" || rec.Tick != 7 || string(chunk) != "chunk" || len(processes) != 1 || planner.Version != 1 || len(decisions) != 1 {
		t.Fatal(l, rec, chunk, processes, planner, decisions)
	}
	ok(st.Close(), server.Close())
}

// A handle outlives its server: it says so at once, and works again when the
// server is back.
func TestServerGoesAndComesBack(t *testing.T) {
	dir := t.TempDir()
	options := natsstore.ServerOptions{Token: "secret"}
	server, err := natsstore.StartServer(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	st := connect(t, server.URL())
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL(), "nats://secret@"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(port, &options.Port); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := st.Append(ctx, 1, mesh.Slot{Position: 0, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	ready, watch := make(chan struct{}), make(chan error, 1)
	go func() { watch <- st.Watch(ctx, func() { close(ready) }, func(store.Change) {}) }()
	<-ready
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-watch; !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("the watch ended with %v", err)
	}
	if err := st.Append(ctx, 1, mesh.Slot{Position: 1, Epoch: 1}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("append without a server: %v", err)
	}
	if server, err = natsstore.StartServer(dir, options); err != nil {
		t.Fatal(err)
	}
	for err = store.ErrUnavailable; errors.Is(err, store.ErrUnavailable); {
		err = st.Append(ctx, 1, mesh.Slot{Position: 1, Epoch: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.Close(), server.Close()); err != nil {
		t.Fatal(err)
	}
}

// A server that is taken down and up again keeps its address and its files,
// and handles of both kinds mend themselves.
func TestDownAndUp(t *testing.T) {
	server := startServer(t, t.TempDir())
	url := server.URL()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	inside, err := server.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	handles := []store.Store{inside, connect(t, url)}
	for round := range int64(2) {
		for zone, st := range handles {
			if err := st.Append(ctx, mesh.ZoneID(zone+1), mesh.Slot{Position: 2 * round, Epoch: 1}); err != nil {
				t.Fatal(err)
			}
		}
		server.Down()
		server.Down()
		if _, err := natsstore.Open(ctx, url); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("open while it is down: %v", err)
		}
		for zone, st := range handles {
			call, done := context.WithTimeout(ctx, time.Second) // what was sent into a breaking connection gets no answer
			if err := st.Append(call, mesh.ZoneID(zone+1), mesh.Slot{Position: 2*round + 1, Epoch: 1}); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("append while it is down: %v", err)
			}
			done()
		}
		if err := errors.Join(server.Up(), server.Up()); err != nil {
			t.Fatal(err)
		}
		if server.URL() != url {
			t.Errorf("it was at %s and came back elsewhere", url)
		}
		for i, st := range handles {
			zone := mesh.ZoneID(i + 1)
			var slots []mesh.Slot
			again := func(f func(context.Context) error) { // an answer may be lost while the server comes up
				err = store.ErrUnavailable
				for errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
					call, done := context.WithTimeout(ctx, time.Second)
					err = f(call)
					done()
				}
				if err != nil {
					t.Error(err)
				}
			}
			again(func(ctx context.Context) error {
				return st.Append(ctx, zone, mesh.Slot{Position: 2*round + 1, Epoch: 1})
			})
			again(func(ctx context.Context) (err error) {
				slots, err = st.ReadSlots(ctx, zone, 0, 9)
				return err
			})
			if int64(len(slots)) != 2*round+2 {
				t.Errorf("%d slots after round %d", len(slots), round)
			}
		}
	}
	if err := errors.Join(handles[0].Close(), handles[1].Close(), server.Close()); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	used := t.TempDir()
	server := startServer(t, used)
	defer server.Close()
	_, text, err := net.SplitHostPort(strings.TrimPrefix(server.URL(), "nats://secret@"))
	if err != nil {
		t.Fatal(err)
	}
	var port int
	fmt.Sscan(text, &port)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir     string
		options natsstore.ServerOptions
		want    error
	}{
		"files not a server's":     {damaged, natsstore.ServerOptions{}, natsstore.ErrDirectory},
		"port taken":               {t.TempDir(), natsstore.ServerOptions{Port: port}, natsstore.ErrPortTaken},
		"directory in use":         {used, natsstore.ServerOptions{}, natsstore.ErrDirectoryUsed},
		"directory is a file":      {file, natsstore.ServerOptions{}, natsstore.ErrDirectory},
		"directory below a file":   {filepath.Join(file, "x"), natsstore.ServerOptions{}, natsstore.ErrDirectory},
		"directory not for humans": {"/proc/weft", natsstore.ServerOptions{}, natsstore.ErrDirectory},
	} {
		s, err := natsstore.StartServer(c.dir, c.options)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil {
			s.Close()
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: not one sentence: %q", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, url := range []string{strings.Replace(server.URL(), "secret", "wrong", 1), strings.Replace(server.URL(), "secret@", "", 1), "nats://secret@127.0.0.1:1"} {
		if _, err := natsstore.Open(ctx, url); !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "wrong@") {
			t.Errorf("open %s: %v", url, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, zones := range []int{1, 8} {
		b.Run(fmt.Sprintf("zones=%d", zones), func(b *testing.B) {
			st := connect(b, serve(b).URL())
			defer st.Close()
			data := make([]byte, 400)
			var left atomic.Int64
			left.Store(int64(b.N))
			errs := make(chan error, zones)
			b.ResetTimer()
			for zone := range mesh.ZoneID(zones) {
				go func() {
					for p := int64(0); left.Add(-1) >= 0; p++ {
						if err := st.Append(b.Context(), zone+1, mesh.Slot{Position: p, Epoch: 1, Data: data}); err != nil {
							errs <- err
							return
						}
					}
					errs <- nil
				}()
			}
			for range zones {
				if err := <-errs; err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

func BenchmarkReadSlots(b *testing.B) {
	st := connect(b, serve(b).URL())
	defer st.Close()
	for p := range int64(mesh.RingSlots) {
		if err := st.Append(b.Context(), 1, mesh.Slot{Position: p, Epoch: 1, Data: make([]byte, 400)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if slots, err := st.ReadSlots(b.Context(), 1, 0, mesh.RingSlots); err != nil || len(slots) != mesh.RingSlots {
			b.Fatal(len(slots), err)
		}
	}
}
