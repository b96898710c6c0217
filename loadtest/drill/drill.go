// Package drill breaks a mesh of real processes on this machine, again and
// again while a crowd plays, and counts what that cost: nodes and gateways
// killed, owners stopped past their takeover, links late, silent and cut, the
// store away, a border that everybody runs over. The drills are scenario files
// with faults; [Command] plays them.
package drill

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

//go:embed files/*.yaml
var files embed.FS

// Names are the drills, in the order in which they are done.
var Names = []string{"kills", "gateways", "pauses", "proxy", "outage", "storm"}

// Command is the command line; the tags are for kong.
type Command struct {
	Which    []string `arg:"" optional:"" help:"Only these: kills, gateways, pauses, proxy, outage, storm."`
	Kills    int      `help:"How many nodes are killed." default:"50" placeholder:"N"`
	Gateways int      `help:"How many gateways are killed." default:"5" placeholder:"N"`
	Pauses   int      `help:"How many owners are stopped past their takeover." default:"20" placeholder:"N"`
	Players  int      `help:"Play with so many players in place of each drill's own." placeholder:"N"`
	Seed     uint64   `help:"Add this to the seed of each drill." placeholder:"N"`
	Report   string   `help:"Write the reports as JSON to this file; - is standard output." placeholder:"FILE"`
	Verbose  bool     `short:"v" help:"Write the log of all processes to standard error."`
}

// maxTimes bounds how often a fault is repeated.
const maxTimes = 1000

// Report is what came of some drills.
type Report struct {
	Machine string             `json:"machine"`
	Command string             `json:"command"` // that repeats it
	OK      bool               `json:"ok"`
	Drills  []*scenario.Report `json:"drills"`
}

// Load returns the drill of that name as c wants it.
func (c *Command) Load(name string) (*scenario.Scenario, error) {
	data, err := files.ReadFile("files/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("%w: found the drill %q, expected one of %s", scenario.ErrInvalid, name, strings.Join(Names, ", "))
	}
	s, err := scenario.Parse("files/"+name+".yaml", data, nil)
	if err != nil {
		return nil, err
	}
	times := map[string]int{scenario.KillNode: c.Kills, scenario.KillGateway: c.Gateways, scenario.PauseNode: c.Pauses}
	want := 0
	for i := range s.Faults {
		f := &s.Faults[i]
		if n, ok := times[f.Do]; ok {
			if n < 1 || n > maxTimes {
				return nil, fmt.Errorf("%w: found %d times %s, expected from 1 to %d", scenario.ErrInvalid, n, f.Do, maxTimes)
			}
			f.Times = n
		}
		want += f.Times
	}
	if c.Players < 0 || c.Players > scenario.MaxPlayers {
		return nil, fmt.Errorf("%w: --players: found %d, expected from 1 to %d", scenario.ErrInvalid, c.Players, scenario.MaxPlayers)
	}
	s, _ = s.Resized(c.Players, 0)
	s.Seed += c.Seed
	if want > 0 {
		all, err := scenario.ParseExpectation("drill.faults", fmt.Sprint(want))
		if err != nil {
			return nil, err
		}
		s.Expect = append([]scenario.Expectation{all}, s.Expect...)
	}
	return s, nil
}

// Main does the drills and returns the exit status of run.Command: tables go to
// out, unless the report does, and all else to errs.
func (c *Command) Main(ctx context.Context, out, errs io.Writer) int {
	which := c.Which
	if len(which) == 0 {
		which = Names
	}
	var todo []*scenario.Scenario
	for _, name := range which {
		s, err := c.Load(name)
		if err != nil {
			fmt.Fprintln(errs, err)
			return run.ExitBad
		}
		todo = append(todo, s)
	}
	all := Report{Machine: fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH), Command: c.line(), OK: true}
	for i, s := range todo {
		fmt.Fprintf(errs, "drill %s, seed %d\n", which[i], s.Seed)
		report, err := Play(ctx, s, errs, c.Verbose)
		if err != nil {
			if errors.Is(err, context.Canceled) {
				fmt.Fprintln(errs, "interrupted: the world was put to sleep")
			} else {
				fmt.Fprintf(errs, "the drill %s could not be finished: %v\n", which[i], err)
			}
			all.OK = false
			break
		}
		all.OK = all.OK && report.OK()
		all.Drills = append(all.Drills, report)
	}
	tables := out
	if c.Report == "-" {
		tables = errs
	}
	all.Print(tables)
	if err := all.write(c.Report, out); err != nil {
		fmt.Fprintf(errs, "the report could not be written: %v\n", err)
		return run.ExitFailed
	}
	if !all.OK {
		return run.ExitFailed
	}
	return run.ExitOK
}

// line is the command line that repeats c.
func (c *Command) line() string {
	parts := append([]string{"weft drill"}, c.Which...)
	parts = append(parts, fmt.Sprintf("--kills %d --gateways %d --pauses %d", c.Kills, c.Gateways, c.Pauses))
	if c.Players > 0 {
		parts = append(parts, fmt.Sprintf("--players %d", c.Players))
	}
	if c.Seed > 0 {
		parts = append(parts, fmt.Sprintf("--seed %d", c.Seed))
	}
	return strings.Join(parts, " ")
}

// Play puts up a mesh for s, does its faults, and ends it.
func Play(ctx context.Context, s *scenario.Scenario, errs io.Writer, verbose bool) (_ *scenario.Report, err error) {
	d := &drill{s: s}
	if d.records, err = os.MkdirTemp("", "weft-drill-"); err != nil {
		return nil, fmt.Errorf("make a directory for what nodes write: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.records)) }()
	if slices.ContainsFunc(s.Faults, func(t scenario.Trial) bool { return t.Do == scenario.Links }) {
		d.proxies = newProxies(s.Seed)
		defer d.proxies.close()
	}
	if d.mesh, err = stage.Start(ctx, s, stage.Options{Errs: errs, Verbose: verbose, Env: d.env}); err != nil {
		return nil, fmt.Errorf("the world did not start: %w", err)
	}
	defer func() { err = errors.Join(err, d.mesh.Close()) }()
	p := run.NewPrinter(errs)
	defer p.Close()
	return run.Run(ctx, s, d.mesh, run.Options{Progress: p.Progress, Log: p.Log, Faults: d.faults})
}

// Print writes the table of figures.
func (r *Report) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "drill\tseed\tfigure and bar\tcame to\t")
	for _, d := range r.Drills {
		for _, v := range d.Expect {
			mark := ""
			if !v.OK {
				mark = "FAILED"
			}
			fmt.Fprintf(t, "%s\t%d\t%s\t%v\t%s\n", d.Scenario, d.Seed, v.Check, v.Got, mark)
		}
	}
	t.Flush() //nolint:errcheck // of a table that nobody reads
	for _, d := range r.Drills {
		for _, o := range slices.Concat(d.Offences, d.BotFaults) {
			fmt.Fprintf(w, "%s: %s\n", d.Scenario, o)
		}
	}
}

// write writes r as JSON, whole or not at all; "-" is out, "" nowhere.
func (r *Report) write(path string, out io.Writer) error {
	if path == "" {
		return nil
	}
	var data bytes.Buffer
	in := json.NewEncoder(&data)
	in.SetEscapeHTML(false)
	in.SetIndent("", "  ")
	if err := in.Encode(r); err != nil {
		return err
	}
	if path == "-" {
		_, err := out.Write(data.Bytes())
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has its name by then
	_, err = f.Write(data.Bytes())
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
