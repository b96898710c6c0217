package rule

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"weft/control/store"
)

func TestPackRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 700).Draw(t, "body"), rapid.IntRange(1, 40).Draw(t, "times"))
		packed := Pack(body)
		if packed == nil {
			if PackedBytes(body) != len(body) {
				t.Fatal("not packed, but shorter")
			}
			return
		}
		if len(packed) >= len(body) || PackedBytes(body) != len(packed) {
			t.Fatalf("%d bytes were packed in %d", len(body), len(packed))
		}
		if again, err := Unpack(packed); err != nil || !bytes.Equal(again, body) {
			t.Fatal("what came back is another", err)
		}
	})
}

func TestUnpackRefuses(t *testing.T) {
	if _, err := Unpack(Pack(make([]byte, store.MaxRecordBytes+1))); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a record that is longer than any may be: %v", err)
	}
	packed := Pack(make([]byte, 4096))
	for _, damaged := range [][]byte{nil, packed[:len(packed)-1], []byte("not deflated")} {
		if _, err := Unpack(damaged); err == nil {
			t.Errorf("unpacked %q", damaged)
		}
	}
}
