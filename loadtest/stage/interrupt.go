package stage

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"weft/loadtest/run"
)

// Interruptible returns a context that the first Ctrl-C, SIGTERM or end of the
// terminal ends, for an orderly end; the second one ends the program at once.
// The children of a mesh die with it in either case.
func Interruptible(errs io.Writer) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	var task sync.WaitGroup
	task.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
			case <-done:
				return
			}
			if n > 0 {
				os.Exit(run.ExitFailed)
			}
			fmt.Fprintln(errs, "\nending in good order; once more to end at once")
			cancel()
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		task.Wait()
		cancel()
	}
}
