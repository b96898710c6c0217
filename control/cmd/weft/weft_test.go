package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"weft/loadtest/stage"
)

// The test binary is also weft, and so the nodes and gateways of its meshes.
func TestMain(m *testing.M) {
	if status, is := stage.Child(os.Args); is {
		os.Exit(status)
	}
	if os.Getenv("GORACE") == "" { // or each child under the race detector takes a second to end
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){"weft": main})
}

// The command line as its user sees it.
func TestScripts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // scripts run in parallel, after this function
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("TAKEN", taken.Addr().String())
			e.Setenv("TMPDIR", e.WorkDir+"/tmp")
			return os.Mkdir(e.WorkDir+"/tmp", 0o700)
		},
	})
}

// binDir is where the scripts' weft is.
func binDir(t *testing.T) string {
	t.Helper()
	weft, err := exec.LookPath("weft")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(weft)
}
