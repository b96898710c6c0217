package provision

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// Reason is why something could not be deployed or taken away.
type Reason string

// The reasons.
const (
	NoCredentials Reason = "no credentials"
	WrongRegion   Reason = "wrong region"
	NameTaken     Reason = "name taken"
	Throttled     Reason = "throttled"
	Denied        Reason = "denied"
	OverQuota     Reason = "over quota"
	NoAnswer      Reason = "no answer"
	NoProvider    Reason = "no provider"
	Locked        Reason = "locked"
	BadVariable   Reason = "bad variable"
	StillInUse    Reason = "still in use"
	Unknown       Reason = "unknown"
)

// Fault is one thing that failed, told in one sentence with what to do.
type Fault struct {
	Reason   Reason
	Action   string // what was tried, such as dynamodb:CreateTable; may be empty
	Resource string // its address; may be empty
	More     int    // others that failed for the same reason
	Detail   string // in the words of Terraform or AWS, one line
	// Cause is what Terraform's process ended with.
	Cause error
}

// kinds of faults, the first that fits counts.
var kinds = []struct {
	reason Reason
	signs  *regexp.Regexp
	fix    string
}{
	{BadVariable, regexp.MustCompile(`(?i)invalid value for (input )?variable|value for undeclared variable|invalid value for input`), ""},
	{Locked, regexp.MustCompile(`(?i)error acquiring the state lock`), "another deploy or destroy holds the state; wait for it, or release the lock it names with terraform force-unlock in the stack's directory if that process is gone"},
	{NoProvider, regexp.MustCompile(`(?i)failed to (query available provider|install provider)|could not retrieve the list of available versions|provider registry`), "Terraform's AWS provider cannot be fetched; connect this machine to the internet, or set " + MirrorVariable + " to a directory that holds registry.terraform.io/hashicorp/aws"},
	{NoCredentials, regexp.MustCompile(`(?i)no valid credential|failed to refresh cached credentials|get credentials|ExpiredToken|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|AuthFailure|security token included in the request|no EC2 IMDS role found|InvalidAccessKeyId|SSO session`), "AWS knows no valid credentials of yours; sign in (aws sso login, or aws configure), or set AWS_PROFILE, and repeat"},
	{WrongRegion, regexp.MustCompile(`(?i)invalid AWS Region|InvalidRegion|not supported in (this|the requested) region|could not resolve endpoint|OptInRequired|IllegalLocationConstraint|AuthorizationHeaderMalformed|no such host`), "the region is wrong, not enabled for this account or not reachable; give one that is with --region, such as us-east-1"},
	{Denied, regexp.MustCompile(`(?i)AccessDenied|UnauthorizedOperation|not authorized to perform|AuthorizationError|Forbidden|explicit deny`), "your credentials may not do that; have the action allowed to them (docs/aws.md lists what a deployer needs) and repeat"},
	{OverQuota, regexp.MustCompile(`(?i)LimitExceeded|ServiceQuota|quota|UnreservedConcurrentExecution|MaximumNumber|TooManyBuckets`), "a quota of the account is used up; raise it in Service Quotas (docs/aws.md lists which; for a concurrency quota of 10 deploy with --set join_concurrency=-1) and repeat"},
	{Throttled, regexp.MustCompile(`(?i)Throttl|Rate exceeded|TooManyRequests|RequestLimitExceeded|SlowDown|ConcurrentModification|OperationAborted`), "AWS had too many requests of this account; wait a minute and repeat: it goes on where it stopped"},
	{NameTaken, regexp.MustCompile(`(?i)AlreadyExist|already exists|ResourceInUse|ResourceConflict|InvalidGroup.Duplicate|already in use|DuplicateListener`), "something else has that name: choose another --env, or, if it is left of an older deployment, delete it and repeat"},
	{StillInUse, regexp.MustCompile(`(?i)DependencyViolation|ClusterContains|ResourceInUseException|currently in use`), "something still uses it; wait until nodes and gateways have ended and repeat"},
	{NoAnswer, regexp.MustCompile(`(?i)connection refused|dial tcp|timeout|deadline exceeded|connection reset|request send failed|i/o timeout|EOF`), "AWS, or the emulator at AWS_ENDPOINT_URL, does not answer; see that it can be reached and repeat"},
}

