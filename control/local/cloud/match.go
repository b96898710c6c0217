package cloud

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// matches reports whether event fits a pattern of EventBridge, or of an event
// source mapping's filter: both are decoded JSON. What it knows are values,
// prefix, anything-but and exists.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
func matches(pattern, event any) bool {
	p, ok := pattern.(map[string]any)
	if !ok {
		return false
	}
	e, _ := event.(map[string]any)
	for name, want := range p {
		got, there := e[name]
		switch want := want.(type) {
		case map[string]any:
			if !matches(want, got) {
				return false
			}
		case []any:
			if !oneOf(want, got, there) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func oneOf(alternatives []any, got any, there bool) bool {
	if list, ok := got.([]any); ok {
		for _, g := range list {
			if oneOf(alternatives, g, true) {
				return true
			}
		}
		return false
	}
	for _, a := range alternatives {
		if rule, ok := a.(map[string]any); ok {
			if follows(rule, got, there) {
				return true
			}
		} else if there && a == got {
			return true
		}
	}
	return false
}

func follows(rule map[string]any, got any, there bool) bool {
	text, isText := got.(string)
	for name, v := range rule {
		switch name {
		case "exists":
			return v == there
		case "prefix":
			want, ok := v.(string)
			return ok && isText && strings.HasPrefix(text, want)
		case "anything-but":
			if list, ok := v.([]any); ok {
				return there && !oneOf(list, got, there)
			}
			return there && v != got
		}
	}
	return false
}

// schedule is when a rule is due.
type schedule struct {
	every time.Duration // of rate(…)
	cron  *cron
}

// parseSchedule reads rate(N unit) and cron(minutes hours day-of-month month
// day-of-week year).
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
func parseSchedule(text string) (schedule, error) {
	fault := fmt.Errorf("%q is no schedule; write rate(1 minute) or cron(0 12 * * ? *)", text)
	kind, rest, ok := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	if !ok || !strings.HasSuffix(text, ")") {
		return schedule{}, fault
	}
	fields := strings.Fields(rest)
	switch kind {
	case "rate":
		units := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}
		if len(fields) != 2 {
			return schedule{}, fault
		}
		n, err := strconv.Atoi(fields[0])
		unit := units[strings.TrimSuffix(fields[1], "s")]
		if err != nil || n < 1 || n > 1e6 || unit == 0 {
			return schedule{}, fault
		}
		return schedule{every: time.Duration(n) * unit}, nil
	case "cron":
		c, err := parseCron(fields)
		if err != nil {
			return schedule{}, fmt.Errorf("%w: %w", fault, err)
		}
		return schedule{cron: c}, nil
	}
	return schedule{}, fault
}

// searchYears bounds the search for a date that a cron expression names.
const searchYears = 8

// next returns when the schedule is due after t; ok is false if it never is.
func (s schedule) next(t time.Time) (at time.Time, ok bool) {
	if s.cron == nil {
		return t.Add(s.every), true
	}
	at = t.UTC().Truncate(time.Minute).Add(time.Minute)
	for end := at.AddDate(searchYears, 0, 0); at.Before(end); {
		switch {
		case !s.cron.day(at):
			at = time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, time.UTC)
		case !s.cron.hours[at.Hour()]:
			at = at.Truncate(time.Hour).Add(time.Hour)
		case !s.cron.minutes[at.Minute()]:
			at = at.Add(time.Minute)
		default:
			return at, true
		}
	}
	return time.Time{}, false
}

// cron is the sets of a cron expression.
type cron struct{ minutes, hours, days, months, weekdays, years map[int]bool }

func (c *cron) day(t time.Time) bool {
	return c.years[t.Year()] && c.months[int(t.Month())] && c.days[t.Day()] && c.weekdays[int(t.Weekday())+1]
}

func parseCron(fields []string) (*cron, error) {
	if len(fields) != 6 {
		return nil, fmt.Errorf("it has %d fields instead of 6", len(fields))
	}
	c := &cron{}
	months := strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
	weekdays := strings.Fields("SUN MON TUE WED THU FRI SAT")
	for i, f := range []struct {
		set         *map[int]bool
		least, most int
		names       []string
	}{{&c.minutes, 0, 59, nil}, {&c.hours, 0, 23, nil}, {&c.days, 1, 31, nil}, {&c.months, 1, 12, months}, {&c.weekdays, 1, 7, weekdays}, {&c.years, 1970, 2199, nil}} {
		set, err := parseField(fields[i], f.least, f.most, f.names)
		if err != nil {
			return nil, err
		}
		*f.set = set
	}
	return c, nil
}

// parseField reads lists, ranges and steps.
func parseField(text string, least, most int, names []string) (map[int]bool, error) {
	set := map[int]bool{}
	number := func(s string) (int, error) {
		for i, n := range names {
			if strings.EqualFold(n, s) {
				return i + 1, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%q is not in %d to %d", s, least, most)
		}
		return n, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step, err := 1, error(nil)
		if stepped {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return nil, fmt.Errorf("%q is no step", stepText)
			}
		}
		from, to := least, most
		if span != "*" && span != "?" {
			a, b, ranged := strings.Cut(span, "-")
			if from, err = number(a); err != nil {
				return nil, err
			}
			switch {
			case ranged:
				if to, err = number(b); err != nil {
					return nil, err
				}
			case !stepped:
				to = from
			}
		}
		for n := from; n <= to; n += step {
			set[n] = true
		}
	}
	return set, nil
}
