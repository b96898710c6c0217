package provision

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"
)

// Plan asks what an apply of v would do. The plan is kept for Apply.
func (s *Stack) Plan(ctx context.Context, v Variables) (Plan, error) {
	if err := s.sameRegion(v); err != nil {
		return Plan{}, err
	}
	p := Plan{file: s.file("plan.bin"), variables: v}
	err := s.withVariables(v, func(all, secret *tfexec.VarFileOption) error {
		return s.logged(0, func(w io.Writer) error {
			_, err := s.tf.PlanJSON(ctx, w, all, secret, tfexec.Out(p.file), tfexec.LockTimeout("30s"))
			return err
		})
	})
	if err != nil {
		return Plan{}, err
	}
	shown, err := s.tf.ShowPlanFile(ctx, p.file)
	if err != nil {
		return Plan{}, faultOf(nil, err)
	}
	p.read(shown)
	return p, nil
}

// sameRegion refuses to move a world: the old one would be forgotten.
func (s *Stack) sameRegion(v Variables) error {
	was, err := s.Deployed()
	if err != nil {
		return err
	}
	if there, ok := was["region"]; ok && there != v["region"] {
		return fmt.Errorf("environment %s is in %v, not %v; deploy it there with --region %v, or destroy it first", s.o.Env, there, v["region"], there)
	}
	return nil
}

// Apply does what p says. After an error what was made is in the state: Plan
// and Apply go on from there, Destroy takes it away.
func (s *Stack) Apply(ctx context.Context, p Plan) error {
	if err := s.keep("deployment.json", p.kept()); err != nil {
		return err
	}
	return s.withVariables(p.variables, func(_, secret *tfexec.VarFileOption) error {
		return s.logged(len(p.Changes), func(w io.Writer) error {
			return s.tf.ApplyJSON(ctx, w, tfexec.DirOrPlan(p.file), secret, tfexec.Parallelism(parallelism))
		})
	})
}

// Outputs are what other programs read of a deployed world; the zero value is
// none.
type Outputs struct {
	Prefix       string            `json:"prefix"`
	Region       string            `json:"region"`
	StoreURL     string            `json:"store_url"`
	LauncherURL  string            `json:"launcher_url"`
	LauncherURLs map[string]string `json:"launcher_urls"` // by kind: ecs, ec2
	JoinURL      string            `json:"join_url"`
	Functions    map[string]string `json:"function_names"` // by what they do
	Zips         map[string]string `json:"function_zips"`
	Tables       map[string]string `json:"tables"`
	Cluster      string            `json:"cluster"`
	Repositories map[string]string `json:"repository_urls"` // by role
	KeySecret    string            `json:"shard_key_secret"`
	Dashboards   map[string]string `json:"dashboards"`
}

// Output reads the outputs from the state; what was not made yet is empty.
func (s *Stack) Output(ctx context.Context) (Outputs, error) {
	raw, err := s.tf.Output(ctx)
	if err != nil {
		return Outputs{}, faultOf(nil, err)
	}
	values := map[string]json.RawMessage{}
	for name, meta := range raw {
		values[name] = meta.Value
	}
	text, err := json.Marshal(values)
	if err != nil {
		return Outputs{}, err
	}
	var o Outputs
	return o, json.Unmarshal(text, &o)
}

// Left returns the addresses of what is in the state, in order.
func (s *Stack) Left(ctx context.Context) ([]string, error) {
	state, err := s.tf.Show(ctx)
	if err != nil {
		return nil, faultOf(nil, err)
	}
	var left []string
	if state.Values != nil {
		walk(state.Values.RootModule, func(r *tfjson.StateResource) {
			if r.Mode == tfjson.ManagedResourceMode {
				left = append(left, r.Address)
			}
		})
	}
	slices.Sort(left)
	return left, nil
}

// Destroy takes away whatever the state knows, with the variables of the last
// apply, and forgets the deployment if nothing is left. Rest comes before.
func (s *Stack) Destroy(ctx context.Context) error {
	v, err := s.Deployed()
	if err != nil {
		return err
	}
	left, err := s.Left(ctx)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return s.forget()
	}
	if v == nil {
		return fmt.Errorf("%s holds a state, and no deployment.json with the variables of its deployment; deploy once more, then destroy", s.dir)
	}
	if err := s.unprotect(ctx, v, left); err != nil {
		return err
	}
	err = s.withVariables(v, func(all, secret *tfexec.VarFileOption) error {
		return s.logged(len(left), func(w io.Writer) error {
			return s.tf.DestroyJSON(ctx, w, all, secret, tfexec.Parallelism(parallelism), tfexec.LockTimeout("30s"))
		})
	})
	if err != nil {
		return err
	}
	return s.forget()
}

// older are addresses that infra/moved.tf.json moves: all else of a function
// needs one of these.
var older = regexp.MustCompile(`^aws_(iam_role|cloudwatch_log_group|sqs_queue)\.`)

// unprotect lets DynamoDB delete the tables, if they are there.
func (s *Stack) unprotect(ctx context.Context, v Variables, left []string) error {
	const tables = "module.tables.aws_dynamodb_table.this"
	there := slices.ContainsFunc(left, func(address string) bool { return address == tables+`["data"]` || address == tables+`["control"]` })
	if protected, given := v["deletion_protection"].(bool); !there || given && !protected {
		return nil
	}
	v["deletion_protection"] = false
	if err := s.keep("deployment.json", v); err != nil {
		return err
	}
	return s.withVariables(v, func(all, secret *tfexec.VarFileOption) error {
		return s.logged(0, func(w io.Writer) error {
			if slices.ContainsFunc(left, older.MatchString) { // a targeted run refuses to move
				if err := s.tf.RefreshJSON(ctx, w, all, secret); err != nil {
					return err
				}
			}
			return s.tf.ApplyJSON(ctx, w, all, secret, tfexec.Target(tables), tfexec.LockTimeout("30s"))
		})
	})
}

// forget drops what only a deployed world needs. The state stays: it is empty.
func (s *Stack) forget() error {
	var faults []error
	for _, name := range []string{"deployment.json", "variables.json", "plan.bin"} {
		if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// logged runs f, which writes Terraform's log as JSON, and makes a sentence of
// what it says has failed.
func (s *Stack) logged(total int, f func(io.Writer) error) error {
	l := &events{say: s.o.Say, total: total}
	err := f(l)
	if err == nil {
		return nil
	}
	return faultOf(l.errors, err)
}

// kept are the plan's variables without the key.
func (p Plan) kept() Variables {
	v := maps.Clone(p.variables)
	delete(v, "shard_key")
	return v
}

// newKey makes up the key of a shard, in hexadecimal digits.
func newKey() (string, error) {
	var key [32]byte
	_, err := rand.Read(key[:])
	return hex.EncodeToString(key[:]), err
}

// walk visits the resources of m and of the modules in it.
func walk(m *tfjson.StateModule, f func(*tfjson.StateResource)) {
	if m == nil {
		return
	}
	for _, r := range m.Resources {
		f(r)
	}
	for _, child := range m.ChildModules {
		walk(child, f)
	}
}
