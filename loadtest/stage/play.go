package stage

import (
	"context"
	"fmt"
	"io"

	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/simnode/edge"
)

// Play is the command line of a scenario on this machine; the tags are for kong.
type Play struct {
	run.Command
	Data    string `help:"Keep the world in this directory, and go on with the one that is there." placeholder:"DIR"`
	Listen  string `help:"Show the page at this address." placeholder:"HOST:PORT"`
	Verbose bool   `short:"v" help:"Write the log of all processes to standard error."`
}

// Play plays the scenario and returns the exit status of run.Command. What is
// to be said goes to errs.
func (p *Play) Play(ctx context.Context, out, errs io.Writer) int {
	var m Mesh
	status := p.Main(ctx, out, errs, func(ctx context.Context, s *scenario.Scenario) (_ run.Mesh, err error) {
		m, err = Start(ctx, s, Options{Dir: p.Data, Listen: p.Listen, Errs: errs, Verbose: p.Verbose})
		return m, err
	})
	if err := m.Close(); err != nil {
		fmt.Fprintln(errs, "the world did not end in order:", err)
		status = max(status, run.ExitFailed)
	}
	return status
}

// Child runs this program as a child of a mesh, if its arguments say so, and
// returns its exit status.
func Child(args []string) (status int, is bool) {
	if len(args) != 2 {
		return 0, false
	}
	switch args[1] {
	case NodeCommand:
		return edge.NodeMain(), true
	case GatewayCommand:
		return edge.GatewayMain(), true
	}
	return 0, false
}
