//go:build linux

package provision

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/reconcile"
	"weft/control/store"
	"weft/control/store/dynamostore/mototest"
	"weft/control/store/natsstore"
)

// packer runs buildah with a storage of its own.
type packer struct{ dir string }

func (p packer) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "buildah", append([]string{"--storage-driver", "vfs", "--root", p.dir + "/root", "--runroot", p.dir + "/run"}, args...)...)
}

func (p packer) run(t *testing.T, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := p.command(t.Context(), args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s", strings.Join(args, " "), err, &errs)
	}
	return strings.TrimSpace(string(out))
}

// build makes the images for an architecture, or skips where nothing can pack them.
func build(t *testing.T, arch string) packer {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil || os.Geteuid() != 0 {
		if mototest.Required() && os.Geteuid() == 0 {
			t.Fatal("buildah is missing; run infra/images/setup.sh")
		}
		t.Skip("images are built with buildah, as root")
	}
	p := packer{t.TempDir()}
	cmd := exec.CommandContext(t.Context(), "../../infra/images/build.sh", arch)
	cmd.Env = append(os.Environ(), "WEFT_BUILDAH_ROOT="+p.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh %s: %v\n%s", arch, err, out)
	}
	return p
}

// Both images for both architectures: the certificates and one static program,
// and nobody is root. A node runs from this machine's.
func TestImages(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds everything twice")
	}
	t.Parallel()
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		p := build(t, arch)
		for role, program := range map[string]string{"node": "simnode", "gateway": "gateway"} {
			var image struct {
				OCIv1 struct {
					Architecture string
					Config       struct {
						User       string
						Entrypoint []string
					}
				}
			}
			if err := json.Unmarshal([]byte(p.run(t, "inspect", "--type", "image", "localhost/weft/"+role+":latest")), &image); err != nil {
				t.Fatal(err)
			}
			if c := image.OCIv1; c.Architecture != arch || c.Config.User != "65532:65532" || !slices.Equal(c.Config.Entrypoint, []string{"/" + program}) {
				t.Errorf("%s for %s is %+v", role, arch, c)
			}
			root := p.run(t, "mount", p.run(t, "from", "localhost/weft/"+role+":latest"))
			if files := filesIn(t, root); !slices.Equal(files, []string{"etc/ssl/certs/ca-certificates.crt", program}) {
				t.Errorf("%s for %s holds %v", role, arch, files)
			}
			e, err := elf.Open(filepath.Join(root, program))
			if err != nil {
				t.Fatal(err)
			}
			if e.Machine != machine || e.Section(".interp") != nil {
				t.Errorf("%s for %s runs on %s, or is not static", program, arch, e.Machine)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
		if arch == runtime.GOARCH {
			nodeRuns(t, p)
		}
		p.run(t, "rm", "--all") // or its mounts outlive the test
	}
}

func filesIn(t *testing.T, root string) (files []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// nodeRuns starts a node from its image: it makes itself known in the store,
// writes no file, and says goodbye when it is asked to stop.
func nodeRuns(t *testing.T, p packer) {
	t.Helper()
	server, err := natsstore.StartServer(t.TempDir(), natsstore.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	st, err := server.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()

	shard := mesh.Shard{Name: "image", OriginUnixMilli: time.Now().UnixMilli(), TickHz: 20, Bounds: mesh.Box{Max: mesh.Meters(100, 100, 10)}}
	if err := reconcile.Genesis(t.Context(), st, shard, []mesh.Box{shard.Bounds}, nil); err != nil {
		t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	container := p.run(t, "from", "localhost/weft/node:latest")
	root := p.run(t, "mount", container)
	before := filesIn(t, root)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var log bytes.Buffer
	node := p.command(ctx, "run", "--isolation", "chroot",
		"--env", "WEFT_STORE="+server.URL(), "--env", "WEFT_SHARD_KEY="+key, "--env", "WEFT_NODE_ID=from-an-image", container, "--", "/simnode")
	node.Stdout, node.Stderr = &log, &log
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- node.Wait()
		cancel()
	}()

	ready := await(ctx, st, mesh.Ready)
	if ready.ID == "" {
		cancel()
		t.Fatalf("the node did not come up: %v\n%s", <-ended, &log)
	}
	process, err := os.FindProcess(ready.OSProcess)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", ready.OSProcess)); err != nil || !bytes.Contains(status, []byte("Uid:\t65532\t65532")) {
		t.Errorf("it runs as somebody else: %v\n%s", err, status)
	}
	if err := process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if gone := await(ctx, st, mesh.Stopped); gone.ID == "" {
		t.Error("the node did not say goodbye")
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v\n%s", err, &log)
	}
	// What a runtime binds into a container is not the node's.
	after := slices.DeleteFunc(filesIn(t, root), func(f string) bool {
		return slices.Contains([]string{"etc/hosts", "etc/resolv.conf", "etc/hostname", "run/.containerenv"}, f)
	})
	if !slices.Equal(before, after) {
		t.Errorf("before it ran there were %v, then %v", before, after)
	}
}

// await waits on the stream until a process's record says state; none if ctx
// ends before.
func await(ctx context.Context, st store.Store, state mesh.ProcessState) (found mesh.Process) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := func() {
		processes, err := st.Processes(ctx)
		if err != nil {
			return // the watch ends with ctx
		}
		for _, p := range processes {
			if p.State == state {
				found = p
				cancel()
			}
		}
	}
	_ = st.Watch(ctx, look, func(store.Change) { look() })
	return found
}
