// Package launchurl opens the launcher that a URL names. A program says which
// drivers it knows, and so links: [Local] are those of this machine, ecsurl and
// ec2url in sub-folders hold those of the cloud.
package launchurl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weft/control/launch"
	"weft/control/launch/dryrun"
	"weft/control/launch/fallover"
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
	// Release gives back what Tend keeps, and returns how many machines of the
	// owner there still are in any state but over, those with a process included.
	Release func(context.Context) (held int, err error)
	// Used is as in fallover.Member; nil if the launcher cannot be one of several.
	Used func(ctx context.Context, token string) (bool, error)
	// Close ends what the launcher holds; for proc also every child.
	Close func() error
}

// filled has a function for everything.
func (o Opened) filled() Opened {
	if o.Tend == nil {
		o.Tend = func(context.Context) error { return nil }
	}
	if o.Release == nil {
		o.Release = func(context.Context) (int, error) { return 0, nil }
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
		l := dryrun.New(capacity)
		return Opened{Launcher: l, Used: l.Used}, err
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

// member is one of several.
type member struct{ Opened }

// Used implements fallover.Member.
func (m member) Used(ctx context.Context, token string) (bool, error) {
	return m.Opened.Used(ctx, token)
}

// Open returns the launcher of raw, by one of the drivers. Several URLs with
// spaces between them are one launcher that falls over from each to the next.
func Open(ctx context.Context, raw string, o Options, drivers ...Driver) (Opened, error) {
	urls := strings.Fields(raw)
	if len(urls) < 2 {
		return openOne(ctx, raw, o, drivers)
	}
	all := Opened{Complete: true}
	var members []fallover.Member
	var tend []func(context.Context) error
	var release []func(context.Context) (int, error)
	var ends []func() error
	all.Tend = func(ctx context.Context) error {
		return joined(tend, func(f func(context.Context) error) error { return f(ctx) })
	}
	all.Release = func(ctx context.Context) (held int, err error) {
		err = joined(release, func(f func(context.Context) (int, error)) error {
			n, err := f(ctx)
			held += n
			return err
		})
		return held, err
	}
	all.Close = func() error { return joined(ends, func(f func() error) error { return f() }) }
	for _, u := range urls {
		one, err := openOne(ctx, u, o, drivers)
		if err == nil {
			ends = append(ends, one.Close)
			if one.Used == nil {
				err = fmt.Errorf("launcher URL %q cannot be one of several", u)
			}
		}
		if err != nil {
			return Opened{}, errors.Join(err, all.Close())
		}
		all.Complete = all.Complete && one.Complete
		members, tend = append(members, member{one}), append(tend, one.Tend)
		release = append(release, one.Release)
	}
	all.Launcher = fallover.New(members...)
	return all, nil
}

// joined calls f with each of list and joins the errors.
func joined[T any](list []T, f func(T) error) error {
	var faults []error
	for _, t := range list {
		faults = append(faults, f(t))
	}
	return errors.Join(faults...)
}

func openOne(ctx context.Context, raw string, o Options, drivers []Driver) (Opened, error) {
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
