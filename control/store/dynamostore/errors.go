package dynamostore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"weft/control/store"
)

// errRefused is a condition that did not hold, where nothing explains why.
var errRefused = errors.New("condition not met")

// classify turns an error of the SDK into one of the port's. What is not known
// is taken for no answer, so that the caller repeats or reads.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var refused *types.ConditionalCheckFailedException
	if errors.As(err, &refused) {
		return errRefused
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case code == "ValidationException" && strings.Contains(api.ErrorMessage(), "size"):
			return fmt.Errorf("%w: %w", store.ErrTooLarge, err)
		case code == "ValidationException", code == "SerializationException":
			return fmt.Errorf("a request that DynamoDB does not understand: %w", err)
		case code == "ResourceNotFoundException":
			return fmt.Errorf("%w: the shard's tables do not exist here; deploy them, or look at prefix and region: %w", store.ErrUnavailable, err)
		case code == "AccessDeniedException", code == "UnrecognizedClientException", code == "ExpiredTokenException", code == "MissingAuthenticationTokenException":
			return fmt.Errorf("%w: AWS refuses these credentials; renew them or let their role use the shard's tables: %w", store.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// refusal is classify for a conditional write: if the condition did not hold,
// decide says of the item that stood in the way (ok: there was one) what the
// port makes of it. Should it say that the write was right, something changed
// meanwhile, and the caller may repeat.
func refusal[T any](err error, decide func(stored T, ok bool) (write bool, err error)) error {
	var refused *types.ConditionalCheckFailedException
	if !errors.As(err, &refused) {
		return classify(err)
	}
	var stored T
	if err := attributevalue.UnmarshalMap(refused.Item, &stored); err != nil {
		return err
	}
	write, err := decide(stored, len(refused.Item) > 0)
	if write {
		return fmt.Errorf("%w: the item changed while the write was refused", store.ErrUnavailable)
	}
	return err
}
