package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Command is the command line of the table; the tags are for kong.
type Command struct {
	Names []string `arg:"" optional:"" name:"name" help:"Rows to measure."`
	All   bool     `help:"Measure every row and print a table."`
	Runs  int      `default:"3" help:"Runs of each row, of which the medians count."`
	Small bool     `help:"Only check, on a small size, that answers are right."`
	HTML  string   `name:"html" placeholder:"DIR" help:"Write a report with plots into this directory."`
	Quiet bool     `short:"q" help:"Do not tell what goes on."`
}

// Main measures and prints a JSON object for each row, or a table for all. The
// status is 1 if a bar was missed.
func (c *Command) Main(ctx context.Context, out, errs io.Writer) (status int, err error) {
	rows := Rows
	if !c.All {
		if len(c.Names) == 0 {
			return 2, fmt.Errorf("name a row, or --all; the rows are %s", strings.Join(Names(), ", "))
		}
		rows = nil
		for _, name := range c.Names {
			row, ok := Find(name)
			if !ok {
				return 2, fmt.Errorf("there is no row %q; the rows are %s", name, strings.Join(Names(), ", "))
			}
			rows = append(rows, row)
		}
	}
	o := Options{Small: c.Small, Runs: c.Runs}
	if !c.Quiet {
		o.Log = func(s string) { fmt.Fprintln(errs, s) }
	}
	var results []Result
	var failed []error
	for _, row := range rows {
		res, err := row.Run(ctx, o)
		if err != nil {
			if ctx.Err() != nil {
				return 1, err
			}
			fmt.Fprintln(errs, err)
			failed = append(failed, errors.New(row.Name))
			continue
		}
		if !res.OK {
			status = 1
		}
		if results = append(results, res); !c.All {
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(res); err != nil {
				return 1, err
			}
		}
	}
	if c.All {
		err = table(out, results)
	}
	if c.HTML != "" {
		err = errors.Join(err, WriteReport(c.HTML, results, c.line(), time.Now()))
	}
	if len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("not measured, since what came out was wrong: %w", errors.Join(failed...)))
	}
	return status, err
}

// line is the command as one would type it again.
func (c *Command) line() string {
	words := append([]string{"weft", "bench"}, c.Names...)
	if c.All {
		words = append(words, "--all")
	}
	if c.Small {
		words = append(words, "--small")
	}
	return strings.Join(append(words, fmt.Sprintf("--runs %d", c.Runs)), " ")
}

func table(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tfigure\tvalue\tgoal\t\t")
	for _, res := range results {
		row, _ := Find(res.Name)
		for _, b := range row.Bars {
			f := res.Details.Figures[b.Figure]
			fmt.Fprintf(w, "%s\t%s\t%s %s\t%s\t%s\t\n", res.Name, b.Figure, digits(f.Value), f.Unit, f.Goal, strings.ReplaceAll(verdict(res, f), "missed", "MISSED"))
		}
	}
	return w.Flush()
}
