//go:build !unix

package proclaunch

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
