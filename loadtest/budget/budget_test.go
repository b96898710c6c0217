package budget

import "testing"

func TestX(t *testing.T) {
	r, err := Run(Design())
	t.Logf("%+v", r.Load)
	for k := range Kinds {
		t.Logf("%-10v %7.1f units/s %+v", k, r.PerSecond(k), r.Spent[k])
	}
	sec := r.Load.Measure.Seconds()
	t.Logf("total %.1f  events/s %.1f picked/s %.1f crossings/s %.2f snapshots/s %.2f", r.Units(), float64(r.Events)/sec, float64(r.Picked)/sec, float64(r.Crossed)/sec, float64(r.Snapshots)/sec)
	if err != nil {
		t.Fatal(err)
	}
}
