// Drain empties a process whose machine is about to be taken away, inside the
// notice that the cloud gives, and fences one whose machine has ended.
package main

import (
	"context"
	"encoding/json"

	"weft/functions/internal/shard"
)

func main() { shard.Main(open) }

func open(ctx context.Context) (*shard.Shard, func(context.Context, json.RawMessage) (outcome, error), error) {
	s, err := shard.Open(ctx)
	return s, (&handler{s}).handle, err
}
