package emf

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	got, err := Encode(time.UnixMilli(1_700_000_000_000), "Weft", []Dimension{{"Env", "dev"}, {"Shard", "weft"}}, []Metric{{"Nodes", Count, 3}, {"WorstLoad", None, 0.5}})
	want := `{"Env":"dev","Nodes":3,"Shard":"weft","WorstLoad":0.5,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["Env","Shard"]],"Metrics":[{"Name":"Nodes","Unit":"Count"},{"Name":"WorstLoad","Unit":"None"}],"Namespace":"Weft"}],"Timestamp":1700000000000}}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	for name, metrics := range map[string][]Metric{
		"none": nil, "too many": make([]Metric, maxMetrics+1), "not a number": {{"A", Count, math.NaN()}}, "infinite": {{"A", Count, math.Inf(-1)}},
		"twice": {{"A", Count, 1}, {"A", Count, 2}}, "a dimension's name": {{"Env", Count, 1}}, "the format's own": {{"_aws", Count, 1}}, "no name": {{"", Count, 1}},
	} {
		if _, err := Encode(time.Now(), "Weft", []Dimension{{"Env", "dev"}}, metrics); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
