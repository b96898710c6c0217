package natsstore

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"weft/control/store"
)

// Whose loss would lose an acknowledged event is synced at each write.
func TestOnlyPosesAreUnsynced(t *testing.T) {
	server, err := StartServer(t.TempDir(), ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if !server.nats.JetStreamConfig().SyncAlways {
		t.Error("the server does not sync")
	}
	st, err := server.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i, stream := range st.streams {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if unsynced := info.Config.PersistMode == jetstream.AsyncPersistMode; unsynced != (i == poses) || info.Config.Storage != jetstream.FileStorage {
			t.Errorf("stream %s: unsynced %t, storage %v", info.Config.Name, unsynced, info.Config.Storage)
		}
	}
}

func TestSubjectsNameKeysUniquely(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringOf(rapid.SampledFrom([]rune("ab/.*>% é\x00_-"))).Draw(t, "key")
		s := chunkSubject(key)
		if got, err := chunkKey(s); got != key || err != nil {
			t.Fatalf("%q became %q, which reads %q, %v", key, s, got, err)
		}
		for _, token := range strings.Split(s, ".") {
			if token == "" || strings.ContainsAny(token, "*> \t\r\n\x00") {
				t.Fatalf("%q became %q, which is no subject", key, s)
			}
		}
		prefix := key[:rapid.IntRange(0, len(key)).Draw(t, "prefix")]
		if filter := strings.TrimSuffix(chunkFilter(prefix), ">"); !strings.HasPrefix(s, filter) {
			t.Fatalf("%q at %q is not under the filter %q of %q", key, s, filter, prefix)
		}
	})
}

func TestChangeOf(t *testing.T) {
	for sub, want := range map[string]store.Change{
		subject("process", "a.b"):        {Kind: store.ProcessChanged, ID: "a.b"},
		subject("report", "x"):           {Kind: store.ReportChanged, ID: "x"},
		subject("suspicion", "s", "w.w"): {Kind: store.SuspicionChanged, ID: "s"},
		subject("intent", "t>"):          {Kind: store.IntentChanged, ID: "t>"},
	} {
		if got, err := changeOf(sub); got != want || err != nil {
			t.Errorf("%s: got %+v, %v", sub, got, err)
		}
	}
	for _, sub := range []string{"weft.zone.1", "weft.process", "weft", "weft.process.%ZZ"} {
		if got, err := changeOf(sub); err == nil {
			t.Errorf("%s: got %+v", sub, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, slotHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSlot(b); err == nil && string(encodeSlot(s)) != string(b) {
			t.Errorf("slot %x encodes to %x", b, encodeSlot(s))
		}
		if r, err := decodePoses(b); err == nil && string(encodePoses(r)) != string(b) {
			t.Errorf("poses %x encode to %x", b, encodePoses(r))
		}
	})
}
