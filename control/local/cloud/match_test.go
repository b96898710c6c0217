package cloud

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, event string
		want           bool
	}{
		{`{}`, `{"a": 1}`, true},
		{`{"source": ["aws.ecs"]}`, `{"source": "aws.ecs", "more": 1}`, true},
		{`{"source": ["aws.ec2", "aws.ecs"]}`, `{"source": "aws.ecs"}`, true},
		{`{"source": ["aws.ec2"]}`, `{"source": "aws.ecs"}`, false},
		{`{"source": ["aws.ec2"]}`, `{}`, false},
		{`{"detail": {"state": ["stopped"]}}`, `{"detail": {"state": "stopped"}}`, true},
		{`{"detail": {"state": ["stopped"]}}`, `{"detail": "stopped"}`, false},
		{`{"n": [1]}`, `{"n": 1}`, true},
		{`{"n": [null]}`, `{"n": null}`, true},
		{`{"n": [null]}`, `{}`, false},
		{`{"tags": ["b"]}`, `{"tags": ["a", "b"]}`, true},
		{`{"a": [{"prefix": "wef"}]}`, `{"a": "weft"}`, true},
		{`{"a": [{"prefix": "wef"}]}`, `{"a": 7}`, false},
		{`{"a": [{"anything-but": "x"}]}`, `{"a": "y"}`, true},
		{`{"a": [{"anything-but": ["x", "y"]}]}`, `{"a": "y"}`, false},
		{`{"a": [{"anything-but": "x"}]}`, `{}`, false},
		{`{"a": [{"exists": false}]}`, `{}`, true},
		{`{"a": [{"exists": true}]}`, `{"a": 1}`, true},
		{`{"a": [{"numeric": [">", 1]}]}`, `{"a": 2}`, false}, // not known: never fits
		{`{"a": "no list"}`, `{"a": "no list"}`, false},
	} {
		var pattern, event any
		if json.Unmarshal([]byte(c.pattern), &pattern) != nil || json.Unmarshal([]byte(c.event), &event) != nil {
			t.Fatalf("%s or %s is not JSON", c.pattern, c.event)
		}
		if got := matches(pattern, event); got != c.want {
			t.Errorf("%s on %s: %v", c.pattern, c.event, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 7, 57, 0, time.UTC) // a Sunday
	for _, c := range []struct{ text, next string }{
		{"rate(1 minute)", "2026-11-22T10:08:57Z"},
		{"rate(2 hours)", "2026-11-22T12:07:57Z"},
		{"cron(* * * * ? *)", "2026-11-22T10:08:00Z"},
		{"cron(0 12 * * ? *)", "2026-11-22T12:00:00Z"},
		{"cron(0/15 * * * ? *)", "2026-11-22T10:15:00Z"},
		{"cron(5 0 1 1 ? 2028)", "2028-01-01T00:05:00Z"},
		{"cron(30 9 ? * MON-FRI *)", "2026-11-23T09:30:00Z"},
		{"cron(0,20 10 ? * 1 *)", "2026-11-22T10:20:00Z"},
		{"cron(0 0 29 FEB ? *)", "2028-02-29T00:00:00Z"},
		{"cron(0 0 1 1 ? 2020)", "never"},
	} {
		s, err := parseSchedule(c.text)
		if err != nil {
			t.Error(err)
			continue
		}
		next, ok := s.next(at)
		got := "never"
		if ok {
			got = next.Format(time.RFC3339)
		}
		if got != c.next {
			t.Errorf("%s: %s, not %s", c.text, got, c.next)
		}
	}
	for _, text := range []string{"", "rate", "rate(1)", "rate(0 minutes)", "rate(1 week)", "cron(* * *)", "cron(61 * * * ? *)", "cron(0/0 * * * ? *)", "cron(a * * * ? *)", "at(now)"} {
		if _, err := parseSchedule(text); err == nil || !strings.Contains(err.Error(), "write rate(1 minute)") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
