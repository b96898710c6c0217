package storeurl_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/dynamostore"
	"weft/control/store/dynamostore/mototest"
	"weft/control/store/natsstore"
	"weft/control/store/storeurl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// works opens url and writes to it and reads back.
func works(t *testing.T, url string) {
	t.Helper()
	s, err := storeurl.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutLayout(t.Context(), mesh.Layout{Version: 1}); err != nil {
		t.Error(err)
	}
	if v, err := s.LayoutVersion(t.Context()); v != 1 || err != nil {
		t.Error(v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) { works(t, "mem:") }

func TestNATS(t *testing.T) {
	server, err := natsstore.StartServer(t.TempDir(), natsstore.ServerOptions{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	works(t, server.URL())
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDynamoDB(t *testing.T) {
	server, err := mototest.Start()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := dynamostore.CreateTables(t.Context(), server.Config(), "my-shard"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "testing")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testing")
	works(t, "dynamodb://my-shard?region=us-east-1")

	s, err := storeurl.Open(t.Context(), "dynamodb://another?region=us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Layout(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "deploy them") {
		t.Errorf("tables that do not exist: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	for url, want := range map[string]string{
		"":                       `no store is known by scheme ""; use one of mem:, nats://TOKEN@HOST:PORT, dynamodb://PREFIX?region=REGION`,
		"redis://host":           `no store is known by scheme "redis"; use one of mem:, nats://TOKEN@HOST:PORT, dynamodb://PREFIX?region=REGION`,
		"mem:x":                  "mem store: a store in memory takes nothing after mem:",
		"nats://":                "nats store: host or port is missing; write nats://TOKEN@HOST:PORT",
		"nats://host\x7f":        "the store URL is malformed; write it as nats://TOKEN@HOST:PORT",
		"dynamodb://":            "dynamodb store: the tables' prefix alone belongs before the question mark; write dynamodb://PREFIX?region=REGION",
		"dynamodb://weft?zone=a": `dynamodb store: "zone" is no option; the only one is region`,
		"dynamodb://weft":        "dynamodb store: no region is given; add ?region=NAME or set AWS_REGION",
	} {
		if _, err := storeurl.Open(t.Context(), url); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", url, err, want)
		}
	}
	_, err := storeurl.Open(t.Context(), "nats://hush@127.0.0.1:1")
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "hush") {
		t.Errorf("no server, or a token told: %v", err)
	}
}
