// Join admits a player: it answers with two gateways and a ticket for them, or
// with a place in the queue, and wakes a world that sleeps.
//
// It serves a function URL. Who asks is the studio's own backend, which has
// proved to itself who the player is; it sends
//
//	POST /   Authorization: Bearer TOKEN   {"player": 7}
//
// with the token that is the value of the secret WEFT_JOIN_SECRET or, where there
// is none, ticket.JoinToken of the shard's key. A URL whose auth type is AWS_IAM
// has its requests signed instead; then the token may be left out. The answers:
//
//	200  {"gateways": ["wss://…/#sha256=…", "wss://…"], "ticket": "v4.local.…", "expires_unix_milli": …}
//	202  {"place": 1, "retry_after_seconds": 5, "why": "…"}, Retry-After: 5
//	4xx, 503  {"error": "…"}
//
// What a gateway's address says behind # names its key; see simnode/pin.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"

	"weft/control/options"
	"weft/functions/internal/secret"
	"weft/functions/internal/shard"
	"weft/simnode/ticket"
)

func main() { shard.Main(open) }

func open(ctx context.Context) (*shard.Shard, func(context.Context, events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error), error) {
	s, err := shard.Open(ctx, "WEFT_SHARD_KEY_SECRET")
	if err != nil {
		return nil, nil, err
	}
	text, err := secret.Read(ctx, s.AWS, s.Options.ShardKeySecret)
	if err != nil {
		return nil, nil, err
	}
	key, err := options.ShardKey(text)
	if err != nil {
		return nil, nil, err
	}
	token, err := ticket.JoinToken(key, s.Options.Shard)
	if err != nil {
		return nil, nil, err
	}
	if s.Options.JoinSecret != "" {
		if token, err = secret.Read(ctx, s.AWS, s.Options.JoinSecret); err != nil {
			return nil, nil, err
		}
	}
	h, err := newHandler(s, key, token)
	if err != nil {
		return nil, nil, err
	}
	return s, h.handle, nil
}
