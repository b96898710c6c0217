// Simnode simulates zones of a shard. Its environment is documented in
// weft/control/options.
package main

import (
	"os"

	"weft/simnode/edge"
)

func main() { os.Exit(edge.NodeMain()) }
