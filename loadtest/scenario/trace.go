package scenario

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Trace is a recorded crowd.
type Trace struct {
	People []Person // by their number in the file
	Length time.Duration
}

// Person is one person of a trace, present from the first to the last sample.
type Person struct {
	Samples []Sample // ascending in At, at least one
}

// Sample is where a person was.
type Sample struct {
	At     time.Duration
	XM, YM float64
}

// Place returns where the person is at time at, on the line between samples.
// ok is false while the person is not present.
func (p *Person) Place(at time.Duration) (x, y float64, ok bool) {
	i, found := slices.BinarySearchFunc(p.Samples, at, func(s Sample, at time.Duration) int { return cmp.Compare(s.At, at) })
	switch {
	case found:
		return p.Samples[i].XM, p.Samples[i].YM, true
	case i == 0 || i == len(p.Samples):
		return 0, 0, false
	}
	a, b := p.Samples[i-1], p.Samples[i]
	f := float64(at-a.At) / float64(b.At-a.At)
	return a.XM + f*(b.XM-a.XM), a.YM + f*(b.YM-a.YM), true
}

// The limits of a trace.
const (
	maxTraceSamples = 10_000_000
	maxTraceSeconds = 24 * 3600
	maxTraceM       = 1_000_000
)

// traceHeader is the first line of a trace.
var traceHeader = []string{"seconds", "person", "x_m", "y_m"}

// ReadTrace reads CSV with the columns seconds, person, x_m, y_m and a header.
// Errors name the line of file.
func ReadTrace(file string, r io.Reader) (*Trace, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	in.FieldsPerRecord = -1
	people := map[int]*Person{}
	t := &Trace{}
	for n := 0; ; n++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var p *csv.ParseError
			if errors.As(err, &p) {
				return nil, fmt.Errorf("%w: %s:%d: found %s, expected comma-separated values", ErrInvalid, file, p.Line, p.Err)
			}
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		line, _ := in.FieldPos(0)
		fault := func(f string, a ...any) error {
			return fmt.Errorf("%w: %s:%d: %s", ErrInvalid, file, line, fmt.Sprintf(f, a...))
		}
		if n == 0 {
			if !slices.Equal(row, traceHeader) {
				return nil, fault("found %q, expected the header %s", strings.Join(row, ","), strings.Join(traceHeader, ","))
			}
			continue
		}
		if n > maxTraceSamples {
			return nil, fault("found more samples, expected at most %d", maxTraceSamples)
		}
		if len(row) != len(traceHeader) {
			return nil, fault("found %d fields, expected %s", len(row), strings.Join(traceHeader, ","))
		}
		var v [4]float64
		for i, f := range row {
			x, err := strconv.ParseFloat(f, 64)
			if err != nil || math.IsNaN(x) || math.Abs(x) > maxTraceM || i == 0 && (x < 0 || x > maxTraceSeconds) || i == 1 && (x < 0 || x != math.Trunc(x)) {
				return nil, fault("%s: found %q, expected %s", traceHeader[i], f,
					[]string{"seconds from 0 to 86400", "a whole number", "meters", "meters"}[i])
			}
			v[i] = x
		}
		p := people[int(v[1])]
		if p == nil {
			p = &Person{}
			people[int(v[1])] = p
		}
		at := time.Duration(math.Round(v[0] * float64(time.Second)))
		if k := len(p.Samples); k > 0 && p.Samples[k-1].At >= at {
			return nil, fault("person %d: found a sample at %gs, expected one after %gs", int(v[1]), v[0], p.Samples[k-1].At.Seconds())
		}
		p.Samples = append(p.Samples, Sample{at, v[2], v[3]})
		t.Length = max(t.Length, at)
	}
	if len(people) == 0 {
		return nil, fmt.Errorf("%w: %s:1: found no samples, expected at least one", ErrInvalid, file)
	}
	numbers := make([]int, 0, len(people))
	for n := range people {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		t.People = append(t.People, *people[n])
	}
	return t, nil
}
