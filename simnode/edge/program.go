package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"weft/control/options"
	"weft/simnode/metadata"
	"weft/simnode/world"
)

// NodeMain is the program simnode: it reads the environment, runs, tells
// stderr what went wrong, and returns the exit status.
func NodeMain() int {
	environ, err := environment(context.Background())
	var o options.Node
	if err == nil {
		o, err = options.ReadNode(environ)
	}
	if err == nil {
		err = RunNode(context.Background(), o)
	}
	return report(err)
}

// GatewayMain is the program gateway, likewise.
func GatewayMain() int {
	environ, err := environment(context.Background())
	var o options.Gateway
	if err == nil {
		o, err = options.ReadGateway(environ)
	}
	if err == nil {
		// A steady tick allocates next to nothing, so collections are rare and may
		// come twice as often for half the slack.
		debug.SetGCPercent(gatewayGCPercent)
		err = RunGateway(context.Background(), o)
	}
	return report(err)
}

const gatewayGCPercent = 50

// onEC2 is the value of WEFT_MACHINE where the instance says more.
const onEC2 = "ec2"

// environment returns the program's own, and after it what the instance's tags
// add, once they do.
func environment(ctx context.Context) ([]string, error) {
	environ := os.Environ()
	if os.Getenv("WEFT_MACHINE") != onEC2 {
		return environ, nil
	}
	more, err := metadata.New(os.Getenv).Environ(ctx)
	return append(environ, more...), err
}

func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// exitOrphan is the status of a process whose parent is gone.
const exitOrphan = 3

// obey listens to what is outside the process: the first SIGTERM, SIGINT or
// SIGHUP closes drain, the second ends the program; on EC2 the instance's word
// closes drain, too. The end of file on the lifeline ends the program at once.
// A log that nobody reads any more does not.
func obey(lifeline int, machine string) (drain <-chan struct{}, release func(), err error) {
	leave, told := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	if lifeline != 0 {
		if err := watchLifeline(lifeline); err != nil {
			cancel()
			return nil, nil, err
		}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	if machine == onEC2 {
		tasks.Go(func() {
			if metadata.New(os.Getenv).Leave(ctx) != "" {
				close(told)
			}
		})
	}
	tasks.Go(func() {
		once := sync.OnceFunc(func() { close(leave) })
		for n := 0; ; {
			select {
			case <-signals:
				if n++; n > 1 {
					os.Exit(1)
				}
				once()
			case <-told:
				told = nil
				once()
			case <-ctx.Done():
				return
			}
		}
	})
	return leave, func() {
		signal.Stop(signals)
		cancel()
		tasks.Wait()
	}, nil
}

// watchLifeline ends the program when the other end of the pipe is closed. Its
// goroutine lasts as long as the program.
func watchLifeline(fd int) error {
	f := os.NewFile(uintptr(fd), "lifeline")
	if _, err := f.Stat(); err != nil {
		return fmt.Errorf("WEFT_LIFELINE_FD names descriptor %d, which is not open; unset it when the process is started by hand", fd)
	}
	go func() {
		var b [1]byte
		for {
			if n, err := f.Read(b[:]); n == 0 && err != nil {
				os.Exit(exitOrphan)
			}
		}
	}()
	return nil
}

// Profiles serves profiles of this process at address, on loopback, until stop
// is called, and logs where; nothing if address is empty. Errors are sentences.
func Profiles(ctx context.Context, address string, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	if err := options.ProfileAddress(address); err != nil {
		return nil, err
	}
	l, err := listen(ctx, "WEFT_PPROF", address)
	if err != nil {
		return nil, err
	}
	log.Info("profiles", "url", "http://"+l.Addr().String()+"/debug/pprof/")
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: helloTimeout, ErrorLog: silent}
	var task sync.WaitGroup
	task.Go(func() { _ = s.Serve(l) })
	return func() {
		s.Close() //nolint:errcheck // the process ends
		task.Wait()
	}, nil
}

// actorWork returns how many rounds of world.Burn take costUS microseconds on
// this machine: the best of some runs, since others may be using it too.
func actorWork(costUS int) uint32 {
	if costUS == 0 {
		return 0
	}
	const rounds, runs = 100_000, 20
	best, x := time.Duration(1<<62), uint64(1)
	for range runs {
		began := time.Now()
		x = world.Burn(rounds, x)
		best = min(best, time.Since(began))
	}
	runtime.KeepAlive(x) // so that the work is done
	return uint32(float64(costUS) * float64(time.Microsecond) * rounds / float64(max(best, 1)))
}
