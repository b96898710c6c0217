package ecslaunch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	"weft/control/launch"
)

// scarce is what ECS says, as a message or as the reason of a failure, when
// there is no room: in the zone, in the cluster, or in the account's quota.
// It has no error codes of its own for them.
var scarce = []string{
	"capacity is unavailable",
	"reached the limit on the number of", // tasks, vCPUs
	"no capacity",
	"insufficient capacity",
	"resource:", // RESOURCE:ENI, RESOURCE:MEMORY …
	"empty capacity provider",
	"no container instances were found",
	"not have enough free addresses",
}

// hopeless is what no repetition helps.
var hopeless = []string{
	"InvalidParameterException", "ClientException", "ClusterNotFoundException", "UnsupportedFeatureException",
	"PlatformUnknownException", "PlatformTaskDefinitionIncompatibilityException", "BlockedException",
}

var denied = []string{
	"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException",
	"MissingAuthenticationTokenException", "NotAuthorized",
}

// classify turns what RunTask answered into one of the port's errors. Whatever
// it does not know stays as it is: the task may or may not run.
func classify(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	code := api.ErrorCode()
	switch {
	case code == "LimitExceededException", code == "ServiceQuotaExceededException", isScarce(api.ErrorMessage()):
		return fmt.Errorf("%w: %w", launch.ErrNoCapacity, err)
	case slices.Contains(denied, code):
		return fmt.Errorf("%w: AWS refuses ecs:RunTask (or iam:PassRole, ecs:TagResource) to these credentials; allow it to their role, or renew them: %w", launch.ErrInvalid, err)
	case slices.Contains(hopeless, code):
		return fmt.Errorf("%w: %w", launch.ErrInvalid, err)
	}
	return err
}

// failed is classify for a failure inside a good reply.
func failed(f types.Failure) error {
	reason := deref(f.Reason)
	err := fmt.Errorf("ECS says %q %s", reason, deref(f.Detail))
	switch {
	case isScarce(reason), isScarce(deref(f.Detail)):
		return fmt.Errorf("%w: %w", launch.ErrNoCapacity, err)
	case reason == "MISSING", reason == "INACTIVE", reason == "ATTRIBUTE", reason == "LOCATION":
		return fmt.Errorf("%w: %w", launch.ErrInvalid, err)
	}
	return err
}

func isScarce(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(scarce, func(s string) bool { return strings.Contains(text, s) })
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
