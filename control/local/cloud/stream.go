package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	pollEvery = 200 * time.Millisecond // DynamoDB allows five reads a second
	// staleReads is after how many empty reads an iterator is made anew: a
	// cancelled transaction silences those of the emulator.
	staleReads    = 25
	recordsAtOnce = 1000
	maxBatch      = 10_000 // of Lambda
	streams       = "DynamoDBStreams_20120810."
)

// mappingConfig is what Lambda knows of an event source mapping.
type mappingConfig struct {
	UUID, FunctionArn, EventSourceArn, State string
	StartingPosition                         string
	BatchSize                                int
	MaximumRetryAttempts                     *int
	BisectBatchOnFunctionError               bool
	FunctionResponseTypes                    []string
	FilterCriteria                           struct{ Filters []struct{ Pattern string } }
	DestinationConfig                        struct{ OnFailure struct{ Destination string } }
}

// mapping reads a table's stream and calls a function with its records.
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
type mapping struct {
	h       *host
	f       *function
	c       mappingConfig
	table   string
	filters []map[string]any
	retries int // -1: for ever
	partial bool
	shards  map[string]*shardPlace
	invoke  func(ctx context.Context, event []byte) ([]byte, error)
}

// shardPlace is how far one shard of the stream has been read.
type shardPlace struct {
	iterator string
	last     string // sequence number
	empty    int    // reads without a record since
}

// record is one record of the stream, as AWS writes it.
type record struct {
	raw      map[string]any
	sequence string
}

func newMapping(h *host, f *function, c mappingConfig) (*mapping, error) {
	parts := strings.Split(c.EventSourceArn, "/")
	if len(parts) < 4 || !strings.Contains(c.EventSourceArn, ":dynamodb:") || parts[2] != "stream" {
		return nil, fmt.Errorf("function %s is mapped to %s, which is no stream of a table", f.name, c.EventSourceArn)
	}
	m := &mapping{h: h, f: f, c: c, table: parts[1], retries: -1, shards: map[string]*shardPlace{}}
	m.invoke = func(ctx context.Context, event []byte) ([]byte, error) { return f.invoke(ctx, h.requestID(), event) }
	m.c.BatchSize = min(max(c.BatchSize, 1), maxBatch)
	if c.MaximumRetryAttempts != nil {
		m.retries = *c.MaximumRetryAttempts
	}
	m.partial = slices.Contains(c.FunctionResponseTypes, "ReportBatchItemFailures")
	for _, filter := range c.FilterCriteria.Filters {
		var p map[string]any
		if err := json.Unmarshal([]byte(filter.Pattern), &p); err != nil {
			return nil, fmt.Errorf("the filter of function %s is not JSON: %w", f.name, err)
		}
		m.filters = append(m.filters, p)
	}
	return m, nil
}

// begin finds the shards, so that nothing is missed from now on.
func (m *mapping) begin(ctx context.Context) error {
	var out struct {
		StreamDescription struct{ Shards []struct{ ShardId string } }
	}
	if err := m.h.api.json(ctx, "dynamodb", streams+"DescribeStream", "1.0", map[string]any{"StreamArn": m.c.EventSourceArn}, &out); err != nil {
		return fmt.Errorf("read the stream of table %s: %w", m.table, err)
	}
	for _, s := range out.StreamDescription.Shards {
		m.shards[s.ShardId] = &shardPlace{}
		if err := m.place(ctx, s.ShardId); err != nil {
			return err
		}
	}
	return nil
}

// place gives a shard an iterator: after the last record that was read.
func (m *mapping) place(ctx context.Context, shard string) error {
	s := m.shards[shard]
	in := map[string]any{"StreamArn": m.c.EventSourceArn, "ShardId": shard, "ShardIteratorType": "LATEST"}
	if s.last != "" {
		in["ShardIteratorType"], in["SequenceNumber"] = "AFTER_SEQUENCE_NUMBER", s.last
	}
	var out struct{ ShardIterator string }
	if err := m.h.api.json(ctx, "dynamodb", streams+"GetShardIterator", "1.0", in, &out); err != nil {
		return fmt.Errorf("find the place in the stream of table %s: %w", m.table, err)
	}
	s.iterator, s.empty = out.ShardIterator, 0
	return nil
}

// poll reads the stream until ctx ends.
func (m *mapping) poll(ctx context.Context) {
	for pause(ctx, pollEvery) {
		for _, shard := range slices.Sorted(maps.Keys(m.shards)) {
			records, err := m.read(ctx, shard)
			if err != nil {
				if ctx.Err() == nil {
					m.h.log.Warn("the stream could not be read", "table", m.table, "err", err)
				}
				_ = m.place(ctx, shard) // or at the next turn
				continue
			}
			for batch := range slices.Chunk(records, m.c.BatchSize) {
				m.process(ctx, batch)
			}
		}
	}
}

