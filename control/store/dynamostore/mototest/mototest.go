// Package mototest runs moto, an emulator of AWS written in Python, for tests.
package mototest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// RequireVariable, set to 1, makes a test that finds no emulator fail.
const RequireVariable = "WEFT_REQUIRE_CLOUD"

// ErrMissing: this machine has no moto.
var ErrMissing = errors.New("moto is not installed; pip install 'moto[server]'")

// Required reports whether a missing emulator is a failure.
func Required() bool { return os.Getenv(RequireVariable) == "1" }

// launcher serves on a free port, prints it, and ends when its standard input
// does, so that it never outlives the test, however that dies. It cures faults
// of moto:
//   - it calls Lambda itself on each write, which empties the streams;
//   - it lets a request for a table in between another's condition and its
//     write, which lets two compare-and-sets both succeed;
//   - it returns a container's cpu and memory as numbers, where the SDK wants text;
//   - a task of ECS goes on to its next state whenever somebody looks at it:
//     here it runs until it is stopped;
//   - it knows no capacity providers in RunTask: here all run on Fargate.
const launcher = `
import logging, os, sys, threading
try:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server
except ImportError:
    sys.exit(3)
import moto.awslambda.models, moto.dynamodb.responses
moto.awslambda.models.LambdaBackend.send_dynamodb_items = lambda self, *a, **k: b""
handler = moto.dynamodb.responses.DynamoHandler
lock, call = threading.RLock(), handler.call_action
def alone(self):
    with lock:
        return call(self)
handler.call_action = alone
import moto.ecs.models
from moto.moto_api import state_manager
state_manager.set_transition("ecs::task", {"progression": "time", "seconds": 86400})
container = moto.ecs.models.Container
born = container.__init__
def worded(self, *a, **k):
    born(self, *a, **k)
    self.cpu, self.memory = (None if v is None else str(v) for v in (self.cpu, self.memory))
container.__init__ = worded
ecs = moto.ecs.models.EC2ContainerServiceBackend
run_task = ecs.run_task
def on_fargate(self, cluster, definition, count, overrides, started_by, tags, launch_type, *a, **k):
    return run_task(self, cluster, definition, count, overrides, started_by, tags, launch_type or "FARGATE", *a, **k)
ecs.run_task = on_fargate
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print("port", server.server_port, flush=True)
server.serve_forever()
`

// missingStatus is the launcher's exit status where there is no moto.
const missingStatus = 3

// startPatience bounds the emulator's start.
const startPatience = time.Minute

// Server is a running emulator.
type Server struct {
	URL     string
	process *exec.Cmd
	stdin   io.Closer
}

// Start starts an emulator, or returns ErrMissing.
func Start() (*Server, error) {
	for _, python := range pythons() {
		if s, err := start(python); !errors.Is(err, ErrMissing) {
			return s, err
		}
	}
	return nil, ErrMissing
}

// StartWith starts the emulator of the interpreter at python, or returns ErrMissing.
func StartWith(python string) (*Server, error) { return start(python) }

// pythons lists the interpreters that may have moto: those on the path, and
// the one that the moto_server script names in its first line.
func pythons() (found []string) {
	for _, name := range []string{"python3", "python"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	script, err := exec.LookPath("moto_server")
	if err != nil {
		return found
	}
	f, err := os.Open(script)
	if err != nil {
		return found
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	if path, ok := strings.CutPrefix(strings.TrimSpace(line), "#!"); ok && strings.Contains(path, "python") && !strings.Contains(path, " ") {
		found = append(found, path)
	}
	return found
}

func start(python string) (*Server, error) {
	s := &Server{process: exec.Command(python, "-c", launcher)}
	s.process.Stderr = os.Stderr
	in, err := s.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = in
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	late := time.AfterFunc(startPatience, func() { s.process.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var port int
		if _, err := fmt.Sscanf(lines.Text(), "port %d", &port); err == nil {
			s.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
			return s, nil
		}
	}
	s.stdin.Close()
	if err := s.process.Wait(); s.process.ProcessState.ExitCode() != missingStatus {
		return nil, fmt.Errorf("moto did not start: %w", err)
	}
	return nil, ErrMissing
}

// Close ends the emulator and waits for it.
func (s *Server) Close() error {
	s.stdin.Close()
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var killed *exec.ExitError
	if err := s.process.Wait(); err != nil && !errors.As(err, &killed) {
		return err
	}
	return nil
}

// Config is the SDK's configuration for the emulator.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.URL,
		Credentials: credentials.NewStaticCredentialsProvider("testing", "testing", ""),
	}
}

// Shared starts one emulator for all tests of a process, at first use.
type Shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Get returns the emulator, or why there is none.
func (s *Shared) Get() (*Server, error) {
	s.once.Do(func() { s.server, s.err = Start() })
	return s.server, s.err
}

// Close ends the emulator if it was started.
func (s *Shared) Close() error {
	if s.server == nil {
		return nil
	}
	return s.server.Close()
}
