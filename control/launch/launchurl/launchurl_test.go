package launchurl

import (
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	for _, c := range []struct{ url, fault string }{
		{"proc:", ""},
		{"proc:?capacity=3", ""},
		{"dryrun:?capacity=3", ""},
		{"ecs:", "choose one of dryrun, proc"},
		{"", "choose one of dryrun, proc"},
		{"proc:?capacity=many", "give a whole number"},
		{"proc:?room=3", `there is no parameter "room"`},
		{"%", "try proc: or dryrun:"},
	} {
		o, err := Open(c.url, Options{})
		if c.fault == "" {
			if err != nil {
				t.Errorf("%q: %v", c.url, err)
				continue
			}
			if err := o.Close(); err != nil {
				t.Errorf("%q: close: %v", c.url, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: got %v, want %q", c.url, err, c.fault)
		}
	}
}
