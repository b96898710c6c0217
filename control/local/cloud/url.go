package cloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const maxBodyBytes = 1 << 20 // of a request to a URL; Lambda's own limit is 6 MB

// functionURL is a listener that calls a function for each request.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type functionURL struct {
	h        *host
	f        *function
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
}

func (u *functionURL) serve(ctx context.Context) (err error) {
	if u.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("listen for function %s: %w", u.f.name, err)
	}
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: initPatience, MaxHeaderBytes: 16 << 10}
	u.serving.Go(func() { _ = u.server.Serve(u.listener) })
	return nil
}

func (u *functionURL) url() string { return "http://" + u.listener.Addr().String() + "/" }

func (u *functionURL) close() {
	if u.server != nil {
		_ = u.server.Close()
		u.serving.Wait()
	}
}

// ServeHTTP implements http.Handler.
func (u *functionURL) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
		return
	}
	id := u.h.requestID()
	event, err := json.Marshal(requestEvent(r, id, body, time.Now()))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := u.f.invoke(r.Context(), id, event)
	switch {
	case errors.Is(err, errThrottled):
		http.Error(w, `{"Message":"Rate Exceeded."}`, http.StatusTooManyRequests)
	case err != nil:
		u.h.log.Warn("a function failed", "url", u.f.name, "err", err)
		http.Error(w, `{"Message":"Internal Server Error"}`, http.StatusBadGateway)
	default:
		reply(w, answer)
	}
}

// requestEvent is r in payload format 2.0.
func requestEvent(r *http.Request, id string, body []byte, now time.Time) map[string]any {
	headers, query := map[string]string{"host": r.Host}, map[string]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for name, values := range r.URL.Query() {
		query[name] = strings.Join(values, ",")
	}
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	event := map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": r.URL.Path, "rawQueryString": r.URL.RawQuery,
		"headers": headers, "queryStringParameters": query, "isBase64Encoded": false,
		"requestContext": map[string]any{
			"accountId": "anonymous", "apiId": "local", "domainName": r.Host, "domainPrefix": "local", "requestId": id, "routeKey": "$default", "stage": "$default",
			"time": now.UTC().Format("02/Jan/2006:15:04:05 -0700"), "timeEpoch": now.UnixMilli(),
			"http": map[string]any{"method": r.Method, "path": r.URL.Path, "protocol": r.Proto, "sourceIp": ip, "userAgent": r.UserAgent()},
		},
	}
	if len(body) > 0 {
		if event["body"] = string(body); !utf8.Valid(body) {
			event["body"], event["isBase64Encoded"] = base64.StdEncoding.EncodeToString(body), true
		}
	}
	return event
}

// reply writes what a function answered: a response, or any JSON as it is.
func reply(w http.ResponseWriter, answer []byte) {
	var r struct {
		StatusCode      int               `json:"statusCode"`
		Headers         map[string]string `json:"headers"`
		Cookies         []string          `json:"cookies"`
		Body            string            `json:"body"`
		IsBase64Encoded bool              `json:"isBase64Encoded"`
	}
	if json.Unmarshal(answer, &r) != nil || r.StatusCode == 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
		return
	}
	for name, value := range r.Headers {
		w.Header().Set(name, value)
	}
	for _, c := range r.Cookies {
		w.Header().Add("Set-Cookie", c)
	}
	body := []byte(r.Body)
	if r.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(r.Body); err != nil {
			http.Error(w, "the function's body is not base64", http.StatusBadGateway)
			return
		}
	}
	w.WriteHeader(r.StatusCode)
	_, _ = w.Write(body)
}
