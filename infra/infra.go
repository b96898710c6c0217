// Package infra holds the Terraform of a deployed world, so that weft carries
// what it deploys. See README.md beside it.
package infra

import "embed"

// Files is the root module and the modules that it uses.
//
//go:embed *.tf *.tf.json boot.sh.tftpl modules
var Files embed.FS
