package edge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"weft/control/mesh"
	"weft/simnode/process"
)

// maxRecordBytes bounds the file of a diary; what exceeds it is not kept.
const maxRecordBytes = 256 << 20

// diary keeps each write that an epoch fences in a file, before it is made:
// one JSON process.Request a line. A nil diary keeps nothing.
type diary struct {
	mu   sync.Mutex
	file *os.File
	left int
}

// fenced reports whether op is a write on which an epoch is the condition.
func fenced(op process.Op) bool {
	return op == process.OpAppend || op == process.OpMovePointer || op == process.OpPutPoses || op == process.OpRaisePoses
}

// RecordFile is where a process keeps its writes in the directory of
// WEFT_RECORD_WRITES.
func RecordFile(dir string, id mesh.NodeID, inc mesh.Incarnation) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%d.jsonl", filepath.Base(string(id)), inc))
}

// newDiary returns nil if dir is empty.
func newDiary(dir string, self mesh.Process) (*diary, error) {
	if dir == "" {
		return nil, nil
	}
	f, err := os.OpenFile(RecordFile(dir, self.ID, self.Incarnation), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot record writes (%w); set WEFT_RECORD_WRITES to a directory that can be written, or to nothing", err)
	}
	return &diary{file: f, left: maxRecordBytes}, nil
}

// keep writes r down if it is fenced.
func (k *diary) keep(r *process.Request) {
	if k == nil || !fenced(r.Op) {
		return
	}
	line, err := json.Marshal(r)
	if err != nil {
		return // a request is plain data: never
	}
	line = append(line, '\n')
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left -= len(line); k.left < 0 {
		k.left = 0
		return
	}
	_, _ = k.file.Write(line) // whole or cut short: ReadRecord leaves out half a line
}

func (k *diary) close() {
	if k != nil {
		k.file.Close() //nolint:errcheck // the process ends
	}
}

// ReadRecord returns what the process of that incarnation recorded so far; of a
// last line that it was writing nothing. One that recorded nothing has no file.
func ReadRecord(dir string, id mesh.NodeID, inc mesh.Incarnation) ([]process.Request, error) {
	f, err := os.Open(RecordFile(dir, id, inc))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	var all []process.Request
	for lines, n := bufio.NewReader(f), 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var r process.Request
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s line %s: %w", f.Name(), strconv.Itoa(n), err)
		}
		all = append(all, r)
	}
}
