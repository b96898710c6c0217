// Weft runs one seamless game world on as many processes as the crowd needs.
// `weft demo` shows it; `weft help` lists what else it can do.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/alecthomas/kong"

	measure "weft/loadtest/bench"
	"weft/loadtest/stage"
	"weft/simnode/edge"
)

// cli is the command line: each command is a file of its own.
type cli struct {
	Demo     demo     `cmd:"" help:"Play the tavern: a crowd walks in, a node is killed, nobody notices."`
	Dev      dev      `cmd:"" help:"Run a world on this machine, with its page, for clients of your own."`
	Loadtest loadtest `cmd:"" help:"Play scenarios and judge what came of them."`
	Drill    drill    `cmd:"" help:"Break a mesh of this machine again and again, and count what that cost: status 1 if a bar was missed."`
	Bench    bench    `cmd:"" help:"Measure what Weft is held to, a row of the table or all: status 1 if a bar was missed."`
	Deploy   deploy   `cmd:"" help:"Deploy a world to AWS: plan, a summary in words, apply."`
	Destroy  destroy  `cmd:"" help:"Empty a deployed world and take it away."`
	Status   status   `cmd:"" help:"Show a deployed world: its processes, zones and latest decisions."`
	Plan     plan     `cmd:"" help:"Say what the planner would do now, and why; nothing is done."`
	Explain  explain  `cmd:"" help:"Tell why a decision was taken, and what was refused instead."`
	Drain    drain    `cmd:"" help:"Empty a node or gateway and let it go."`
	Version  version  `cmd:"" help:"Say which version this is."`
	Simnode  child    `cmd:"" hidden:"" help:"Be a simulation node; told by its environment."`
	Gateway  child    `cmd:"" hidden:"" help:"Be a gateway; told by its environment."`

	Pprof string `env:"WEFT_PPROF" placeholder:"HOST:PORT" help:"Serve profiles of this process at this address of loopback, and those of each child at one that its log tells."`
}

// session is what a command works with.
type session struct {
	ctx    context.Context
	out    io.Writer // what was asked for
	errs   io.Writer // what else is to be said
	status int
}

// The exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// child is run before the command line is parsed.
type child struct{}

func main() {
	if status, is := stage.Child(os.Args); is { // nothing may come between
		os.Exit(status)
	}
	if status, is := measure.Child(context.Background(), os.Args); is {
		os.Exit(status)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) int {
	var c cli
	status := -1
	parser, err := kong.New(&c,
		kong.Name("weft"), kong.Description("One seamless game world on as many servers as the crowd needs."),
		kong.Writers(out, errs), kong.Exit(func(code int) { status = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	if err != nil {
		fmt.Fprintln(errs, "weft:", err)
		return exitFailed
	}
	if len(args) == 0 || len(args) == 1 && args[0] == "help" {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case status >= 0: // help was asked for
		return status
	case err != nil:
		fmt.Fprintf(errs, "weft: %v; see weft --help\n", err)
		return exitUsage
	}
	ctx, release := stage.Interruptible(errs)
	defer release()
	stop, err := c.profiles(ctx, errs)
	if err != nil {
		fmt.Fprintln(errs, "weft:", err)
		return exitUsage
	}
	defer stop()
	s := &session{ctx: ctx, out: out, errs: errs}
	if err := parsed.Run(s); err != nil {
		fmt.Fprintln(errs, "weft:", err)
		return max(s.status, exitFailed)
	}
	return s.status
}

// profiles serves profiles if that was asked for, and lets children know.
func (c *cli) profiles(ctx context.Context, errs io.Writer) (stop func(), err error) {
	if c.Pprof != "" {
		if err := os.Setenv("WEFT_PPROF", c.Pprof); err != nil {
			return nil, err
		}
	}
	return edge.Profiles(ctx, c.Pprof, slog.New(slog.NewTextHandler(errs, nil)))
}
