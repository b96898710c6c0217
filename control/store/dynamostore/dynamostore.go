// Package dynamostore keeps the replication store in two DynamoDB tables:
// <prefix>-data, and <prefix>-control, the only one with a stream. [New] returns
// a handle; [CreateTables] makes the tables where Terraform does not.
//
// Both tables have the keys pk and sk, strings. Nothing is ever scanned: each
// list is a query of one partition.
//
//	table    pk                 sk                    attributes
//	data     zone#<zone>        record                ep node inc addr pos chunks
//	         zone#<zone>        slot#<000…255>        pos ep seal body
//	         zone#<zone>        pose                  ep tick body
//	         chunk#<0…f>        <key>                 body|z
//	         layout             head                  ver body_sk
//	         layout             body#<version>#<any>  body|z
//	control  process            <id>                  inc stopped body|z
//	         report             <id>                  inc seq body|z
//	         suspicion          <n>:<suspect><witness> inc body|z; n is the suspect's length in bytes
//	         intent             <token>               body|z
//	         decision           <id>                  body|z expires
//	         planner            state                 ver body|z
//
// Writes are billed by the KiB: z is a body deflated, where that is shorter.
//
// Every condition is a ConditionExpression on the one item that is written; a
// refusal returns the item that stood in the way, which tells a harmless repeat
// from a lost race. Chunks are spread over 16 partitions by the first segment
// of their keys, since a partition takes 1,000 write units a second, and a
// layout's body is apart from its version, since a read is billed for the item.
package dynamostore

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"

	"weft/control/store"
	"weft/control/store/internal/rule"
)

const (
	// patience bounds a call whose context has no deadline.
	patience = 10 * time.Second
	// requestAttempts is how often the SDK sends a request in all. A repeat is
	// harmless, because the conditions are.
	requestAttempts = 3
	// maxBackoff bounds the wait between them: who calls decides on longer ones.
	maxBackoff = 200 * time.Millisecond
	// connections bounds the idle ones that are kept.
	connections = 64
)

// Options are the choices of New.
type Options struct {
	// Prefix begins the names of the two tables.
	Prefix string
	// StreamEvery is how long Watch waits between two reads of the stream, which
	// cannot be waited on; 0 is 250 ms. DynamoDB allows five reads a second.
	StreamEvery time.Duration
}

// Store is one handle on the two tables.
type Store struct {
	db            *dynamodb.Client
	streams       *dynamodbstreams.Client
	transport     *http.Transport
	data, control string // table names
	streamEvery   time.Duration
}

var _ store.Store = (*Store)(nil)

// New returns a handle on the tables that begin with o.Prefix, in the region
// and with the credentials and endpoint of cfg. It asks nothing of the network.
func New(cfg aws.Config, o Options) *Store {
	s := &Store{
		transport:   &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		data:        DataTable(o.Prefix),
		control:     ControlTable(o.Prefix),
		streamEvery: o.StreamEvery,
	}
	if s.streamEvery == 0 {
		s.streamEvery = 250 * time.Millisecond
	}
	client := &http.Client{Transport: s.transport}
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = requestAttempts, maxBackoff })
	}
	s.db = dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		o.HTTPClient, o.Retryer = client, retryer()
	})
	s.streams = dynamodbstreams.NewFromConfig(cfg, func(o *dynamodbstreams.Options) {
		o.HTTPClient, o.Retryer = client, retryer()
	})
	return s
}

// DataTable returns the name of the table of zones, chunks and the layout.
func DataTable(prefix string) string { return prefix + "-data" }

// ControlTable returns the name of the table of control records.
func ControlTable(prefix string) string { return prefix + "-control" }

// Close lets idle connections go.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// key is the primary key of an item. Items embed it.
type key struct {
	PK string `dynamodbav:"pk"`
	SK string `dynamodbav:"sk"`
}

func (k key) attributes() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: k.PK}, "sk": &types.AttributeValueMemberS{Value: k.SK}}
}

// blob is bytes of an item as they are or, where that is shorter, deflated.
// Items embed it.
type blob struct {
	Body []byte `dynamodbav:"body,omitempty"`
	Flat []byte `dynamodbav:"z,omitempty"`
}

func pack(body []byte) blob {
	if flat := rule.Pack(body); flat != nil {
		return blob{Flat: flat}
	}
	return blob{Body: body}
}

// bytes is the inverse of pack.
func (b blob) bytes() ([]byte, error) {
	if len(b.Flat) > 0 {
		return rule.Unpack(b.Flat)
	}
	return b.Body, nil
}

// decode returns the record whose JSON was packed.
func decode[T any](b blob) (v T, err error) {
	body, err := b.bytes()
	if err != nil {
		return v, err
	}
	return rule.Decode[T](body)
}

// values are the placeholders of an expression, as Go values.
type values map[string]any

func (v values) attributes() (map[string]types.AttributeValue, error) {
	if len(v) == 0 {
		return nil, nil
	}
	return attributevalue.MarshalMap(v)
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, patience)
}

// get reads item k into a T, strongly consistent; ok is false if there is none.
func get[T any](ctx context.Context, s *Store, table string, k key) (item T, ok bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	out, err := s.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: k.attributes(), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return item, false, classify(err)
	}
	if len(out.Item) == 0 {
		return item, false, nil
	}
	return item, true, attributevalue.UnmarshalMap(out.Item, &item)
}

