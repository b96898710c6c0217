// Websockets measures what a message and a connection cost a server that
// writes 1,000 bytes to each of 500 clients 20 times a second, by library:
//
//	go run . coder    # or gobwas, gws, raw
//
// Raw is gobwas/ws for the handshake, and after it the descriptor alone, as
// simnode/edge has it: a write from one loop, no goroutine for a connection.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/lxzan/gws"
	"golang.org/x/sys/unix"
)

const (
	clients = 500
	rounds  = 100
	every   = 50 * time.Millisecond
)

var message = make([]byte, 1000)

func main() {
	if len(os.Args) == 3 {
		serve(os.Args[2])
		return
	}
	cmd := exec.Command(os.Args[0], "server", os.Args[1])
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(err)
	in, err := cmd.StdinPipe()
	check(err)
	check(cmd.Start())
	lines := bufio.NewReader(out)
	url, err := lines.ReadString('\n')
	check(err)
	for range clients {
		conn, br, _, err := ws.Dial(context.Background(), strings.TrimSpace(url))
		check(err)
		go func() {
			if br != nil {
				_, _ = io.CopyN(io.Discard, br, int64(br.Buffered()))
			}
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
	fmt.Fprintln(in, "all are in")
	text, _ := io.ReadAll(lines)
	fmt.Printf("%s: %s", os.Args[1], text)
}

func serve(library string) {
	var mu sync.Mutex
	var writers []func()
	add := func(write func()) {
		mu.Lock()
		writers = append(writers, write)
		mu.Unlock()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { accept(library, w, r, add) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	debug.FreeOSMemory()
	empty := resident()
	fmt.Printf("ws://%s/\n", l.Addr())
	go func() { _ = http.Serve(l, mux) }()
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)
	time.Sleep(time.Second)
	debug.FreeOSMemory()
	idle := resident() - empty
	before := cpu()
	tick := time.NewTicker(every)
	for range rounds {
		for _, write := range writers {
			write()
		}
		<-tick.C
	}
	used := cpu() - before
	fmt.Printf("%.1f µs of CPU a message, %.1f kB an idle connection\n",
		float64(used.Microseconds())/float64(rounds*len(writers)), float64(idle)/float64(len(writers))/1000)
}

func accept(library string, w http.ResponseWriter, r *http.Request, add func(func())) {
	switch library {
	case "coder":
		c, err := coder.Accept(w, r, &coder.AcceptOptions{InsecureSkipVerify: true})
		check(err)
		add(func() { check(c.Write(context.Background(), coder.MessageBinary, message)) })
		_, _, _ = c.Read(context.Background())
	case "gobwas":
		c, _, _, err := ws.UpgradeHTTP(r, w)
		check(err)
		add(func() { check(wsutil.WriteServerBinary(c, message)) })
		go func() { _, _ = wsutil.ReadClientBinary(c) }()
	case "gws":
		u := gws.NewUpgrader(gws.BuiltinEventHandler{}, nil)
		c, err := u.Upgrade(w, r)
		check(err)
		add(func() { check(c.WriteMessage(gws.OpcodeBinary, message)) })
		go c.ReadLoop()
	case "raw":
		c, _, _, err := ws.UpgradeHTTP(r, w)
		check(err)
		raw, err := c.(*net.TCPConn).SyscallConn()
		check(err)
		fd := -1
		check(raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }))
		check(err)
		c.Close()
		var frame []byte
		add(func() {
			frame = append(append(frame[:0], 0x82, 126, byte(len(message)>>8), byte(len(message)&0xff)), message...)
			_, err := unix.Write(fd, frame)
			check(err)
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident() (pages int) {
	text, err := os.ReadFile("/proc/self/statm")
	check(err)
	var all int
	_, err = fmt.Sscan(string(text), &all, &pages)
	check(err)
	return pages * os.Getpagesize()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
