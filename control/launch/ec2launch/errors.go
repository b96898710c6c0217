package ec2launch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"

	"weft/control/launch"
)

// scarce is what EC2 answers when there is no room: in the zone, in the
// subnet, or in the account's quota of one kind.
var scarce = []string{
	"InsufficientInstanceCapacity", "InsufficientCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
	"InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity", "InsufficientVolumeCapacity",
	"InstanceLimitExceeded", "VcpuLimitExceeded", "VolumeLimitExceeded", "MaxIOPSLimitExceeded", "ReservationCapacityExceeded",
	"MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow", "UnfulfillableCapacity",
	"Unsupported", // the zone does not have the type
}

var denied = []string{"UnauthorizedOperation", "AuthFailure", "Blocked", "OptInRequired", "PendingVerification", "ExpiredToken", "RequestExpired"}

// classify turns what RunInstances or StartInstances answered into one of the
// port's errors. Whatever it does not know stays as it is: the instance may or
// may not run.
func classify(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	code := api.ErrorCode()
	switch {
	case slices.Contains(scarce, code):
		return fmt.Errorf("%w: %w", launch.ErrNoCapacity, err)
	case slices.Contains(denied, code):
		return fmt.Errorf("%w: AWS refuses ec2:RunInstances (or ec2:CreateTags, iam:PassRole) to these credentials; allow it to their role, or renew them: %w", launch.ErrInvalid, err)
	case strings.HasPrefix(code, "Invalid"), strings.HasPrefix(code, "Missing"):
		return fmt.Errorf("%w: %w", launch.ErrInvalid, err)
	}
	return err
}

// taken reports that an instance of the warm pool is not there to be started
// any more.
func taken(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (api.ErrorCode() == "IncorrectInstanceState" || api.ErrorCode() == "InvalidInstanceID.NotFound")
}
