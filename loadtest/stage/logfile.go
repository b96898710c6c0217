package stage

import (
	"os"
	"sync"
)

// maxLogBytes bounds a log file; the one before it is kept as .old.
const maxLogBytes = 8 << 20

// logFile is a file of bounded size, made at the first write. A log that
// cannot be written is no reason to stop a world: what goes to it is lost.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size+int64(len(p)) > maxLogBytes {
		_ = l.file.Close()
		_ = os.Rename(l.path, l.path+".old")
		l.file = nil
	}
	if l.file == nil {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return len(p), nil
		}
		l.file, l.size = f, 0
		if at, err := f.Stat(); err == nil {
			l.size = at.Size()
		}
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// Close closes the file. A nil logFile has none.
func (l *logFile) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
