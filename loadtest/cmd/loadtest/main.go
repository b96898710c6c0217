// Loadtest plays scenarios against a mesh of this machine: what `weft loadtest`
// does, as a program of its own.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"weft/loadtest/run"
	"weft/loadtest/stage"
)

type cli struct {
	Run     stage.Play `cmd:"" help:"Play a scenario: status 1 if an expectation failed, 2 if the file is bad."`
	Simnode struct{}   `cmd:"" hidden:"" help:"Be a simulation node; told by its environment."`
	Gateway struct{}   `cmd:"" hidden:"" help:"Be a gateway; told by its environment."`
}

func main() {
	if status, is := stage.Child(os.Args); is {
		os.Exit(status)
	}
	os.Exit(play())
}

func play() int {
	var c cli
	parser, err := kong.New(&c, kong.Name("loadtest"), kong.Description("Plays scenarios against a mesh of this machine."))
	if err == nil {
		_, err = parser.Parse(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "loadtest: %v; see loadtest --help\n", err)
		return run.ExitBad
	}
	ctx, release := stage.Interruptible(os.Stderr)
	defer release()
	return c.Run.Play(ctx, os.Stdout, os.Stderr)
}
