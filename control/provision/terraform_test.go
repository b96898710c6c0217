package provision

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weft/control/store/dynamostore/mototest"
)

func TestTerraformEnviron(t *testing.T) {
	mirror, rc := t.TempDir(), filepath.Join(t.TempDir(), "rc")
	if err := os.MkdirAll(filepath.Join(mirror, provider), 0o755); err != nil {
		t.Fatal(err)
	}
	env, err := terraformEnviron([]string{"PATH=/bin", "TF_LOG=trace", "TF_VAR_env=x", "AWS_ENDPOINT_URL=http://e", MirrorVariable + "=" + mirror}, rc)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rc)
	if err != nil || !strings.Contains(string(text), mirror) || env["TF_CLI_CONFIG_FILE"] != rc {
		t.Errorf("the configuration is %q, %v", text, err)
	}
	if env["PATH"] != "/bin" || env["TF_LOG"]+env["TF_VAR_env"] != "" || env["AWS_ACCESS_KEY_ID"] != "testing" {
		t.Errorf("the environment is %v", env)
	}
	env, err = terraformEnviron([]string{"AWS_ENDPOINT_URL=http://e", "AWS_PROFILE=mine", MirrorVariable + "=" + mirror}, rc)
	if err != nil || env["AWS_ACCESS_KEY_ID"] != "" {
		t.Errorf("credentials of one's own are replaced: %v, %v", env, err)
	}
	if _, err = terraformEnviron([]string{MirrorVariable + "=" + t.TempDir()}, rc); err == nil || !strings.Contains(err.Error(), "give the directory that holds registry.terraform.io") {
		t.Errorf("an empty mirror: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Env: "Production"}, `the environment is "Production"; give 1 to 12 lower-case`},
		{Options{Env: "dev", State: "gs://bucket/key"}, "write it as s3://BUCKET/KEY?region=REGION"},
		{Options{Env: "dev", State: "s3://bucket/key"}, "write it as s3://BUCKET/KEY?region=REGION"},
	} {
		c.o.Dir = t.TempDir()
		if _, err := Open(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestBackend(t *testing.T) {
	s := &Stack{dir: "/d", o: Options{State: "s3://b/k/dev.tfstate?region=eu-west-1"}}
	text, err := s.backend()
	if err != nil || text != "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    key = \"k/dev.tfstate\"\n    region = \"eu-west-1\"\n    encrypt = true\n    use_lockfile = true\n  }\n}\n" {
		t.Errorf("%s %v", text, err)
	}
}

// stack opens a stack against whatever Terraform and provider this machine
// has. Where they cannot be had, the test is skipped, or fails if it must not be.
func stack(t *testing.T, o Options) *Stack {
	t.Helper()
	o.Dir = t.TempDir()
	s, err := Open(t.Context(), o)
	var f *Fault
	if missing := errors.Is(err, ErrNoTerraform) || errors.As(err, &f) && f.Reason == NoProvider; missing && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The Terraform of infra/ is formatted, valid and passes its own tests.
func TestInfra(t *testing.T) {
	t.Parallel()
	s := stack(t, Options{Env: "test", Environ: os.Environ()})
	// The tests are beside what is embedded.
	if err := os.CopyFS(filepath.Join(s.module(), "tests"), os.DirFS("../../infra/tests")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.module(), "backend.tf")); err != nil {
		t.Fatal(err)
	}
	environ, err := terraformEnviron(os.Environ(), s.file("terraform.rc"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-backend=false"}, {"fmt", "-check", "-diff", "-recursive"}, {"validate"}, {"test"}} {
		cmd := exec.CommandContext(t.Context(), s.tf.ExecPath(), append(args, "-no-color")...)
		if args[0] == "fmt" {
			cmd.Args = cmd.Args[:len(cmd.Args)-1]
		}
		cmd.Dir, cmd.Env = s.module(), []string{"TF_IN_AUTOMATION=1"}
		for name, value := range environ {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	s := stack(t, Options{Env: "test", Environ: os.Environ()})
	if _, err := Open(t.Context(), Options{Env: "test", Dir: s.Dir()}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}
