// Package control holds the order of the house: which room may import which,
// and what the pure rooms must not touch. See docs/design.md, "The rooms". The
// source is parsed, not built, so files of every platform count.
package control

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "weft"

// order is the rooms from the bottom to the top: a room imports only rooms of
// earlier rows. Names are paths in the module; /... takes in what is inside, and
// the longest name that fits counts. A new room needs a place here.
var order = [][]string{
	{"control/mesh", "infra"},
	{"control/partition", "control/scale", "control/cost", "simnode/wire", "simnode/world", "simnode/interest"},
	{"simnode/replication", "simnode/process", "simnode/ticket", "simnode/pin"},
	{"simnode/authority"},
	{"control/planner", "simnode/node", "simnode/gateway"},
	{"control/store", "control/launch", "control/options"},
	{"control/store/internal/...", "control/launch/launchtest", "control/launch/label"},
	{"control/store/...", "control/launch/...", "simnode/metadata"}, // the drivers
	{"control/store/storeurl", "control/store/storetest", "control/launch/launchurl"},
	{"control/launch/launchurl/...", "control/reconcile", "control/admit", "control/bill", "control/notice", "control/provision", "control/dashboard", "simnode/edge", "simnode/client", "loadtest/audit", "loadtest/peers"},
	{"control/local", "loadtest/bot"},
	{"control/local/cloud"},
	{"loadtest/scenario", "loadtest/sim", "loadtest/budget"},
	{"loadtest/run"},
	{"loadtest/stage"},
	{"loadtest/drill", "loadtest/bench"},
	{"functions/internal/emf", "functions/internal/secret", "functions/internal/targets"},
	{"functions/internal/shard"},
	{"functions/internal/chaos"},
	{"control/cmd/...", "simnode/cmd/...", "loadtest/cmd/...", "functions/..."},
	{"control"}, // this test
}

// pure rooms are told the time and what is random, and return what is to be
// done. They import the standard library and each other, and start nothing.
var pure = []string{
	"control/mesh", "control/partition", "control/scale", "control/cost", "control/planner",
	"simnode/world", "simnode/wire", "simnode/interest", "simnode/replication", "simnode/process", "simnode/authority", "simnode/node", "simnode/gateway",
}

// impure is what they do not import, packages inside included.
var impure = []string{"net", "os", "log", "context", "syscall", "runtime", "math/rand", "crypto/rand", "io/fs", "testing"}

// clock is what of package time they do not use.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// fences say which rooms may import a library; in tests, too.
var fences = []struct {
	library string
	rooms   []string
}{
	{"github.com/aws/aws-sdk-go-v2", []string{"control/store/dynamostore/...", "control/store/storeurl", "control/launch/ecslaunch", "control/launch/ec2launch", "control/launch/launchurl/...", "control/local/cloud", "simnode/metadata", "functions/internal/..."}},
	{"github.com/aws/smithy-go", []string{"control/store/dynamostore/...", "control/launch/ecslaunch", "control/launch/ec2launch", "control/local/cloud", "simnode/metadata"}},
	{"github.com/aws/aws-lambda-go", []string{"functions/..."}},
	{"github.com/hashicorp", []string{"control/provision"}},
	{"github.com/nats-io", []string{"control/store/natsstore"}},
	{"github.com/coder/websocket", []string{"simnode/edge", "simnode/client"}},
}

// room is what the rules need to know of a package.
type room struct {
	path    string   // in the module
	imports []string // of its code
	tests   []string // of its tests
	acts    []string // where its code asks the time or starts a goroutine
}

func TestArchitecture(t *testing.T) {
	rooms, err := survey("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(rooms) < 10 {
		t.Fatalf("found %d rooms only: the survey is broken", len(rooms))
	}
	for _, fault := range faults(rooms) {
		t.Error(fault)
	}
}

