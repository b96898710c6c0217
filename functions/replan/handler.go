package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"weft/control/admit"
	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/dynamostore"
	"weft/functions/internal/shard"
	"weft/functions/internal/targets"
)

// batch is what Lambda hands over of a stream of DynamoDB. Images stay as they
// came: the types of events do not keep numbers of 64 bits.
type batch struct {
	Records []struct {
		EventName string `json:"eventName"`
		DynamoDB  struct {
			Keys           json.RawMessage
			NewImage       json.RawMessage
			SequenceNumber string
		} `json:"dynamodb"`
	}
}

// planner is reconcile.Reconciler.
type planner interface {
	Ensure(ctx context.Context) ([]mesh.Decision, error)
}

type handler struct {
	*shard.Shard
	planner planner
	targets *targets.Keeper
}

// handle plans once for a batch, whatever number of records it has. Records
// that cannot be read are reported by their sequence number, so that Lambda sets
// them aside; the others have their plan all the same. If planning fails, the
// whole batch comes again.
func (h *handler) handle(ctx context.Context, b batch) (out events.DynamoDBEventResponse, err error) {
	news := 0
	for _, r := range b.Records {
		change, ok, err := dynamostore.Image(r.EventName, r.DynamoDB.NewImage)
		switch {
		case err != nil:
			h.Log.Error("a record of the stream cannot be read and is set aside", "keys", string(r.DynamoDB.Keys), "sequence", r.DynamoDB.SequenceNumber, "err", err)
			out.BatchItemFailures = append(out.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: r.DynamoDB.SequenceNumber})
		case ok && !(change.Kind == store.IntentChanged && strings.HasPrefix(change.ID, admit.QueuePrefix)):
			news++
		}
	}
	if news == 0 {
		return out, nil
	}
	decisions, err := h.planner.Ensure(ctx)
	h.Count(decisions)
	if err != nil {
		return events.DynamoDBEventResponse{}, err
	}
	if err := h.targets.Follow(ctx); err != nil { // planning goes on; the next call tries again
		h.Log.Error("the load balancer does not follow the gateways", "err", err)
	}
	return out, nil
}
