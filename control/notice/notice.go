// Package notice takes the cloud's word that a machine is about to end, or has
// ended, to the processes on it. Parse reads an event, Notice.Apply acts on it.
package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store"
)

// ErrUnknown: the event is none that this package knows. Repeating it does not help.
var ErrUnknown = errors.New("not a notice that is known")

// Notice is a word on one machine.
type Notice struct {
	Node    mesh.NodeID // the process on it, where the notice says so
	Machine string      // the cloud's name of it
	Ended   bool        // it is over; else it soon will be
	At      time.Time
	Reason  string
}

// event is what EventBridge delivers.
type event struct {
	DetailType string    `json:"detail-type"`
	Source     string    `json:"source"`
	Time       time.Time `json:"time"`
	Detail     struct {
		InstanceID     string `json:"instance-id"`
		InstanceAction string `json:"instance-action"`
		State          string `json:"state"`

		TaskARN       string `json:"taskArn"`
		LastStatus    string `json:"lastStatus"`
		DesiredStatus string `json:"desiredStatus"`
		StopCode      string `json:"stopCode"`
		StoppedReason string `json:"stoppedReason"`
		Overrides     struct {
			ContainerOverrides []struct {
				Environment []struct{ Name, Value string } `json:"environment"`
			} `json:"containerOverrides"`
		} `json:"overrides"`
	} `json:"detail"`
}

// Parse reads an event of EventBridge: EC2's notices of interruption and
// rebalancing and of a new state, and those of ECS of a task's new status. Ok is
// false for states in which a machine goes on running.
func Parse(text []byte) (n Notice, ok bool, err error) {
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return n, false, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	d := &e.Detail
	n = Notice{Machine: d.InstanceID, At: e.Time}
	switch e.DetailType {
	case "EC2 Spot Instance Interruption Warning":
		n.Reason = fmt.Sprintf("EC2 takes its instance back (%s)", d.InstanceAction)
	case "EC2 Instance Rebalance Recommendation":
		n.Reason = "EC2 expects to take its instance back"
	case "EC2 Instance State-change Notification":
		n.Reason = "its instance is " + d.State
		switch d.State {
		case "shutting-down", "stopping":
		case "stopped", "terminated":
			n.Ended = true
		default:
			return n, false, nil
		}
	case "ECS Task State Change":
		return e.task()
	default:
		return n, false, fmt.Errorf("%w: %q of %q", ErrUnknown, e.DetailType, e.Source)
	}
	if n.Machine == "" {
		return n, false, fmt.Errorf("%w: %q names no instance", ErrUnknown, e.DetailType)
	}
	return n, true, nil
}

// nodeVariable is in which override a launcher tells a task who it is.
const nodeVariable = "WEFT_NODE_ID"

func (e *event) task() (n Notice, ok bool, err error) {
	d := &e.Detail
	n = Notice{Machine: d.TaskARN, At: e.Time, Reason: "its task is stopped"}
	for _, c := range d.Overrides.ContainerOverrides {
		for _, v := range c.Environment {
			if v.Name == nodeVariable {
				n.Node = mesh.NodeID(v.Value)
			}
		}
	}
	if n.Machine == "" {
		return n, false, fmt.Errorf("%w: %q names no task", ErrUnknown, e.DetailType)
	}
	if d.StopCode != "" || d.StoppedReason != "" {
		n.Reason = fmt.Sprintf("its task is stopped (%s: %s)", d.StopCode, d.StoppedReason)
	}
	switch d.LastStatus {
	case "DEPROVISIONING", "STOPPED":
		n.Ended = true
	default:
		if d.DesiredStatus != "STOPPED" {
			return n, false, nil
		}
	}
	return n, true, nil
}

// Store is what notices need of the replication store.
type Store interface {
	Processes(ctx context.Context) ([]mesh.Process, error)
	PutProcess(ctx context.Context, p mesh.Process) error
	Intents(ctx context.Context) ([]mesh.Intent, error)
	PutIntent(ctx context.Context, i mesh.Intent) error
	PutDecision(ctx context.Context, d mesh.Decision) error
}

// Apply asks that the process on the machine be emptied, or fences it if the
// machine is over, and returns the decision; false if there was nothing to do:
// the machine is not ours, its process is leaving already, or the notice is
// about an earlier life. It is safe to repeat, late, and in any order.
func (n Notice) Apply(ctx context.Context, st Store, now time.Time) (mesh.Decision, bool, error) {
	intents, err := st.Intents(ctx)
	if err != nil {
		return mesh.Decision{}, false, fmt.Errorf("intents: %w", err)
	}
	processes, err := st.Processes(ctx)
	if err != nil {
		return mesh.Decision{}, false, fmt.Errorf("processes: %w", err)
	}
	for _, p := range processes {
		if p.ID == n.Node || n.Machine != "" && p.Machine == n.Machine {
			return n.tell(ctx, st, p, intents, now)
		}
	}
	if !n.Ended || n.Node == "" {
		return mesh.Decision{}, false, nil
	}
	for _, i := range intents {
		if i.What == "launch" && i.Target == n.Node && i.State == mesh.IntentDone {
			i.State, i.CreatedUnixMilli, i.Reason = mesh.IntentFailed, now.UnixMilli(), "it ended before it made itself known: "+n.Reason
			if err := st.PutIntent(ctx, i); err != nil {
				return mesh.Decision{}, false, fmt.Errorf("intent %s: %w", i.Token, err)
			}
			return n.decide(ctx, st, "failed", i.Role, i.Target, i.Reason)
		}
	}
	return mesh.Decision{}, false, nil
}

// tell acts on process p.
func (n Notice) tell(ctx context.Context, st Store, p mesh.Process, intents []mesh.Intent, now time.Time) (mesh.Decision, bool, error) {
	// An incarnation is the time of its birth in nanoseconds, by its own clock. A
	// machine that began a new life after the notice is not meant.
	born := time.Unix(0, int64(min(p.Incarnation, 1<<63-1)))
	if p.State == mesh.Stopped || n.At.Before(born) {
		return mesh.Decision{}, false, nil
	}
	if n.Ended {
		p.State = mesh.Stopped
		err := st.PutProcess(ctx, p)
		if errors.Is(err, store.ErrStaleEpoch) {
			return mesh.Decision{}, false, nil // it said so itself, or lives again
		}
		if err != nil {
			return mesh.Decision{}, false, fmt.Errorf("fence %s: %w", p.ID, err)
		}
		return n.decide(ctx, st, "condemn", p.Role, p.ID, n.Reason)
	}
	if planner.Leaving(intents, p) {
		return mesh.Decision{}, false, nil
	}
	if err := st.PutIntent(ctx, planner.DrainIntent(p, now, n.Reason)); err != nil {
		return mesh.Decision{}, false, fmt.Errorf("drain %s: %w", p.ID, err)
	}
	return n.decide(ctx, st, "drain", p.Role, p.ID, n.Reason)
}

func (n Notice) decide(ctx context.Context, st Store, action string, role mesh.Role, id mesh.NodeID, reason string) (mesh.Decision, bool, error) {
	d := mesh.Decision{
		ID: fmt.Sprintf("%014d-notice-%s", max(n.At.UnixMilli(), 0), id), UnixMilli: n.At.UnixMilli(),
		Action: action, Subject: fmt.Sprintf("%s %s", role, id), Reason: reason,
	}
	if err := st.PutDecision(ctx, d); err != nil {
		return d, true, fmt.Errorf("decision %s: %w", d.ID, err)
	}
	return d, true, nil
}