// The page of dependencies names every library that is imported, and no other.
func TestDependencies(t *testing.T) {
	rooms, err := survey("..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{} // by module: it is imported
	for line := range strings.Lines(string(page)) {
		if row, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(row, "`")
			rows[name] = false
		}
	}
	for _, r := range rooms {
		for _, imp := range slices.Concat(r.imports, r.tests) {
			if !strings.Contains(firstOf(imp), ".") {
				continue
			}
			known := false
			for name := range rows {
				if imp == name || strings.HasPrefix(imp, name+"/") {
					rows[name], known = true, true
				}
			}
			if !known {
				t.Errorf("%s imports %s: give it a row in docs/dependencies.md that says why", r.path, imp)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if !rows[name] {
			t.Errorf("nothing imports %s any more: drop its row in docs/dependencies.md", name)
		}
	}
}

// faults returns every breach of the rules above, in order.
func faults(rooms []room) (out []string) {
	for _, r := range rooms {
		level := levelOf(r.path)
		if level < 0 {
			out = append(out, fmt.Sprintf("%s has no place in the order of rooms: give it one in control/architecture_test.go and docs/design.md", r.path))
			continue
		}
		isPure := covers(pure, r.path)
		for _, imp := range r.imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			switch {
			case ours && levelOf(to) >= level:
				out = append(out, fmt.Sprintf("%s imports %s, which is not below it", r.path, to))
			case isPure && (!ours && strings.Contains(firstOf(imp), ".") || covers(impure, imp) || within(impure, imp)):
				out = append(out, fmt.Sprintf("%s is pure and imports %s", r.path, imp))
			case isPure && ours && !covers(pure, to):
				out = append(out, fmt.Sprintf("%s is pure and imports %s, which is not", r.path, to))
			}
		}
		if isPure {
			for _, act := range r.acts {
				out = append(out, fmt.Sprintf("%s is pure: %s", r.path, act))
			}
		}
		for _, imp := range slices.Concat(r.imports, r.tests) {
			if strings.HasPrefix(imp, module+"/simnode/") && strings.HasPrefix(r.path, "control/") && !covers([]string{"control/cmd/..."}, r.path) {
				out = append(out, fmt.Sprintf("%s imports %s: control decides without simnode", r.path, imp))
			}
			for _, f := range fences {
				if (imp == f.library || strings.HasPrefix(imp, f.library+"/")) && !covers(f.rooms, r.path) {
					out = append(out, fmt.Sprintf("%s imports %s, which belongs to %s", r.path, imp, strings.Join(f.rooms, ", ")))
				}
			}
		}
	}
	return out
}

func firstOf(importPath string) string {
	first, _, _ := strings.Cut(importPath, "/")
	return first
}

func within(parents []string, imp string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return strings.HasPrefix(imp, p+"/") })
}

// covers reports whether one of the names fits path p.
func covers(names []string, p string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return fit(name, p) > 0 })
}

// fit returns the length of name if it fits p, else 0.
func fit(name, p string) int {
	if parent, ok := strings.CutSuffix(name, "/..."); ok && strings.HasPrefix(p+"/", parent+"/") {
		return len(parent)
	}
	if name == p {
		return len(name) + 1
	}
	return 0
}

func levelOf(p string) int {
	best, level := 0, -1
	for i, names := range order {
		for _, name := range names {
			if n := fit(name, p); n > best {
				best, level = n, i
			}
		}
	}
	return level
}

// survey parses every package below root.
func survey(root string) ([]room, error) {
	byPath := map[string]*room{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")
			if rel != "." && (hidden || d.Name() == "testdata" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		p := path.Dir(filepath.ToSlash(rel))
		if byPath[p] == nil {
			byPath[p] = &room{path: p}
		}
		return byPath[p].add(path.Base(filepath.ToSlash(rel)), text)
	})
	var rooms []room
	for _, r := range byPath {
		rooms = append(rooms, *r)
	}
	slices.SortFunc(rooms, func(a, b room) int { return strings.Compare(a.path, b.path) })
	return rooms, err
}

