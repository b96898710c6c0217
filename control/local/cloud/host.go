package cloud

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weft/control/launch"
	"weft/control/launch/proclaunch"
)

// hostConfig says what a host runs and where it learns of it.
type hostConfig struct {
	api    *api
	prefix string            // of the functions' names
	zips   map[string]string // archive by function name: what Terraform deployed
	dir    string            // for what is unzipped
	env    []string          // of every function, before its own
	words  io.Writer         // takes what functions write; nil: nowhere
	log    *slog.Logger
}

// host runs the functions that are deployed to an emulator which runs none:
// those very archives, called by the mappings, rules and URLs that are
// deployed with them.
type host struct {
	hostConfig
	functions map[string]*function // by name
	mappings  []*mapping
	rules     []rule
	urls      map[string]*functionURL // by function

	launcher  *proclaunch.Launcher
	sandboxes sync.Map // the running processes of functions, by id
	tasks     sync.WaitGroup
	cancel    context.CancelFunc
	events    chan []byte
	ids       atomic.Int64
	given     atomic.Int64 // events that were given up
}

// rule is a rule of EventBridge.
type rule struct {
	name     string
	pattern  map[string]any
	schedule *schedule
	targets  []string // functions
	input    string
}

const (
	maxFunctionBytes = 256 << 20 // Lambda's own limit, unzipped
	maxArchiveBytes  = 64 << 20
	eventsQueued     = 256
	retriesAsync     = 2 // of Lambda, of an event that nobody waits for
)

// startHost reads what is deployed and begins to run it. End it with close.
func startHost(ctx context.Context, c hostConfig) (*host, error) {
	h := &host{hostConfig: c, functions: map[string]*function{}, urls: map[string]*functionURL{}, events: make(chan []byte, eventsQueued)}
	programs := map[string]string{} // by function
	h.launcher = proclaunch.New(proclaunch.Options{
		Argv: func(s launch.Spec) []string {
			name, _, _ := strings.Cut(string(s.Node), "/")
			return []string{"/bin/sh", "-c", `exec "$0" >&2`, programs[name]} // a function's log is its output
		},
		Env: c.env, Grace: time.Second, Stderr: c.words, Exited: h.exited,
	})
	if err := h.discover(ctx, programs); err != nil {
		return nil, errors.Join(err, h.close())
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	for _, u := range h.urls {
		if err := u.serve(ctx); err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	for _, m := range h.mappings {
		if err := m.begin(ctx); err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.tasks.Go(func() { m.poll(running) })
	}
	for _, r := range h.rules {
		if r.schedule != nil {
			h.tasks.Go(func() { h.keep(running, r) })
		}
	}
	h.tasks.Go(func() { h.route(running) })
	return h, nil
}

// close ends all functions and whatever calls them.
func (h *host) close() error {
	if h.cancel != nil {
		h.cancel()
	}
	for _, u := range h.urls {
		u.close()
	}
	h.tasks.Wait()
	for _, f := range h.functions {
		f.close()
	}
	return h.launcher.Close()
}

// invocations counts the calls of each function, by its name without the prefix.
func (h *host) invocations() map[string]int64 {
	counts := map[string]int64{}
	for name, f := range h.functions {
		counts[strings.TrimPrefix(name, h.prefix+"-")] = f.calls.Load()
	}
	return counts
}

// exited tells the sandbox whose process has ended.
func (h *host) exited(e proclaunch.Exit) {
	if s, ok := h.sandboxes.LoadAndDelete(e.Instance.Node); ok {
		s := s.(*sandbox)
		s.err = e.Err
		close(s.exited)
	}
}

// requestID makes one up in the form of AWS's.
func (h *host) requestID() string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", h.ids.Add(1))
}

// discover reads functions, mappings, rules and URLs.
func (h *host) discover(ctx context.Context, programs map[string]string) error {
	var list struct{ Functions []functionConfig }
	if err := h.api.get(ctx, "lambda", "/2015-03-31/functions/", &list); err != nil {
		return fmt.Errorf("list the functions: %w", err)
	}
	for _, c := range list.Functions {
		if !strings.HasPrefix(c.FunctionName, h.prefix+"-") {
			continue
		}
		f, err := h.function(c)
		if err != nil {
			return err
		}
		h.functions[f.name], programs[f.name] = f, f.program
		var u struct{ FunctionUrl, AuthType string }
		err = h.api.get(ctx, "lambda", "/2021-10-31/functions/"+url.PathEscape(f.name)+"/url", &u)
		var refused *refusedError
		switch {
		case err == nil:
			h.urls[f.name] = &functionURL{h: h, f: f}
		case !errors.As(err, &refused) || refused.status != 404:
			return fmt.Errorf("read the URL of function %s: %w", f.name, err)
		}
	}
	if len(h.functions) == 0 {
		return fmt.Errorf("no function is deployed whose name begins with %s-", h.prefix)
	}
	return errors.Join(h.discoverMappings(ctx), h.discoverRules(ctx))
}

// functionConfig is what Lambda knows of a function.
type functionConfig struct {
	FunctionName, FunctionArn, Handler, Runtime string
	Timeout, MemorySize                         int
	Architectures                               []string
	Environment                                 struct{ Variables map[string]string }
}

func (h *host) function(c functionConfig) (*function, error) {
	archive := h.zips[c.FunctionName]
	if archive == "" {
		return nil, fmt.Errorf("nobody knows where the archive of function %s is", c.FunctionName)
	}
	dir := filepath.Join(h.dir, c.FunctionName)
	program, err := unzip(archive, dir)
	if err != nil {
		return nil, err
	}
	f := &function{
		name: c.FunctionName, arn: c.FunctionArn, timeout: time.Duration(max(c.Timeout, 1)) * time.Second, program: program, launcher: h.launcher, sandboxes: &h.sandboxes,
		memoryGB: float64(c.MemorySize) / 1024,
		waiting:  make(chan struct{}, callersAtMost), slots: make(chan struct{}, sandboxesAtMost),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Environment.Variables)) {
		f.env = append(f.env, name+"="+c.Environment.Variables[name])
	}
	f.env = append(f.env,
		"AWS_LAMBDA_FUNCTION_NAME="+c.FunctionName, fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", c.MemorySize),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/"+c.FunctionName,
		"AWS_EXECUTION_ENV=AWS_Lambda_"+c.Runtime, "LAMBDA_TASK_ROOT="+dir, "_HANDLER="+c.Handler, "TZ=:UTC")
	return f, nil
}

