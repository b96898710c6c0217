package drill

import (
	"testing"

	"weft/simnode/wire"
)

// Relays are counted however the stream is cut into pieces.
func TestRelayCounter(t *testing.T) {
	stream := []byte("a preface")
	ahead := len(stream)
	for range 3 {
		stream = wire.AppendFramed(stream, &wire.News{Version: 5})
		stream = wire.AppendFramed(stream, &wire.Relay{To: "node-1", Message: wire.AppendPeer(nil, &wire.News{Version: 7})})
	}
	for size := 1; size <= len(stream); size++ {
		var r relayCounter
		r.feed(nil, ahead)
		for at := 0; at < len(stream); at += size {
			r.feed(stream[at:min(at+size, len(stream))], 0)
		}
		if r.found != 3 {
			t.Fatalf("pieces of %d: %d relays", size, r.found)
		}
	}
	var r relayCounter
	r.feed([]byte{0xff, 0xff, 0xff, 0xff, relayType, 1, 2, 3}, 0)
	if r.found != 0 {
		t.Error("what is no stream of messages was counted")
	}
}
