// Package provision deploys a world and takes it away, by Terraform over infra/.
// Begin with [Open]; then Plan, Apply, Output and Destroy of a [Stack].
//
// What a stack needs between two calls lies in one directory for each
// environment: Terraform's state, unless a bucket holds it, the variables of the
// last apply, the functions' zips, and a copy of infra/.
package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gofrs/flock"
	"github.com/hashicorp/terraform-exec/tfexec"

	"weft/infra"
)

// ErrBusy: another weft works on the same environment.
var ErrBusy = errors.New("another weft works on this environment")

// parallelism is how many resources Terraform makes at once.
const parallelism = 20

// Options say which stack, and who is told of its progress.
type Options struct {
	// Env is the environment; everything's name begins with weft-<Env>.
	Env string
	// Dir holds the stack's files; empty is Home(Env).
	Dir string
	// State is where Terraform's state lies: empty for a file in Dir, or
	// s3://BUCKET/KEY?region=REGION.
	State string
	// Environ is the whole environment for Terraform, as os.Environ returns it.
	Environ []string
	// Say is told in a line of words how far it is; nil for nobody.
	Say func(string)
}

// Home returns where the stack of env is kept: below WEFT_HOME if that is set,
// else below the user's directory of configuration, since the state must outlive
// any cache.
func Home(env string) (string, error) {
	base := os.Getenv("WEFT_HOME")
	if base == "" {
		user, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("there is no directory to keep the state in (%w); set WEFT_HOME to one", err)
		}
		base = filepath.Join(user, "weft")
	}
	return filepath.Join(base, env), nil
}

// Stack is a deployed world, or one to be.
type Stack struct {
	o    Options
	dir  string
	tf   *tfexec.Terraform
	lock *flock.Flock
}

var envName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// Open finds Terraform, or installs it, and prepares the stack's directory. It
// asks nothing of AWS. The caller closes the stack. ErrBusy as above; other
// errors are sentences for the user.
func Open(ctx context.Context, o Options) (*Stack, error) {
	if !envName.MatchString(o.Env) {
		return nil, fmt.Errorf("the environment is %q; give 1 to 12 lower-case letters and digits, a letter first, such as dev", o.Env)
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Dir == "" {
		home, err := Home(o.Env)
		if err != nil {
			return nil, err
		}
		o.Dir = home
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{o: o, dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s.lock = flock.New(filepath.Join(dir, "lock"))
	if held, err := s.lock.TryLock(); err != nil {
		return nil, err
	} else if !held {
		return nil, fmt.Errorf("%w, %s: wait until it is done", ErrBusy, o.Env)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close lets another weft work on the environment.
func (s *Stack) Close() error { return s.lock.Close() }

// Dir is where the stack is kept.
func (s *Stack) Dir() string { return s.dir }

func (s *Stack) module() string          { return filepath.Join(s.dir, "stack") }
func (s *Stack) file(name string) string { return filepath.Join(s.dir, name) }

// prepare writes the module and initialises Terraform in it.
func (s *Stack) prepare(ctx context.Context) error {
	backend, err := s.backend()
	if err != nil {
		return err
	}
	if err := s.extract(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.module(), "backend.tf"), []byte(backend), 0o600); err != nil {
		return err
	}
	binary, err := findTerraform(ctx, s.o.Say)
	if err != nil {
		return err
	}
	if s.tf, err = tfexec.NewTerraform(s.module(), binary); err != nil {
		return err
	}
	environ, err := terraformEnviron(s.o.Environ, s.file("terraform.rc"))
	if err != nil {
		return err
	}
	if err := s.tf.SetEnv(environ); err != nil {
		return err
	}
	if err := s.tf.Init(ctx, tfexec.Reconfigure(true)); err != nil {
		return faultOf(nil, err)
	}
	return nil
}

// extract copies infra/ and drops what an older weft left, except for what
// Terraform has loaded.
func (s *Stack) extract() error {
	old, err := os.ReadDir(s.module())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range old {
		if !strings.HasPrefix(f.Name(), ".terraform") {
			if err := os.RemoveAll(filepath.Join(s.module(), f.Name())); err != nil {
				return err
			}
		}
	}
	return os.CopyFS(s.module(), infra.Files)
}

// backend returns the Terraform block that says where the state is.
func (s *Stack) backend() (string, error) {
	block := func(kind string, arguments ...string) string {
		return fmt.Sprintf("terraform {\n  backend %q {\n    %s\n  }\n}\n", kind, strings.Join(arguments, "\n    "))
	}
	if s.o.State == "" {
		return block("local", fmt.Sprintf("path = %q", s.file("terraform.tfstate"))), nil
	}
	u, err := url.Parse(s.o.State)
	if err != nil || u.Scheme != "s3" || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.Query().Get("region") == "" {
		return "", fmt.Errorf("the state's place is %q; write it as s3://BUCKET/KEY?region=REGION, or leave it out for a file on this machine", s.o.State)
	}
	return block("s3", fmt.Sprintf("bucket = %q", u.Host), fmt.Sprintf("key = %q", path.Clean(strings.Trim(u.Path, "/"))),
		fmt.Sprintf("region = %q", u.Query().Get("region")), "encrypt = true", "use_lockfile = true"), nil
}

// Variables are Terraform's, by name, as JSON has them.
type Variables map[string]any

// Deployed returns the variables of the last apply, whatever came of it; none
// if there was none.
func (s *Stack) Deployed() (Variables, error) {
	text, err := os.ReadFile(s.file("deployment.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var v Variables
	if err = errors.Join(err, json.Unmarshal(text, &v)); err != nil {
		return nil, fmt.Errorf("what was deployed cannot be read: %w", err)
	}
	return v, nil
}

// keep writes v to a file of the stack.
func (s *Stack) keep(name string, v Variables) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(name), text, 0o600)
}

// withVariables calls f with files that hold v and, while f runs, the shard's key.
func (s *Stack) withVariables(v Variables, f func(all, secret *tfexec.VarFileOption) error) (err error) {
	key, err := newKey()
	if err != nil {
		return err
	}
	v = maps.Clone(v)
	v["env"] = s.o.Env
	if given, ok := v["shard_key"]; ok {
		key, _ = given.(string)
		delete(v, "shard_key")
	}
	if err := s.keep("variables.json", v); err != nil {
		return err
	}
	const secret = "secret.json"
	defer func() { err = errors.Join(err, os.Remove(s.file(secret))) }()
	if err := s.keep(secret, Variables{"shard_key": key}); err != nil {
		return err
	}
	return f(tfexec.VarFile(s.file("variables.json")), tfexec.VarFile(s.file(secret)))
}
