package provision

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
)

// Fleet is what Rest asks of the store.
type Fleet interface {
	PutIntent(ctx context.Context, i mesh.Intent) error
	DeleteIntent(ctx context.Context, token string) error
	Intents(ctx context.Context) ([]mesh.Intent, error)
	Processes(ctx context.Context) ([]mesh.Process, error)
}

// The times of Rest.
const (
	// askEvery is how often the fleet is looked at: deleting a process does not
	// show on the store's stream, so there is nothing to wait on.
	askEvery = 2 * time.Second
	// launchPatience is how long a launch may be on its way before its process
	// says that it is there.
	launchPatience = 3 * time.Minute
)

// Rest sets the shard to stopped and waits until the deployed functions have
// drained it: no process runs and none is being launched. It returns those that
// are left when patience is over; the shard stays stopped.
func Rest(ctx context.Context, f Fleet, patience time.Duration, say func(string)) (left []string, err error) {
	now := time.Now()
	if err := f.PutIntent(ctx, planner.StoppedIntent(now, "the operator takes the world away")); err != nil {
		return nil, fmt.Errorf("the shard cannot be set to stopped: %w", err)
	}
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	told := ""
	for end := now.Add(patience); ; {
		if left, err = busy(ctx, f, time.Now()); err != nil {
			return left, fmt.Errorf("the fleet cannot be looked at: %w", err)
		}
		if len(left) == 0 || !time.Now().Before(end) {
			return left, nil
		}
		if names := strings.Join(left, ", "); names != told {
			say("waiting for " + names)
			told = names
		}
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-ticker.C:
		}
	}
}

// Empty is what comes before Stack.Destroy: Rest and, if the deployed functions
// sweep, AwaitBare, each with that patience. It returns what is left.
func Empty(ctx context.Context, f Fleet, patience time.Duration, swept bool, say func(string)) (left []string, err error) {
	left, err = Rest(ctx, f, patience, say)
	if err != nil || len(left) > 0 || !swept {
		return left, err
	}
	bare, err := AwaitBare(ctx, f, patience, say)
	if err == nil && !bare {
		left = []string{"machines that no record names, or function sweep does not run"}
	}
	return left, err
}

// AwaitBare waits, after Rest, until a sweep of the deployed functions has found
// that nothing of the world runs or is kept ready, also what no record names, such
// as instances of the warm pool. It reports whether one did before patience was over.
func AwaitBare(ctx context.Context, f Fleet, patience time.Duration, say func(string)) (bool, error) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	say("waiting for function sweep, which looks each minute, to find that nothing is left")
	for end := time.Now().Add(patience); ; {
		intents, err := f.Intents(ctx)
		if err != nil {
			return false, fmt.Errorf("the fleet cannot be looked at: %w", err)
		}
		if bare := planner.Bare(intents); bare || !time.Now().Before(end) {
			return bare, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ticker.C:
		}
	}
}

// busy names what runs and what is being launched.
func busy(ctx context.Context, f Fleet, now time.Time) (names []string, err error) {
	processes, err := f.Processes(ctx)
	if err != nil {
		return nil, err
	}
	known := map[mesh.NodeID]bool{}
	for _, p := range processes {
		known[p.ID] = true
		if p.State != mesh.Stopped {
			names = append(names, fmt.Sprintf("%s (%s)", p.ID, p.State))
		}
	}
	intents, err := f.Intents(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range intents {
		young := now.Sub(time.UnixMilli(i.CreatedUnixMilli)) < launchPatience
		if i.What == "launch" && i.State != mesh.IntentFailed && !known[i.Target] && young {
			names = append(names, fmt.Sprintf("%s (being launched)", i.Target))
		}
	}
	return names, nil
}

// Resume takes the word of Rest back: players wake the world again.
func Resume(ctx context.Context, f Fleet) error {
	for _, i := range []mesh.Intent{planner.BareIntent(time.Time{}), planner.StoppedIntent(time.Time{}, "")} {
		if err := f.DeleteIntent(ctx, i.Token); err != nil {
			return fmt.Errorf("the shard is still set to stopped; deploy once more: %w", err)
		}
	}
	return nil
}
