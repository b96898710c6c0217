package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type version struct{}

// Run prints the version that the build was stamped with.
func (version) Run(s *session) error {
	v, commit := "(devel)", ""
	if b, ok := debug.ReadBuildInfo(); ok {
		if b.Main.Version != "" {
			v = b.Main.Version
		}
		for _, set := range b.Settings {
			if set.Key == "vcs.revision" {
				commit = " " + set.Value[:min(len(set.Value), 12)]
			}
		}
	}
	_, err := fmt.Fprintf(s.out, "weft %s%s %s %s/%s\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