// read returns the new records of a shard that pass the filters.
func (m *mapping) read(ctx context.Context, shard string) (passed []record, err error) {
	s := m.shards[shard]
	var out struct {
		NextShardIterator string
		Records           []map[string]any
	}
	if err := m.h.api.json(ctx, "dynamodb", streams+"GetRecords", "1.0", map[string]any{"ShardIterator": s.iterator, "Limit": recordsAtOnce}, &out); err != nil {
		return nil, err
	}
	s.iterator = out.NextShardIterator
	if s.empty++; len(out.Records) > 0 {
		s.empty = 0
	}
	for _, raw := range out.Records {
		body, _ := raw["dynamodb"].(map[string]any)
		r := record{raw: raw}
		r.sequence, _ = body["SequenceNumber"].(string)
		if r.sequence != "" {
			s.last = r.sequence
		}
		raw["eventSourceARN"] = m.c.EventSourceArn
		if len(body) > 0 && (len(m.filters) == 0 || slices.ContainsFunc(m.filters, func(p map[string]any) bool { return matches(p, raw) })) {
			passed = append(passed, r)
		}
	}
	if s.iterator == "" || s.empty >= staleReads && s.last != "" {
		err = m.place(ctx, shard)
	}
	return passed, err
}

// process calls the function with batch until all of it is done or given up:
// from the first record that it says has failed, or in halves.
func (m *mapping) process(ctx context.Context, batch []record) {
	for attempt := 0; len(batch) > 0 && ctx.Err() == nil; attempt++ {
		failed, err := m.deliver(ctx, batch)
		if err == nil && failed < 0 || ctx.Err() != nil {
			return
		}
		if failed > 0 { // what came before is done
			batch, attempt = batch[failed:], 0
		}
		m.h.log.Warn("a function failed on records of the stream", "function", m.f.name, "records", len(batch), "err", err)
		if m.c.BisectBatchOnFunctionError && len(batch) > 1 {
			m.process(ctx, batch[:len(batch)/2])
			batch, attempt = batch[len(batch)/2:], -1
			continue
		}
		if m.retries >= 0 && attempt >= m.retries {
			m.giveUp(ctx, batch, err)
			return
		}
		pause(ctx, time.Duration(min(attempt+1, 5))*200*time.Millisecond)
	}
}

// deliver calls the function once. It returns the place of the first record
// that failed, or −1; with an error all may have.
func (m *mapping) deliver(ctx context.Context, batch []record) (failed int, err error) {
	raw := make([]map[string]any, len(batch))
	for i, r := range batch {
		raw[i] = r.raw
	}
	event, err := json.Marshal(map[string]any{"Records": raw})
	if err != nil {
		return 0, err
	}
	answer, err := m.invoke(ctx, event)
	if err != nil || !m.partial || len(answer) == 0 {
		return -1, err
	}
	var report struct {
		BatchItemFailures []struct{ ItemIdentifier string } `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(answer, &report); err != nil {
		return -1, fmt.Errorf("its answer is no report of failures: %w", err)
	}
	failed = -1
	for _, f := range report.BatchItemFailures {
		at := slices.IndexFunc(batch, func(r record) bool { return r.sequence == f.ItemIdentifier })
		if at < 0 {
			return -1, errors.New("it reports the failure of a record that it was not given")
		}
		if failed < 0 || at < failed {
			failed = at
		}
	}
	return failed, nil
}

// giveUp passes records by, and says so to the mapping's dead-letter queue.
func (m *mapping) giveUp(ctx context.Context, batch []record, why error) {
	m.h.given.Add(int64(len(batch)))
	m.h.log.Error("records of the stream were given up", "function", m.f.name, "records", len(batch), "err", why)
	arn := strings.Split(m.c.DestinationConfig.OnFailure.Destination, ":")
	if len(arn) != 6 || arn[2] != "sqs" {
		return
	}
	letter, err := json.Marshal(map[string]any{
		"requestContext": map[string]any{"functionArn": m.f.arn, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": m.retries + 1},
		"DDBStreamBatchInfo": map[string]any{
			"streamArn": m.c.EventSourceArn, "batchSize": len(batch),
			"startSequenceNumber": batch[0].sequence, "endSequenceNumber": batch[len(batch)-1].sequence,
		},
	})
	if err == nil {
		err = m.h.api.json(ctx, "sqs", "AmazonSQS.SendMessage", "1.0", map[string]any{
			"QueueUrl": m.h.api.endpoint + "/" + arn[4] + "/" + arn[5], "MessageBody": string(letter),
		}, nil)
	}
	if err != nil {
		m.h.log.Error("the dead-letter queue took no letter", "queue", arn[5], "err", err)
	}
}
