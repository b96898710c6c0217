package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/launch/proclaunch"
	"weft/control/mesh"
)

// essentialExited is ECS's own word for a process that ended.
const essentialExited = "Essential container in task exited"

const (
	lookEvery = 500 * time.Millisecond
	// stopTimeout is how long a process may take after SIGTERM, as in a task's
	// definition.
	stopTimeout = 120 * time.Second
	// noticeDelay is how late AWS tells that a process has ended: some seconds.
	noticeDelay = 5 * time.Second
	// processesAtMost bounds what runs on this machine, whatever is launched.
	processesAtMost = 32
)

// machine is a task or an instance that runs a process of ours, as the
// emulator knows it.
type machine struct {
	id      string // a task's ARN or an instance's id
	leaving bool   // its process is to leave
	launch.Instance
}

// fleet is where machines are: ECS or EC2.
type fleet interface {
	// machines lists those that run, and those of known that do not any more.
	machines(ctx context.Context, known []string) ([]machine, error)
	// count returns how many machines there are in any state but over.
	count(ctx context.Context) (int, error)
	// environ is the environment that m's process finds.
	environ(ctx context.Context, m machine) (map[string]string, error)
	// over says that m's process has ended, and so m has.
	over(ctx context.Context, m machine, why string) error
	// notice is the event that AWS sends when m is asked to leave, or has ended.
	notice(m machine, ended bool) (source, kind string, resources []string, detail any)
}

// computeConfig says what a stand-in runs.
type computeConfig struct {
	fleets  map[string]fleet // by launcher: ecs, ec2
	command func(mesh.Role) []string
	env     []string // of every process, before its own
	// last is added after all else: where to listen on this machine.
	last    func(mesh.Role) []string
	words   io.Writer
	log     *slog.Logger
	publish func(source, kind string, resources []string, detail any)
}

// compute stands in for what runs containers: it lists the machines that an
// emulator says are running and runs one process of this machine for each,
// until the emulator says that it has stopped.
type compute struct {
	computeConfig
	launcher *proclaunch.Launcher
	tasks    sync.WaitGroup
	cancel   context.CancelFunc
	exits    chan proclaunch.Exit

	mu       sync.Mutex
	running  map[string]*place // by machine id
	killed   map[mesh.NodeID]bool
	ever     map[string]bool   // machines that ever ran
	launched map[string]int    // by launcher
	told     []ending          // ends that AWS would not have told of yet; of run alone
	ignored  map[string]string // machines that cannot run, and why
}

// place is a machine whose process runs here.
type place struct {
	machine
	by     string // its launcher
	fleet  fleet
	asked  time.Time // when it was asked to leave
	killed bool
}

// ending is the end of a process, and when AWS tells of it.
type ending struct {
	due time.Time
	*place
}

func newCompute(c computeConfig) *compute {
	s := &compute{
		computeConfig: c, running: map[string]*place{}, killed: map[mesh.NodeID]bool{}, ever: map[string]bool{}, ignored: map[string]string{},
		launched: map[string]int{},
		exits:    make(chan proclaunch.Exit, processesAtMost),
	}
	s.launcher = proclaunch.New(proclaunch.Options{
		Argv: func(s launch.Spec) []string { return c.command(s.Role) },
		Env:  c.env, Capacity: processesAtMost, Grace: 2 * time.Second, Stderr: c.words,
		Exited: func(e proclaunch.Exit) { s.exits <- e },
	})
	return s
}

// start begins to look for machines.
func (s *compute) start(ctx context.Context) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.tasks.Go(func() { s.run(running) })
}

// close ends every process.
func (s *compute) close() error {
	if s.cancel != nil {
		s.cancel()
	}
	s.tasks.Wait()
	done := make(chan struct{})
	go func() { // exits are nobody's business any more
		for {
			select {
			case <-s.exits:
			case <-done:
				return
			}
		}
	}()
	defer close(done)
	return s.launcher.Close()
}

func (s *compute) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.exits:
			s.exited(ctx, e)
		case <-ticker.C:
			s.tell()
			for by, f := range s.fleets {
				if err := s.look(ctx, by, f); err != nil && ctx.Err() == nil {
					s.log.Warn("the machines could not be listed", "err", err)
				}
			}
		}
	}
}

// look starts what is new and stops what is to leave.
func (s *compute) look(ctx context.Context, by string, f fleet) error {
	s.mu.Lock()
	var known []string
	for id, p := range s.running {
		if p.by == by {
			known = append(known, id)
		}
	}
	s.mu.Unlock()
	found, err := f.machines(ctx, known)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, m := range found {
		there[m.id] = !m.leaving
		if !m.leaving {
			s.ensure(ctx, by, f, m)
		}
	}
	now := time.Now()
	for _, id := range known {
		s.mu.Lock()
		p := s.running[id]
		s.mu.Unlock()
		switch {
		case p == nil || there[id]:
		case p.asked.IsZero():
			p.asked = now
			_ = s.launcher.Drain(ctx, p.Node) // over already
			s.publish(f.notice(p.machine, false))
		case now.Sub(p.asked) > stopTimeout && !p.killed:
			p.killed = true
			s.log.Warn("a process did not leave in time", "process", p.Node)
			_ = s.launcher.Signal(p.Node, syscall.SIGKILL)
		}
	}
	return nil
}

