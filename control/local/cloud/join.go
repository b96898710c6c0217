package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"weft/control/mesh"
)

// Join asks the deployed function join for a place for player, as a studio's
// backend would: gateways, best first, and a ticket for them.
func (c *Cloud) Join(ctx context.Context, player mesh.PlayerID) (gateways []string, ticket string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.joinURL, strings.NewReader(fmt.Sprintf(`{"player": %d}`, player)))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
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
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusAccepted, http.StatusTooManyRequests:
		return nil, "", errNotYet
	default:
		return nil, "", fmt.Errorf("function join answers %s: %s", answer.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, "", fmt.Errorf("function join answers something else than JSON: %w", err)
	}
	return in.Gateways, in.Ticket, nil
}