// put writes item if condition holds (empty: always). When it does not, refused
// decides on the item that is there; see refusal.
func put[T any](ctx context.Context, s *Store, table string, item T, condition string, v values, refused func(stored T, ok bool) (write bool, err error)) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	attributes, err := attributevalue.MarshalMap(item)
	if err != nil {
		return err
	}
	placeholders, err := v.attributes()
	if err != nil {
		return err
	}
	in := &dynamodb.PutItemInput{TableName: &table, Item: attributes, ExpressionAttributeValues: placeholders}
	if condition != "" {
		in.ConditionExpression = &condition
		in.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	}
	_, err = s.db.PutItem(ctx, in)
	return refusal(err, refused)
}

// update changes attributes of item k if condition holds, and returns the item
// as it then is. See put for refused.
func update[T any](ctx context.Context, s *Store, table string, k key, change, condition string, v values, refused func(stored T, ok bool) (write bool, err error)) (item T, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	placeholders, err := v.attributes()
	if err != nil {
		return item, err
	}
	out, err := s.db.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &table, Key: k.attributes(), UpdateExpression: &change, ConditionExpression: &condition,
		ExpressionAttributeValues: placeholders, ReturnValues: types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err != nil {
		return item, refusal(err, refused)
	}
	return item, attributevalue.UnmarshalMap(out.Attributes, &item)
}

// remove deletes item k if condition holds (empty: always).
func (s *Store) remove(ctx context.Context, table string, k key, condition string, v values) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	placeholders, err := v.attributes()
	if err != nil {
		return err
	}
	in := &dynamodb.DeleteItemInput{TableName: &table, Key: k.attributes(), ExpressionAttributeValues: placeholders}
	if condition != "" {
		in.ConditionExpression = &condition
	}
	_, err = s.db.DeleteItem(ctx, in)
	return classify(err)
}

// span is a query of one partition: the sort keys from … through inclusive, or
// those that begin with prefix, or all.
type span struct {
	pk            string
	from, through string
	prefix        string
	newestFirst   bool
	pageItems     int32  // 0: as many as fit in 1 MB
	only          string // attributes to return; empty: all
	lenient       bool   // items that are no T are passed over
}

// query calls f with each item of sp until f returns false, strongly consistent.
func query[T any](ctx context.Context, s *Store, table string, sp span, f func(item T) (more bool)) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	condition, v := "pk = :pk", values{":pk": sp.pk}
	switch {
	case sp.from != "":
		condition += " AND sk BETWEEN :from AND :through"
		v[":from"], v[":through"] = sp.from, sp.through
	case sp.prefix != "":
		condition += " AND begins_with(sk, :prefix)"
		v[":prefix"] = sp.prefix
	}
	placeholders, err := v.attributes()
	if err != nil {
		return err
	}
	in := &dynamodb.QueryInput{
		TableName: &table, KeyConditionExpression: &condition, ExpressionAttributeValues: placeholders,
		ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!sp.newestFirst),
	}
	if sp.pageItems > 0 {
		in.Limit = &sp.pageItems
	}
	if sp.only != "" {
		in.ProjectionExpression = &sp.only
	}
	for {
		out, err := s.db.Query(ctx, in)
		if err != nil {
			return classify(err)
		}
		for _, attributes := range out.Items {
			var item T
			if err := attributevalue.UnmarshalMap(attributes, &item); err != nil {
				if sp.lenient {
					continue
				}
				return err
			}
			if !f(item) {
				return nil
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// removeAll deletes keys, 25 a request; what the service leaves undone is sent
// again, ever later.
func (s *Store) removeAll(ctx context.Context, table string, keys []key) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	requests := make([]types.WriteRequest, len(keys))
	for i, k := range keys {
		requests[i].DeleteRequest = &types.DeleteRequest{Key: k.attributes()}
	}
	wait := 20 * time.Millisecond
	for len(requests) > 0 {
		n := min(25, len(requests))
		out, err := s.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{table: requests[:n]}})
		if err != nil {
			return classify(err)
		}
		requests = requests[n:]
		undone := out.UnprocessedItems[table]
		if len(undone) == 0 {
			continue
		}
		requests = append(undone, requests...)
		select {
		case <-ctx.Done():
			return classify(ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
	return nil
}

// CreateTables creates the two tables of prefix, billed on demand, and waits
// until they can be used. Those that exist are left as they are.
func CreateTables(ctx context.Context, cfg aws.Config, prefix string) error {
	db := dynamodb.NewFromConfig(cfg)
	str := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}
	}
	for _, table := range []string{DataTable(prefix), ControlTable(prefix)} {
		in := &dynamodb.CreateTableInput{
			TableName: &table, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{str("pk"), str("sk")},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
			},
		}
		if table == ControlTable(prefix) {
			in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}
		}
		_, err := db.CreateTable(ctx, in)
		if exists := (*types.ResourceInUseException)(nil); err != nil && !errors.As(err, &exists) {
			return classify(err)
		}
		if err := dynamodb.NewTableExistsWaiter(db).Wait(ctx, &dynamodb.DescribeTableInput{TableName: &table}, time.Minute); err != nil {
			return classify(err)
		}
	}
	return nil
}