// add takes one file of the room in.
func (r *room) add(name string, text []byte) error {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	imports := &r.imports
	if strings.HasSuffix(name, "_test.go") {
		imports = &r.tests
	}
	timeName := ""
	for _, spec := range file.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if !slices.Contains(*imports, imp) {
			*imports = append(*imports, imp)
		}
		if imp == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
	}
	if imports == &r.tests {
		return nil
	}
	act := func(n ast.Node, what string) {
		r.acts = append(r.acts, fmt.Sprintf("%s %s", fset.Position(n.Pos()), what))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			act(n, "starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				act(n, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return nil
}

// The rules themselves are tried on small made-up houses.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		room room
		want string // empty: none
	}{
		{"down", room{path: "simnode/node", imports: []string{"slices", "weft/control/mesh", "weft/simnode/authority"}}, ""},
		{"up", room{path: "simnode/wire", imports: []string{"weft/simnode/node"}}, "not below it"},
		{"across", room{path: "control/planner", imports: []string{"weft/simnode/gateway"}}, "not below it"},
		{"a room inside is another room", room{path: "control/store", imports: []string{"weft/control/store/memstore"}}, "not below it"},
		{"a driver from its port", room{path: "control/store/memstore", imports: []string{"weft/control/store"}}, ""},
		{"a command from its parts", room{path: "control/cmd/weft", imports: []string{"weft/simnode/edge", "weft/control/reconcile"}}, ""},
		{"a room without a place", room{path: "control/utils"}, "no place"},
		{"to a room without a place", room{path: "control/mesh", imports: []string{"weft/control/utils"}}, "which is not"},
		{"control to simnode", room{path: "control/reconcile", imports: []string{"weft/simnode/wire"}}, "without simnode"},
		{"a test of control to simnode", room{path: "control/planner", tests: []string{"weft/simnode/world"}}, "without simnode"},
		{"simnode to control", room{path: "simnode/edge", imports: []string{"weft/control/store"}}, ""},
		{"pure, the store", room{path: "simnode/gateway", imports: []string{"weft/control/store"}}, "not below it"},
		{"pure, a ticket", room{path: "simnode/node", imports: []string{"weft/simnode/ticket"}}, "which is not"},
		{"pure, os", room{path: "control/scale", imports: []string{"os"}}, "is pure and imports os"},
		{"pure, net inside", room{path: "simnode/wire", imports: []string{"net/netip"}}, "is pure and imports net/netip"},
		{"pure, log/slog", room{path: "simnode/node", imports: []string{"log/slog"}}, "is pure and imports log/slog"},
		{"pure, math/rand/v2", room{path: "simnode/world", imports: []string{"math/rand/v2"}}, "is pure and imports math/rand/v2"},
		{"pure, math", room{path: "simnode/world", imports: []string{"math", "math/bits"}}, ""},
		{"pure, a library", room{path: "simnode/world", imports: []string{"example.com/grid"}}, "is pure and imports example.com/grid"},
		{"pure, a library in tests", room{path: "simnode/world", tests: []string{"pgregory.net/rapid"}}, ""},
		{"pure, the time", room{path: "simnode/node", acts: []string{"x.go:1:1 uses time.Now"}}, "is pure: x.go:1:1"},
		{"not pure, the time", room{path: "simnode/edge", acts: []string{"x.go:1:1 uses time.Now"}}, ""},
		{"the SDK at home", room{path: "control/store/dynamostore/mototest", imports: []string{"github.com/aws/aws-sdk-go-v2/aws"}}, ""},
		{"the SDK abroad", room{path: "control/reconcile", imports: []string{"github.com/aws/aws-sdk-go-v2/aws"}}, "belongs to"},
		{"the SDK in a test abroad", room{path: "control/dashboard", tests: []string{"github.com/aws/aws-sdk-go-v2/service/dynamodb"}}, "belongs to"},
		{"Lambda outside functions", room{path: "control/local", imports: []string{"github.com/aws/aws-lambda-go/lambda"}}, "belongs to functions"},
		{"Lambda in functions", room{path: "functions/replan", imports: []string{"github.com/aws/aws-lambda-go/lambda"}}, ""},
		{"Terraform outside provision", room{path: "control/cmd/weft", imports: []string{"github.com/hashicorp/terraform-exec/tfexec"}}, "belongs to control/provision"},
		{"a name that only begins alike", room{path: "control/reconcile", imports: []string{"github.com/nats-iota/x"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(faults([]room{c.room}), "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestActs(t *testing.T) {
	for _, c := range []struct{ name, file, code, want string }{
		{"now", "a.go", `import "time"; var x = time.Now()`, "a.go:1:35 uses time.Now"},
		{"kept for later", "a.go", `import "time"; var now = time.Now`, "uses time.Now"},
		{"renamed", "a.go", `import clock "time"; func f() { <-clock.After(1) }`, "uses time.After"},
		{"a duration", "a.go", `import "time"; const d = time.Second`, ""},
		{"a goroutine", "a.go", `func f() { go f() }`, "starts a goroutine"},
		{"another platform", "a_windows.go", `import "time"; func f() { time.Sleep(1) }`, "uses time.Sleep"},
		{"a test", "a_test.go", `import "time"; var x = time.Now()`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r room
			if err := r.add(c.file, []byte("package a; "+c.code)); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.acts, "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
