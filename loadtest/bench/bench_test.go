package bench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/loadtest/stage"
)

// The test binary is also the nodes, gateways and parts of the rows.
func TestMain(m *testing.M) {
	if status, is := stage.Child(os.Args); is {
		os.Exit(status)
	}
	if status, is := Child(context.Background(), os.Args); is {
		os.Exit(status)
	}
	if os.Getenv("GORACE") == "" { // or each child under the race detector takes a second to end
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	os.Exit(m.Run())
}

// Every row does on a small size what it is to do: what is wrong has no speed.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Rows {
		t.Run(row.Name, func(t *testing.T) {
			if seen[row.Name] || row.What == "" || len(row.Bars) == 0 {
				t.Fatalf("a row needs a name of its own, words and a bar: %+v", row)
			}
			seen[row.Name] = true
			res, err := row.Run(t.Context(), Options{Small: true, Runs: 1, Log: func(s string) { t.Log(s) }})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range row.Bars {
				if _, ok := res.Details.Figures[b.Figure]; !ok {
					t.Errorf("no figure %s", b.Figure)
				}
			}
		})
	}
}

// The report is one page that says what was measured, where and how.
func TestReport(t *testing.T) {
	row, _ := Find("plan")
	res, err := row.Run(t.Context(), Options{Small: true})
	if err != nil {
		t.Fatal(err)
	}
	f := res.Details.Figures["plan"]
	f.Runs, f.OK, res.Details.Small = []float64{f.Value, 70}, false, false
	res.Details.Figures["plan"] = f
	dir := t.TempDir()
	if err := WriteReport(dir, []Result{res}, "weft bench plan", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"weft bench plan", res.Machine.Go, "≤ 50", `class="missed"`, `"One plan"`, "plan by run", "uPlot=function"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	for _, never := range []string{"<script src", "<link"} {
		if strings.Contains(string(page), never) {
			t.Errorf("the report needs another file: %s", never)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		bar    Bar
		values []float64
		ok     bool
		goal   string
	}{
		{Bar{Limit: 8}, []float64{9, 7, 8}, true, "≤ 8"},
		{Bar{Limit: 8}, []float64{9, 9, 1}, false, "≤ 8"},
		{Bar{Limit: 99.5, AtLeast: true}, []float64{99, 100, 100}, true, "≥ 99.5"},
		{Bar{Limit: 99.5, AtLeast: true}, []float64{99, 99, 100}, false, "≥ 99.5"},
		{Bar{Told: true}, []float64{1e9}, true, ""},
		{Bar{}, []float64{0, 0, 0.1}, true, "≤ 0"},
	} {
		if f := c.bar.judge(c.values, false); f.OK != c.ok || f.Goal != c.goal {
			t.Errorf("%+v of %v: %+v", c.bar, c.values, f)
		}
		if f := c.bar.judge(c.values, true); !f.OK {
			t.Errorf("%+v: a small size was judged", c.bar)
		}
	}
}
