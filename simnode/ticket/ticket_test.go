package ticket

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func booth(t testing.TB, key byte, shard string) *Booth {
	t.Helper()
	b, err := NewBooth([32]byte{key}, shard)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTickets(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	home := booth(t, 1, "tavern")
	for _, c := range []Claims{
		{Player: 1, Expires: now.Add(time.Minute)},
		{Player: 1<<32 - 1, Session: 1<<64 - 1, Expires: now.Add(24 * time.Hour)},
		{Player: 7, Gateways: []mesh.NodeID{"gateway-1", "gateway-2"}, Expires: now.Add(time.Minute)},
		{Player: 7, Gateways: []mesh.NodeID{mesh.NodeID(strings.Repeat("g", 128)), mesh.NodeID(strings.Repeat("h", 128))}, Expires: now.Add(time.Minute)},
	} {
		ticket := home.Mint(c)
		if len(ticket) > wire.MaxTicketBytes {
			t.Errorf("a ticket of %d bytes", len(ticket))
		}
		got, err := home.Verify(ticket, now)
		if err != nil || got.Player != c.Player || got.Session != c.Session || !slices.Equal(got.Gateways, c.Gateways) || !got.Expires.Equal(c.Expires) {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
		if again, err := booth(t, 1, "tavern").Verify(ticket, now); err != nil || again.Player != c.Player {
			t.Errorf("another gateway refuses it: %v", err)
		}
		for name, b := range map[string]*Booth{"another key": booth(t, 2, "tavern"), "another shard": booth(t, 1, "castle")} {
			if _, err := b.Verify(ticket, now); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := home.Verify(ticket, c.Expires); !errors.Is(err, ErrExpired) {
			t.Errorf("expired: %v", err)
		}
		cut := []byte(ticket)
		cut[len(cut)/2] ^= 1
		if _, err := home.Verify(string(cut), now); !errors.Is(err, ErrInvalid) {
			t.Errorf("changed: %v", err)
		}
	}
	for _, text := range []string{"", "v4.local.", "v4.local.AAAA", "v4.public.AAAA", "v2.local.AAAA"} {
		if _, err := home.Verify(text, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := home.Verify(home.Mint(Claims{Expires: now.Add(time.Hour)}), now); !errors.Is(err, ErrInvalid) {
		t.Errorf("nobody's ticket: %v", err)
	}
}

func TestAdmits(t *testing.T) {
	for _, c := range []struct {
		name   string
		claims Claims
		want   bool
	}{
		{"made for it", Claims{Player: 1, Gateways: []mesh.NodeID{"g1", "g2"}}, true},
		{"made for another", Claims{Player: 1, Gateways: []mesh.NodeID{"g1"}}, false},
		{"made for none", Claims{Player: 1}, false},
		{"of a session", Claims{Player: 1, Session: 9}, true},
	} {
		if got := c.claims.Admits("g2"); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestJoinToken(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []byte{1, 2} {
		for _, shard := range []string{"tavern", "castle"} {
			a, err := JoinToken([32]byte{key}, shard)
			b, err2 := JoinToken([32]byte{key}, shard)
			if errors.Join(err, err2) != nil || a != b || len(a) != 64 || seen[a] {
				t.Errorf("%s of key %d: %q", shard, key, a)
			}
			seen[a] = true
		}
	}
}

func FuzzVerify(f *testing.F) {
	b := booth(f, 1, "tavern")
	now := time.Unix(1_790_000_000, 0)
	f.Add("v4.local.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := b.Verify(text, now); err == nil {
			t.Errorf("%q admits %+v", text, c)
		}
	})
}
