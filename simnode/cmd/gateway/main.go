// Gateway holds the connections of a shard's clients. Its environment is documented in
// weft/control/options.
package main

import (
	"os"

	"weft/simnode/edge"
)

func main() { os.Exit(edge.GatewayMain()) }
