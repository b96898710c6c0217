package bench

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The report is one file: uPlot (MIT, its licence beside it) is in it.
var (
	//go:embed page/report.html
	reportPage string
	//go:embed page/uplot.js
	plotJS string
	//go:embed page/uplot.css
	plotCSS string
)

var reportTemplate = template.Must(template.New("report").Parse(reportPage))

type reportRow struct {
	Name, What string
	Figures    []reportFigure
	Notes      []string
}

type reportFigure struct{ Name, Value, Unit, Goal, Verdict string }

// WriteReport writes index.html and results.json into dir, which it creates.
// Command is how the results were come by.
func WriteReport(dir string, results []Result, command string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot create the directory of the report (%w); choose another one", err)
	}
	data := struct {
		Machine       Machine
		When, Command string
		Rows          []reportRow
		Plots         map[string][]Plot
		PlotJS        template.JS
		PlotCSS       template.CSS
	}{Machine: ThisMachine(), When: now.Format("2 January 2006, 15:04 MST"), Command: command, Plots: map[string][]Plot{}, PlotJS: template.JS(plotJS), PlotCSS: template.CSS(plotCSS)} //nolint:gosec // our own files
	for _, res := range results {
		row, _ := Find(res.Name)
		r := reportRow{Name: res.Name, What: row.What, Notes: res.Details.Notes}
		for _, b := range row.Bars {
			f := res.Details.Figures[b.Figure]
			r.Figures = append(r.Figures, reportFigure{b.Figure, digits(f.Value), f.Unit, f.Goal, verdict(res, f)})
		}
		data.Rows = append(data.Rows, r)
		data.Plots[res.Name] = append(res.Details.Plots[:len(res.Details.Plots):len(res.Details.Plots)], runsPlot(row, res)...)
	}
	page, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return fmt.Errorf("cannot write the report (%w); choose another directory", err)
	}
	if err := errors.Join(reportTemplate.Execute(page, data), page.Close()); err != nil {
		return err
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644)
}

// runsPlot draws the runs of a row's own value beside its bar, if there were several.
func runsPlot(row Row, res Result) []Plot {
	b := row.Bars[0]
	f := res.Details.Figures[b.Figure]
	if len(f.Runs) < 2 {
		return nil
	}
	p := Plot{Title: b.Figure + " by run", XName: "run", YName: b.Unit, Lines: []string{b.Figure}, Y: make([][]Reading, 1)}
	if !b.Told {
		p.Lines, p.Y = append(p.Lines, "bar, "+b.Goal()), make([][]Reading, 2)
	}
	for i, v := range f.Runs {
		p.X, p.Y[0] = append(p.X, float64(i+1)), append(p.Y[0], Reading(v))
		if !b.Told {
			p.Y[1] = append(p.Y[1], Reading(b.Limit))
		}
	}
	return []Plot{p}
}

// digits writes v with three of them, thousands in full.
func digits(v float64) string {
	if math.Abs(v) >= 1000 || v == math.Trunc(v) {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// verdict is a word on a figure; none if it has no bar or was not judged.
func verdict(res Result, f Figure) string {
	switch {
	case f.Goal == "" || res.Details.Small:
		return ""
	case f.OK:
		return "met"
	}
	return "missed"
}
