package proclaunch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The kernel's scheduler gives each group its quota once in periodMicros; a
// short period keeps a limited node's ticks from stalling in long gaps.
const (
	periodMicros   = 10_000
	minQuotaMicros = 1_000 // the kernel takes no less
)

// cgroups limits the processor time of children, by the first version of the
// kernel's control groups or the second, whichever has the cpu controller.
type cgroups struct {
	base   string // the directory in which ours are made
	second bool
	quota  int64 // microseconds in each period
}

// CheckCPU reports why children could not be limited to share thousandths of
// a core, or nil.
func CheckCPU(share int) error {
	_, err := openCgroups(share)
	return err
}

func openCgroups(share int) (*cgroups, error) {
	quota := int64(share) * periodMicros / 1000
	if quota < minQuotaMicros {
		return nil, fmt.Errorf("a share of %d thousandths of a core is too small; give at least %d", share, minQuotaMicros*1000/periodMicros)
	}
	bases, second, err := cgroupBases()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, base := range bases {
		g := &cgroups{base: base, second: second, quota: quota}
		g.sweep()
		if err := g.try(); err != nil {
			errs = append(errs, err)
			continue
		}
		return g, nil
	}
	return nil, fmt.Errorf("this user may not limit the processor time of processes (%w); run as root, or leave the limit out", errors.Join(errs...))
}

// cgroupBases finds where groups with the cpu controller may be made: within
// our own group, and within the root for a first process that may not divide
// its own.
func cgroupBases() (bases []string, second bool, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	own, err2 := os.ReadFile("/proc/self/cgroup")
	if err := errors.Join(err, err2); err != nil {
		return nil, false, fmt.Errorf("this system has no control groups, so the processor time of processes cannot be limited; leave the limit out: %w", err)
	}
	path := func(controller string) string { // "4:cpu,cpuacct:/x" or "0::/x"
		for line := range strings.Lines(string(own)) {
			if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && has(f[1], controller) {
				return f[2]
			}
		}
		return "/"
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line) // device, place, type, options …
		if len(f) < 4 {
			continue
		}
		switch {
		case f[2] == "cgroup" && has(f[3], "cpu"):
			return []string{filepath.Join(f[1], path("cpu")), f[1]}, false, nil
		case f[2] == "cgroup2":
			controllers, err := os.ReadFile(filepath.Join(f[1], "cgroup.controllers"))
			if err == nil && has(strings.ReplaceAll(strings.TrimSpace(string(controllers)), " ", ","), "cpu") {
				bases, second = []string{filepath.Join(f[1], path("")), f[1]}, true
			}
		}
	}
	if bases == nil {
		return nil, false, errors.New("no cpu controller is mounted here, so the processor time of processes cannot be limited; leave the limit out")
	}
	return bases, second, nil
}

func has(list, item string) bool {
	for _, f := range strings.Split(list, ",") {
		if f == item {
			return true
		}
	}
	return false
}

// try makes and removes a group.
func (g *cgroups) try() error {
	if g.second {
		if err := write(g.base, "cgroup.subtree_control", "+cpu"); err != nil {
			return err
		}
	}
	dir, err := g.make("try")
	g.remove(dir)
	return err
}

func (g *cgroups) make(name string) (string, error) {
	dir := filepath.Join(g.base, fmt.Sprintf("weft-%d-%s", os.Getpid(), name))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if g.second {
		return dir, write(dir, "cpu.max", fmt.Sprintf("%d %d", g.quota, periodMicros))
	}
	return dir, errors.Join(write(dir, "cpu.cfs_period_us", strconv.Itoa(periodMicros)), write(dir, "cpu.cfs_quota_us", strconv.FormatInt(g.quota, 10)))
}

// add puts process pid into a group of its own and returns its directory.
func (g *cgroups) add(pid int) (string, error) {
	dir, err := g.make(strconv.Itoa(pid))
	if err == nil {
		err = write(dir, "cgroup.procs", strconv.Itoa(pid))
	}
	if err != nil {
		g.remove(dir)
		return "", fmt.Errorf("limit the processor time of process %d: %w", pid, err)
	}
	return dir, nil
}

// remove takes an empty group away. A dead process may leave it a moment after
// it is reaped; what stays is swept by the next launcher.
func (g *cgroups) remove(dir string) {
	if dir != "" {
		_ = os.Remove(dir)
	}
}

// sweep removes the groups of launchers that are gone.
func (g *cgroups) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(g.base, "weft-*-*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "weft-%d-", &pid); err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(dir)
		}
	}
}

func write(dir, file, text string) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
}
