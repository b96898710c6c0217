package provision

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source writes a small tree with one function.
func source(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module weft\n\ngo 1.26\n", "functions/join/main.go": program} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheSameSourceMakesTheSameZip(t *testing.T) {
	const program = "package main\n\nfunc main() { println(1) }\n"
	var zips [2][]byte
	for i := range zips {
		dir, out := source(t, program), t.TempDir() // elsewhere, and later
		if err := BuildFunctions(t.Context(), dir, out, "arm64", []string{"join"}); err != nil {
			t.Fatal(err)
		}
		var err error
		if zips[i], err = os.ReadFile(filepath.Join(out, "join.zip")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(zips[0], zips[1]) {
		t.Error("two builds of one source differ")
	}
	z, err := zip.NewReader(bytes.NewReader(zips[0]), int64(len(zips[0])))
	if err != nil || len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode() != 0o755 {
		t.Fatalf("the zip holds %v, %v", z.File, err)
	}
	f, err := z.Open("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(bytes.NewReader(text))
	if err != nil || e.Machine != elf.EM_AARCH64 || e.Section(".interp") != nil {
		t.Errorf("the program is not a static one for ARM: %v", err)
	}
}

func TestBuildFaults(t *testing.T) {
	for _, c := range []struct{ name, program, arch, want string }{
		{"arch", "package main\n", "riscv", "it must be arm64 or x86_64"},
		{"a program that does not compile", "package main\n\nfunc main() { nonsense }\n", "arm64", "undefined: nonsense"},
	} {
		err := BuildFunctions(t.Context(), source(t, c.program), t.TempDir(), c.arch, []string{"join"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCheckFunctions(t *testing.T) {
	dir := t.TempDir()
	for _, name := range Functions[1:] {
		if err := os.WriteFile(filepath.Join(dir, name+".zip"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckFunctions(dir); err == nil || strings.Count(err.Error(), "there is no") != 1 || !strings.Contains(err.Error(), "replan.zip") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "replan.zip"), make([]byte, MaxZipBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckFunctions(dir); err == nil || !strings.Contains(err.Error(), "more than the") {
		t.Errorf("got %v", err)
	}
}

func TestFindSource(t *testing.T) {
	root := source(t, "package main\n")
	if got := FindSource(filepath.Join(root, "functions", "join")); got != root {
		t.Errorf("found %q", got)
	}
	if got := FindSource(os.TempDir()); got != "" {
		t.Errorf("found %q outside any source", got)
	}
}
