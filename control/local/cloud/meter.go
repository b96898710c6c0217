package cloud

import (
	"context"
	"strings"
	"sync"
	"time"

	"weft/control/cost"
	"weft/control/mesh"
)

// meterEvery is how often what costs is looked at.
const meterEvery = time.Second

// layoutReadsPerSecond is how often a process reads the layout's version.
const layoutReadsPerSecond = 2

// What a task has in infra/ unless its variables say otherwise.
var machines = map[string]cost.Fleet{
	"ecs": {
		mesh.RoleNode:    {Kind: cost.Fargate, CPUUnits: 1024, MemoryMiB: 2048, Public: true},
		mesh.RoleGateway: {Kind: cost.Fargate, CPUUnits: 512, MemoryMiB: 1024, Public: true},
	},
	"ec2": {mesh.RoleNode: {Kind: "c8g.large", Public: true}, mesh.RoleGateway: {Kind: "c8g.medium", Public: true}},
}

// Cost is what a world would have cost on AWS for as long as it was here.
type Cost struct {
	cost.Bill
	StaticPeakUSD float64 // with a fleet that is always as large as the peak
}

// meter measures what AWS would bill.
type meter struct {
	c       *Cloud
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	began   time.Time
	ended   time.Time
	mu      sync.Mutex
	samples []cost.Sample
	seconds map[species]float64        // of processes
	last    map[mesh.Owner]mesh.Report // of each life
}

const maxSamples = 1 << 20

func startMeter(ctx context.Context, c *Cloud) *meter {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m := &meter{c: c, cancel: cancel, began: time.Now(), seconds: map[species]float64{}, last: map[mesh.Owner]mesh.Report{}}
	m.tasks.Go(func() { m.run(running) })
	return m
}

func (m *meter) close() {
	m.cancel()
	m.tasks.Wait()
	if m.ended.IsZero() {
		m.ended = time.Now()
	}
}

func (m *meter) run(ctx context.Context) {
	before := m.began
	for pause(ctx, meterEvery) {
		reports, err := m.c.store.Reports(ctx)
		if err != nil {
			continue // the next sample is longer
		}
		now := time.Now()
		s := cost.Sample{Seconds: now.Sub(before).Seconds()}
		before = now
		m.mu.Lock()
		for k, n := range m.c.compute.census() {
			m.seconds[k] += s.Seconds * float64(n)
			if k.role == mesh.RoleNode {
				s.Nodes += n
			} else {
				s.Gateways += n
			}
		}
		for _, r := range reports {
			m.last[r.Process.Owner()] = r
			s.Clients += r.Clients
		}
		if len(m.samples) < maxSamples {
			m.samples = append(m.samples, s)
		}
		m.mu.Unlock()
	}
}

// species are the processes that are priced alike.
type species struct {
	by   string // launcher
	role mesh.Role
}

// census counts the running processes.
func (s *compute) census() map[species]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[species]int{}
	for _, p := range s.running {
		n[species{p.by, p.Role}]++
	}
	return n
}

// Cost prices what was used until Stop.
func (c *Cloud) Cost() (Cost, error) {
	m := c.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	fleet, prices := machines[c.launchers()[0]], cost.Published()
	u := cost.Use{Begin: m.began, End: m.ended, Shard: shardName, Env: c.cfg.Env, Standing: c.standing}
	if u.End.IsZero() {
		u.End = time.Now()
	}
	for _, s := range m.samples {
		u.PlayerSeconds += s.Seconds * float64(s.Clients)
	}
	for k, s := range m.seconds {
		u.Running = append(u.Running, cost.Running{Role: k.role, Machine: machines[k.by][k.role], Seconds: s})
		u.ReadUnits += s * layoutReadsPerSecond
	}
	for _, r := range m.last {
		u.WriteUnits += float64(r.Counters.StoreWriteUnits)
		u.EgressBytes += float64(r.Counters.BytesToClients)
	}
	if c.host != nil {
		for _, f := range c.host.functions {
			u.FunctionCalls += float64(f.calls.Load())
			u.FunctionGBSeconds += float64(f.micros.Load()) / 1e6 * f.memoryGB
		}
	}
	bill, err := prices.Bill(u)
	if err != nil {
		return Cost{}, err
	}
	evening, err := prices.Evening(fleet, m.samples)
	if err != nil {
		return Cost{}, err
	}
	static := bill.USD - bill.Lines[cost.Nodes] - bill.Lines[cost.Gateways] + evening.StaticPeakUSD
	return Cost{Bill: bill, StaticPeakUSD: static}, nil
}

// standingOf counts what costs whether anybody plays or not.
func standingOf(resources []string) (s cost.Standing) {
	for _, address := range resources {
		for kind, n := range map[string]*int{"aws_kms_key.": &s.Keys, "aws_secretsmanager_secret.": &s.Secrets, "aws_cloudwatch_metric_alarm.": &s.Alarms} {
			if strings.Contains("."+address, "."+kind) {
				*n++
			}
		}
	}
	return s
}
