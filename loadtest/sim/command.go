package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// ConfigOf is the configuration of which a seed is run by the command: even
// seeds under the director, who changes the layout at random and half does
// things, odd ones under two real planners at once; where a seed ends in 7 the
// world falls asleep on the way.
func ConfigOf(seed uint64) Config {
	cfg := DefaultConfig()
	if seed%2 == 1 {
		cfg.Planners = 2
	}
	if seed%10 == 7 {
		return SleepConfig()
	}
	return cfg
}

// Command runs seeds; the tags are for kong.
type Command struct {
	Seeds    int           `help:"How many seeds to run." default:"100"`
	First    uint64        `help:"The first seed." default:"1"`
	Jobs     int           `help:"How many to run at once; 0 is one for each core." default:"0"`
	Stop     bool          `help:"End at the first violation."`
	Outage   time.Duration `help:"Take the store away for so long in each seed, instead of all other faults." xor:"mode" placeholder:"3h"`
	Lockstep bool          `help:"Play each seed in step on one node and on meshes of 1, 2, 5 and 16, and want every entity of every tick to be the same." xor:"mode"`
	Report   string        `help:"Write the report as JSON to this file; - is standard output." placeholder:"FILE"`
}

// Report is what a command's runs found.
type Report struct {
	First            uint64  `json:"first"`
	Seeds            int     `json:"seeds"`
	WallSeconds      float64 `json:"wall_seconds"`
	SimulatedSeconds float64 `json:"simulated_seconds"`
	// PerCore is how many simulated seconds a second of one core is worth.
	PerCore    float64         `json:"simulated_seconds_per_core_second"`
	Stats      Stats           `json:"stats"`
	Outages    []OutageFigures `json:"outages,omitempty"`
	Lockstep   *LockstepStats  `json:"lockstep,omitempty"`
	Violations []Violation     `json:"violations"`
}

// Violation is a promise that a seed broke.
type Violation struct {
	Seed   uint64   `json:"seed"`
	AtS    float64  `json:"at_s"`
	What   string   `json:"what"`
	Replay string   `json:"replay"`
	Trace  []string `json:"trace"`
}

// maxViolations ends a command early: more of the same tells nothing.
const maxViolations = 20

// Main runs the seeds and returns the exit status: 0, 1 if a seed found a
// violation, 2 if c makes no sense.
func (c *Command) Main(ctx context.Context, out, errs io.Writer) (int, error) {
	if c.Seeds < 1 || c.Jobs < 0 || c.Outage < 0 {
		return 2, fmt.Errorf("--seeds is %d, --jobs %d and --outage %v; run at least one seed, on at least one core, and forwards", c.Seeds, c.Jobs, c.Outage)
	}
	r := c.run(ctx, errs)
	if ctx.Err() != nil {
		fmt.Fprintf(errs, "interrupted after %d seeds\n", r.Seeds)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(out, "seed %d at %.3f s: %s\n  %s\n", v.Seed, v.AtS, v.What, v.Replay)
	}
	for _, f := range r.Outages {
		fmt.Fprintln(out, f)
	}
	if r.Lockstep != nil {
		fmt.Fprintf(out, "in step on meshes of %v nodes: %+v\n", lockstepNodes, *r.Lockstep)
	}
	fmt.Fprintf(out, "%d seeds from %d: %d violations; %.0f simulated seconds in %.0f s, %.0f a second of one core\n",
		r.Seeds, r.First, len(r.Violations), r.SimulatedSeconds, r.WallSeconds, r.PerCore)
	if err := c.write(r, out); err != nil {
		return 1, fmt.Errorf("the report could not be written: %w", err)
	}
	if len(r.Violations) > 0 || ctx.Err() != nil {
		return 1, nil
	}
	return 0, nil
}

func (c *Command) run(ctx context.Context, errs io.Writer) Report {
	jobs := c.Jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	r := Report{First: c.First, Violations: []Violation{}}
	most := maxViolations
	if c.Stop {
		most = 1
	}
	began, told := time.Now(), time.Now()
	var mu sync.Mutex
	next := c.First
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				over := seed >= c.First+uint64(c.Seeds) || ctx.Err() != nil || len(r.Violations) >= most
				mu.Unlock()
				if over {
					return
				}
				result, note := c.one(seed)
				mu.Lock()
				r.add(result, c.mode())
				note(&r)
				if time.Since(told) > 10*time.Second {
					told = time.Now()
					fmt.Fprintf(errs, "%d of %d seeds, %d violations%s\n", r.Seeds, c.Seeds, len(r.Violations), r.violators())
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	r.WallSeconds = time.Since(began).Seconds()
	r.PerCore = r.SimulatedSeconds / r.WallSeconds / float64(jobs)
	return r
}

// violators names the seeds that broke a promise so far.
func (r *Report) violators() string {
	text := ""
	for i, v := range r.Violations {
		text += fmt.Sprintf("%s %d", map[bool]string{true: ": seed", false: ","}[i == 0], v.Seed)
	}
	return text
}

// one runs a seed and returns what its kind of run has to tell besides.
func (c *Command) one(seed uint64) (Result, func(*Report)) {
	switch {
	case c.Outage > 0:
		cfg := DefaultOutageConfig()
		cfg.Away = c.Outage
		result, f := Outage(seed, cfg)
		return result, func(r *Report) { r.Outages = append(r.Outages, f) }
	case c.Lockstep:
		out := Lockstep(seed, lockstepNodes, DefaultLockstepConfig())
		ran := time.Duration(out.Tick) * time.Second / instantHz
		result := Result{Seed: seed, Violation: out.Difference, At: ran, Ran: ran}
		if out.Difference != "" {
			result.Violation = fmt.Sprintf("mesh of %d nodes: %s", out.Nodes, out.Difference)
		}
		return result, func(r *Report) {
			if r.Lockstep == nil {
				r.Lockstep = &LockstepStats{}
			}
			r.Lockstep.Add(out.Stats)
		}
	}
	return Run(seed, ConfigOf(seed)), func(*Report) {}
}

// mode is the flag that says which kind of run it is, with a space behind it.
func (c *Command) mode() string {
	switch {
	case c.Outage > 0:
		return fmt.Sprintf("--outage %v ", c.Outage)
	case c.Lockstep:
		return "--lockstep "
	}
	return ""
}

func (r *Report) add(result Result, mode string) {
	r.Seeds++
	r.Stats.Add(result.Stats)
	if result.Violation == "" {
		r.SimulatedSeconds += result.Ran.Seconds()
		return
	}
	r.SimulatedSeconds += result.At.Seconds()
	r.Violations = append(r.Violations, Violation{
		Seed: result.Seed, AtS: result.At.Seconds(), What: result.Violation,
		Replay: fmt.Sprintf("weft loadtest sim %s--first %d --seeds 1 --report -", mode, result.Seed),
		Trace:  result.Trace,
	})
}

func (c *Command) write(r Report, out io.Writer) error {
	if c.Report == "" {
		return nil
	}
	var b strings.Builder
	in := json.NewEncoder(&b)
	in.SetEscapeHTML(false)
	in.SetIndent("", "  ")
	if err := in.Encode(r); err != nil {
		return err
	}
	if c.Report == "-" {
		_, err := io.WriteString(out, b.String())
		return err
	}
	return os.WriteFile(c.Report, []byte(b.String()), 0o644)
}
