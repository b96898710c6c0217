// Bill prices each hour that is over, into one record and one line of metrics.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"weft/control/bill"
	"weft/control/cost"
	"weft/functions/internal/shard"
)

func main() { shard.Main(open) }

func open(ctx context.Context) (*shard.Shard, func(context.Context, json.RawMessage) (summary, error), error) {
	s, err := shard.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	prices, err := s.Options.PriceTable()
	if err != nil {
		return nil, nil, err
	}
	megabytes, err := strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil {
		return nil, nil, fmt.Errorf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE is not set as Lambda sets it: %w", err)
	}
	return s, (&handler{s, bill.Config{
		Prices: prices, Shard: s.Options.Shard, Env: s.Options.Env, Machine: s.Options.Machine,
		FunctionGB: float64(megabytes) / 1024, Standing: cost.Standing(s.Options.Standing),
	}}).handle, nil
}
