//go:build unix

package proclaunch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/launch"
	"weft/control/launch/launchtest"
	"weft/control/mesh"
)

// The test binary is also the child: these variables say which and where to
// report to. A child holds its connection for as long as it lives, so that the
// test can wait for its end without polling.
const (
	childEnv  = "PROCLAUNCH_CHILD"
	reportEnv = "PROCLAUNCH_REPORT"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		os.Exit(childMain(how))
	}
	goleak.VerifyTestMain(m)
}

func childMain(how string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if how == "fails" {
		fmt.Fprintln(os.Stderr, "cannot open the store\nstart it first")
		return 3
	}
	lifeline := os.NewFile(3, "lifeline")
	if how == "parent" {
		l := New(Options{Argv: argv, Env: append(os.Environ(), childEnv+"=stays")})
		if _, err := l.Start(context.Background(), launch.Spec{Role: mesh.RoleNode, Token: "t", Node: "a"}); err != nil {
			return 1
		}
		select {}
	}
	c, err := net.Dial("unix", os.Getenv(reportEnv))
	if err != nil {
		return 1
	}
	fmt.Fprintln(c, os.Getpid(), os.Getenv("COLOUR"))
	gone := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, lifeline); close(gone) }()
	for {
		select {
		case <-gone:
			return 0
		case <-term:
			if how != "stubborn" {
				return 0
			}
		}
	}
}

func argv(launch.Spec) []string { return []string{os.Args[0]} }

// station is where children report.
type station struct {
	t *testing.T
	l net.Listener
}

func newStation(t *testing.T) *station {
	// Socket paths are short, so not t.TempDir.
	dir, err := os.MkdirTemp("", "weft")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(dir) })
	return &station{t, l}
}

func (s *station) env(how string) []string {
	return []string{childEnv + "=" + how, reportEnv + "=" + s.l.Addr().String()}
}

// accept waits for a child's report and returns what it says, and a function
// that waits for its end.
func (s *station) accept() (said string, ended func()) {
	s.t.Helper()
	c, err := s.l.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	r := bufio.NewReader(c)
	said, err = r.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(said), func() {
		s.t.Helper()
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			s.t.Fatalf("waiting for the child's end: %v", err)
		}
	}
}

