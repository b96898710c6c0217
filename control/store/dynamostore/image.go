package dynamostore

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"

	"weft/control/mesh"
	"weft/control/store"
)

// ErrDamaged: a record of the change stream cannot be read, now or later. Set it
// aside; the lists of records are without it.
var ErrDamaged = errors.New("damaged record")

// Image returns the change that a record of the control table's stream tells
// of, whose new image is JSON as Lambda hands it over; ok is false if it is none.
// An image that cannot be read to its last field is ErrDamaged.
func Image(eventName string, image json.RawMessage) (change store.Change, ok bool, err error) {
	if eventName == "REMOVE" {
		return store.Change{}, false, nil
	}
	attributes, err := attributevalue.UnmarshalMapJSON(image)
	if err != nil {
		return store.Change{}, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var item controlItem
	if err := attributevalue.UnmarshalMap(attributes, &item); err != nil {
		return store.Change{}, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if change, ok = ChangeOf(eventName, item.PK, item.SK); !ok {
		return change, false, nil
	}
	switch change.Kind {
	case store.ProcessChanged:
		_, err = decode[mesh.Process](item.blob)
	case store.ReportChanged:
		_, err = decode[mesh.Report](item.blob)
	case store.SuspicionChanged:
		_, err = decode[mesh.Suspicion](item.blob)
	case store.IntentChanged:
		_, err = decode[mesh.Intent](item.blob)
	}
	if err != nil {
		return change, false, fmt.Errorf("%w: %s %s: %w", ErrDamaged, item.PK, item.SK, err)
	}
	return change, true, nil
}
