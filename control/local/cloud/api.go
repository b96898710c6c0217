package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The limits of a call to the emulator, which is slow when much is asked of it.
const (
	callPatience   = 20 * time.Second
	maxAnswerBytes = 16 << 20
	callAttempts   = 3
)

// api makes the few calls of AWS that the stand-in needs, in their own JSON and
// XML. The clients of the SDK would do the same, but that of EC2 alone takes
// over a minute to compile, and a record of a stream is in AWS's own JSON what
// a function is to be given.
type api struct {
	endpoint, region string
	credentials      aws.Credentials
	client           *http.Client
	signer           *v4.Signer
}

func newAPI(endpoint, region string, c aws.Credentials) *api {
	transport := &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	return &api{
		endpoint: strings.TrimSuffix(endpoint, "/"), region: region, credentials: c,
		client: &http.Client{Transport: transport, Timeout: callPatience}, signer: v4.NewSigner(),
	}
}

func (a *api) close() { a.client.CloseIdleConnections() }

// refusedError is an answer that is none.
type refusedError struct {
	service, what string
	status        int
	body          string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%s refuses %s with status %d: %s", e.service, e.what, e.status, e.body)
}

// json calls an action of a service that speaks JSON, such as ECS.
func (a *api) json(ctx context.Context, service, target, version string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := a.send(ctx, service, target, http.MethodPost, "/", body, map[string]string{
		"Content-Type": "application/x-amz-json-" + version, "X-Amz-Target": target,
	})
	if err != nil || out == nil {
		return err
	}
	return decoded(service, target, json.Unmarshal(answer, out))
}

// get reads a resource of a service that speaks REST, such as Lambda.
func (a *api) get(ctx context.Context, service, path string, out any) error {
	answer, err := a.send(ctx, service, path, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	return decoded(service, path, json.Unmarshal(answer, out))
}

// query calls an action of a service that speaks XML, such as EC2.
func (a *api) query(ctx context.Context, service string, form url.Values, out any) error {
	action := form.Get("Action")
	answer, err := a.send(ctx, service, action, http.MethodPost, "/", []byte(form.Encode()), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
	})
	if err != nil || out == nil {
		return err
	}
	return decoded(service, action, xml.Unmarshal(answer, out))
}

func decoded(service, what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s answers %s with something else: %w", service, what, err)
	}
	return nil
}

// send sends a request, again where there was no answer. Whatever the stand-in
// asks for may be asked for twice.
func (a *api) send(ctx context.Context, service, what, method, path string, body []byte, header map[string]string) (answer []byte, err error) {
	for attempt := range callAttempts {
		if attempt > 0 && !pause(ctx, time.Duration(attempt)*200*time.Millisecond) {
			return nil, ctx.Err()
		}
		var status int
		if status, answer, err = a.once(ctx, service, method, path, body, header); err != nil {
			continue
		}
		if status < 300 {
			return answer, nil
		}
		text := strings.TrimSpace(string(answer[:min(len(answer), 300)]))
		if err = (&refusedError{service, what, status, text}); status < 500 {
			return nil, err
		}
	}
	return nil, err
}

func (a *api) once(ctx context.Context, service, method, path string, body []byte, header map[string]string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.endpoint+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	sum := sha256.Sum256(body)
	if err := a.signer.SignHTTP(ctx, a.credentials, r, hex.EncodeToString(sum[:]), service, a.region, time.Now()); err != nil {
		return 0, nil, err
	}
	out, err := a.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("%s does not answer: %w", service, err)
	}
	defer out.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(out.Body, maxAnswerBytes))
	return out.StatusCode, answer, err
}

// pause waits for d; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
