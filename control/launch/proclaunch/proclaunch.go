// Package proclaunch runs processes on this machine: the program itself, most
// often, under another argument. It leaves no orphan behind, whichever way the
// parent ends: children die with it (on Linux by the kernel's hand, elsewhere
// because they watch the lifeline, a pipe that closes when the parent is gone).
package proclaunch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"weft/control/launch"
	"weft/control/mesh"
)

// LifelineEnv tells a child which file descriptor reads end-of-file when its
// parent is gone. The child must then exit at once.
const LifelineEnv = "WEFT_LIFELINE_FD"

// Limits of a launcher.
const (
	DefaultCapacity = 64
	lastWordsBytes  = 4 << 10 // of a child's standard error, kept for its epitaph
	tokensKept      = 4096    // of processes that have ended
	startsQueued    = 16
)

// Options say what to run.
type Options struct {
	// Argv returns program and arguments for a spec; it must be set.
	Argv func(launch.Spec) []string
	// Env is the environment of every child, before the spec's own. Nil is none.
	Env []string
	// Capacity is how many children run at a time; 0 is DefaultCapacity.
	Capacity int
	// NodeCPU is the share of one core that each node gets, in thousandths; 0
	// is no limit. It needs cgroups that this user may write: see CheckCPU.
	NodeCPU int
	// Grace is how long Close waits for children that it asked to leave.
	Grace time.Duration
	// Stderr, if set, receives what children write to standard error. Writes
	// come from several goroutines, one at a time.
	Stderr io.Writer
	// Exited, if set, is told of every child that has ended, in a goroutine of
	// its own child; Close waits for it.
	Exited func(Exit)
}

// Exit is how a child ended.
type Exit struct {
	Instance launch.Instance
	// Err is nil if it left by itself with status 0, or as it was told.
	// Otherwise it is a sentence with the child's last words.
	Err error
}

// Launcher is the driver. Its zero value is not usable.
type Launcher struct {
	opt Options

	mu       sync.Mutex
	closed   bool
	running  map[mesh.NodeID]*child
	tokens   map[string]mesh.NodeID // of running and lately ended children
	ended    []string               // tokens of ended children, oldest first
	lifeline *os.File               // the end that we hold
	theirs   *os.File               // the end that children inherit
	starts   chan func()
	cgroups  *cgroups
	children sync.WaitGroup

	stderr sync.Mutex
}

type child struct {
	launch.Instance
	cmd    *exec.Cmd
	words  tail
	began  time.Time
	told   bool // to stop or drain
	done   chan struct{}
	cgroup string
}

// New returns a launcher. It starts nothing before its first Start.
func New(opt Options) *Launcher {
	opt.Capacity = cmp.Or(opt.Capacity, DefaultCapacity)
	return &Launcher{opt: opt, running: map[mesh.NodeID]*child{}, tokens: map[string]mesh.NodeID{}}
}

// Start starts a child.
func (l *Launcher) Start(ctx context.Context, spec launch.Spec) (launch.Instance, error) {
	if err := cmp.Or(ctx.Err(), spec.Validate()); err != nil {
		return launch.Instance{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if node, ok := l.tokens[spec.Token]; ok {
		if c := l.running[node]; c != nil && c.Token == spec.Token {
			return c.Instance, nil
		}
		return launch.Instance{}, fmt.Errorf("start %s: the process of token %s has ended: %w", spec.Node, spec.Token, launch.ErrNotFound)
	}
	switch {
	case l.closed:
		return launch.Instance{}, fmt.Errorf("start %s: the launcher is closed: %w", spec.Node, launch.ErrNoCapacity)
	case l.running[spec.Node] != nil:
		return launch.Instance{}, fmt.Errorf("start %s: it runs already, under another token: %w", spec.Node, launch.ErrInvalid)
	case len(l.running) >= l.opt.Capacity:
		return launch.Instance{}, fmt.Errorf("start %s: all %d places on this machine are taken: %w", spec.Node, l.opt.Capacity, launch.ErrNoCapacity)
	}
	if err := l.prepare(); err != nil {
		return launch.Instance{}, err
	}
	c, err := l.spawn(spec)
	if err != nil {
		return launch.Instance{}, err
	}
	l.running[spec.Node], l.tokens[spec.Token] = c, spec.Node
	l.children.Add(1)
	go l.wait(c)
	return c.Instance, nil
}

// prepare makes what all children share, once.
func (l *Launcher) prepare() error {
	if l.opt.NodeCPU > 0 && l.cgroups == nil {
		g, err := openCgroups(l.opt.NodeCPU)
		if err != nil {
			return fmt.Errorf("%w: %w", launch.ErrInvalid, err)
		}
		l.cgroups = g
	}
	if l.lifeline == nil {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make a pipe for child processes: %w", err)
		}
		l.theirs, l.lifeline = r, w
		l.starts = make(chan func(), startsQueued)
		// The kernel kills children when the *thread* that made them ends, so
		// one thread makes them all and stays until Close.
		go func(starts <-chan func()) {
			runtime.LockOSThread()
			for f := range starts {
				f()
			}
		}(l.starts)
	}
	return nil
}

func (l *Launcher) spawn(spec launch.Spec) (*child, error) {
	argv := l.opt.Argv(spec)
	if len(argv) == 0 {
		return nil, fmt.Errorf("start %s: there is no program for a %s: %w", spec.Node, spec.Role, launch.ErrInvalid)
	}
	c := &child{
		Instance: launch.Instance{Role: spec.Role, Token: spec.Token, Node: spec.Node},
		cmd:      exec.Command(argv[0], argv[1:]...), done: make(chan struct{}),
	}
	c.cmd.Env = slices.Concat(l.opt.Env, spec.Env, []string{LifelineEnv + "=3"})
	c.cmd.ExtraFiles = []*os.File{l.theirs}
	c.cmd.SysProcAttr = attributes()
	c.cmd.WaitDelay = time.Second
	c.cmd.Stderr = &c.words
	if l.opt.Stderr != nil {
		c.cmd.Stderr = io.MultiWriter(&c.words, &shared{&l.stderr, l.opt.Stderr})
	}
	started := make(chan error)
	l.starts <- func() { started <- c.cmd.Start() }
	if err := <-started; err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) {
			return nil, fmt.Errorf("start %s: this machine has no room for another process (%w): %w", spec.Node, err, launch.ErrNoCapacity)
		}
		return nil, fmt.Errorf("start %s: %w; check that %s exists and may be run: %w", spec.Node, err, argv[0], launch.ErrInvalid)
	}
	c.began, c.PID = time.Now(), c.cmd.Process.Pid
	if l.cgroups != nil && spec.Role == mesh.RoleNode {
		var err error
		if c.cgroup, err = l.cgroups.add(c.PID); err != nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
			return nil, fmt.Errorf("start %s: %w: %w", spec.Node, launch.ErrInvalid, err)
		}
	}
	return c, nil
}

