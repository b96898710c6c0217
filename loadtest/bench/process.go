package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PartCommand is the argument that makes this program a part of a row: see Child.
const PartCommand = "bench-part"

// Part is a program of a row in a process of its own, such as its clients. It
// reads what it is told from in, one JSON value, and writes what it found to
// out, as JSON values of its own choice. The end of in asks it to end.
type Part func(ctx context.Context, in io.Reader, out io.Writer) error

// Child runs this program as a part of a row if its arguments say so, and
// returns its exit status.
func Child(ctx context.Context, args []string) (status int, is bool) {
	if len(args) != 3 || args[1] != PartCommand {
		return 0, false
	}
	rowName, name, _ := strings.Cut(args[2], "/")
	row, _ := Find(rowName)
	part := row.Parts[name]
	if part == nil {
		fmt.Fprintf(os.Stderr, "no part %s\n", args[2])
		return 2, true
	}
	if err := part(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", args[2], err)
		return 1, true
	}
	return 0, true
}

// Process is a running part. End it with Close.
type Process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// Start starts the part name of the row and tells it what. It dies with ctx.
func Start(ctx context.Context, row, name string, what any) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, PartCommand, row+"/"+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}
	return p, p.Tell(what)
}

// Tell sends the part one more value.
func (p *Process) Tell(what any) error { return json.NewEncoder(p.in).Encode(what) }

// Hear waits for the part's next value; io.EOF when it has ended.
func (p *Process) Hear(into any) error { return p.out.Decode(into) }

// PID returns the part's process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close asks the part to end and waits until it has.
func (p *Process) Close() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// Use is what a process has used since it began, as the operating system counts it.
type Use struct {
	CPU      time.Duration // user and system, of all threads; in steps of 10 ms
	Resident int64         // bytes
}

// UseOf reads what a running process has used, its ended children not included. Linux only.
func UseOf(pid int) (Use, error) {
	fields, err := stat(pid)
	if err != nil {
		return Use{}, err
	}
	number := func(i int) int64 { // as in proc(5), from field 3 on
		n, _ := strconv.ParseInt(fields[i-3], 10, 64)
		return n
	}
	return Use{CPU: time.Duration(number(14)+number(15)) * (time.Second / 100), Resident: number(24) * int64(os.Getpagesize())}, nil
}

func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, fmt.Errorf("what a process uses cannot be read here: %w", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 22 {
		return nil, fmt.Errorf("process %d: a stat of %d fields", pid, len(fields))
	}
	return fields, nil
}

// Children returns the running children of this process whose first argument
// is command, such as stage.GatewayCommand. Linux only.
func Children(command string) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("processes cannot be listed here: %w", err)
	}
	self := strconv.Itoa(os.Getpid())
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(pid); err != nil || fields[1] != self || fields[0] == "Z" {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if args := strings.Split(string(line), "\x00"); err == nil && len(args) > 1 && args[1] == command {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// CPU measures what processes use from now until the returned function is
// called, in percent of a core. One that ended meanwhile is an error.
func CPU(pids ...int) (func() (float64, error), error) {
	total := func() (sum time.Duration, err error) {
		for _, pid := range pids {
			u, err := UseOf(pid)
			if err != nil {
				return 0, err
			}
			sum += u.CPU
		}
		return sum, nil
	}
	from, began := time.Duration(0), time.Now()
	from, err := total()
	return func() (float64, error) {
		to, err := total()
		return 100 * float64(to-from) / float64(time.Since(began)), err
	}, err
}
