package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	runtimePath    = "/2018-06-01/runtime/"
	maxEventBytes  = 6 << 20 // of Lambda, synchronous calls
	initPatience   = 10 * time.Second
	headerRequest  = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline = "Lambda-Runtime-Deadline-Ms"
	headerFunction = "Lambda-Runtime-Invoked-Function-Arn"
)

// invocation is one call of a function.
type invocation struct {
	id       string
	arn      string
	event    []byte
	deadline time.Time
	answer   chan outcome // takes one
}

// outcome is what a function made of an event.
type outcome struct {
	body []byte
	err  error // what the function posted as its error
}

// functionError is an error that a function returned, as its caller sees it.
type functionError struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func (e *functionError) Error() string { return e.Type + ": " + e.Message }

// runtimeAPI is the Lambda Runtime API for one process: it hands out one
// invocation at a time and takes what came of it.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type runtimeAPI struct {
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
	next     chan *invocation
	ready    chan struct{} // closed at the process's first request for work
	once     sync.Once
	failed   chan error // takes the error of an initialisation

	mu      sync.Mutex
	current *invocation
}

// newRuntimeAPI listens on a free port of this machine.
func newRuntimeAPI(ctx context.Context) (*runtimeAPI, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a function: %w", err)
	}
	r := &runtimeAPI{listener: l, next: make(chan *invocation), ready: make(chan struct{}), failed: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+runtimePath+"invocation/next", r.handOut)
	mux.HandleFunc("POST "+runtimePath+"invocation/{id}/response", func(w http.ResponseWriter, q *http.Request) { r.take(w, q, false) })
	mux.HandleFunc("POST "+runtimePath+"invocation/{id}/error", func(w http.ResponseWriter, q *http.Request) { r.take(w, q, true) })
	mux.HandleFunc("POST "+runtimePath+"init/error", r.initError)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: initPatience, MaxHeaderBytes: 16 << 10}
	r.serving.Go(func() { _ = r.server.Serve(l) })
	return r, nil
}

func (r *runtimeAPI) address() string { return r.listener.Addr().String() }

// close ends all requests; a process that waits for work then ends.
func (r *runtimeAPI) close() {
	_ = r.server.Close()
	r.serving.Wait()
}

func (r *runtimeAPI) handOut(w http.ResponseWriter, q *http.Request) {
	r.once.Do(func() { close(r.ready) })
	select {
	case <-q.Context().Done():
	case i := <-r.next:
		r.mu.Lock()
		r.current = i
		r.mu.Unlock()
		w.Header().Set(headerRequest, i.id)
		w.Header().Set(headerDeadline, strconv.FormatInt(i.deadline.UnixMilli(), 10))
		w.Header().Set(headerFunction, i.arn)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(i.event) // a process that is gone is noticed by its end
	}
}

func (r *runtimeAPI) take(w http.ResponseWriter, q *http.Request, failed bool) {
	body, err := io.ReadAll(io.LimitReader(q.Body, maxEventBytes+1))
	r.mu.Lock()
	i := r.current
	if i != nil && i.id == q.PathValue("id") {
		r.current = nil
	} else {
		i = nil
	}
	r.mu.Unlock()
	switch {
	case i == nil:
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	case err != nil:
		i.answer <- outcome{err: fmt.Errorf("its answer could not be read: %w", err)}
	case failed:
		i.answer <- outcome{err: parseError(body)}
	case len(body) > maxEventBytes:
		i.answer <- outcome{err: errors.New("its answer is larger than Lambda passes on")}
		http.Error(w, `{"errorType":"Function.ResponseSizeTooLarge"}`, http.StatusRequestEntityTooLarge)
		return
	default:
		i.answer <- outcome{body: body}
	}
	w.WriteHeader(http.StatusAccepted)
}

func (r *runtimeAPI) initError(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(q.Body, 64<<10))
	select {
	case r.failed <- parseError(body):
	default:
	}
	w.WriteHeader(http.StatusAccepted)
}

func parseError(body []byte) error {
	e := &functionError{}
	if json.Unmarshal(body, e) != nil || e.Type+e.Message == "" {
		return &functionError{Type: "Unknown", Message: string(body[:min(len(body), 300)])}
	}
	return e
}
