package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weft/control/partition"
	"weft/loadtest/scenario"
)

// Command is the command line of a run; the tags are for kong.
type Command struct {
	File     string        `arg:"" help:"A scenario file, or the name of one that ships with Weft: tavern, tavern-gateway, melt, crowd."`
	Report   string        `help:"Write the report as JSON to this file; - is standard output." placeholder:"FILE"`
	Trace    string        `help:"Use this CSV of seconds,person,x_m,y_m in place of the scenario's trace." placeholder:"FILE"`
	Policy   string        `help:"Use this partition policy in place of the scenario's." placeholder:"NAME"`
	Players  int           `help:"Play with so many players in place of the scenario's." placeholder:"N"`
	Duration time.Duration `help:"Play for so long in place of the scenario's duration." placeholder:"D"`
}

// The exit statuses of Main.
const (
	ExitOK     = 0
	ExitFailed = 1 // an expectation failed, or the run could not be finished
	ExitBad    = 2 // the file, or an argument, is not valid
)

// Load reads the scenario that c names, with c's changes. Errors that wrap
// scenario.ErrInvalid are the user's to mend. The expectations are those that
// the changes made meaningless.
func (c *Command) Load() (*scenario.Scenario, []scenario.Expectation, error) {
	invalid := func(f string, a ...any) error {
		return fmt.Errorf("%w: "+f, append([]any{scenario.ErrInvalid}, a...)...)
	}
	read := func() (*scenario.Scenario, error) { return scenario.Load(c.File, c.Trace) }
	if !strings.ContainsAny(c.File, "./\\") {
		if _, err := os.Stat(c.File); err != nil {
			read = func() (*scenario.Scenario, error) { return scenario.Open(c.File, c.Trace) }
		}
	}
	s, err := read()
	if err != nil {
		return nil, nil, err
	}
	if c.Policy != "" {
		if _, err := partition.ByName(c.Policy); err != nil {
			return nil, nil, invalid("--policy: %w", err)
		}
		s.Policy = c.Policy
	}
	if c.Players < 0 || c.Players > scenario.MaxPlayers {
		return nil, nil, invalid("--players: found %d, expected from 1 to %d", c.Players, scenario.MaxPlayers)
	}
	if c.Duration < 0 || c.Duration > scenario.MaxDuration {
		return nil, nil, invalid("--duration: found %s, expected up to %s", c.Duration, scenario.MaxDuration)
	}
	s, dropped := s.Resized(c.Players, c.Duration)
	return s, dropped, nil
}

// Main runs c against the mesh that start brings up for the scenario, writes
// the report, and returns the exit status. Progress and faults go to errs.
func (c *Command) Main(ctx context.Context, out, errs io.Writer, start func(context.Context, *scenario.Scenario) (Mesh, error)) int {
	return c.main(ctx, out, errs, start, func(_ Mesh, o Options) Options { return o })
}

func (c *Command) main(ctx context.Context, out, errs io.Writer, start func(context.Context, *scenario.Scenario) (Mesh, error), adapt func(Mesh, Options) Options) int {
	s, dropped, err := c.Load()
	if err != nil {
		fmt.Fprintln(errs, err)
		if errors.Is(err, scenario.ErrInvalid) {
			return ExitBad
		}
		return ExitFailed
	}
	m, err := start(ctx, s)
	if err != nil {
		fmt.Fprintf(errs, "the world did not start: %v\n", err)
		return ExitFailed
	}
	p := NewPrinter(errs)
	for _, e := range dropped {
		p.Log("not expected of a run of this size: " + e.String())
	}
	report, err := Run(ctx, s, m, adapt(m, Options{Progress: p.Progress, Log: p.Log}))
	p.Close()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(errs, "interrupted: the world was put to sleep, and there is no report")
		} else {
			fmt.Fprintf(errs, "the run could not be finished: %v\n", err)
		}
		return ExitFailed
	}
	if err := Write(report, c.Report, out); err != nil {
		fmt.Fprintf(errs, "the report could not be written: %v\n", err)
		return ExitFailed
	}
	p.Verdicts(report)
	if !report.OK() {
		return ExitFailed
	}
	return ExitOK
}

// Write writes report as JSON to path, whole or not at all; "-" is out, and ""
// is nowhere.
func Write(report *scenario.Report, path string, out io.Writer) error {
	if path == "" {
		return nil
	}
	var data bytes.Buffer
	in := json.NewEncoder(&data)
	in.SetEscapeHTML(false) // so that >= reads as it was written
	in.SetIndent("", "  ")
	if err := in.Encode(report); err != nil {
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
	defer os.Remove(f.Name())
	_, err = f.Write(data.Bytes())
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
