package bench

import (
	"context"
	"os"
	"testing"

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
