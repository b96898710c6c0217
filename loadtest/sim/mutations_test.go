package sim

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

var mutants = flag.String("mutants", "quick", "which planted violations to look for: quick, all, or names of mutations/*.patch with commas between")

// quick are caught in their first seed, or almost.
var quick = []string{"drop-received", "forget-early", "low-from-memory"}

const (
	mutantSeeds   = 500 // within which a planted violation must be caught
	coveredSeeds  = 20  // of what other rules make harmless
	mutantsAtOnce = 2
)

// TestPlantedViolationsAreCaught breaks one rule of the real code at a time,
// builds the program and has it run seeds until they find out.
func TestPlantedViolationsAreCaught(t *testing.T) {
	places := make(chan struct{}, mutantsAtOnce)
	for _, file := range chosen(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".patch"), func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			harmless, seeds := filepath.Base(filepath.Dir(file)) == "covered", mutantSeeds
			if harmless {
				seeds = coveredSeeds
			}
			dir := t.TempDir()
			overlay, err := plant(file, filepath.Join("..", ".."), dir)
			if err != nil {
				t.Fatal(err)
			}
			r := runMutant(t, dir, overlay, seeds)
			switch {
			case len(r.Violations) == 0 && !harmless:
				t.Errorf("%d seeds did not find it", r.Seeds)
			case len(r.Violations) > 0 && harmless:
				t.Errorf("it is not harmless: seed %d: %s", r.Violations[0].Seed, r.Violations[0].What)
			case harmless:
				t.Logf("harmless in %d seeds", r.Seeds)
			default:
				t.Logf("caught by seed %d at %.1f s: %s", r.Violations[0].Seed, r.Violations[0].AtS, r.Violations[0].What)
			}
		})
	}
}

func chosen(t *testing.T) []string {
	var all []string
	for _, pattern := range []string{"mutations/*.patch", "mutations/covered/*.patch"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		all = append(all, files...)
	}
	names := quick
	switch *mutants {
	case "all":
		return all
	case "quick":
	default:
		names = strings.Split(*mutants, ",")
	}
	files := slices.DeleteFunc(all, func(f string) bool {
		return !slices.Contains(names, strings.TrimSuffix(filepath.Base(f), ".patch"))
	})
	if len(files) != len(names) {
		t.Fatalf("%v are not all in mutations", names)
	}
	return files
}

// plant applies a patch to copies in dir of the sources below root, and
// returns the overlay for go build. Lines may have moved since the patch was
// made; what it replaces must be there exactly once.
func plant(patch, root, dir string) (overlay string, err error) {
	in, err := os.Open(patch)
	if err != nil {
		return "", err
	}
	defer in.Close()
	files, header, err := gitdiff.Parse(in)
	if err != nil {
		return "", err
	}
	if len(files) == 0 || !strings.HasPrefix(header, "Breaks ") {
		return "", errors.New("a patch says first what it breaks, and then how")
	}
	replace := map[string]string{}
	for i, f := range files {
		name, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(f.NewName)))
		if err != nil {
			return "", err
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		text := string(source)
		for _, fragment := range f.TextFragments {
			before, after := sides(fragment)
			if n := strings.Count(text, before); n != 1 {
				return "", fmt.Errorf("%s no longer applies: what it replaces at line %d is %d times in %s", patch, fragment.OldPosition, n, f.NewName)
			}
			text = strings.Replace(text, before, after, 1)
		}
		to := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[name] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o644)
}

// sides returns what fragment replaces, and by what.
func sides(fragment *gitdiff.TextFragment) (before, after string) {
	for _, l := range fragment.Lines {
		if l.Op != gitdiff.OpAdd {
			before += l.Line
		}
		if l.Op != gitdiff.OpDelete {
			after += l.Line
		}
	}
	return before, after
}

// runMutant builds the program with overlay and runs seeds to the first violation.
func runMutant(t *testing.T, dir, overlay string, seeds int) (r Report) {
	program, report := filepath.Join(dir, "loadtest.exe"), filepath.Join(dir, "report.json")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "weft/loadtest/cmd/loadtest")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("it does not build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), program, "sim", "--stop", "--jobs", "1",
		"--seeds", fmt.Sprint(seeds), "--report", report).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("%v\n%s", err, out)
	}
	data, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("%v\n%s", readErr, out)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if (err != nil) != (len(r.Violations) > 0) {
		t.Fatalf("status %v with %d violations", err, len(r.Violations))
	}
	return r
}

func TestPatchesMustApply(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("package a\n\nvar moved int\n\nvar x = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		patch string
		ok    bool
	}{
		{"Breaks nothing.\n\ndiff --git a/a.go b/a.go\n--- a/a.go\n+++ b/a.go\n@@ -1,2 +1,2 @@\n \n-var x = 1\n+var x = 2\n", true},
		{"Breaks nothing.\n\ndiff --git a/a.go b/a.go\n--- a/a.go\n+++ b/a.go\n@@ -1,2 +1,2 @@\n \n-var x = 3\n+var x = 2\n", false},
		{"diff --git a/a.go b/a.go\n--- a/a.go\n+++ b/a.go\n@@ -1,2 +1,2 @@\n \n-var x = 1\n+var x = 2\n", false},
		{"Breaks nothing.\n\n--- a/b.go\n+++ b/b.go\n@@ -1,2 +1,2 @@\n \n-var x = 1\n+var x = 2\n", false},
	} {
		patch := filepath.Join(dir, "c.patch")
		if err := os.WriteFile(patch, []byte(c.patch), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := plant(patch, root, dir); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.patch, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "0.go")); err != nil || !strings.Contains(string(text), "var x = 2") {
		t.Errorf("%s, %v", text, err)
	}
}