func TestSuite(t *testing.T) {
	launchtest.Run(t, func(t *testing.T) launchtest.Harness {
		s := newStation(t)
		var mu sync.Mutex
		ended := map[mesh.NodeID]chan struct{}{}
		end := func(n mesh.NodeID) chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			if ended[n] == nil {
				ended[n] = make(chan struct{}, 100)
			}
			return ended[n]
		}
		l := New(Options{Argv: argv, Env: s.env("stays"), Capacity: launchtest.Capacity,
			Exited: func(e Exit) { end(e.Instance.Node) <- struct{}{} }})
		t.Cleanup(func() { l.Close() })
		return launchtest.Harness{Launcher: l, Ended: func(ctx context.Context, n mesh.NodeID) error {
			select {
			case <-end(n):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	})
}

func start(t *testing.T, l *Launcher, n mesh.NodeID, env ...string) launch.Instance {
	t.Helper()
	i, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "t-" + string(n), Node: n, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAChildGetsItsEnvironmentAndAGroupOfItsOwn(t *testing.T) {
	s := newStation(t)
	l := New(Options{Argv: argv, Env: s.env("stays")})
	defer l.Close()
	i := start(t, l, "a", "COLOUR=blue")
	if said, _ := s.accept(); said != fmt.Sprint(i.PID, " blue") {
		t.Errorf("the child says %q, want %d blue", said, i.PID)
	}
	if g, err := syscall.Getpgid(i.PID); err != nil || g != i.PID {
		t.Errorf("the child's process group is %d (%v), want its own, %d", g, err, i.PID)
	}
}

func TestAPausedChildStops(t *testing.T) {
	s := newStation(t)
	l := New(Options{Argv: argv, Env: s.env("stays")})
	defer l.Close()
	i := start(t, l, "a")
	_, ended := s.accept()
	if err := syscall.Kill(i.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ended()
	if err := syscall.Kill(i.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d was not reaped: %v", i.PID, err)
	}
}

func TestCloseEndsTheStubborn(t *testing.T) {
	s := newStation(t)
	l := New(Options{Argv: argv, Env: s.env("stubborn"), Grace: 10 * time.Millisecond})
	start(t, l, "a")
	start(t, l, "b")
	_, first := s.accept()
	_, second := s.accept()
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	first()
	second()
	if _, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "u", Node: "c"}); !errors.Is(err, launch.ErrNoCapacity) {
		t.Errorf("Start after Close: %v, want ErrNoCapacity", err)
	}
}

func TestADeadParentLeavesNoOrphan(t *testing.T) {
	s := newStation(t)
	parent := exec.Command(os.Args[0])
	parent.Env = s.env("parent")
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	_, ended := s.accept()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	ended()
}

func TestAChildSeesItsLifelineBreak(t *testing.T) {
	s := newStation(t)
	exits := make(chan Exit, 1)
	l := New(Options{Argv: argv, Env: s.env("stays"), Exited: func(e Exit) { exits <- e }})
	defer l.Close()
	start(t, l, "a")
	_, ended := s.accept()
	if err := l.lifeline.Close(); err != nil {
		t.Fatal(err)
	}
	ended()
	if e := <-exits; e.Err != nil {
		t.Errorf("the child ended with %v", e.Err)
	}
}

func TestLastWords(t *testing.T) {
	exits := make(chan Exit, 1)
	var out bytes.Buffer
	l := New(Options{Argv: argv, Env: []string{childEnv + "=fails"}, Stderr: &out, Exited: func(e Exit) { exits <- e }})
	defer l.Close()
	start(t, l, "a")
	e := <-exits
	if e.Err == nil || !strings.HasPrefix(e.Err.Error(), "a ended ") ||
		!strings.HasSuffix(e.Err.Error(), " s after its start with exit status 3: cannot open the store / start it first") {
		t.Errorf("the exit reads %q", e.Err)
	}
	if out.String() != "cannot open the store\nstart it first\n" {
		t.Errorf("standard error was passed on as %q", out.String())
	}
}

func TestNoSuchProgram(t *testing.T) {
	l := New(Options{Argv: func(launch.Spec) []string { return []string{"/nowhere/weft"} }})
	defer l.Close()
	_, err := l.Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "t", Node: "a"})
	if !errors.Is(err, launch.ErrInvalid) || !strings.Contains(err.Error(), "check that /nowhere/weft exists") {
		t.Errorf("got %v", err)
	}
}

func TestCPUShare(t *testing.T) {
	if err := CheckCPU(50); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("a share below the kernel's least gives %v", err)
	}
	if err := CheckCPU(150); err != nil {
		if os.Geteuid() == 0 {
			t.Logf("not even root may limit processor time here: %v", err)
		}
		_, err := New(Options{Argv: argv, NodeCPU: 150}).Start(t.Context(), launch.Spec{Role: mesh.RoleNode, Token: "t", Node: "a"})
		if !errors.Is(err, launch.ErrInvalid) {
			t.Errorf("where groups may not be made, Start says %v; want ErrInvalid", err)
		}
		return
	}
	s := newStation(t)
	l := New(Options{Argv: argv, Env: s.env("stays"), NodeCPU: 150})
	defer l.Close()
	start(t, l, "a")
	dir := l.running["a"].cgroup
	file, want := "cpu.cfs_quota_us", "1500"
	if l.cgroups.second {
		file, want = "cpu.max", "1500 10000"
	}
	got, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("%s is %q (%v), want %q", file, got, err, want)
	}
	pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if strings.TrimSpace(string(pids)) != fmt.Sprint(l.running["a"].PID) {
		t.Errorf("the group holds %q, want process %d", pids, l.running["a"].PID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group %s was left behind: %v", dir, err)
	}
}