// ensure runs a process for m, once in its life.
func (s *compute) ensure(ctx context.Context, by string, f fleet, m machine) {
	s.mu.Lock()
	had := s.ever[m.id]
	s.mu.Unlock()
	if had {
		return
	}
	vars, err := f.environ(ctx, m)
	if err != nil {
		s.complain(m, err)
		return // looked at again
	}
	var env []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	env = append(env, s.last(m.Role)...)
	p := &place{machine: m, by: by, fleet: f}
	s.mu.Lock()
	s.ever[m.id], s.running[m.id] = true, p
	s.mu.Unlock()
	_, err = s.launcher.Start(ctx, launch.Spec{Role: m.Role, Token: m.id, Node: m.Node, Env: env})
	s.mu.Lock()
	if err == nil {
		s.launched[by]++
	} else {
		delete(s.running, m.id)
	}
	s.mu.Unlock()
	if err != nil {
		s.complain(m, err)
		_ = f.over(ctx, m, err.Error())
		return
	}
	s.log.Info("a process began", "process", m.Node, "machine", m.id)
}

// complain says once why m does not run.
func (s *compute) complain(m machine, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ignored[m.id] == err.Error() {
		return
	}
	s.ignored[m.id] = err.Error()
	s.log.Error("a process cannot be run", "process", m.Node, "machine", m.id, "err", err)
}

// exited tells the emulator of a process's end.
func (s *compute) exited(ctx context.Context, e proclaunch.Exit) {
	s.mu.Lock()
	var p *place
	for _, q := range s.running {
		if q.Node == e.Instance.Node && q.id == e.Instance.Token {
			p = q
		}
	}
	drill := s.killed[e.Instance.Node]
	if p != nil {
		delete(s.running, p.id)
	}
	s.mu.Unlock()
	if p == nil {
		return
	}
	if e.Err != nil && !drill {
		s.log.Warn("a process ended by itself", "process", p.Node, "err", e.Err)
	} else {
		s.log.Info("a process ended", "process", p.Node)
	}
	if err := p.fleet.over(ctx, p.machine, essentialExited); err != nil {
		s.log.Warn("the end of a process could not be told", "process", p.Node, "err", err)
	}
	s.told = append(s.told, ending{time.Now().Add(noticeDelay), p})
}

// tell publishes the ends that are due.
func (s *compute) tell() {
	for len(s.told) > 0 && time.Now().After(s.told[0].due) {
		p := s.told[0].place
		s.publish(p.fleet.notice(p.machine, true))
		s.told = s.told[1:]
	}
}

// signal sends a signal to a process, for drills.
func (s *compute) signal(id mesh.NodeID, sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		s.mu.Lock()
		s.killed[id] = true
		s.mu.Unlock()
	}
	return s.launcher.Signal(id, sig)
}

// counts returns how many processes were ever started, by launcher, and how
// many run now.
func (s *compute) counts() (launched map[string]int, running int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.launched), len(s.running)
}

// ecsFleet is a cluster of ECS.
type ecsFleet struct {
	api     *api
	cluster string
	owner   label.Owner
	mu      sync.Mutex
	found   map[string]ecsTask // those listed last
	base    map[string]map[string]string
}

func newECSFleet(a *api, cluster string, owner label.Owner) *ecsFleet {
	return &ecsFleet{api: a, cluster: cluster, owner: owner, found: map[string]ecsTask{}, base: map[string]map[string]string{}}
}

const (
	ecsTarget   = "AmazonEC2ContainerServiceV20141113."
	tasksAtOnce = 100
)

type nameValue struct{ Name, Value string }

type ecsTask struct {
	TaskArn, ClusterArn, TaskDefinitionArn, LastStatus, DesiredStatus, StartedBy, Group string
	Tags                                                                                []struct{ Key, Value string }
	Overrides                                                                           struct {
		ContainerOverrides []struct {
			Name        string
			Environment []nameValue
		}
	}
}

func (f *ecsFleet) call(ctx context.Context, action string, in map[string]any, out any) error {
	return f.api.json(ctx, "ecs", ecsTarget+action, "1.1", in, out)
}

