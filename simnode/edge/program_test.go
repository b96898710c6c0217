package edge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store/memstore"
	"weft/control/store/natsstore"
)

// TestMain runs the tests, or, where a test says so, is one of the programs.
func TestMain(m *testing.M) {
	switch os.Getenv("TEST_PROGRAM") {
	case "simnode":
		os.Exit(NodeMain())
	case "gateway":
		os.Exit(GatewayMain())
	}
	goleak.VerifyTestMain(m)
}

// program is one of ours in a process of its own.
type program struct {
	*exec.Cmd
	lines    *bufio.Scanner // of its stderr
	lifeline io.Closer
}

func startProgram(t *testing.T, name string, env ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(os.Args[0])}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lifeline, p.ExtraFiles = write, []*os.File{read}
	p.Env = append([]string{"TEST_PROGRAM=" + name, "WEFT_LIFELINE_FD=3", "WEFT_SHARD_KEY=" + testKey.Hex()}, env...)
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(stderr)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	t.Cleanup(func() {
		write.Close()
		if p.ProcessState == nil {
			p.Process.Kill() //nolint:errcheck // it may be over
			p.Wait()         //nolint:errcheck // it was killed
		}
	})
	return p
}

// until reads the program's log up to a line that holds text, and returns that.
func (p *program) until(t *testing.T, text string) string {
	t.Helper()
	for p.lines.Scan() {
		if strings.Contains(p.lines.Text(), text) {
			return p.lines.Text()
		}
	}
	t.Fatalf("the program never said %q", text)
	return ""
}

// end returns the exit status and what else the program said.
func (p *program) end() (status int, said string) {
	var rest bytes.Buffer
	for p.lines.Scan() {
		rest.WriteString(p.lines.Text() + "\n")
	}
	p.Wait() //nolint:errcheck // the status tells
	return p.ProcessState.ExitCode(), rest.String()
}

func TestPrograms(t *testing.T) {
	server, err := natsstore.StartServer(t.TempDir(), natsstore.ServerOptions{Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	s, err := natsstore.Open(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	bounds := mesh.Box{Max: mesh.Meters(100, 100, 50)}
	layout := mesh.Layout{
		Version: 1, NextZone: 2, Zones: []mesh.Zone{{ID: 1, Box: bounds}},
		Shard: mesh.Shard{Name: "test", OriginUnixMilli: time.Now().UnixMilli(), TickHz: 20, Bounds: bounds},
	}
	if err := s.PutLayout(t.Context(), layout); err != nil {
		t.Fatal(err)
	}
	url := "WEFT_STORE=" + server.URL()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })

	ec2 := newInstance(t, map[string]string{"WEFT_STORE": server.URL(), "WEFT_ADVERTISE": "metadata", "WEFT_NODE_ID": "node-7"})

	for _, c := range []struct {
		name, program string
		env           []string
		act           func(*program) error
		status        int
		says          string
	}{
		{"drained node", "simnode", []string{url, "WEFT_ACTOR_COST_US=1"}, func(p *program) error { return p.Process.Signal(syscall.SIGTERM) }, 0, "drained"},
		{"drained gateway", "gateway", []string{url}, func(p *program) error { return p.Process.Signal(os.Interrupt) }, 0, "drained"},
		{"orphaned node", "simnode", []string{url}, func(p *program) error { return p.lifeline.Close() }, exitOrphan, ""},
		{"orphaned gateway", "gateway", []string{url}, func(p *program) error { return p.lifeline.Close() }, exitOrphan, ""},
		{"port taken", "simnode", []string{url, "WEFT_LISTEN=" + taken.Addr().String()}, nil, 1,
			"another program listens on " + taken.Addr().String() + "; stop it or set WEFT_LISTEN to another address\n"},
		{"port for clients taken", "gateway", []string{url, "WEFT_CLIENT_LISTEN=" + taken.Addr().String()}, nil, 1, "set WEFT_CLIENT_LISTEN to another address\n"},
		{"port for profiles taken", "simnode", []string{url, "WEFT_PPROF=" + taken.Addr().String()}, nil, 1, "set WEFT_PPROF to another address\n"},
		{"not our address", "simnode", []string{url, "WEFT_LISTEN=192.0.2.1:0"}, nil, 1, "set WEFT_LISTEN to an address of this machine\n"},
		{"bad key", "gateway", []string{url, "WEFT_SHARD_KEY=hush"}, nil, 1, "WEFT_SHARD_KEY is not set or not valid; it must be the shard's key, 64 hexadecimal digits"},
		{"bad environment", "simnode", nil, nil, 1, "WEFT_STORE is not set"},
		{"bad lifeline", "simnode", []string{url, "WEFT_LIFELINE_FD=77"}, nil, 1, "WEFT_LIFELINE_FD names descriptor 77, which is not open"},
		{"told and drained by its instance", "simnode", []string{ec2.endpoint, "WEFT_MACHINE=ec2"}, func(*program) error { ec2.drain.Store(true); return nil }, 0, "drained"},
		{"not on an instance", "simnode", []string{url, "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1", "WEFT_ADVERTISE=metadata"}, nil, 1, "WEFT_ADVERTISE: neither ECS nor EC2 tells this machine's address"},
		{"unknown machine", "gateway", []string{url, "WEFT_MACHINE=gce"}, nil, 1, "ec2 on an instance that a launcher started"},
		{"unknown store", "simnode", []string{"WEFT_STORE=ftp://x"}, nil, 1, "WEFT_STORE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, c.program, c.env...)
			if c.act != nil {
				if line := p.until(t, "running"); c.program == "simnode" && c.env[0] == ec2.endpoint && (!strings.Contains(line, "address=10.9.8.7:") || !strings.Contains(line, "node-7")) {
					t.Errorf("it is not what its instance said: %s", line)
				}
				if err := c.act(p); err != nil {
					t.Fatal(err)
				}
			}
			status, said := p.end()
			if status != c.status || !strings.Contains(said, c.says) {
				t.Errorf("status %d, and it said %q", status, said)
			}
			if c.status == 1 && strings.Count(said, "\n") != 1 || strings.Contains(said, "goroutine ") || strings.Contains(said, "hush") {
				t.Errorf("that is not one sentence: %q", said)
			}
		})
	}
}

func TestWaitsForTheShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := firstLayout(t.Context(), memstore.New()); err == nil || !strings.Contains(err.Error(), "no shard in the store") || time.Since(began) != startPatience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		s := memstore.New()
		time.AfterFunc(time.Second, func() {
			if err := s.PutLayout(t.Context(), mesh.Layout{Version: 1, Shard: mesh.Shard{TickHz: 20}}); err != nil {
				t.Error(err)
			}
		})
		if l, err := firstLayout(t.Context(), s); err != nil || l.Version != 1 {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestActorWork(t *testing.T) {
	if actorWork(0) != 0 || actorWork(100) < 1000 {
		t.Errorf("0 µs is %d rounds, 100 µs %d", actorWork(0), actorWork(100))
	}
}

func TestRefused(t *testing.T) {
	if refused(errors.New("x")) || !refused(&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}) {
		t.Error("refused")
	}
}
