package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"weft/control/mesh"
)

// Join asks the deployed function join for a place for player, as a client
// would: gateways, best first, and a ticket for them.
func (c *Cloud) Join(ctx context.Context, player mesh.PlayerID) (gateways []string, ticket string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.joinURL+"?"+url.Values{"player": {strconv.FormatUint(uint64(player), 10)}}.Encode(), nil)
	if err != nil {
		return nil, "", err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBodyBytes))
	if err != nil {
		return nil, "", err
	}
	var in struct {
		Gateways []string `json:"gateways"`
		Ticket   string   `json:"ticket"`
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusAccepted && answer.StatusCode != http.StatusTooManyRequests {
		return nil, "", fmt.Errorf("function join answers %s: %s", answer.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, "", fmt.Errorf("function join answers something else than JSON: %w", err)
	}
	if len(in.Gateways) == 0 || in.Ticket == "" {
		return nil, "", errNotYet
	}
	return in.Gateways, in.Ticket, nil
}
