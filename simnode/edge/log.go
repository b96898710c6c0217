package edge

import (
	"log/slog"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// throttledLog writes at most a few lines a second and counts what it leaves out.
type throttledLog struct {
	to      *slog.Logger
	limit   *rate.Limiter
	omitted atomic.Uint64
}

func newLog(to *slog.Logger) *throttledLog {
	return &throttledLog{to: to, limit: rate.NewLimiter(5, 20)}
}

func (l *throttledLog) info(text string, args ...any) { l.write(l.to.Info, text, args) }
func (l *throttledLog) warn(text string, args ...any) { l.write(l.to.Warn, text, args) }

func (l *throttledLog) write(f func(string, ...any), text string, args []any) {
	if !l.limit.Allow() {
		l.omitted.Add(1)
		return
	}
	if n := l.omitted.Swap(0); n > 0 {
		args = append(args, "omitted", n)
	}
	f(text, args...)
}
