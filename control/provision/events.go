package provision

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxLineBytes bounds a line of Terraform's log that is kept until its end.
const maxLineBytes = 1 << 20

// diagnostic is an error as Terraform tells it.
type diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
}

// events reads Terraform's log, a JSON object a line: it tells of progress and
// collects errors.
type events struct {
	say         func(string)
	total, done int
	errors      []diagnostic
	rest        []byte
}

// Write implements io.Writer.
func (e *events) Write(p []byte) (int, error) {
	e.rest = append(e.rest, p...)
	for {
		line, after, ok := bytes.Cut(e.rest, []byte("\n"))
		if !ok {
			break
		}
		e.line(line)
		e.rest = after
	}
	if len(e.rest) > maxLineBytes {
		e.rest = nil
	}
	return len(p), nil
}

var verbs = map[string]string{"create": "made", "update": "changed", "delete": "removed", "replace": "replaced"}

func (e *events) line(text []byte) {
	var l struct {
		Type       string     `json:"type"`
		Diagnostic diagnostic `json:"diagnostic"`
		Hook       struct {
			Action   string `json:"action"`
			Resource struct {
				Address string `json:"addr"`
			} `json:"resource"`
		} `json:"hook"`
	}
	if json.Unmarshal(text, &l) != nil {
		return
	}
	switch {
	case l.Type == "diagnostic" && l.Diagnostic.Severity == "error":
		e.errors = append(e.errors, l.Diagnostic)
	case l.Type == "apply_complete" && verbs[l.Hook.Action] != "":
		e.done++
		if e.done <= e.total {
			e.say(fmt.Sprintf("%d of %d: %s %s", e.done, e.total, verbs[l.Hook.Action], l.Hook.Resource.Address))
		}
	}
}
