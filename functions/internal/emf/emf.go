// Package emf writes metrics into the log in CloudWatch's embedded metric
// format, from which CloudWatch makes metrics without being called.
package emf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Unit is one that CloudWatch knows.
type Unit string

// The units in use.
const (
	Count        Unit = "Count"
	None         Unit = "None"
	Milliseconds Unit = "Milliseconds"
	Gigabytes    Unit = "Gigabytes"
)

// Metric is a value under a name. Every name with its dimensions costs $0.30 a
// month: never one for each zone, node or player.
type Metric struct {
	Name  string
	Unit  Unit
	Value float64
}

// maxMetrics is what the format allows in one line.
const maxMetrics = 100

// ErrInvalid: the line would be refused, or say something else than was meant.
var ErrInvalid = errors.New("metrics that cannot be written")

// Dimension is a name and value under which all metrics of a line are filed.
type Dimension struct{ Name, Value string }

// Encode returns a line, newline included, of metrics at a time under one set of
// dimensions. Two of the same name, or a value that is no number, are ErrInvalid.
func Encode(at time.Time, namespace string, dimensions []Dimension, metrics []Metric) ([]byte, error) {
	if len(metrics) == 0 || len(metrics) > maxMetrics || namespace == "" {
		return nil, fmt.Errorf("%w: %d in namespace %q; give 1 to %d in a namespace", ErrInvalid, len(metrics), namespace, maxMetrics)
	}
	type definition struct {
		Name string
		Unit Unit
	}
	line := map[string]any{}
	set := func(name string, value any) error {
		if _, taken := line[name]; taken || name == "" || name == "_aws" {
			return fmt.Errorf("%w: the name %q is taken or empty", ErrInvalid, name)
		}
		line[name] = value
		return nil
	}
	var names []string
	for _, d := range dimensions {
		if err := set(d.Name, d.Value); err != nil {
			return nil, err
		}
		names = append(names, d.Name)
	}
	var definitions []definition
	for _, m := range metrics {
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
			return nil, fmt.Errorf("%w: %s is %v", ErrInvalid, m.Name, m.Value)
		}
		if err := set(m.Name, m.Value); err != nil {
			return nil, err
		}
		definitions = append(definitions, definition{m.Name, m.Unit})
	}
	line["_aws"] = map[string]any{
		"Timestamp":         at.UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{"Namespace": namespace, "Dimensions": [][]string{names}, "Metrics": definitions}},
	}
	text, err := json.Marshal(line)
	return append(text, '\n'), err
}
