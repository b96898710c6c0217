package dynamostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/internal/rule"
)

// layoutHead is the small item that says which layout is the shard's. Its
// change is what publishes a layout; a body that no head names is nothing.
type layoutHead struct {
	key
	Version uint64 `dynamodbav:"ver"`
	Body    string `dynamodbav:"body_sk"`
}

type layoutBody struct {
	key
	blob
}

var layoutHeadKey = key{"layout", "head"}

// bodyAttempts bounds how often a layout that is replaced while it is read is
// looked up anew.
const bodyAttempts = 16

// Layout implements store.Layouts.
func (s *Store) Layout(ctx context.Context) (mesh.Layout, error) {
	for range bodyAttempts {
		head, ok, err := get[layoutHead](ctx, s, s.data, layoutHeadKey)
		if err != nil {
			return mesh.Layout{}, err
		}
		if !ok {
			return mesh.Layout{}, fmt.Errorf("%w: the shard has no layout yet", store.ErrNotFound)
		}
		body, ok, err := get[layoutBody](ctx, s, s.data, key{"layout", head.Body})
		if err != nil {
			return mesh.Layout{}, err
		}
		if ok {
			return decode[mesh.Layout](body.blob)
		}
	}
	return mesh.Layout{}, fmt.Errorf("%w: the layout changes faster than it can be read", store.ErrUnavailable)
}

// LayoutVersion implements store.Layouts. It costs one read unit.
func (s *Store) LayoutVersion(ctx context.Context) (uint64, error) {
	head, _, err := get[layoutHead](ctx, s, s.data, layoutHeadKey)
	return head.Version, err
}

// PutLayout implements store.Layouts: it writes the body under a key of its
// own, then the head, if the version follows, then deletes the older bodies.
func (s *Store) PutLayout(ctx context.Context, l mesh.Layout) error {
	encoded, err := rule.Encode(l)
	if err != nil {
		return err
	}
	head, _, err := get[layoutHead](ctx, s, s.data, layoutHeadKey)
	if err != nil {
		return err
	}
	if err := rule.NextVersion("layout", head.Version, l.Version); err != nil {
		return err
	}
	body := key{"layout", fmt.Sprintf("body#%020d#%s", l.Version, rand.Text())}
	if err := put(ctx, s, s.data, layoutBody{body, pack(encoded)}, "", nil, nil); err != nil {
		return err
	}
	condition, v := "ver = :before", values{":before": l.Version - 1}
	if l.Version == 1 {
		condition, v = "attribute_not_exists(pk)", nil
	}
	err = put(ctx, s, s.data, layoutHead{layoutHeadKey, l.Version, body.SK}, condition, v, func(stored layoutHead, _ bool) (bool, error) {
		if stored.Body == body.SK {
			return false, nil // a repeat by the SDK
		}
		return false, rule.NextVersion("layout", stored.Version, l.Version)
	})
	if errors.Is(err, store.ErrConflict) {
		// Nobody will ever name the body. If this fails, the next layout sweeps it.
		_ = s.remove(ctx, s.data, body, "", nil)
	}
	if err != nil {
		return err
	}
	s.sweepBodies(ctx, l.Version)
	return nil
}

// sweepBodies deletes the bodies of versions below version. What it fails to
// delete the next call will.
func (s *Store) sweepBodies(ctx context.Context, version uint64) {
	var old []key
	err := query(ctx, s, s.data, span{pk: "layout", from: "body#", through: fmt.Sprintf("body#%020d", version), only: "pk, sk"}, func(k key) bool {
		old = append(old, k)
		return true
	})
	if err == nil {
		_ = s.removeAll(ctx, s.data, old)
	}
}
