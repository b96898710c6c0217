package provision

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rendered is what an instance runs at its first boot.
func rendered(t *testing.T, s *Stack, certificate string) string {
	t.Helper()
	console := exec.CommandContext(t.Context(), s.tf.ExecPath(), "console")
	console.Dir = t.TempDir() // no module: only the function
	console.Env = []string{"HOME=" + console.Dir, "TF_IN_AUTOMATION=1"}
	console.Stdin = strings.NewReader(fmt.Sprintf(`base64encode(templatefile(%q, { role = "gateway", region = "eu-central-1", registry = "1.dkr.ecr", image = "1.dkr.ecr/weft/gateway:v1",`+
		` log_group = "/weft/gateway", secret = "arn:key", certificate = %s, environment = { WEFT_STORE = "dynamodb://weft", WEFT_ENV = "dev" } }))`+"\n",
		filepath.Join(s.module(), "boot.sh.tftpl"), certificate))
	out, err := console.Output()
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := strconv.Unquote(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script, err := base64.StdEncoding.DecodeString(quoted)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// fakes are what the script calls. Each notes how, in the file calls.
var fakes = map[string]string{
	"dnf": "", "systemctl": "", "shutdown": "",
	"aws": `case "$*" in
*get-login-password*) echo password ;;
*arn:key*) [ -z "$NO_SECRET" ] && echo 00ff || exit 1 ;;
*arn:cert*) printf 'line one\nline two\n' ;;
esac`,
	"docker": `case "$1" in
login) cat > /dev/null; [ -z "$NO_REGISTRY" ] ;;
run) printf '%s' "$WEFT_CLIENT_CERTIFICATE" > "$ROOT/certificate"; cp "$ROOT/run/weft.env" "$ROOT/found" ;;
esac`,
}

// TestBoot runs the boot of an instance in a directory that stands for its root,
// with commands that note how they are called. It shows neither that AMIs have
// these commands nor what systemd makes of the unit.
func TestBoot(t *testing.T) {
	t.Parallel()
	s := stack(t, Options{Env: "test", Environ: os.Environ()})
	for name, c := range map[string]struct {
		certificate string
		environ     []string
		runs        bool
	}{
		"as it should be":           {"null", nil, true},
		"with a certificate":        {`"arn:cert"`, nil, true},
		"the registry is away":      {"null", []string{"NO_REGISTRY=1"}, true},
		"the secret cannot be read": {"null", []string{"NO_SECRET=1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"bin", "etc/systemd/system", "usr/local/sbin", "run"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			put := func(name, text string) {
				if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for command, does := range fakes {
				put("bin/"+command, "#!/bin/bash\necho "+command+` "$@" >> "$ROOT/calls"`+"\n"+does+"\n")
			}
			put("etc/machine-id", "0123abcd\n")
			script := rendered(t, s, c.certificate)
			for _, dir := range []string{"/etc/weft", "/etc/machine-id", "/etc/systemd", "/usr/local/sbin", "/run/weft"} {
				if !strings.Contains(script, " "+dir) && !strings.Contains(script, "="+dir) {
					t.Fatalf("the script knows no %s", dir)
				}
				script = strings.ReplaceAll(script, dir, root+dir)
			}
			put("boot", script)
			run := func(file string) (string, error) {
				cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, file))
				cmd.Env = append(c.environ, "ROOT="+root, "PATH="+root+"/bin:"+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if out, err := run("boot"); err != nil {
				t.Fatalf("the first boot: %v\n%s", err, out)
			}
			out, err := run("usr/local/sbin/weft-boot")
			if (err == nil) != c.runs {
				t.Errorf("each boot: %v\n%s", err, out)
			}
			read := func(name string) string {
				text, err := os.ReadFile(filepath.Join(root, name))
				if err != nil && c.runs {
					t.Error(err)
				}
				return string(text)
			}
			calls := read("calls")
			for _, want := range []string{"dnf install -y -q docker\n", "systemctl enable --now docker\n", "systemctl enable --now weft.service\n", "shutdown -h now\n"} {
				if !strings.Contains(calls, want) {
					t.Errorf("%q is not called:\n%s", want, calls)
				}
			}
			if strings.Contains(calls, "docker run ") != c.runs || !strings.HasSuffix(calls, "shutdown -h now\n") {
				t.Errorf("it does not run and then power off:\n%s", calls)
			}
			if !c.runs {
				return
			}
			line := calls[strings.Index(calls, "docker run"):]
			for _, want := range []string{"--read-only", "--user 65532:65532", "--cap-drop ALL", "--network host", "awslogs-group=/weft/gateway", "awslogs-stream=gateway/0123abcd", " 1.dkr.ecr/weft/gateway:v1\n"} {
				if !strings.Contains(line, want) {
					t.Errorf("docker is not told %q: %s", want, line)
				}
			}
			if got, want := read("found"), "WEFT_MACHINE=ec2\nWEFT_ENV=dev\nWEFT_STORE=dynamodb://weft\nWEFT_SHARD_KEY=00ff\n"; got != want {
				t.Errorf("the process finds %q, not %q", got, want)
			}
			want := ""
			if c.certificate != "null" {
				want = "line one\nline two"
			}
			if got := read("certificate"); got != want || strings.Contains(line, "--env WEFT_CLIENT_CERTIFICATE") != (want != "") {
				t.Errorf("the certificate is %q: %s", got, line)
			}
			unit := read("etc/systemd/system/weft.service")
			if !strings.Contains(unit, "/usr/local/sbin/weft-boot\n") || !strings.Contains(unit, "docker stop --time 110 weft") {
				t.Errorf("the unit: %s", unit)
			}
		})
	}
}
