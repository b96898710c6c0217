package scenario

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

//go:embed files/*.yaml
var files embed.FS

// Names lists the scenarios that ship with Weft.
func Names() []string {
	entries, _ := files.ReadDir("files")
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Open returns the scenario of that name among those that ship with Weft. No
// trace ships: trace is the path of the one to use, for those that need one.
func Open(name, trace string) (*Scenario, error) {
	data, err := Source(name)
	if err != nil {
		return nil, err
	}
	return Parse(name+".yaml", data, func(string) (fs.File, error) {
		if trace == "" {
			return nil, errors.New("give one with --trace")
		}
		return os.Open(trace)
	})
}

// Source returns the file of a scenario that ships with Weft.
func Source(name string) ([]byte, error) {
	data, err := files.ReadFile("files/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("%w: found %q, expected a file or one of %s", ErrInvalid, name, strings.Join(Names(), ", "))
	}
	return data, nil
}
