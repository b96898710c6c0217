package node_test

import (
	"os"
	"strings"
	"testing"
)

// The transcripts that docs/crossings.md shows are those that TestTranscripts
// has just proved, to the letter. After -rewrite, put them there.
func TestPagesShowTheTranscripts(t *testing.T) {
	page, err := os.ReadFile("../../docs/crossings.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rocket_ship", "ship"} {
		script, err := os.ReadFile("testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```\n"+string(script)+"```\n") {
			t.Errorf("docs/crossings.md does not show testdata/%s.txt as it is", name)
		}
	}
}
