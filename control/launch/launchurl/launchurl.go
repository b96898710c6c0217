// Package launchurl opens the launcher that a URL names.
package launchurl

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/launch/proclaunch"
)

// Options are what drivers need that a URL cannot say.
type Options struct {
	Process proclaunch.Options
}

// Opened is a launcher with its end.
type Opened struct {
	launch.Launcher
	// Complete says that List names every process there is, at once: what it
	// does not name has ended.
	Complete bool
	// Close ends what the launcher holds; for proc also every child.
	Close func() error
}

var schemes = map[string]func(*url.URL, Options) (Opened, error){
	"proc": func(u *url.URL, o Options) (Opened, error) {
		var err error
		if o.Process.Capacity, err = number(u, "capacity", o.Process.Capacity); err != nil {
			return Opened{}, err
		}
		l := proclaunch.New(o.Process)
		return Opened{l, true, l.Close}, nil
	},
	"dryrun": func(u *url.URL, _ Options) (Opened, error) {
		capacity, err := number(u, "capacity", 0)
		return Opened{dryrun.New(capacity), false, func() error { return nil }}, err
	},
}

// Open returns the launcher of raw: "proc:" for processes on this machine,
// "dryrun:" for none; both take "?capacity=N".
func Open(raw string, o Options) (Opened, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Opened{}, fmt.Errorf("%q is no launcher URL; try proc: or dryrun: (%w)", raw, err)
	}
	open, ok := schemes[u.Scheme]
	if !ok {
		return Opened{}, fmt.Errorf("no launcher is called %q; choose one of %s", u.Scheme, strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	}
	for name := range u.Query() {
		if name != "capacity" {
			return Opened{}, fmt.Errorf("launcher URL %q: there is no parameter %q, only capacity", raw, name)
		}
	}
	opened, err := open(u, o)
	if err != nil {
		return Opened{}, fmt.Errorf("launcher URL %q: %w", raw, err)
	}
	return opened, nil
}

func number(u *url.URL, name string, otherwise int) (int, error) {
	text := u.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %q; give a whole number", name, text)
	}
	return n, nil
}
