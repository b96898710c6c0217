package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"weft/control/store/dynamostore/mototest"
)

// The emulators.
const (
	Moto       = "moto"
	LocalStack = "localstack"
)

// motoVersion is what is installed where there is none.
const motoVersion = "5.2.1"

const (
	probePatience   = 5 * time.Second
	installPatience = 5 * time.Minute
)

// EndpointVariable is where AWS is; the one switch of its SDKs.
const EndpointVariable = "AWS_ENDPOINT_URL"

// ErrNoEmulator: there is none, and none could be installed.
var ErrNoEmulator = errors.New("there is no emulator of AWS here")

// emulator is an emulator of AWS.
type emulator struct {
	kind, url string
	fresh     bool            // it was started here, for this world
	runs      map[string]bool // services whose code or machines it runs itself
	close     func() error
}

// findEmulator returns the emulator at endpoint or, where that is empty, one
// that it starts, and installs before if need be.
func findEmulator(ctx context.Context, endpoint string, say func(string)) (*emulator, error) {
	if endpoint != "" {
		return recognise(ctx, strings.TrimSuffix(endpoint, "/"))
	}
	s, err := mototest.Start()
	if errors.Is(err, mototest.ErrMissing) {
		var python string
		if python, err = installMoto(ctx, say); err != nil {
			return nil, err
		}
		s, err = mototest.StartWith(python)
	}
	if err != nil {
		return nil, err
	}
	return &emulator{kind: Moto, url: s.URL, fresh: true, close: s.Close}, nil
}

// installMoto makes an environment of Python with moto in it, once for this
// user, and returns its interpreter.
func installMoto(ctx context.Context, say func(string)) (python string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w, and no directory to install one into: %w", ErrNoEmulator, err)
	}
	dir := filepath.Join(cache, "weft", "moto-"+motoVersion)
	python = filepath.Join(dir, "bin", "python")
	if runtime.GOOS == "windows" {
		python = filepath.Join(dir, "Scripts", "python.exe")
	}
	if exec.Command(python, "-c", "import moto.server").Run() == nil {
		return python, nil
	}
	system, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("%w: moto needs Python 3; install it, or set %s to an emulator that runs", ErrNoEmulator, EndpointVariable)
	}
	ctx, cancel := context.WithTimeout(ctx, installPatience)
	defer cancel()
	say("installing moto " + motoVersion)
	for _, command := range [][]string{
		{system, "-m", "venv", dir},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "moto[server]==" + motoVersion},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			text := strings.TrimSpace(string(out))
			return "", fmt.Errorf("%w and moto cannot be installed (%w: %s); pip install 'moto[server]', or set %s to an emulator that runs",
				ErrNoEmulator, err, text[max(0, len(text)-300):], EndpointVariable)
		}
	}
	return python, nil
}

// recognise asks the emulator at url what it is.
func recognise(ctx context.Context, url string) (*emulator, error) {
	e := &emulator{url: url, runs: map[string]bool{}, close: func() error { return nil }}
	var health struct{ Services map[string]string }
	if err := probe(ctx, url+"/_localstack/health", &health); err == nil && len(health.Services) > 0 {
		e.kind = LocalStack
		for _, service := range []string{"lambda", "ecs"} {
			e.runs[service] = slices.Contains([]string{"available", "running"}, health.Services[service])
		}
		return e, nil
	}
	var data map[string]any
	err := probe(ctx, url+"/moto-api/data.json", &data)
	if err == nil {
		e.kind = Moto
		return e, nil
	}
	return nil, fmt.Errorf("%s is %s, which is neither LocalStack nor moto (%w); unset it to have an emulator started", EndpointVariable, url, err)
}

func probe(ctx context.Context, url string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return json.NewDecoder(io.LimitReader(answer.Body, maxAnswerBytes)).Decode(out)
}
