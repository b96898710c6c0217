package scenario

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ErrInvalid is wrapped by every fault of a file: mend the file. Its text
// gives file and line, what was found there and what was expected.
var ErrInvalid = errors.New("invalid scenario")

// maxFaults is how many faults of a file are told at once.
const maxFaults = 10

// decoder reads values off a syntax tree and notes each fault with its line.
type decoder struct {
	file   string
	faults []error
}

// field is a key of a mapping with what takes its value.
type field struct {
	key      string
	required bool
	take     func(d *decoder, path string, n ast.Node)
}

func (d *decoder) fault(n ast.Node, path, f string, a ...any) {
	line := 1
	if n != nil && n.GetToken() != nil && n.GetToken().Position != nil {
		line = n.GetToken().Position.Line
	}
	if path != "" {
		path += ": "
	}
	d.faults = append(d.faults, fmt.Errorf("%s:%d: %s%s", d.file, line, path, fmt.Sprintf(f, a...)))
}

func (d *decoder) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	faults := d.faults
	if more := len(faults) - maxFaults; more > 0 {
		faults = append(faults[:maxFaults:maxFaults], fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(faults...))
}

// document returns the root of the only document in data.
func (d *decoder) document(data []byte) ast.Node {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		line, text := 1, err.Error()
		var at yaml.Error
		if errors.As(err, &at) {
			text = at.GetMessage()
			if t := at.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
		}
		d.faults = append(d.faults, fmt.Errorf("%s:%d: found what cannot be read (%s), expected YAML", d.file, line, text))
		return nil
	}
	if len(tree.Docs) > 1 {
		d.fault(nil, "", "found %d documents, expected one", len(tree.Docs))
		return nil
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		d.fault(nil, "", "found nothing, expected a mapping")
		return nil
	}
	return tree.Docs[0].Body
}

// found describes a node as a reader of the file would.
func found(n ast.Node) string {
	switch v := n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	case *ast.StringNode:
		return strconv.Quote(v.Value)
	case ast.ScalarNode:
		return n.GetToken().Value
	}
	return fmt.Sprintf("%q", n.GetToken().Value)
}

// mapping hands the values of n to the fields of their keys.
func (d *decoder) mapping(path string, n ast.Node, fields ...field) bool {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.fault(n, path, "found %s, expected a mapping with %s", found(n), keys(fields))
		return false
	}
	seen := map[string]bool{}
next:
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		for i := range fields {
			if fields[i].key == key {
				seen[key] = true
				fields[i].take(d, join(path, key), it.Value())
				continue next
			}
		}
		d.fault(it.KeyValue(), join(path, key), "found an unknown key, expected %s", keys(fields))
	}
	for _, f := range fields {
		if f.required && !seen[f.key] {
			d.fault(n, join(path, f.key), "found nothing, expected a value")
			ok = false
		}
	}
	return ok
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

func keys(fields []field) string {
	if len(fields) == 0 {
		return "{}"
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return strings.Join(names, ", ")
}

// list hands each element of n to take.
func (d *decoder) list(path string, n ast.Node, of string, take func(path string, n ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fault(n, path, "found %s, expected a list of %s", found(n), of)
		return
	}
	for i, v := range s.Values {
		take(fmt.Sprintf("%s[%d]", path, i), v)
	}
}

// number returns the value of a scalar number in lo..hi.
func (d *decoder) number(path string, n ast.Node, lo, hi float64, whole bool, what string) (float64, bool) {
	v, ok := 0.0, false
	switch x := n.(type) {
	case *ast.IntegerNode:
		switch i := x.Value.(type) {
		case int64:
			v, ok = float64(i), true
		case uint64:
			v, ok = float64(i), true
		}
	case *ast.FloatNode:
		v, ok = x.Value, !whole || x.Value == math.Trunc(x.Value)
	}
	if !ok || v < lo || v > hi {
		if whole {
			what = "a whole number of " + what
		}
		d.fault(n, path, "found %s, expected %s from %s to %s", found(n), what, plain(lo), plain(hi))
		return 0, false
	}
	return v, true
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func integer(into *int, lo, hi int, what string) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		if v, ok := d.number(path, n, float64(lo), float64(hi), true, what); ok {
			*into = int(v)
		}
	}
}

func decimal(into *float64, lo, hi float64, what string) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		if v, ok := d.number(path, n, lo, hi, false, what); ok {
			*into = v
		}
	}
}

// duration takes Go's notation: 90s, 1m30s, 250ms.
func duration(into *time.Duration, lo, hi time.Duration) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		s, ok := n.(*ast.StringNode)
		if ok {
			if v, err := time.ParseDuration(s.Value); err == nil && v >= lo && v <= hi {
				*into = v
				return
			}
		}
		d.fault(n, path, "found %s, expected a duration from %s to %s, such as 20s", found(n), lo, hi)
	}
}

// word takes one of the allowed words.
func word(into *string, allowed ...string) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		if s, ok := n.(*ast.StringNode); ok {
			for _, a := range allowed {
				if s.Value == a {
					*into = a
					return
				}
			}
		}
		d.fault(n, path, "found %s, expected %s", found(n), strings.Join(allowed, " or "))
	}
}

// meters takes a list of three numbers, each in 0 to most.
func meters(into *[3]float64, lo float64, most func() [3]float64) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		s, ok := n.(*ast.SequenceNode)
		if !ok || len(s.Values) != 3 {
			d.fault(n, path, "found %s, expected three numbers of meters: [x, y, z]", found(n))
			return
		}
		limit := most()
		for i, v := range s.Values {
			if x, ok := d.number(fmt.Sprintf("%s[%d]", path, i), v, lo, limit[i], false, "meters"); ok {
				into[i] = x
			}
		}
	}
}
