package label_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"weft/control/launch"
	"weft/control/launch/label"
	"weft/control/mesh"
)

func TestEnviron(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want map[string]string
	}{
		{nil, map[string]string{"WEFT_NODE_ID": "a"}},
		{[]string{"A=b=c", "EMPTY=", "WEFT_NODE_ID=other"}, map[string]string{"A": "b=c", "EMPTY": "", "WEFT_NODE_ID": "a"}},
		{[]string{"A"}, nil},
		{[]string{"=A"}, nil},
		{[]string{"WEFT_SHARD_KEY=hush"}, nil},
	} {
		got, err := label.Environ(launch.Spec{Node: "a", Env: c.env})
		if !maps.Equal(got, c.want) || (c.want == nil) != errors.Is(err, launch.ErrInvalid) {
			t.Errorf("%q gives %v, %v; want %v", c.env, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestPackedComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := rapid.MapOfN(rapid.StringMatching("[A-Z_]{1,20}"), rapid.StringN(0, 100, 200), 0, 30).Draw(t, "env")
		tags, err := label.Pack(env)
		if errors.Is(err, launch.ErrInvalid) {
			return // too long
		}
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range tags {
			if len(value) > 256 || !utf8.ValidString(value) || strings.ContainsAny(key+value, " /?&") {
				t.Fatalf("tag %s=%s cannot be one", key, value)
			}
		}
		var want []string
		for _, name := range slices.Sorted(maps.Keys(env)) {
			want = append(want, name+"="+env[name])
		}
		got, err := label.Unpack(tags)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("came back as %q (%v), want %q", got, err, want)
		}
	})
}

func TestPackLimits(t *testing.T) {
	if _, err := label.Pack(map[string]string{"A": strings.Repeat("x", label.MaxEnvironBytes)}); !errors.Is(err, launch.ErrInvalid) {
		t.Errorf("too much gives %v", err)
	}
	if list, err := label.Unpack(map[string]string{label.Shard: "weft"}); list != nil || err != nil {
		t.Errorf("no tags give %q, %v", list, err)
	}
	for _, broken := range []string{"!", "bm9uc2Vuc2U"} {
		if list, err := label.Unpack(map[string]string{label.Environ0: broken}); err == nil {
			t.Errorf("%q gives %q", broken, list)
		}
	}
}

func TestTagsNameTheProcess(t *testing.T) {
	o := label.Owner{Shard: "weft", Env: "dev"}
	for _, r := range []mesh.Role{mesh.RoleNode, mesh.RoleGateway} {
		tags := o.Tags(launch.Spec{Role: r, Token: "t", Node: "a"})
		i, ok := label.Instance(tags)
		if !ok || i != (launch.Instance{Role: r, Token: "t", Node: "a"}) || !o.Owns(tags) || (label.Owner{Shard: "weft", Env: "prod"}).Owns(tags) {
			t.Errorf("%v names %v, %v", tags, i, ok)
		}
		for _, key := range []string{label.Role, label.Token, label.Node} {
			less := maps.Clone(tags)
			delete(less, key)
			if i, ok := label.Instance(less); ok {
				t.Errorf("without %s they name %v", key, i)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range []label.Owner{{Shard: "weft", Env: "dev"}, {Shard: "weft", Env: "prod"}, {Shard: "weftd", Env: "ev"}} {
		for _, parts := range [][]string{{"a"}, {"a", "b"}, {"ab"}} {
			d := o.Digest(parts...)
			if len(d) != 31 || seen[d] {
				t.Errorf("%v %q gives %q, which is no new name of 31 characters", o, parts, d)
			}
			seen[d] = true
		}
	}
}
