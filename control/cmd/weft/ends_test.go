//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a weft dev in a process of its own, with its children.
type running struct {
	*exec.Cmd
	words    *bytes.Buffer
	children []*os.File // pidfds
	tmp      string
}

// begin starts weft dev and returns when its fleet stands.
func begin(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{words: &bytes.Buffer{}, tmp: t.TempDir()}
	r.Cmd = exec.Command(filepath.Join(binDir(t), "weft"), append([]string{"dev", "--listen", "127.0.0.1:0"}, args...)...)
	r.Env = append(os.Environ(), "TMPDIR="+r.tmp)
	stderr, err := r.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill(); _ = r.Wait() })
	var url string
	buf := make([]byte, 4096)
	for url == "" {
		n, err := stderr.Read(buf)
		r.words.Write(buf[:n])
		if m := regexp.MustCompile(`http://[0-9.:]+`).FindString(r.words.String()); m != "" && strings.Contains(r.words.String(), "\n") {
			url = m
		}
		if err != nil {
			t.Fatalf("it ended: %s", r.words)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	awaitFleet(t, url, 4)
	http.DefaultClient.CloseIdleConnections()
	r.children = childrenOf(t, r.Process.Pid)
	if len(r.children) < 4 {
		t.Fatalf("%d children", len(r.children))
	}
	return r
}

// awaitFleet follows the page's events until n processes run.
func awaitFleet(t *testing.T, url string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Count(lines.Text(), `"state":"ready"`) >= n {
			return
		}
	}
	t.Fatalf("the fleet did not come up: %v", lines.Err())
}

// childrenOf opens a pidfd, which no later process can be taken for, of each
// child of pid.
func childrenOf(t *testing.T, pid int) (out []*os.File) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			fd, err := unix.PidfdOpen(child, 0)
			if err != nil {
				t.Fatal(err)
			}
			file := os.NewFile(uintptr(fd), f)
			t.Cleanup(func() { file.Close() })
			out = append(out, file)
		}
	}
	return out
}

// gone waits until all children have ended.
func (r *running) gone(t *testing.T) {
	t.Helper()
	for _, c := range r.children {
		fds := []unix.PollFd{{Fd: int32(c.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 5000)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(fds, 5000)
		}
		if n != 1 || err != nil {
			t.Errorf("child %s lives on: %v", c.Name(), err)
		}
	}
}

func TestNoOrphansWhenKilled(t *testing.T) {
	r := begin(t)
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.gone(t)
}

// A signal to the whole foreground group, as Ctrl-C is, ends everything in
// good order and takes the temporary world along.
func TestInterrupt(t *testing.T) {
	for _, times := range []int{1, 2} {
		r := begin(t)
		for range times {
			if err := r.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		err := r.Wait()
		r.gone(t)
		left, _ := filepath.Glob(filepath.Join(r.tmp, "weft-*"))
		if times == 1 && (err != nil || len(left) > 0 || time.Since(began) > 15*time.Second) {
			t.Errorf("it ended with %v after %s and left %v", err, time.Since(began), left)
		}
	}
}

// A mesh that was killed leaves a world that goes on.
func TestKilledWorldGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "world")
	r := begin(t, "--data", dir)
	if err := r.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = r.Wait()
	r.gone(t)
	begin(t, "--data", dir)
}