// wait reaps c and tells of its end.
func (l *Launcher) wait(c *child) {
	defer l.children.Done()
	err := c.cmd.Wait()
	l.mu.Lock()
	delete(l.running, c.Node)
	l.ended = append(l.ended, c.Token)
	if len(l.ended) > tokensKept {
		delete(l.tokens, l.ended[0])
		l.ended = slices.Delete(l.ended, 0, 1)
	}
	told, g := c.told, l.cgroups
	l.mu.Unlock()
	if c.cgroup != "" {
		g.remove(c.cgroup)
	}
	close(c.done)
	if l.opt.Exited == nil {
		return
	}
	exit := Exit{Instance: c.Instance}
	if err != nil && !told {
		exit.Err = fmt.Errorf("%s ended %.1f s after its start with %w%s", c.Node, time.Since(c.began).Seconds(), err, c.words.last())
	}
	l.opt.Exited(exit)
}

// Drain sends SIGTERM.
func (l *Launcher) Drain(ctx context.Context, node mesh.NodeID) error {
	c, err := l.tell(ctx, "drain", node)
	if err != nil {
		return err
	}
	return c.signal(syscall.SIGTERM)
}

// Stop sends SIGKILL and waits for the end.
func (l *Launcher) Stop(ctx context.Context, node mesh.NodeID) error {
	c, err := l.tell(ctx, "stop", node)
	if err != nil {
		return err
	}
	if err := c.signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", node, ctx.Err())
	}
}

func (l *Launcher) tell(ctx context.Context, how string, node mesh.NodeID) (*child, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.running[node]
	if c == nil {
		return nil, fmt.Errorf("%s %s: %w", how, node, launch.ErrNotFound)
	}
	c.told = true
	return c, nil
}

// signal is nil when the child has just ended.
func (c *child) signal(s syscall.Signal) error {
	err := c.cmd.Process.Signal(s)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("send %s to %s: %w", s, c.Node, err)
}

// List returns the running children with their process ids.
func (l *Launcher) List(ctx context.Context) ([]launch.Instance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []launch.Instance
	for _, c := range l.running {
		out = append(out, c.Instance)
	}
	slices.SortFunc(out, func(a, b launch.Instance) int { return cmp.Compare(a.Node, b.Node) })
	return out, ctx.Err()
}

// Close asks all children to leave, kills those that are still there after the
// grace, waits for every one, and gives back what the launcher holds. No child
// can be started afterwards. Closing twice is harmless.
func (l *Launcher) Close() error {
	l.mu.Lock()
	l.closed = true
	var all []*child
	for _, c := range l.running {
		c.told = true
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		_ = c.signal(syscall.SIGTERM)
	}
	grace := time.NewTimer(l.opt.Grace)
	defer grace.Stop()
	for expired := false; len(all) > 0; all = all[1:] {
		if !expired {
			select {
			case <-all[0].done:
				continue
			case <-grace.C:
				expired = true
			}
		}
		for _, c := range all {
			_ = c.signal(syscall.SIGKILL)
		}
		<-all[0].done
	}
	l.children.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lifeline == nil {
		return nil
	}
	close(l.starts)
	err := errors.Join(l.lifeline.Close(), l.theirs.Close())
	l.lifeline, l.theirs, l.starts = nil, nil, nil
	return err
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - lastWordsBytes; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

// last returns the end of what was written, as part of a sentence.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(bytes.ToValidUTF8(t.buf, nil)))
	if text == "" {
		return " and said nothing"
	}
	lines := strings.Split(text, "\n")
	return ": " + strings.Join(lines[max(len(lines)-3, 0):], " / ")
}

// shared lets children take turns at one writer.
type shared struct {
	mu *sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
