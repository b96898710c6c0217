package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"weft/control/launch"
	"weft/control/launch/proclaunch"
	"weft/control/mesh"
)

const (
	// sandboxesAtMost is how many processes of one function run at a time, on a
	// machine that has other things to do; AWS would run more.
	sandboxesAtMost = 2
	// callersAtMost is how many wait for one of them; the next is throttled.
	callersAtMost = 64
)

// errThrottled: too many wait for the function already. Ask again.
var errThrottled = errors.New("the function is throttled")

// function is a deployed function: its settings, and the processes that run it.
type function struct {
	name, arn string
	timeout   time.Duration
	env       []string
	program   string // the unzipped bootstrap

	launcher  *proclaunch.Launcher
	sandboxes *sync.Map     // of the host, by the id of the process
	waiting   chan struct{} // bounds callers
	slots     chan struct{} // bounds sandboxes at work
	mu        sync.Mutex
	idle      []*sandbox
	started   int

	memoryGB      float64
	calls, faults atomic.Int64
	micros        atomic.Int64 // of all calls
	coldMicros    atomic.Int64 // of the last start
	firstMicros   atomic.Int64 // of the first call after it
}

// sandbox is one process of a function.
type sandbox struct {
	f      *function
	id     mesh.NodeID
	api    *runtimeAPI
	fresh  bool // nothing was asked of it yet
	exited chan struct{}
	err    error // of the exit; read after exited
}

// invoke calls the function, and returns what it answered. A *functionError is
// the function's own; errThrottled and others say that it was not, or not
// wholly, carried out.
func (f *function) invoke(ctx context.Context, id string, event []byte) ([]byte, error) {
	select {
	case f.waiting <- struct{}{}:
		defer func() { <-f.waiting }()
	default:
		return nil, errThrottled
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.calls.Add(1)
	began := time.Now()
	body, err := f.call(ctx, id, event)
	f.micros.Add(time.Since(began).Microseconds())
	if err != nil {
		f.faults.Add(1)
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return body, nil
}

func (f *function) call(ctx context.Context, id string, event []byte) ([]byte, error) {
	s, err := f.sandbox(ctx)
	if err != nil {
		return nil, err
	}
	i := &invocation{id: id, arn: f.arn, event: event, deadline: time.Now().Add(f.timeout), answer: make(chan outcome, 1)}
	late := time.NewTimer(f.timeout)
	defer late.Stop()
	select {
	case s.api.next <- i:
	case <-s.exited:
		return nil, s.gone()
	case <-late.C:
		s.end()
		return nil, errors.New("it asked for no work")
	}
	began, fresh := time.Now(), s.fresh
	s.fresh = false
	select {
	case o := <-i.answer:
		if fresh {
			f.firstMicros.Store(time.Since(began).Microseconds())
		}
		f.mu.Lock()
		f.idle = append(f.idle, s)
		f.mu.Unlock()
		return o.body, o.err
	case <-s.exited:
		return nil, s.gone()
	case <-late.C:
		s.end()
		return nil, fmt.Errorf("it timed out after %s", f.timeout)
	case <-ctx.Done():
		s.end()
		return nil, ctx.Err()
	}
}

// sandbox returns an idle process, or a new one.
func (f *function) sandbox(ctx context.Context) (*sandbox, error) {
	f.mu.Lock()
	for len(f.idle) > 0 {
		s := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		select {
		case <-s.exited:
			s.api.close()
			continue
		default:
		}
		f.mu.Unlock()
		return s, nil
	}
	f.started++
	id := mesh.NodeID(fmt.Sprintf("%s/%d", f.name, f.started))
	f.mu.Unlock()
	api, err := newRuntimeAPI(ctx)
	if err != nil {
		return nil, err
	}
	s := &sandbox{f: f, id: id, api: api, exited: make(chan struct{}), fresh: true}
	began := time.Now()
	f.sandboxes.Store(id, s)
	_, err = f.launcher.Start(ctx, launch.Spec{
		Role: mesh.RoleNode, Token: string(id), Node: id,
		Env: append([]string{"AWS_LAMBDA_RUNTIME_API=" + api.address(), "AWS_LAMBDA_LOG_STREAM_NAME=" + string(id)}, f.env...),
	})
	if err != nil {
		f.sandboxes.Delete(id)
		api.close()
		return nil, err
	}
	late := time.NewTimer(initPatience)
	defer late.Stop()
	select {
	case <-api.ready:
		f.coldMicros.Store(time.Since(began).Microseconds())
		return s, nil
	case err = <-api.failed:
	case <-s.exited:
		err = s.gone()
	case <-late.C:
		err = fmt.Errorf("it was not ready after %s", initPatience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.end()
	return nil, fmt.Errorf("its start failed: %w", err)
}

func (s *sandbox) gone() error {
	s.api.close()
	return fmt.Errorf("its process ended: %w", cmp.Or(s.err, errors.New("with status 0")))
}

// end kills the process; its place is taken by a new one at the next call.
func (s *sandbox) end() {
	ctx, cancel := context.WithTimeout(context.Background(), initPatience)
	defer cancel()
	_ = s.f.launcher.Stop(ctx, s.id) // over already, or as dead as can be
	s.api.close()
}

// close ends the idle processes.
func (f *function) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.idle {
		s.end()
	}
	f.idle = nil
}

// unzip puts the bootstrap of a function's archive into dir.
func unzip(archive, dir string) (program string, err error) {
	data, err := readFromZip(archive, "bootstrap")
	if err != nil {
		return "", fmt.Errorf("%s holds no bootstrap to run: %w", archive, err)
	}
	program = filepath.Join(dir, "bootstrap")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(program, data, 0o700)); err != nil {
		return "", err
	}
	return program, nil
}
