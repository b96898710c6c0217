// Package storeurl opens the store that a URL names.
package storeurl

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"

	"weft/control/store"
	"weft/control/store/dynamostore"
	"weft/control/store/memstore"
	"weft/control/store/natsstore"
)

// schemes are the drivers, a row each.
var schemes = []struct {
	scheme, form string
	open         func(ctx context.Context, u *url.URL) (store.Store, error)
}{
	{"mem", "mem:", openMemory},
	{"nats", "nats://TOKEN@HOST:PORT", openNATS},
	{"dynamodb", "dynamodb://PREFIX?region=REGION", openDynamoDB},
}

// Open returns a handle on the store at rawURL:
//
//	mem:                           a new one, in memory, of this process alone
//	nats://TOKEN@HOST:PORT         a server that natsstore.StartServer started
//	dynamodb://PREFIX?region=NAME  the tables that begin with PREFIX; credentials, the
//	                               region if absent, and AWS_ENDPOINT_URL from the environment
//
// The caller closes it. Errors are sentences for the user, without tokens.
func Open(ctx context.Context, rawURL string) (store.Store, error) {
	scheme, _, _ := strings.Cut(rawURL, ":")
	var forms []string
	for _, s := range schemes {
		forms = append(forms, s.form)
		if s.scheme != scheme {
			continue
		}
		u, err := url.Parse(rawURL)
		if err != nil {
			return nil, fmt.Errorf("the store URL is malformed; write it as %s", s.form)
		}
		st, err := s.open(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("%s store: %w", scheme, err)
		}
		return st, nil
	}
	return nil, fmt.Errorf("no store is known by scheme %q; use one of %s", scheme, strings.Join(forms, ", "))
}

func openMemory(_ context.Context, u *url.URL) (store.Store, error) {
	if u.Host+u.Path+u.Opaque+u.RawQuery != "" {
		return nil, fmt.Errorf("a store in memory takes nothing after mem:")
	}
	return memstore.New(), nil
}

func openNATS(ctx context.Context, u *url.URL) (store.Store, error) {
	if u.Port() == "" || u.Hostname() == "" {
		return nil, fmt.Errorf("host or port is missing; write nats://TOKEN@HOST:PORT")
	}
	return natsstore.Open(ctx, u.String())
}

func openDynamoDB(ctx context.Context, u *url.URL) (store.Store, error) {
	if u.Host == "" || u.Path != "" || u.User != nil {
		return nil, fmt.Errorf("the tables' prefix alone belongs before the question mark; write dynamodb://PREFIX?region=REGION")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("what follows the question mark is malformed; write dynamodb://PREFIX?region=REGION")
	}
	for name := range query {
		if name != "region" {
			return nil, fmt.Errorf("%q is no option; the only one is region", name)
		}
	}
	var options []func(*config.LoadOptions) error
	if region := query.Get("region"); region != "" {
		options = append(options, config.WithRegion(region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("AWS settings cannot be loaded: %w", err)
	}
	if cfg.Region == "" {
		return nil, fmt.Errorf("no region is given; add ?region=NAME or set AWS_REGION")
	}
	return dynamostore.New(cfg, dynamostore.Options{Prefix: u.Host}), nil
}
