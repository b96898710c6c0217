package cloud

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"weft/control/launch/label"
)

const ec2Version = "2016-11-15"

// ec2Fleet is the instances of a shard.
type ec2Fleet struct {
	api     *api
	owner   label.Owner
	mu      sync.Mutex
	types   map[string]string            // by instance
	found   map[string]map[string]string // tags by instance
	base    map[string]map[string]string // what its user data says, by instance
	secrets map[string]string            // by id, read once
	idle    map[string]time.Time         // since when those without a process run; of machines alone
}

func newEC2Fleet(a *api, owner label.Owner) *ec2Fleet {
	return &ec2Fleet{api: a, owner: owner, types: map[string]string{}, found: map[string]map[string]string{}, base: map[string]map[string]string{}, secrets: map[string]string{}, idle: map[string]time.Time{}}
}

func (f *ec2Fleet) call(ctx context.Context, action string, parameters map[string]string, out any) error {
	form := url.Values{"Action": {action}, "Version": {ec2Version}}
	for name, value := range parameters {
		form.Set(name, value)
	}
	return f.api.query(ctx, "ec2", form, out)
}

type ec2Instances struct {
	Reservations []struct {
		Instances []struct {
			ID    string `xml:"instanceId"`
			Type  string `xml:"instanceType"`
			State string `xml:"instanceState>name"`
			Tags  []struct {
				Key   string `xml:"key"`
				Value string `xml:"value"`
			} `xml:"tagSet>item"`
		} `xml:"instancesSet>item"`
	} `xml:"reservationSet>item"`
}

// idlePatience is how long an instance without a process runs before it powers
// off, into the warm pool: shorter than simnode/metadata's minute, to be seen here.
const idlePatience = 10 * time.Second

func (f *ec2Fleet) list(ctx context.Context, states ...string) (out ec2Instances, err error) {
	in := map[string]string{
		"Filter.1.Name": "tag:" + label.Shard, "Filter.1.Value.1": f.owner.Shard,
		"Filter.2.Name": "tag:" + label.Env, "Filter.2.Value.1": f.owner.Env,
		"Filter.3.Name": "instance-state-name",
	}
	for n, s := range states {
		in[fmt.Sprint("Filter.3.Value.", n+1)] = s
	}
	return out, f.call(ctx, "DescribeInstances", in, &out)
}

// count implements fleet.
func (f *ec2Fleet) count(ctx context.Context) (n int, err error) {
	out, err := f.list(ctx, "pending", "running", "stopping", "stopped")
	for _, r := range out.Reservations {
		n += len(r.Instances)
	}
	return n, err
}

// powerOff stops an instance that has been without a process for long enough.
func (f *ec2Fleet) powerOff(ctx context.Context, id string) error {
	now := time.Now()
	if since, known := f.idle[id]; !known {
		f.idle[id] = now
		return nil
	} else if now.Sub(since) < idlePatience {
		return nil
	}
	delete(f.idle, id)
	return f.call(ctx, "StopInstances", map[string]string{"InstanceId.1": id}, nil)
}

// machines implements fleet. An instance of the warm pool runs no process.
func (f *ec2Fleet) machines(ctx context.Context, _ []string) (list []machine, err error) {
	out, err := f.list(ctx, "running")
	if err != nil {
		return nil, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			tags := map[string]string{}
			for _, t := range i.Tags {
				tags[t.Key] = t.Value
			}
			p, ok := label.Instance(tags)
			if !ok && tags[label.Warm] != "" {
				if err := f.powerOff(ctx, i.ID); err != nil {
					return nil, err
				}
			}
			if ok && f.owner.Owns(tags) && i.State == "running" {
				f.mu.Lock()
				f.found[i.ID], f.types[i.ID] = tags, i.Type
				f.mu.Unlock()
				delete(f.idle, i.ID)
				list = append(list, machine{id: i.ID, leaving: tags[label.Drain] != "", Instance: p})
			}
		}
	}
	return list, nil
}

// The parts of the user data that say what a process finds; see infra/boot.sh.tftpl.
var (
	bootEnviron = regexp.MustCompile(`(?s)<<\s*'ENV'\n(.*?)\nENV\n`)
	bootSecret  = regexp.MustCompile(`--secret-id (\S+)`)
)

// environ implements fleet: the environment that the user data writes, the
// secret that it reads, and what the launcher put into the tags.
func (f *ec2Fleet) environ(ctx context.Context, m machine) (map[string]string, error) {
	base, ok := f.base[m.id]
	if !ok {
		var out struct {
			Data string `xml:"userData>value"`
		}
		if err := f.call(ctx, "DescribeInstanceAttribute", map[string]string{"InstanceId": m.id, "Attribute": "userData"}, &out); err != nil {
			return nil, err
		}
		var err error
		if base, err = f.boot(ctx, out.Data); err != nil {
			return nil, fmt.Errorf("the user data of instance %s: %w", m.id, err)
		}
		f.base[m.id] = base
	}
	env := maps.Clone(base)
	f.mu.Lock()
	tags, kind := f.found[m.id], f.types[m.id]
	f.mu.Unlock()
	packed, err := label.Unpack(tags)
	if err != nil {
		return nil, err
	}
	for _, v := range packed {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	delete(env, "WEFT_MACHINE") // there is no instance to ask what it says of itself:
	env["WEFT_INSTANCE"], env["WEFT_KIND"] = m.id, kind
	env["WEFT_NODE_ID"] = string(m.Node)
	return env, nil
}

func (f *ec2Fleet) boot(ctx context.Context, data string) (map[string]string, error) {
	script, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, err
	}
	if again, err := base64.StdEncoding.DecodeString(string(script)); err == nil {
		script = again // moto encodes what a template brings once more
	}
	part := bootEnviron.FindSubmatch(script)
	secret := bootSecret.FindSubmatch(script)
	if part == nil || secret == nil {
		return nil, errors.New("it writes no environment, or reads no secret")
	}
	env := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(string(part[1]))); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			env[name] = value
		}
	}
	id := string(secret[1])
	if f.secrets[id] == "" {
		if f.secrets[id], err = f.api.secret(ctx, id); err != nil {
			return nil, err
		}
	}
	env["WEFT_SHARD_KEY"] = f.secrets[id]
	return env, nil
}

// over implements fleet: an instance powers itself off, which terminates it.
func (f *ec2Fleet) over(ctx context.Context, m machine, _ string) error {
	return f.call(ctx, "TerminateInstances", map[string]string{"InstanceId.1": m.id}, nil)
}

// notice implements fleet.
func (f *ec2Fleet) notice(m machine, ended bool) (source, kind string, resources []string, detail any) {
	state := "shutting-down"
	if ended {
		state = "terminated"
	}
	return "aws.ec2", "EC2 Instance State-change Notification", []string{m.id},
		map[string]any{"instance-id": m.id, "state": state}
}
