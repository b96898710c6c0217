package main

import (
	"context"
	"encoding/json"
	"errors"

	"weft/control/notice"
	"weft/functions/internal/shard"
)

type handler struct{ *shard.Shard }

// outcome says what was done, for the log of who called.
type outcome struct {
	Did      string `json:"did"` // drain, condemn, failed or nothing
	Decision string `json:"decision,omitempty"`
}

// handle tells the process on the machine of the notice. What it writes shows
// on the change stream, upon which replan moves the zones. Events that are no
// notices are logged and done with: they would not become any by repeating.
func (h *handler) handle(ctx context.Context, event json.RawMessage) (outcome, error) {
	n, ok, err := notice.Parse(event)
	if errors.Is(err, notice.ErrUnknown) {
		h.Log.Warn("this event is passed over", "err", err)
		return outcome{Did: "nothing"}, nil
	}
	if err != nil || !ok {
		return outcome{Did: "nothing"}, err
	}
	d, did, err := n.Apply(ctx, h.Store, h.Now())
	if err != nil || !did {
		return outcome{Did: "nothing"}, err
	}
	h.Log.Info(d.Action, "decision", d.ID, "subject", d.Subject, "reason", d.Reason, "machine", n.Machine)
	return outcome{Did: d.Action, Decision: d.ID}, nil
}
