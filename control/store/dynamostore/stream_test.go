package dynamostore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/dynamostore"
)

// exchange is one request that a script expects, by the words it must contain,
// and its answer.
type exchange struct{ request, answer string }

// scripted answers requests as a script says; "" as an answer is the last one.
func scripted(t *testing.T, script []exchange, done func()) aws.Config {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		text := fmt.Sprint(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB"), body)
		if len(script) == 0 {
			done()
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, word := range strings.Fields(script[0].request) {
			if !strings.Contains(text, word) {
				t.Errorf("request %s lacks %q", text, word)
			}
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if strings.Contains(script[0].answer, "__type") {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, script[0].answer)
		script = script[1:]
	}))
	t.Cleanup(server.Close)
	return aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
}

func records(next string, ids ...string) string {
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf(`{"eventName":"INSERT","dynamodb":{"SequenceNumber":"seq-%s","Keys":{"pk":{"S":"intent"},"sk":{"S":"%s"}}}}`, id, id))
	}
	iterator := "null"
	if next != "" {
		iterator = `"` + next + `"`
	}
	return fmt.Sprintf(`{"Records":[%s],"NextShardIterator":%s}`, strings.Join(list, ","), iterator)
}

// What no emulator shows: shards end and have successors, iterators expire.
func TestWatchFollowsShards(t *testing.T) {
	shards := func(list ...string) string {
		return `{"StreamDescription":{"Shards":[` + strings.Join(list, ",") + `]}}`
	}
	const (
		old   = `{"ShardId":"old","SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}}`
		open  = `{"ShardId":"open","SequenceNumberRange":{"StartingSequenceNumber":"3"}}`
		child = `{"ShardId":"child","SequenceNumberRange":{"StartingSequenceNumber":"9"}}`
	)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := scripted(t, []exchange{
		{"DescribeTable weft-control", `{"Table":{"LatestStreamArn":"arn:aws:dynamodb:us-east-1:123456789012:table/weft-control/stream/1"}}`},
		{"DescribeStream", shards(old, open)},
		{"GetShardIterator open LATEST", `{"ShardIterator":"i0"}`},
		{"GetRecords i0", records("i1")},
		{"GetRecords i1", records("i2", "a", "b")},
		{"GetRecords i2", `{"__type":"com.amazonaws.dynamodb.v20120810#ExpiredIteratorException"}`},
		{"GetShardIterator open AFTER_SEQUENCE_NUMBER seq-b", `{"ShardIterator":"i3"}`},
		{"GetRecords i3", records("i4", "c")},
		{"GetRecords i4", `{"__type":"com.amazonaws.dynamodb.v20120810#TrimmedDataAccessException"}`},
		{"GetShardIterator open TRIM_HORIZON", `{"ShardIterator":"i5"}`},
		{"GetRecords i5", records("", "d")}, // the shard ends
		{"DescribeStream", shards(old, open)},
		{"DescribeStream", shards(old, open, child)},
		{"GetShardIterator child TRIM_HORIZON", `{"ShardIterator":"j0"}`},
		{"GetRecords j0", records("j1", "e")},
	}, cancel)
	s := dynamostore.New(cfg, dynamostore.Options{Prefix: "weft", StreamEvery: time.Millisecond})
	defer s.Close()
	var told []string
	err := s.Watch(ctx, func() { told = append(told, "ready") }, func(c store.Change) { told = append(told, c.ID) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
	if want := []string{"ready", "a", "b", "c", "d", "e"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	for answer, want := range map[string]error{
		`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}`:                                                   store.ErrUnavailable,
		`{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}`:                                                                      store.ErrUnavailable,
		`{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no table"}`:                                                                 store.ErrUnavailable,
		`{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}`:                                                                           store.ErrUnavailable,
		`{"__type":"com.amazon.coral.validate#ValidationException","message":"Item size has exceeded the maximum allowed size"}`:                                       store.ErrTooLarge,
		`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no","Item":{"pk":{"S":"zone#1"},"sk":{"S":"record"},"ep":{"N":"7"}}}`: store.ErrConflict,
	} {
		s := dynamostore.New(scripted(t, slices.Repeat([]exchange{{"UpdateItem", answer}}, 3), func() {}), dynamostore.Options{Prefix: "weft"})
		if err := s.RaiseEpoch(t.Context(), 1, 3, mesh.Owner{Node: "n"}); !errors.Is(err, want) {
			t.Errorf("%s: got %v", answer, err)
		}
		s.Close()
	}
}

func TestChangeOf(t *testing.T) {
	for _, c := range []struct {
		event, pk, sk string
		want          store.Change
		ok            bool
	}{
		{"INSERT", "process", "a", store.Change{Kind: store.ProcessChanged, ID: "a"}, true},
		{"MODIFY", "report", "a", store.Change{Kind: store.ReportChanged, ID: "a"}, true},
		{"MODIFY", "suspicion", "3:a:bw", store.Change{Kind: store.SuspicionChanged, ID: "a:b"}, true},
		{"INSERT", "intent", "t", store.Change{Kind: store.IntentChanged, ID: "t"}, true},
		{"REMOVE", "process", "a", store.Change{}, false},
		{"INSERT", "decision", "d", store.Change{}, false},
		{"INSERT", "planner", "state", store.Change{}, false},
		{"INSERT", "suspicion", "9:ab", store.Change{}, false},
		{"INSERT", "suspicion", "-1:ab", store.Change{}, false},
		{"INSERT", "suspicion", "ab", store.Change{}, false},
	} {
		if got, ok := dynamostore.ChangeOf(c.event, c.pk, c.sk); got != c.want || ok != c.ok {
			t.Errorf("%+v: got %+v, %t", c, got, ok)
		}
	}
}
