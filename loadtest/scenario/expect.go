package scenario

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Expectation is one condition on a number of the report.
type Expectation struct {
	Key    string // as written: a dotted path, the path with underscores, or a unique last name
	Op     string // one of Operators
	Bound  float64
	Source string // the condition as written
	path   string // dotted
}

// Operators are those of expectations; a bare number is "==".
var Operators = []string{">=", "<=", "==", "!=", ">", "<"}

// ParseExpectation returns the condition that text puts on the report's key.
// Its errors say what was found and what was expected.
func ParseExpectation(key, text string) (Expectation, error) {
	e := Expectation{Key: key, Op: "==", Source: text}
	path, ok := reportPath(key)
	if !ok {
		return e, fmt.Errorf("found an unknown name, expected a number of the report, such as %s", strings.Join(nearest(key), ", "))
	}
	e.path = path
	number := strings.TrimSpace(text)
	for _, op := range Operators {
		if rest, ok := strings.CutPrefix(number, op); ok {
			e.Op, number = op, strings.TrimSpace(rest)
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v != v {
		return e, fmt.Errorf("found %q, expected a number, or one of %s and a number", text, strings.Join(Operators, " "))
	}
	e.Bound = v
	return e, nil
}

// about reports whether e's number is below the report's name.
func (e Expectation) about(name string) bool {
	return e.path == name || strings.HasPrefix(e.path, name+".")
}

func (e Expectation) String() string {
	if e.Op == "==" {
		return e.Key + ": " + strings.TrimSpace(strings.TrimPrefix(e.Source, "=="))
	}
	return e.Key + " " + e.Op + " " + strconv.FormatFloat(e.Bound, 'g', -1, 64)
}

func (e Expectation) holds(v float64) bool {
	switch e.Op {
	case ">=":
		return v >= e.Bound
	case "<=":
		return v <= e.Bound
	case "!=":
		return v != e.Bound
	case ">":
		return v > e.Bound
	case "<":
		return v < e.Bound
	}
	return v == e.Bound
}

// Judge fills r.Expect. A number of a list must hold for each of its elements,
// and for one at least.
func (r *Report) Judge(expect []Expectation) {
	numbers := flatten(r)
	r.Expect = make([]Verdict, 0, len(expect))
	for _, e := range expect {
		values := numbers[e.path]
		v := Verdict{Check: e.String(), OK: len(values) > 0, Got: "nothing: it did not happen"}
		for i, n := range values {
			if ok := e.holds(n); i == 0 || v.OK && !ok {
				v.OK, v.Got = ok, n
			}
		}
		r.Expect = append(r.Expect, v)
	}
}

// flatten returns every number of r by its dotted path; those of the elements
// of a list share one.
func flatten(r *Report) map[string][]float64 {
	raw, err := json.Marshal(r)
	if err != nil {
		panic("scenario: the report is not JSON: " + err.Error()) // a NaN: fail the run where it was made
	}
	var tree map[string]any
	_ = json.Unmarshal(raw, &tree)
	numbers := map[string][]float64{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case float64:
			numbers[path] = append(numbers[path], v)
		case []any:
			for _, x := range v {
				walk(path, x)
			}
		case map[string]any:
			for k, x := range v {
				walk(strings.TrimPrefix(path+"."+k, "."), x)
			}
		}
	}
	walk("", tree)
	return numbers
}

// reportPaths are the paths of all numbers of a report.
var reportPaths = func() []string {
	paths := flatten(&Report{Recovery: []Recovery{{}}, Drill: &Drill{}, Cloud: &Cloud{}, Cost: &Cost{}})
	return slices.Sorted(maps.Keys(paths))
}()

// reportPath finds the path that key means.
func reportPath(key string) (string, bool) {
	var leaves []string
	for _, p := range reportPaths {
		if p == key || strings.ReplaceAll(p, ".", "_") == key {
			return p, true
		}
		if strings.HasSuffix(p, "."+key) {
			leaves = append(leaves, p)
		}
	}
	if len(leaves) == 1 {
		return leaves[0], true
	}
	return "", false
}

// nearest returns the three names most like key, by shared pairs of letters.
func nearest(key string) []string {
	pairs := func(s string) map[string]bool {
		set := map[string]bool{}
		for i := range max(len(s)-1, 0) {
			set[s[i:i+2]] = true
		}
		return set
	}
	want := pairs(strings.ReplaceAll(key, "_", "."))
	likeness := func(p string) float64 {
		n, have := 0, pairs(p)
		for s := range have {
			if want[s] {
				n++
			}
		}
		return float64(n) / float64(len(have)+len(want))
	}
	paths := slices.Clone(reportPaths)
	slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(likeness(b), likeness(a)) })
	return paths[:3]
}
