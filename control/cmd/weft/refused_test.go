package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/control/store/dynamostore/mototest"
)

// refusing is an AWS that says who asks and which zones there are, and
// answers everything else with the error of that code.
func refusing(t *testing.T, status int, code, message string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		action := r.PostForm.Get("Action")
		switch action {
		case "GetCallerIdentity":
			fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/dev</Arn><UserId>A</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
			return
		case "DescribeAvailabilityZones":
			fmt.Fprint(w, `<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><availabilityZoneInfo>`+
				`<item><zoneName>eu-central-1a</zoneName><zoneState>available</zoneState></item><item><zoneName>eu-central-1b</zoneName><zoneState>available</zoneState></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>`)
			return
		}
		if target := r.Header.Get("X-Amz-Target"); target != "" || action == "" {
			w.Header().Set("X-Amzn-Errortype", code)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"__type": %q, "message": %q}`, code, message)
			return
		}
		w.WriteHeader(status)
		if r.PostForm.Get("Version") == "2016-11-15" { // EC2 has a form of its own
			fmt.Fprintf(w, `<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors></Response>`, code, message)
			return
		}
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// What AWS refuses is told in one sentence with the action, the resource and
// what to do, and nothing is left of it.
func TestDeployIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs Terraform for each")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		if mototest.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	zips, err := filepath.Abs("../../../infra/tests/zips")
	if err != nil {
		t.Fatal(err)
	}
	nobody := []string{"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
	somebody := append(nobody, "AWS_ACCESS_KEY_ID=AKIA", "AWS_SECRET_ACCESS_KEY=x")
	for name, c := range map[string]struct {
		region, endpoint string
		environ          []string
		want             string
	}{
		"no credentials": {"eu-central-1", "", nobody, `^weft: Terraform failed[^;]*: No valid credential sources found; AWS knows no valid credentials of yours; sign in`},
		"no such region": {"eu-middle-7", "", somebody, `eu-middle-7.*the region is wrong, not enabled for this account or not reachable; give one that is with --region`},
		"denied": {"eu-central-1", refusing(t, 403, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/dev is not authorized to perform this"), nobody,
			`[a-z0-9]+:[A-Za-z]+ failed for [a-z_.]+.*; your credentials may not do that; have the action allowed`},
		"throttled":  {"eu-central-1", refusing(t, 400, "ThrottlingException", "Rate exceeded"), nobody, `[a-z0-9]+:[A-Za-z]+ failed for [a-z_.]+.*; AWS had too many requests of this account; wait a minute and repeat`},
		"name taken": {"eu-central-1", refusing(t, 409, "EntityAlreadyExists", "it already exists"), nobody, `[a-z0-9]+:[A-Za-z]+ failed for [a-z_.]+.*; something else has that name: choose another --env`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			weft := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), filepath.Join(binDir(t), "weft"), args...)
				for _, e := range os.Environ() {
					if !strings.HasPrefix(e, "AWS_") {
						cmd.Env = append(cmd.Env, e)
					}
				}
				cmd.Env = append(append(cmd.Env, "WEFT_HOME="+home), c.environ...)
				if c.endpoint != "" {
					cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+c.endpoint)
				}
				out, _ := cmd.CombinedOutput()
				return string(out)
			}
			out := strings.TrimSpace(weft("deploy", "--env", "refused", "--region", c.region, "--zips", zips, "--yes"))
			last := out[strings.LastIndex(out, "\n")+1:]
			if !regexp.MustCompile(c.want).MatchString(last) {
				t.Errorf("it ends with %q, not %s", last, c.want)
			}
			if strings.Contains(out, "goroutine") || strings.ContainsAny(last, "│╷") {
				t.Errorf("no sentence: %s", out)
			}
			if out := weft("destroy", "--env", "refused", "--yes"); !strings.Contains(out, "Nothing of refused is") {
				t.Errorf("destroy: %s", out)
			}
		})
	}
}
