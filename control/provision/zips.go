package provision

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Functions are what is deployed, by the names of their folders.
var Functions = []string{"replan", "sweep", "drain", "join", "bill"}

// MaxZipBytes bounds a function's zip: a larger one starts slowly.
const MaxZipBytes = 8 << 20

// zipTime is when everything in a zip was made, so that the same source makes
// the same bytes and a second plan is empty.
var zipTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// BuildFunctions builds the named functions from the source tree at source for
// a Lambda architecture, arm64 or x86_64, and writes one zip each into dir.
func BuildFunctions(ctx context.Context, source, dir, arch string, functions []string) error {
	goarch, ok := map[string]string{"arm64": "arm64", "x86_64": "amd64"}[arch]
	if !ok {
		return fmt.Errorf("the architecture is %q; it must be arm64 or x86_64", arch)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "weft-functions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary directory
	for _, name := range functions {
		binary := filepath.Join(work, name)
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -buildid=", "-o", binary, "./functions/"+name)
		build.Dir = source
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
			return errors.New("functions are built with Go, which is not here; install it, or give their zips with --zips")
		} else if err != nil {
			return fmt.Errorf("function %s does not build: %w: %s", name, err, lastLines(out))
		}
		size, err := zipBootstrap(filepath.Join(dir, name+".zip"), binary)
		if err != nil {
			return fmt.Errorf("function %s cannot be zipped: %w", name, err)
		}
		if size > MaxZipBytes {
			return fmt.Errorf("the zip of function %s takes %d bytes, more than the %d that start quickly; link less", name, size, MaxZipBytes)
		}
	}
	return nil
}

// CheckFunctions reports which of the zips are missing in dir or too large.
func CheckFunctions(dir string) error {
	var faults []error
	for _, name := range Functions {
		info, err := os.Stat(filepath.Join(dir, name+".zip"))
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("there is no %s.zip in %s; weft deploy builds it in a checkout of the source", name, dir))
		case info.Size() > MaxZipBytes:
			faults = append(faults, fmt.Errorf("%s.zip takes %d bytes, more than the %d that start quickly", name, info.Size(), MaxZipBytes))
		}
	}
	return errors.Join(faults...)
}

// zipBootstrap writes the zip at path that holds the program at binary under
// the name that Lambda runs, and returns its size.
func zipBootstrap(path, binary string) (size int64, err error) {
	from, err := os.Open(binary)
	if err != nil {
		return 0, err
	}
	defer from.Close() //nolint:errcheck // it is read
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	head := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: zipTime}
	head.SetMode(0o755)
	w, err := z.CreateHeader(head)
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(w, from); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	return int64(packed.Len()), os.WriteFile(path, packed.Bytes(), 0o644)
}

// FindSource returns the root of the source tree that dir is in, or nothing.
func FindSource(dir string) string {
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module weft\n") {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// lastLines keeps the end of a build's output, which says what is wrong.
func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
