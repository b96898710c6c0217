package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/time/rate"

	"weft/control/admit"
	"weft/control/mesh"
	"weft/control/options"
	"weft/functions/internal/shard"
	"weft/simnode/ticket"
)

const (
	// ticketLife is how long a ticket admits: to connect, not to play.
	ticketLife = time.Minute
	// maxBodyBytes bounds a request, minTokenBytes the token from below.
	maxBodyBytes, minTokenBytes = 1 << 10, 16
	// perSecond and burst are the requests that one execution environment takes;
	// how many environments there are, the reserved concurrency says.
	perSecond, burst = 50, 100
)

type handler struct {
	*shard.Shard
	booth *ticket.Booth
	token [sha256.Size]byte // of the token, so that a comparison tells nothing of its length
	pace  *rate.Limiter
}

func newHandler(s *shard.Shard, key options.Key, token string) (*handler, error) {
	token = strings.TrimSpace(token)
	if len(token) < minTokenBytes {
		return nil, errors.New("the token of WEFT_JOIN_SECRET is shorter than 16 characters; make a longer one, such as openssl rand -hex 32")
	}
	booth, err := ticket.NewBooth(key, s.Options.Shard)
	return &handler{Shard: s, booth: booth, token: sha256.Sum256([]byte(token)), pace: rate.NewLimiter(perSecond, burst)}, err
}

// invitation and waiting are the answers.
type invitation struct {
	Gateways         []string `json:"gateways"`
	Ticket           string   `json:"ticket"`
	ExpiresUnixMilli int64    `json:"expires_unix_milli"`
}

type waiting struct {
	Place             int    `json:"place"`
	RetryAfterSeconds int    `json:"retry_after_seconds"`
	Why               string `json:"why"`
}

type reply = events.LambdaFunctionURLResponse

// handle answers one request. What the caller did wrong is an answer; what went
// wrong here is an error, which the URL shows as 502.
func (h *handler) handle(ctx context.Context, r events.LambdaFunctionURLRequest) (reply, error) {
	now := h.Now()
	switch {
	case r.RequestContext.HTTP.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "send a POST", "Allow", http.MethodPost), nil
	case r.RawPath != "" && r.RawPath != "/" && r.RawPath != "/join":
		return refuse(http.StatusNotFound, "there is nothing here but /"), nil
	case !h.pace.AllowN(now, 1):
		return refuse(http.StatusTooManyRequests, "too many at once; try again", "Retry-After", "1"), nil
	case !h.knows(r):
		return refuse(http.StatusUnauthorized, "show the shard's join token as Authorization: Bearer TOKEN", "Www-Authenticate", "Bearer"), nil
	}
	player, status, fault := read(r)
	if fault != "" {
		return refuse(status, fault), nil
	}
	a, err := admit.Player(ctx, h.Store, player, now)
	switch {
	case errors.Is(err, admit.ErrStopped):
		return refuse(http.StatusServiceUnavailable, err.Error()), nil
	case err != nil:
		h.Log.Error("nobody can be admitted", "err", err)
		return reply{}, err
	case len(a.Gateways) == 0:
		seconds := int((a.RetryAfter + time.Second - 1) / time.Second)
		return answer(http.StatusAccepted, waiting{a.Place, seconds, a.Why}, "Retry-After", strconv.Itoa(seconds)), nil
	}
	c := ticket.Claims{Player: player, Expires: now.Add(ticketLife)}
	in := invitation{ExpiresUnixMilli: c.Expires.UnixMilli()}
	if shared := h.Options.Balancer; shared != "" { // the ticket is for whoever is reached there
		c.Gateways, in.Gateways, a.Gateways = []mesh.NodeID{mesh.NodeID(shared)}, []string{shared}, nil
	}
	for _, g := range a.Gateways {
		c.Gateways, in.Gateways = append(c.Gateways, g.ID), append(in.Gateways, g.ClientURL)
	}
	in.Ticket = h.booth.Mint(c)
	return answer(http.StatusOK, in), nil
}

// knows reports whether the platform has checked a signature, or the request
// shows the token.
func (h *handler) knows(r events.LambdaFunctionURLRequest) bool {
	if a := r.RequestContext.Authorizer; a != nil && a.IAM != nil && a.IAM.UserARN != "" {
		return true
	}
	for name, value := range r.Headers {
		scheme, token, _ := strings.Cut(value, " ")
		if strings.EqualFold(name, "authorization") && strings.EqualFold(scheme, "bearer") {
			shown := sha256.Sum256([]byte(strings.TrimSpace(token)))
			return subtle.ConstantTimeCompare(shown[:], h.token[:]) == 1
		}
	}
	return false
}

// read returns who is to be admitted, or what is wrong with the request.
func read(r events.LambdaFunctionURLRequest) (player mesh.PlayerID, status int, fault string) {
	if len(r.Body) > base64.StdEncoding.EncodedLen(maxBodyBytes) {
		return 0, http.StatusRequestEntityTooLarge, "the request is longer than a kilobyte"
	}
	body := []byte(r.Body)
	if r.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(r.Body); err != nil {
			return 0, http.StatusBadRequest, "the body is no base64"
		}
	}
	if len(body) > maxBodyBytes {
		return 0, http.StatusRequestEntityTooLarge, "the request is longer than a kilobyte"
	}
	var in struct {
		Player mesh.PlayerID `json:"player"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || in.Player == 0 || d.Decode(new(any)) != io.EOF {
		return 0, http.StatusBadRequest, `send {"player": N} with an account number from 1 to 4294967295`
	}
	return in.Player, 0, ""
}

func refuse(status int, why string, headers ...string) reply {
	return answer(status, struct {
		Error string `json:"error"`
	}{why}, headers...)
}

// answer makes a reply; headers are names and values.
func answer(status int, v any, headers ...string) reply {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal"}`)
	}
	r := reply{StatusCode: status, Body: string(text), Headers: map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers[headers[i]] = headers[i+1]
	}
	return r
}