// machines implements fleet.
func (f *ecsFleet) machines(ctx context.Context, known []string) (list []machine, err error) {
	var listed struct{ TaskArns []string }
	if err := f.call(ctx, "ListTasks", map[string]any{"cluster": f.cluster, "desiredStatus": "RUNNING"}, &listed); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var fresh []string
	for _, arn := range listed.TaskArns {
		if t, ok := f.found[arn]; ok { // what was asked once does not change while it runs
			list = f.add(list, t)
		} else {
			fresh = append(fresh, arn)
		}
	}
	for some := range slices.Chunk(fresh, tasksAtOnce) {
		var out struct{ Tasks []ecsTask }
		if err := f.call(ctx, "DescribeTasks", map[string]any{"cluster": f.cluster, "tasks": some, "include": []string{"TAGS"}}, &out); err != nil {
			return nil, err
		}
		for _, t := range out.Tasks {
			if t.LastStatus == "RUNNING" && t.DesiredStatus != "STOPPED" {
				f.found[t.TaskArn] = t
				list = f.add(list, t)
			}
		}
	}
	return list, nil
}

// count implements fleet.
func (f *ecsFleet) count(ctx context.Context) (int, error) {
	list, err := f.machines(ctx, nil)
	return len(list), err
}

func (f *ecsFleet) add(list []machine, t ecsTask) []machine {
	tags := map[string]string{}
	for _, tag := range t.Tags {
		tags[tag.Key] = tag.Value
	}
	if i, ok := label.Instance(tags); ok && f.owner.Owns(tags) {
		list = append(list, machine{id: t.TaskArn, Instance: i})
	}
	return list
}

// environ implements fleet: the task definition's environment and secrets, and
// over them the overrides.
func (f *ecsFleet) environ(ctx context.Context, m machine) (map[string]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.found[m.id]
	base, ok := f.base[t.TaskDefinitionArn]
	if !ok {
		var err error
		if base, err = f.definition(ctx, t.TaskDefinitionArn, m.Role.String()); err != nil {
			return nil, err
		}
		f.base[t.TaskDefinitionArn] = base
	}
	env := maps.Clone(base)
	for _, c := range t.Overrides.ContainerOverrides {
		if c.Name != m.Role.String() {
			return nil, fmt.Errorf("the task overrides a container %q, which it has not", c.Name)
		}
		for _, v := range c.Environment {
			env[v.Name] = v.Value
		}
	}
	return env, nil
}

func (f *ecsFleet) definition(ctx context.Context, arn, container string) (map[string]string, error) {
	var out struct {
		TaskDefinition struct {
			ContainerDefinitions []struct {
				Name        string
				Environment []nameValue
				Secrets     []struct{ Name, ValueFrom string }
			}
		}
	}
	if err := f.call(ctx, "DescribeTaskDefinition", map[string]any{"taskDefinition": arn}, &out); err != nil {
		return nil, err
	}
	for _, c := range out.TaskDefinition.ContainerDefinitions {
		if c.Name != container {
			continue
		}
		env := map[string]string{}
		for _, v := range c.Environment {
			env[v.Name] = v.Value
		}
		for _, s := range c.Secrets {
			value, err := f.api.secret(ctx, s.ValueFrom)
			if err != nil {
				return nil, err
			}
			env[s.Name] = value
		}
		return env, nil
	}
	return nil, fmt.Errorf("task definition %s has no container %q", arn, container)
}

// secret reads a secret.
func (a *api) secret(ctx context.Context, id string) (string, error) {
	var out struct{ SecretString string }
	err := a.json(ctx, "secretsmanager", "secretsmanager.GetSecretValue", "1.1", map[string]any{"SecretId": id}, &out)
	if err == nil && out.SecretString == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("read the secret %s: %w", id, err)
	}
	return out.SecretString, nil
}

// over implements fleet.
func (f *ecsFleet) over(ctx context.Context, m machine, why string) error {
	return f.call(ctx, "StopTask", map[string]any{"cluster": f.cluster, "task": m.id, "reason": why}, nil)
}

// notice implements fleet.
func (f *ecsFleet) notice(m machine, ended bool) (source, kind string, resources []string, detail any) {
	f.mu.Lock()
	t := f.found[m.id]
	f.mu.Unlock()
	var overrides []map[string]any
	for _, c := range t.Overrides.ContainerOverrides {
		env := []map[string]string{}
		for _, v := range c.Environment {
			env = append(env, map[string]string{"name": v.Name, "value": v.Value})
		}
		overrides = append(overrides, map[string]any{"name": c.Name, "environment": env})
	}
	status, reason := "RUNNING", "Task stopped by whoever launched it"
	if ended {
		status, reason = "STOPPED", essentialExited
	}
	return "aws.ecs", "ECS Task State Change", []string{m.id}, map[string]any{
		"taskArn": m.id, "clusterArn": t.ClusterArn, "taskDefinitionArn": t.TaskDefinitionArn, "startedBy": t.StartedBy, "group": t.Group,
		"lastStatus": status, "desiredStatus": "STOPPED", "overrides": map[string]any{"containerOverrides": overrides},
		"stoppedReason": reason, "launchType": "FARGATE",
	}
}
