// Package launchurl opens the launcher that a URL names. A program says which
// drivers it knows, and so links: [Local] are those of this machine, ecsurl and
// ec2url in sub-folders hold those of the cloud.
package launchurl

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/launch/label"
	"weft/control/launch/proclaunch"
	"weft/control/mesh"
)

// Options are what drivers need that a URL cannot say.
type Options struct {
	Process proclaunch.Options
	// Owner is whose machines those of the cloud are.
	Owner label.Owner
}

// Opened is a launcher with its end.
type Opened struct {
	launch.Launcher
	// Complete says that List names every process there is, at once: what it
	// does not name has ended. Where it is not set, as in the cloud, a process
	// may be listed a moment late.
	Complete bool
	// Tend keeps what the launcher holds ready, such as a warm pool. To be
	// called every minute; launch.ErrNoCapacity if there is no room for it now.
	Tend func(context.Context) error
	// Close ends what the launcher holds; for proc also every child.
	Close func() error
}

// filled has a function for everything.
func (o Opened) filled() Opened {
	if o.Tend == nil {
		o.Tend = func(context.Context) error { return nil }
	}
	if o.Close == nil {
		o.Close = func() error { return nil }
	}
	return o
}

// Driver opens the launchers of a scheme.
type Driver struct {
	Scheme     string
	Form       string   // how its URLs are written
	Parameters []string // that they may have
	Open       func(context.Context, *url.URL, Options) (Opened, error)
}

// Local are "proc:" for processes on this machine and "dryrun:" for none; both
// take "?capacity=N".
var Local = []Driver{
	{"dryrun", "dryrun:?capacity=N", []string{"capacity"}, func(_ context.Context, u *url.URL, _ Options) (Opened, error) {
		capacity, err := Number(u, "capacity", 0)
		return Opened{Launcher: dryrun.New(capacity)}, err
	}},
	{"proc", "proc:?capacity=N", []string{"capacity"}, func(_ context.Context, u *url.URL, o Options) (Opened, error) {
		var err error
		if o.Process.Capacity, err = Number(u, "capacity", o.Process.Capacity); err != nil {
			return Opened{}, err
		}
		l := proclaunch.New(o.Process)
		return Opened{Launcher: l, Complete: true, Close: l.Close}, nil
	}},
}

// Open returns the launcher of raw, by one of the drivers.
func Open(ctx context.Context, raw string, o Options, drivers ...Driver) (Opened, error) {
	var forms []string
	for _, d := range drivers {
		forms = append(forms, d.Form)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return Opened{}, fmt.Errorf("%q is no launcher URL; write one as %s", raw, strings.Join(forms, " or "))
	}
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Scheme == u.Scheme })
	if i < 0 {
		return Opened{}, fmt.Errorf("no launcher is called %q here; write one as %s", u.Scheme, strings.Join(forms, " or "))
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Opened{}, fmt.Errorf("launcher URL %q: what follows the question mark is malformed; write it as %s", raw, drivers[i].Form)
	}
	for name, values := range query {
		if !slices.Contains(drivers[i].Parameters, name) {
			return Opened{}, fmt.Errorf("launcher URL %q: there is no parameter %q, only %s", raw, name, strings.Join(drivers[i].Parameters, ", "))
		}
		if len(values) > 1 {
			return Opened{}, fmt.Errorf("launcher URL %q: %s is given %d times", raw, name, len(values))
		}
	}
	opened, err := drivers[i].Open(ctx, u, o)
	if err != nil {
		return Opened{}, fmt.Errorf("launcher URL %q: %w", raw, err)
	}
	return opened.filled(), nil
}

// Number reads a parameter that is a whole number, 0 or more.
func Number(u *url.URL, name string, otherwise int) (int, error) {
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

// List reads a parameter that is a list with commas.
func List(u *url.URL, name string) []string {
	return slices.DeleteFunc(strings.Split(u.Query().Get(name), ","), func(s string) bool { return s == "" })
}

// Most reads how many processes of each role there may be: max_nodes, and
// max_gateways, which is the same unless given.
func Most(u *url.URL) (map[mesh.Role]int, error) {
	nodes, err := Number(u, "max_nodes", 0)
	if err != nil {
		return nil, err
	}
	gateways, err := Number(u, "max_gateways", nodes)
	return map[mesh.Role]int{mesh.RoleNode: nodes, mesh.RoleGateway: gateways}, err
}
