package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	version "github.com/hashicorp/go-version"
	"github.com/hashicorp/hc-install/product"
	"github.com/hashicorp/hc-install/releases"
	"github.com/hashicorp/terraform-exec/tfexec"
)

// The versions of Terraform: the least that infra/ takes, and the one that is
// installed where there is none.
var (
	terraformLeast   = version.Must(version.NewVersion("1.11.0"))
	terraformInstall = version.Must(version.NewVersion("1.11.4"))
)

// MirrorVariable names a directory that holds providers, in Terraform's layout
// of a filesystem mirror: the one that contains registry.terraform.io.
const MirrorVariable = "WEFT_TERRAFORM_MIRROR"

// ErrNoTerraform: there is no Terraform here, and it could not be installed.
var ErrNoTerraform = errors.New("Terraform is missing") //nolint:staticcheck // a name

// findTerraform returns the path of a Terraform that is new enough, which it
// installs if there is none.
func findTerraform(ctx context.Context, say func(string)) (string, error) {
	if found, err := exec.LookPath("terraform"); err == nil && newEnough(ctx, found) {
		return found, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w, and there is no directory to install it into (%w); install Terraform %s or newer", ErrNoTerraform, err, terraformLeast)
	}
	dir := filepath.Join(cache, "weft", "terraform-"+terraformInstall.String())
	installed := filepath.Join(dir, product.Terraform.BinaryName())
	if newEnough(ctx, installed) {
		return installed, nil
	}
	say(fmt.Sprintf("fetching Terraform %s", terraformInstall))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	at, err := (&releases.ExactVersion{Product: product.Terraform, Version: terraformInstall, InstallDir: dir}).Install(ctx)
	if err != nil {
		return "", fmt.Errorf("%w and could not be fetched; install Terraform %s or newer and put it on the PATH: %w", ErrNoTerraform, terraformLeast, err)
	}
	return at, nil
}

// newEnough asks the Terraform at path for its version.
func newEnough(ctx context.Context, path string) bool {
	if _, err := os.Stat(path); err != nil {
		return false
	}
	dir, err := os.MkdirTemp("", "weft-terraform-")
	if err != nil {
		return false
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is empty
	tf, err := tfexec.NewTerraform(dir, path)
	if err != nil {
		return false
	}
	v, _, err := tf.Version(ctx, true)
	return err == nil && v.GreaterThanOrEqual(terraformLeast)
}

// mirrors are where a provider may lie unpacked, besides MirrorVariable.
var mirrors = []string{
	"/opt/*", "/opt/*/*", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins",
	"$HOME/.terraform.d/plugins", "$HOME/.terraform.d/plugin-mirror", "$HOME/.local/share/terraform/plugins",
}

// provider is the provider of infra/ in a mirror.
const provider = "registry.terraform.io/hashicorp/aws"

// findMirror returns a filesystem mirror that holds the provider, or nothing.
func findMirror(environ map[string]string) (string, error) {
	if dir := environ[MirrorVariable]; dir != "" {
		if _, err := os.Stat(filepath.Join(dir, provider)); err != nil {
			return "", fmt.Errorf("%s is %q, and there is no %s in it; give the directory that holds registry.terraform.io, or leave it unset", MirrorVariable, dir, provider)
		}
		return filepath.Abs(dir)
	}
	for _, pattern := range mirrors {
		found, err := filepath.Glob(filepath.Join(os.Expand(pattern, func(name string) string { return environ[name] }), provider))
		if err == nil && len(found) > 0 {
			return strings.TrimSuffix(found[0], provider), nil
		}
	}
	return "", nil
}

// terraformEnviron returns the complete environment for Terraform: environ
// without the settings of other Terraforms, with a configuration at rc that
// takes the provider from a mirror if there is one.
func terraformEnviron(environ []string, rc string) (map[string]string, error) {
	all := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		all[name] = value
	}
	kept := map[string]string{"CHECKPOINT_DISABLE": "1"}
	for name, value := range all {
		if !strings.HasPrefix(name, "TF_") || slices.Contains([]string{"TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"}, name) {
			kept[name] = value
		}
	}
	own := kept["TF_CLI_CONFIG_FILE"]
	if _, err := os.Stat(own); err != nil {
		delete(kept, "TF_CLI_CONFIG_FILE") // Terraform would only complain
		own = ""
	}
	mirror, err := findMirror(all)
	if err != nil {
		return nil, err
	}
	if mirror != "" && (own == "" || all[MirrorVariable] != "") {
		text := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path    = %q\n    include = [%[2]q]\n  }\n  direct {\n    exclude = [%[2]q]\n  }\n}\n", mirror, provider)
		if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
			return nil, err
		}
		kept["TF_CLI_CONFIG_FILE"] = rc
	}
	if kept["AWS_ENDPOINT_URL"] != "" && kept["AWS_ACCESS_KEY_ID"] == "" && kept["AWS_PROFILE"] == "" {
		// Emulators take any.
		kept["AWS_ACCESS_KEY_ID"], kept["AWS_SECRET_ACCESS_KEY"] = "testing", "testing"
	}
	return kept, nil
}
