package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"testing"
)

// slow is a client that takes over a minute to compile and is large in a
// function's archive.
const slow = "github.com/aws/aws-sdk-go-v2/service/ec2"

// slowIn are the programs that may link it: those that launch.
var slowIn = []string{"weft/functions/replan", "weft/functions/sweep"}

func TestOnlyWhatLaunchesLinksEC2(t *testing.T) {
	const opener = "weft/control/launch/launchurl/ec2url" // links it, or this test sees nothing
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Deps", opener,
		"weft/control/cmd/...", "weft/simnode/cmd/...", "weft/loadtest/cmd/...", "weft/functions/...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	programs := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name string
			Deps             []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		links := slices.Contains(p.Deps, slow)
		switch {
		case p.ImportPath == opener && !links:
			t.Errorf("%s does not link %s: the test is blind", opener, slow)
		case p.Name != "main":
		default:
			programs++
			if links && !slices.Contains(slowIn, p.ImportPath) {
				t.Errorf("%s links %s, which takes over a minute to compile; find what imports %s", p.ImportPath, slow, opener)
			}
		}
	}
	if programs == 0 {
		t.Error("no program was found")
	}
}