func readFromZip(archive, name string) ([]byte, error) {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	f, err := z.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFunctionBytes+1))
	if err == nil && len(data) > maxFunctionBytes {
		err = errors.New("it is larger than Lambda takes")
	}
	return data, err
}

// byARN returns the function that an ARN, of a version or alias too, names.
func (h *host) byARN(arn string) *function {
	parts := strings.Split(arn, ":")
	if len(parts) < 7 || parts[2] != "lambda" {
		return nil
	}
	return h.functions[parts[6]]
}

func (h *host) discoverMappings(ctx context.Context) error {
	var list struct{ EventSourceMappings []mappingConfig }
	if err := h.api.get(ctx, "lambda", "/2015-03-31/event-source-mappings/", &list); err != nil {
		return fmt.Errorf("list the event source mappings: %w", err)
	}
	for _, c := range list.EventSourceMappings {
		f := h.byARN(c.FunctionArn)
		if f == nil || c.State == "Disabled" {
			continue
		}
		m, err := newMapping(h, f, c)
		if err != nil {
			return err
		}
		h.mappings = append(h.mappings, m)
	}
	return nil
}

func (h *host) discoverRules(ctx context.Context) error {
	const version = "1.1"
	var list struct {
		Rules []struct{ Name, State, EventPattern, ScheduleExpression string }
	}
	if err := h.api.json(ctx, "events", "AWSEvents.ListRules", version, map[string]any{"NamePrefix": h.prefix}, &list); err != nil {
		return fmt.Errorf("list the rules: %w", err)
	}
	for _, c := range list.Rules {
		if c.State == "DISABLED" {
			continue
		}
		r := rule{name: c.Name}
		if c.EventPattern != "" {
			if err := json.Unmarshal([]byte(c.EventPattern), &r.pattern); err != nil {
				return fmt.Errorf("rule %s has no valid pattern: %w", c.Name, err)
			}
		}
		if c.ScheduleExpression != "" {
			s, err := parseSchedule(c.ScheduleExpression)
			if err != nil {
				return fmt.Errorf("rule %s: %w", c.Name, err)
			}
			r.schedule = &s
		}
		var targets struct {
			Targets []struct{ Arn, Input string }
		}
		if err := h.api.json(ctx, "events", "AWSEvents.ListTargetsByRule", version, map[string]any{"Rule": c.Name}, &targets); err != nil {
			return fmt.Errorf("list the targets of rule %s: %w", c.Name, err)
		}
		for _, t := range targets.Targets {
			if f := h.byARN(t.Arn); f != nil {
				r.targets, r.input = append(r.targets, f.name), t.Input
			}
		}
		if len(r.targets) > 0 {
			h.rules = append(h.rules, r)
		}
	}
	return nil
}

// keep fires a rule whenever it is due.
func (h *host) keep(ctx context.Context, r rule) {
	for at := time.Now(); ; {
		next, ok := r.schedule.next(at)
		if !ok || !pause(ctx, time.Until(next)) {
			return
		}
		at = next
		event := []byte(r.input)
		if len(event) == 0 {
			event = h.event("aws.events", "Scheduled Event", []string{r.name}, map[string]any{})
		}
		h.fire(ctx, r, event)
	}
}

// event makes an event of EventBridge.
func (h *host) event(source, kind string, resources []string, detail any) []byte {
	data, err := json.Marshal(map[string]any{
		"version": "0", "id": h.requestID(), "detail-type": kind, "source": source, "account": "123456789012",
		"time": time.Now().UTC().Format(time.RFC3339), "region": h.api.region, "resources": resources, "detail": detail,
	})
	if err != nil {
		panic("cloud: an event is not JSON: " + err.Error()) // it is made of text here
	}
	return data
}

// publish gives an event to the rules whose pattern it fits. A full queue
// drops it, as notices of AWS may be lost too.
func (h *host) publish(event []byte) {
	select {
	case h.events <- event:
	default:
		h.log.Warn("an event was dropped: too many wait")
	}
}

func (h *host) route(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-h.events:
			var decoded map[string]any
			if err := json.Unmarshal(e, &decoded); err != nil {
				h.log.Error("an event is not JSON", "err", err)
				continue
			}
			for _, r := range h.rules {
				if r.pattern != nil && matches(r.pattern, decoded) {
					h.fire(ctx, r, e)
				}
			}
		}
	}
}

// fire calls the rule's functions as events are: twice more if they fail.
func (h *host) fire(ctx context.Context, r rule, event []byte) {
	for _, name := range r.targets {
		id := h.requestID()
		for attempt := 0; ; attempt++ {
			_, err := h.functions[name].invoke(ctx, id, event)
			if err == nil || ctx.Err() != nil {
				break
			}
			h.log.Warn("a function failed", "rule", r.name, "err", err)
			if attempt == retriesAsync {
				h.given.Add(1)
				break
			}
			if !pause(ctx, time.Duration(attempt+1)*time.Second) {
				return
			}
		}
	}
}