var (
	operation   = regexp.MustCompile(`operation error ([A-Za-z0-9 ]+): ([A-Za-z]+)`)
	notAllowed  = regexp.MustCompile(`not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)`)
	apiMessage  = regexp.MustCompile(`(?:api error|RequestID: [^ ,]*,) ([A-Z][A-Za-z.]+): ([^\n]*)`)
	noAnswer    = regexp.MustCompile(`dial tcp [^\n"]*`)
	whereFrom   = regexp.MustCompile(`\s*This was checked by the validation rule at .*`)
	quoted      = regexp.MustCompile(`[│╷╵]`)
	maxDetail   = 300
	servicePage = strings.NewReplacer(" ", "", "Secrets Manager", "secretsmanager", "CloudWatch Logs", "logs", "EventBridge", "events", "CloudWatch", "cloudwatch")
)

// faultOf makes one fault of what Terraform said, in diagnostics or in the words
// of its error: the first, with how many others failed for the same reason.
func faultOf(said []diagnostic, cause error) *Fault {
	if len(said) == 0 {
		_, text, found := strings.Cut(cause.Error(), "Error: ")
		if !found {
			text = cause.Error()
		}
		said = []diagnostic{{Summary: text}}
	}
	f := classify(said[0])
	f.Cause = cause
	for _, d := range said[1:] {
		if classify(d).Reason == f.Reason {
			f.More++
		}
	}
	return f
}

func classify(d diagnostic) *Fault {
	text := d.Summary + "\n" + d.Detail
	f := &Fault{Reason: Unknown, Resource: d.Address, Detail: oneLine(whereFrom.ReplaceAllString(cmp.Or(d.Detail, d.Summary), ""))}
	for _, k := range kinds {
		if k.signs.MatchString(text) {
			f.Reason = k.reason
			break
		}
	}
	if m := operation.FindStringSubmatch(text); m != nil {
		f.Action = strings.ToLower(servicePage.Replace(m[1])) + ":" + m[2]
	}
	if m := notAllowed.FindStringSubmatch(text); m != nil {
		f.Action = m[1]
	}
	if strings.HasPrefix(d.Address, "provider[") { // it is what talks to AWS, not what is made
		f.Action, f.Resource = "", ""
	}
	if m := noAnswer.FindString(text); m != "" && f.Reason == NoAnswer {
		f.Detail = oneLine(m)
	} else if m := apiMessage.FindStringSubmatch(text); m != nil {
		f.Detail = oneLine(m[1] + ": " + m[2])
	} else if f.Reason != BadVariable && f.Reason != Unknown {
		f.Detail = oneLine(d.Summary)
	}
	return f
}

// oneLine drops Terraform's frame and bounds the length.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(quoted.ReplaceAllString(text, "")), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + " …"
	}
	return strings.TrimSuffix(text, ".")
}

// Error tells it in one sentence: what failed, at what, and what to do.
func (f *Fault) Error() string {
	var b strings.Builder
	switch {
	case f.Action != "" && f.Resource != "":
		fmt.Fprintf(&b, "%s failed for %s", f.Action, f.Resource)
	case f.Action != "":
		fmt.Fprintf(&b, "%s failed", f.Action)
	case f.Resource != "":
		fmt.Fprintf(&b, "%s failed", f.Resource)
	default:
		b.WriteString("Terraform failed")
	}
	if f.More > 0 {
		fmt.Fprintf(&b, " (and %d more alike)", f.More)
	}
	fmt.Fprintf(&b, ": %s", f.Detail)
	for _, k := range kinds {
		if k.reason == f.Reason && k.fix != "" {
			fmt.Fprintf(&b, "; %s", k.fix)
		}
	}
	return b.String()
}

// Unwrap returns what Terraform's process ended with.
func (f *Fault) Unwrap() error { return f.Cause }
