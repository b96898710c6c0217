// Package bench measures what Weft is held to: a row of a table for each claim,
// with its bar. A row measures the product itself: the pure cores as nodes and
// gateways run them, or whole meshes of this machine with their clients in a
// process of their own, and what servers cost is read from the operating system.
// Rows is the table; `weft bench NAME` runs a row of it.
package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Row is one claim. Measure takes one sample; Run takes several.
type Row struct {
	Name string // `weft bench NAME`
	What string // one line, for people
	Bars []Bar  // the first is of the row's own value; never empty
	// Measure takes one sample. It returns an error if what was measured did not
	// do what it should have: a wrong answer has no speed. Options.Small asks for
	// a size that takes a second at most under the race detector.
	Measure func(context.Context, Options) (Sample, error)
	// Parts are the programs that the row runs as processes of their own, by name.
	Parts map[string]Part
	// Once says that Measure takes its medians itself: it is called once, with Runs.
	Once bool
}

// Bar is a figure's limit. A figure without one is only told.
type Bar struct {
	Figure  string
	Unit    string
	Limit   float64
	AtLeast bool // else at most
	Told    bool // no limit
}

// Options are how a row is run.
type Options struct {
	Small bool // check that the answer is right, on a small size; nothing is judged
	Runs  int  // samples, of which the medians count
	// Log is told what goes on, a sentence each; nil is nobody.
	Log func(string)
}

// Say tells Log.
func (o Options) Say(format string, a ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, a...))
	}
}

// Sample is what one run measured: figures by name, in the units of the bars,
// and what is drawn of it.
type Sample struct {
	Figures map[string]float64
	Plots   []Plot
	Notes   []string
}

// Plot is a figure of the report: lines over a common x, Y[line][point].
// A point that a line has not is NaN.
type Plot struct {
	Title string      `json:"title"`
	XName string      `json:"x_name"`
	YName string      `json:"y_name"`
	LogX  bool        `json:"log_x,omitempty"`
	LogY  bool        `json:"log_y,omitempty"`
	Lines []string    `json:"lines"`
	X     []float64   `json:"x"`
	Y     [][]Reading `json:"y"`
}

// Figure is one measured figure beside its bar.
type Figure struct {
	Value float64   `json:"value"` // the median
	Unit  string    `json:"unit"`
	Goal  string    `json:"goal,omitempty"` // as "≤ 8"; empty is no bar
	OK    bool      `json:"ok"`
	Runs  []float64 `json:"runs"`
}

// Details are what a result says beside its own value.
type Details struct {
	Small   bool              `json:"small,omitempty"` // not judged
	Figures map[string]Figure `json:"figures"`
	Notes   []string          `json:"notes,omitempty"`
	Plots   []Plot            `json:"plots,omitempty"`
}

// Result is what `weft bench` prints of a row.
type Result struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Goal    string  `json:"goal"`
	OK      bool    `json:"ok"` // every bar is met
	Machine Machine `json:"machine"`
	Details Details `json:"details"`
}

// Run takes o.Runs samples and judges their medians.
func (r Row) Run(ctx context.Context, o Options) (Result, error) {
	runs := max(o.Runs, 1)
	if r.Once || o.Small {
		runs = 1
	}
	all := map[string][]float64{}
	res := Result{Name: r.Name, OK: true, Machine: ThisMachine(), Details: Details{Small: o.Small, Figures: map[string]Figure{}}}
	for i := range runs {
		s, err := r.Measure(ctx, o)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return Result{}, fmt.Errorf("%s: %w", r.Name, err)
		}
		for name, v := range s.Figures {
			all[name] = append(all[name], v)
		}
		res.Details.Plots, res.Details.Notes = s.Plots, s.Notes
		o.Say("%s: run %d of %d: %s", r.Name, i+1, runs, r.sentence(s))
	}
	for _, b := range r.Bars {
		values := all[b.Figure]
		if len(values) != runs {
			return Result{}, fmt.Errorf("%s: measured no %s", r.Name, b.Figure)
		}
		f := b.judge(values, o.Small)
		res.Details.Figures[b.Figure] = f
		res.OK = res.OK && f.OK
		delete(all, b.Figure)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) { // told, without a unit of its own
		res.Details.Figures[name] = Figure{Value: Median(all[name]), OK: true, Runs: all[name]}
	}
	head := res.Details.Figures[r.Bars[0].Figure]
	res.Value, res.Unit, res.Goal = head.Value, head.Unit, head.Goal
	return res, nil
}

func (b Bar) judge(values []float64, small bool) Figure {
	f := Figure{Value: Median(values), Unit: b.Unit, Goal: b.Goal(), Runs: values, OK: true}
	if !b.Told && !small {
		f.OK = b.AtLeast && f.Value >= b.Limit || !b.AtLeast && f.Value <= b.Limit
	}
	return f
}

// Goal returns the bar in a few characters; empty if there is none.
func (b Bar) Goal() string {
	sign := "≤ "
	switch {
	case b.Told:
		return ""
	case b.AtLeast:
		sign = "≥ "
	}
	return sign + strconv.FormatFloat(b.Limit, 'f', -1, 64)
}

func (r Row) sentence(s Sample) (text string) {
	for _, b := range r.Bars {
		text += fmt.Sprintf("%s %.4g %s; ", b.Figure, s.Figures[b.Figure], b.Unit)
	}
	return text
}

// Median returns the middle value, the upper of two; zero of none.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile returns the value below which the share q of all lie; zero of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
