package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"weft/control/store/dynamostore/mototest"
	"weft/infra"
)

// architecture is this machine's, as Lambda calls it.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// The whole stack on an emulator: applied, a second plan empty, a change of
// kind of launcher, and taken away without a rest. It takes two minutes.
func TestApplyToEmulator(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes two minutes")
	}
	t.Parallel()
	server, err := mototest.Start()
	if errors.Is(err, mototest.ErrMissing) && !mototest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	environ := []string{"AWS_ENDPOINT_URL=" + server.URL}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") {
			environ = append(environ, e)
		}
	}
	told := 0
	s := stack(t, Options{Env: "test", Environ: environ, Say: func(string) { told++ }})
	zips, err := filepath.Abs("../../infra/tests/zips")
	if err != nil {
		t.Fatal(err)
	}
	v := Variables{"region": "us-east-1", "zips": zips, "arch": architecture(), "emulator": true, "shard": "harbour"}

	first, err := s.Plan(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	month := 0.0
	for _, l := range first.Standing {
		month += l.USD
	}
	t.Logf("%d resources\n%s", len(first.Changes), first)
	if len(first.Changes) < 90 || month <= 0 || month > 10 {
		t.Errorf("%d resources for $%.2f a month with nobody there; at most $10 are promised", len(first.Changes), month)
	}
	page, err := os.ReadFile("../../docs/aws.md")
	if total := fmt.Sprintf("| **idle** | **%.2f** |", month); err != nil || !bytes.Contains(page, []byte(total)) {
		t.Errorf("docs/aws.md does not say %q: %v", total, err)
	}
	for _, what := range []string{"19 metrics", "13 alarms", "1 key", "1 secret"} { // as functions/bill counts them
		if !slices.ContainsFunc(first.Standing, func(l Line) bool { return l.What == what }) {
			t.Errorf("what stands is not %s: %v", what, first.Standing)
		}
	}
	if err := s.Apply(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if told != len(first.Changes) {
		t.Errorf("%d of %d changes were told", told, len(first.Changes))
	}
	second, err := s.Plan(t.Context(), v)
	if err != nil || !second.Empty() {
		t.Errorf("a second plan is not empty: %v %v", second.Changes, err)
	}
	out, err := s.Output(t.Context())
	if err != nil || out.StoreURL != "dynamodb://weft-test?region=us-east-1" || out.Functions["replan"] != "weft-test-replan" || !strings.HasPrefix(out.LauncherURL, "ecs://weft-test?") {
		t.Errorf("outputs are %+v, %v", out, err)
	}
	if text, err := os.ReadFile(s.file("terraform.tfstate")); err != nil || secretIn(t, server, out.KeySecret, text) {
		t.Errorf("the state holds the shard's key, or cannot be read: %v", err)
	}

	elsewhere := Variables{"region": "eu-west-1", "zips": zips}
	if _, err := s.Plan(t.Context(), elsewhere); err == nil || !strings.Contains(err.Error(), "is in us-east-1, not eu-west-1") {
		t.Errorf("a world moved: %v", err)
	}
	v["launcher"] = "ec2"
	third, err := s.Plan(t.Context(), v)
	kinds := map[string]bool{}
	for _, c := range third.Changes {
		kinds[c.Kind] = true
	}
	if err != nil || len(kinds) != 2 || !kinds["function"] || !kinds["iam role policy"] {
		t.Errorf("another launcher changes %v, %v", third.Changes, err)
	}

	// A world that an older weft deployed is the same, and goes as well.
	delete(v, "launcher")
	backdate(t, s)
	if moved, err := s.Plan(t.Context(), v); err != nil || !moved.Empty() {
		t.Errorf("an older state is not moved: %v %v", moved.Changes, err)
	}
	if err := s.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := s.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if was, err := s.Deployed(); err != nil || was != nil {
		t.Errorf("the deployment is remembered: %v, %v", was, err)
	}
	entries, err := os.ReadDir(s.Dir())
	if err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "secret.json" }) {
		t.Errorf("a secret lies about: %v", err)
	}
}

// backdate gives what the stack's state holds the addresses from which
// infra/moved.tf.json moves it.
func backdate(t *testing.T, s *Stack) {
	t.Helper()
	read := func(text []byte, err error, v any) {
		if err = errors.Join(err, json.Unmarshal(text, v)); err != nil {
			t.Fatal(err)
		}
	}
	var moves struct {
		Moved []struct{ From, To string } `json:"moved"`
	}
	text, err := infra.Files.ReadFile("moved.tf.json")
	read(text, err, &moves)
	text, err = os.ReadFile(s.file("terraform.tfstate"))
	was := map[string]string{}
	for _, m := range moves.Moved {
		to := strings.TrimSuffix(m.To, "[0]")
		was[to] = m.From
		text = bytes.ReplaceAll(text, []byte(`"`+to+`"`), []byte(`"`+m.From+`"`)) // what depends on it
	}
	var state map[string]any
	read(text, err, &state)
	moved := 0
	for _, r := range state["resources"].([]any) {
		resource := r.(map[string]any)
		from, ok := was[fmt.Sprintf("%v.%v.%v", resource["module"], resource["type"], resource["name"])]
		if !ok {
			continue
		}
		moved++
		delete(resource, "module")
		_, resource["name"], _ = strings.Cut(from, ".")
		if only := resource["instances"].([]any)[0].(map[string]any); only["index_key"] == 0.0 {
			delete(only, "index_key")
		}
	}
	text, err = json.Marshal(state)
	if err = errors.Join(err, os.WriteFile(s.file("terraform.tfstate"), text, 0o600)); err != nil || moved != len(moves.Moved) {
		t.Fatalf("%d of %d are in the state: %v", moved, len(moves.Moved), err)
	}
}

// secretIn reports that text holds the value of the secret at arn, which must
// be a key's digits.
func secretIn(t *testing.T, server *mototest.Server, arn string, text []byte) bool {
	t.Helper()
	body := strings.NewReader(`{"SecretId":"` + arn + `"}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=none")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close() //nolint:errcheck // it is read
	var secret struct{ SecretString string }
	if err := json.NewDecoder(reply.Body).Decode(&secret); err != nil || len(secret.SecretString) != 64 {
		t.Fatalf("the secret is no key: %v", err)
	}
	return bytes.Contains(text, []byte(secret.SecretString))
}
