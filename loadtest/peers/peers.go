// Package peers sets other people's servers up to be measured beside Weft: a
// room of ours on each, with as many entities and the same fields, rate and
// kind of socket, and clients that decode what it sends. Begin with Colyseus.
package peers

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

//go:embed colyseus/package.json colyseus/package-lock.json colyseus/.npmrc colyseus/*.mjs
var colyseus embed.FS

// Seen is what a peer's clients were shown in a window.
type Seen struct {
	Due       int64   `json:"due"` // updates of one entity to one client that the server's ticks made
	Delivered int64   `json:"delivered"`
	Wrong     int64   `json:"wrong"` // messages that differ from what was decoded
	Views     int64   `json:"views"`
	Bytes     int64   `json:"bytes"`
	Ended     int     `json:"ended"` // connections that broke
	AgeP50    float64 `json:"age_p50"`
	AgeP99    float64 `json:"age_p99"` // ms, from the tick to the client
	AgeMax    float64 `json:"age_max"`
	Ticks     int64   `json:"ticks"` // of the server in the window
}

// Room is a running peer with its clients in it.
type Room struct {
	server, clients *program
}

// Colyseus installs Colyseus from npm into dir, unless it is there, and returns
// once a room of it holds so many clients. It needs node and npm. End it with Close.
func Colyseus(ctx context.Context, dir string, clients int) (r *Room, err error) {
	if err := install(ctx, dir); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	r = &Room{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.server, err = start(ctx, dir, "server.mjs", strconv.Itoa(port)); err != nil {
		return r, err
	}
	var word struct{ Ready, Joined bool }
	if err = r.server.out.Decode(&word); err != nil {
		return r, fmt.Errorf("the server of Colyseus did not start: %w", err)
	}
	if r.clients, err = start(ctx, dir, "clients.mjs", strconv.Itoa(port), strconv.Itoa(clients)); err != nil {
		return r, err
	}
	if err = r.clients.out.Decode(&word); err != nil {
		return r, fmt.Errorf("the clients of Colyseus did not get in: %w", err)
	}
	return r, nil
}

// Server and Clients are the processes.
func (r *Room) Server() int { return r.server.cmd.Process.Pid }

// Clients is the process of all clients.
func (r *Room) Clients() int { return r.clients.cmd.Process.Pid }

// Watch returns what the clients were shown in a window from now on.
func (r *Room) Watch(window time.Duration) (s Seen, err error) {
	if err := json.NewEncoder(r.clients.in).Encode(map[string]int64{"window_ms": window.Milliseconds()}); err != nil {
		return s, err
	}
	return s, r.clients.out.Decode(&s)
}

// Close ends both programs.
func (r *Room) Close() error {
	for _, p := range []*program{r.clients, r.server} {
		if p != nil {
			p.in.Close()
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait() // it was killed
		}
	}
	return nil
}

type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func start(ctx context.Context, dir string, args ...string) (*program, error) {
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("node does not run (%w); install Node.js 20 or later", err)
	}
	return &program{cmd, in, json.NewDecoder(bufio.NewReader(out))}, nil
}

// install writes the programs into dir and fetches what they need.
func install(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := colyseus.ReadDir("colyseus")
	if err != nil {
		return err
	}
	fresh := false
	for _, f := range files {
		text, err := colyseus.ReadFile("colyseus/" + f.Name())
		if err != nil {
			return err
		}
		name := filepath.Join(dir, f.Name())
		if old, err := os.ReadFile(name); err == nil && string(old) == string(text) {
			continue
		}
		fresh = fresh || f.Name() == "package-lock.json"
		if err := os.WriteFile(name, text, 0o600); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil && !fresh {
		return nil
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm could not install Colyseus: %w\n%s", err, out)
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
