package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"weft/control/store"
)

// staleReads is after how many empty reads in a row an iterator is made anew:
// a cancelled transaction silences those of an emulator.
const staleReads = 40

// pageRecords is a full answer of GetRecords.
const pageRecords = 1000

// shard is the place of a watch in one shard of the stream.
type shard struct {
	iterator *string
	last     string // sequence number of the last record read
	empty    int    // reads without a record since
}

// watch reads the stream of the control table.
type watch struct {
	s      *Store
	arn    *string
	open   map[string]*shard   // by shard id
	seen   map[string]struct{} // shards known, read to their end or before the watch
	behind bool                // a shard has ended, so its successors must be found
}

// Watch implements store.Stream. It reads the stream every StreamEvery, which
// is what DynamoDB offers, and ends with store.ErrUnavailable when that fails.
func (s *Store) Watch(ctx context.Context, ready func(), f func(store.Change)) error {
	err := s.follow(ctx, ready, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Store) follow(ctx context.Context, ready func(), f func(store.Change)) error {
	table, err := s.db.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.control})
	if err != nil {
		return classify(err)
	}
	if table.Table.LatestStreamArn == nil {
		return fmt.Errorf("table %s has no stream; switch it on with new and old images", s.control)
	}
	w := &watch{s: s, arn: table.Table.LatestStreamArn, open: map[string]*shard{}, seen: map[string]struct{}{}}
	if err := w.find(ctx, types.ShardIteratorTypeLatest); err != nil {
		return err
	}
	ready()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
		}
		if err := w.read(ctx, f); err != nil {
			return err
		}
		if w.behind || len(w.open) == 0 {
			// The successors of a shard that ended are read from their beginning.
			if err := w.find(ctx, types.ShardIteratorTypeTrimHorizon); err != nil {
				return err
			}
		}
		next.Reset(s.streamEvery)
	}
}

// find takes up the shards not seen yet: open ones at start, closed ones only
// if start is their beginning.
func (w *watch) find(ctx context.Context, start types.ShardIteratorType) error {
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: w.arn}
	for {
		out, err := w.s.streams.DescribeStream(ctx, in)
		if err != nil {
			return classify(err)
		}
		for _, sh := range out.StreamDescription.Shards {
			id := aws.ToString(sh.ShardId)
			if _, ok := w.seen[id]; ok {
				continue
			}
			w.seen[id] = struct{}{}
			closed := sh.SequenceNumberRange != nil && sh.SequenceNumberRange.EndingSequenceNumber != nil
			if closed && start == types.ShardIteratorTypeLatest {
				continue
			}
			w.open[id] = &shard{}
			if err := w.place(ctx, id, start); err != nil {
				return err
			}
			w.behind = false
		}
		if out.StreamDescription.LastEvaluatedShardId == nil {
			return nil
		}
		in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId
	}
}

// place gives a shard an iterator: after the last record read, if there is one.
func (w *watch) place(ctx context.Context, id string, start types.ShardIteratorType) error {
	sh := w.open[id]
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: w.arn, ShardId: &id, ShardIteratorType: start}
	if sh.last != "" {
		in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &sh.last
	}
	out, err := w.s.streams.GetShardIterator(ctx, in)
	if err != nil {
		return classify(err)
	}
	sh.iterator, sh.empty = out.ShardIterator, 0
	return nil
}

// read reads every open shard once, and on while it fills whole pages.
func (w *watch) read(ctx context.Context, f func(store.Change)) error {
	for id, sh := range w.open {
		for more := true; more; {
			out, err := w.s.streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: sh.iterator})
			var expired *types.ExpiredIteratorException
			var trimmed *types.TrimmedDataAccessException
			if errors.As(err, &expired) || errors.As(err, &trimmed) {
				if trimmed != nil {
					sh.last = ""
				}
				// Records told twice do no harm, records skipped would.
				if err := w.place(ctx, id, types.ShardIteratorTypeTrimHorizon); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return classify(err)
			}
			for _, r := range out.Records {
				sh.last = aws.ToString(r.Dynamodb.SequenceNumber)
				if change, ok := changeOf(r); ok {
					f(change)
				}
			}
			sh.iterator, more = out.NextShardIterator, len(out.Records) >= pageRecords
			if sh.empty++; len(out.Records) > 0 {
				sh.empty = 0
			}
			if sh.iterator == nil {
				delete(w.open, id)
				w.behind, more = true, false
			}
		}
		if sh.iterator != nil && sh.empty >= staleReads && sh.last != "" {
			if err := w.place(ctx, id, types.ShardIteratorTypeTrimHorizon); err != nil {
				return err
			}
		}
	}
	return nil
}

func changeOf(r types.Record) (store.Change, bool) {
	text := func(name string) string {
		if v, ok := r.Dynamodb.Keys[name].(*types.AttributeValueMemberS); ok {
			return v.Value
		}
		return ""
	}
	return ChangeOf(string(r.EventName), text("pk"), text("sk"))
}
