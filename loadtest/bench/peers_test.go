//go:build peers

package bench

import "testing"

// The others' servers are set up as a newcomer's machine would, and both sides
// deliver all that was due.
func TestPeers(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	res, err := beside.Run(t.Context(), Options{Small: true, Runs: 1, Log: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{"800: weft delivered", "800: colyseus delivered", "800: colyseus servers cpu", "800: weft of colyseus"} {
		if f := res.Details.Figures[side]; f.Value <= 0 {
			t.Errorf("%s is %v", side, f.Value)
		}
	}
	if f := res.Details.Figures["800: colyseus delivered"]; f.Value < 90 {
		t.Errorf("of what was due Colyseus' clients got %.1f %%", f.Value)
	}
}
