// Package metadata asks the machine under a process in the cloud: a task of
// ECS what its address is, an instance of EC2 also what process it is for and
// when it has to leave (see control/launch/ec2launch for the other side).
package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"weft/control/launch/label"
	"weft/control/options"
)

// TaskVariable is where ECS says that it answers.
const TaskVariable = "ECS_CONTAINER_METADATA_URI_V4"

// PublicVariable is the URL of a service that answers with the address that it
// is called from, such as https://checkip.amazonaws.com. A task of ECS learns
// its public address only so; empty is never.
const PublicVariable = "WEFT_PUBLIC_ADDRESS_URL"

const (
	// callTimeout bounds one question, repetitions included.
	callTimeout = 5 * time.Second
	// askEvery is how often an instance is asked for what nobody tells it.
	askEvery = 2 * time.Second
	// processPatience is how long an instance that boots waits to be told what
	// it is for. One of the warm pool is started just before it is told.
	processPatience = time.Minute
	maxReplyBytes   = 64 << 10
)

// Machine is what a process runs on.
type Machine struct {
	task            string // URL; empty on EC2
	public          string // URL of who sees the task from outside; or empty
	instance        *imds.Client
	every, patience time.Duration
}

// New returns the machine of a process with that environment. It asks nothing yet.
func New(getenv func(string) string) *Machine {
	return &Machine{
		task: getenv(TaskVariable), public: getenv(PublicVariable),
		instance: imds.New(imds.Options{
			EnableFallback: aws.FalseTernary, // IMDSv2 only
			Retryer:        retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 2 }),
		}),
		every: askEvery, patience: processPatience,
	}
}

// Address returns the address at which other machines reach this one: its
// private one or, where public is asked for and there is one, that. The error
// is a sentence for the user.
func (m *Machine) Address(ctx context.Context, public bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if m.task != "" {
		ask := m.taskAddress
		if public && m.public != "" {
			ask = m.seenFromOutside
		}
		address, err := ask(ctx)
		if err != nil {
			return "", fmt.Errorf("ECS does not tell the task's address (%w); give host and port instead of %q", err, options.Metadata)
		}
		return address, nil
	}
	address, err := "", error(nil)
	if public {
		address, err = m.get(ctx, "public-ipv4")
	}
	if err == nil && address == "" {
		address, err = m.get(ctx, "local-ipv4")
	}
	if err == nil && net.ParseIP(address) == nil {
		err = fmt.Errorf("it says %q", address)
	}
	if err != nil {
		return "", fmt.Errorf("neither ECS nor EC2 tells this machine's address (%w); give host and port instead of %q where the process runs elsewhere", err, options.Metadata)
	}
	return address, nil
}

// taskAddress reads the task metadata endpoint, version 4.
func (m *Machine) taskAddress(ctx context.Context) (string, error) {
	reply, err := fetch(ctx, m.task)
	if err != nil {
		return "", err
	}
	var container struct {
		Networks []struct{ IPv4Addresses []string }
	}
	if err := json.Unmarshal(reply, &container); err != nil {
		return "", err
	}
	for _, n := range container.Networks {
		for _, address := range n.IPv4Addresses {
			if net.ParseIP(address) != nil {
				return address, nil
			}
		}
	}
	return "", errors.New("it names no network")
}

func (m *Machine) seenFromOutside(ctx context.Context) (string, error) {
	reply, err := fetch(ctx, m.public)
	if err != nil {
		return "", err
	}
	address := strings.TrimSpace(string(reply))
	if net.ParseIP(address) == nil {
		return "", fmt.Errorf("the service of %s says %.40q", PublicVariable, address)
	}
	return address, nil
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close() //nolint:errcheck // it is read
	if reply.StatusCode != http.StatusOK {
		return nil, errors.New(reply.Status)
	}
	return io.ReadAll(io.LimitReader(reply.Body, maxReplyBytes))
}

// get returns what the instance says of path, or nothing where it has no such thing.
func (m *Machine) get(ctx context.Context, path string) (string, error) {
	out, err := m.instance.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	var status *smithyhttp.ResponseError
	if errors.As(err, &status) && status.HTTPStatusCode() == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		var op *smithy.OperationError
		if errors.As(err, &op) {
			err = op.Err // without the SDK's preamble
		}
		return "", err
	}
	defer out.Content.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(io.LimitReader(out.Content, maxReplyBytes))
	return strings.TrimSpace(string(text)), err
}

const tagsPath = "tags/instance/"

func (m *Machine) tag(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return m.get(ctx, tagsPath+key)
}

// ErrNoProcess: the instance has not been told what it is for. The process
// ends, and its machine powers off: into the warm pool, if it is one of it.
var ErrNoProcess = errors.New("this instance was not told which process to run")

// Environ returns the environment that the instance's launcher gave it, as
// NAME=value, and WEFT_INSTANCE and WEFT_KIND, which it knows itself. It waits for it a minute, then returns ErrNoProcess.
func (m *Machine) Environ(ctx context.Context) ([]string, error) {
	patient, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	var last error
	for {
		env, err := m.environ(patient)
		if len(env) > 0 {
			return append(env, m.about(patient)...), nil
		}
		if patient.Err() == nil {
			last = err
		}
		switch m.pause(patient); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case patient.Err() != nil && last != nil:
			return nil, fmt.Errorf("%w: its tags cannot be read (%w); allow instance tags in metadata in the launch template", ErrNoProcess, last)
		case patient.Err() != nil:
			return nil, ErrNoProcess
		}
	}
}

// about returns what an instance says of itself as far as it does: by its id the
// notices of its end name it, by its type it is priced.
func (m *Machine) about(ctx context.Context) (env []string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, v := range [][2]string{{"WEFT_INSTANCE", "instance-id"}, {"WEFT_KIND", "instance-type"}} {
		if text, err := m.get(ctx, v[1]); err == nil && text != "" {
			env = append(env, v[0]+"="+text)
		}
	}
	return env
}

// environ reads the tags once; nothing if they are not all there yet.
func (m *Machine) environ(ctx context.Context) ([]string, error) {
	tags := map[string]string{}
	list, err := m.tag(ctx, "")
	for key := range strings.Lines(list) {
		key = strings.TrimSpace(key)
		if !strings.HasPrefix(key, label.Prefix) || err != nil {
			continue
		}
		tags[key], err = m.tag(ctx, key)
	}
	if _, told := label.Instance(tags); err != nil || !told {
		return nil, err
	}
	return label.Unpack(tags)
}

// Leave waits until the instance is told to be drained, or that EC2 takes it
// back, and returns which; empty when ctx ends. What cannot be asked now is
// asked again: an instance that never answers leaves by other ways.
func (m *Machine) Leave(ctx context.Context) string {
	for ctx.Err() == nil {
		if drain, err := m.tag(ctx, label.Drain); err == nil && drain != "" {
			return "its launcher drains it"
		}
		if notice, err := m.get(ctx, "spot/instance-action"); err == nil && notice != "" {
			return "EC2 takes the instance back: " + notice
		}
		m.pause(ctx)
	}
	return ""
}

// pause waits for the time of the next question, or for the end of ctx.
func (m *Machine) pause(ctx context.Context) {
	t := time.NewTimer(m.every)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
