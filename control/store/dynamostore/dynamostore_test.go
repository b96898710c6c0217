package dynamostore_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"

	"weft/control/store"
	"weft/control/store/dynamostore"
	"weft/control/store/dynamostore/mototest"
	"weft/control/store/storetest"
)

var emulator mototest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if err := emulator.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var tables atomic.Int64

// prepare returns the emulator's configuration and the prefix of new tables.
func prepare(t testing.TB) (aws.Config, dynamostore.Options) {
	t.Helper()
	server, err := emulator.Get()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := dynamostore.Options{Prefix: fmt.Sprint("weft-", tables.Add(1)), StreamEvery: 10 * time.Millisecond}
	// Twice, because it must be harmless.
	for range 2 {
		if err := dynamostore.CreateTables(t.Context(), server.Config(), o.Prefix); err != nil {
			t.Fatal(err)
		}
	}
	return server.Config(), o
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return dynamostore.New(prepare(t)) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) (a, b store.Store) {
		cfg, o := prepare(t)
		return dynamostore.New(cfg, o), dynamostore.New(cfg, o)
	})
}

func TestLinearizable(t *testing.T) {
	storetest.Linearize(t, func(t *testing.T) []store.Store {
		cfg, o := prepare(t)
		return []store.Store{dynamostore.New(cfg, o), dynamostore.New(cfg, o)}
	}, storetest.Volume{Histories: 1, Zones: 2, Clients: 4, Operations: 30})
}
