package proclaunch

import "syscall"

// attributes puts a child into a process group of its own, so that Ctrl-C at
// the terminal reaches the parent only, and has the kernel kill it when the
// parent is gone.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
