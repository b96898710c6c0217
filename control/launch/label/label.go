// Package label is how the machines of a shard are told from others in the
// cloud: the tags of tasks and instances, which also tell a bill whose they
// are, and the environment that an instance finds in its own tags.
package label

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weft/control/launch"
	"weft/control/mesh"
)

// Prefix is how all tags begin.
const Prefix = "weft:"

// The tags. Every process has those up to Node.
const (
	Shard    = "weft:shard"
	Env      = "weft:env"      // dev, prod
	Decision = "weft:decision" // what it was launched for
	Token    = "weft:token"
	Role     = "weft:role"
	Node     = "weft:node"

	// Warm, on an instance without Token, says that it waits in the warm pool
	// of that role.
	Warm = "weft:warm"
	// Drain, on an instance, asks its process to leave.
	Drain = "weft:drain"
	// Environ0 and its like hold the environment of an instance's process.
	Environ0 = environ + "0"
	environ  = "weft:environ:"
)

// MaxEnvironBytes bounds what Pack packs, as JSON in base64.
const (
	maxValueBytes   = 256 // of a tag
	maxEnvironTags  = 16
	MaxEnvironBytes = maxValueBytes * maxEnvironTags
)

// Owner says whose machines they are.
type Owner struct{ Shard, Env string }

// Tags returns the tags of a process that is started for s.
func (o Owner) Tags(s launch.Spec) map[string]string {
	return map[string]string{
		Shard: o.Shard, Env: o.Env, Decision: s.Token, Token: s.Token, Role: s.Role.String(), Node: string(s.Node),
	}
}

// Owns reports that tags are those of a machine of o.
func (o Owner) Owns(tags map[string]string) bool { return tags[Shard] == o.Shard && tags[Env] == o.Env }

// Instance returns the process that tags name; ok is false if they name none.
func Instance(tags map[string]string) (i launch.Instance, ok bool) {
	i = launch.Instance{Role: RoleOf(tags[Role]), Token: tags[Token], Node: mesh.NodeID(tags[Node])}
	return i, i.Role != 0 && i.Token != "" && i.Node != ""
}

// RoleOf is the inverse of mesh.Role.String; 0 is none.
func RoleOf(name string) mesh.Role {
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		if r.String() == name {
			return r
		}
	}
	return 0
}

// Digest makes a name of 31 lower-case letters and digits out of parts.
func (o Owner) Digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{o.Env, o.Shard}, parts...), "\x00")))
	return hex.EncodeToString(sum[:])[:31]
}

// secret is what must not get into overrides and tags, which many may read.
const secret = "WEFT_SHARD_KEY"

// Environ returns the environment that s brings its process, WEFT_NODE_ID
// included, or what is wrong with it, wrapping launch.ErrInvalid.
func Environ(s launch.Spec) (map[string]string, error) {
	env := map[string]string{}
	for _, e := range s.Env {
		name, value, ok := strings.Cut(e, "=")
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("%w: the environment holds %q, which is not NAME=value", launch.ErrInvalid, e)
		case name == secret:
			return nil, fmt.Errorf("%w: %s must not be given with a launch, where many can read it; let the machine read it from its secret", launch.ErrInvalid, secret)
		}
		env[name] = value
	}
	env["WEFT_NODE_ID"] = string(s.Node)
	return env, nil
}

// Pack puts env into tags. A tag's value is short and takes few characters,
// hence base64, in as many tags as it needs. launch.ErrInvalid if it is too long.
func Pack(env map[string]string) (map[string]string, error) {
	text, err := json.Marshal(env)
	if err != nil {
		return nil, err
	}
	packed := base64.RawURLEncoding.EncodeToString(text)
	if len(packed) > MaxEnvironBytes {
		return nil, fmt.Errorf("%w: the environment takes %d bytes in tags, more than the %d that fit; put what all processes share into the launch template", launch.ErrInvalid, len(packed), MaxEnvironBytes)
	}
	tags := map[string]string{}
	for n := 0; len(packed) > 0; n++ {
		cut := min(len(packed), maxValueBytes)
		tags[fmt.Sprint(environ, n)] = packed[:cut]
		packed = packed[cut:]
	}
	return tags, nil
}

// Unpack returns what Pack packed into tags, as NAME=value in order of name;
// nothing if there is none.
func Unpack(tags map[string]string) ([]string, error) {
	var packed strings.Builder
	for n := range maxEnvironTags {
		packed.WriteString(tags[fmt.Sprint(environ, n)])
	}
	if packed.Len() == 0 {
		return nil, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(packed.String())
	var env map[string]string
	if err = errors.Join(err, json.Unmarshal(text, &env)); err != nil {
		return nil, fmt.Errorf("the tags %s… hold no environment: %w", Environ0, err)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}
