package edge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/wire"
)

// station is the peering of one process, whose test stands for the loop.
type station struct {
	t *testing.T
	*peering
	listener net.Listener
	owner    mesh.Owner
	tasks    sync.WaitGroup
	stop     context.CancelFunc
}

func newStation(t *testing.T, id mesh.NodeID, inc mesh.Incarnation) *station {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &station{t: t, stop: cancel}
	c, err := newCredentials([32]byte{1}, identity{"tavern", id, mesh.RoleNode, inc})
	if err != nil {
		t.Fatal(err)
	}
	s.peering = newPeering(newIntake(ctx, newLog(slog.New(slog.DiscardHandler))), c, &s.tasks)
	if s.listener, err = listen(ctx, "WEFT_LISTEN", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.owner = mesh.Owner{Node: id, Incarnation: inc, Address: s.listener.Addr().String()}
	s.tasks.Go(func() { s.accept(s.listener) })
	t.Cleanup(s.die)
	return s
}

// die ends the process of the station.
func (s *station) die() {
	s.stop()
	s.listener.Close()
	s.tasks.Wait()
}

// next waits for the next input of that kind.
func (s *station) next(kind process.EventKind) input {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case in := <-s.inbox:
			if in.ev.Kind == kind {
				return in
			}
		case <-deadline:
			s.t.Fatalf("no event of kind %d", kind)
		}
	}
}

func news(v uint64) []byte { return wire.AppendFramed(nil, &wire.News{Version: v}) }

func TestLinkCarriesMessagesAndComesBack(t *testing.T) {
	a, b := newStation(t, "a", 1), newStation(t, "b", 2)
	a.keep(b.owner)
	up, seen := a.next(process.EventPeerUp), b.next(process.EventPeerUp)
	if up.ev.Peer != "b" || up.ev.Incarnation != 2 || up.ev.Role != mesh.RoleNode || seen.ev.Peer != "a" || seen.ev.Incarnation != 1 {
		t.Fatalf("up: %+v and %+v", up.ev, seen.ev)
	}
	for v := range uint64(100) {
		up.link.send(news(v + 1))
		up.link.flush()
	}
	seen.link.send(news(1000))
	seen.link.flush()
	for v := range uint64(100) {
		if m := b.next(process.EventPeer).ev.Message.(*wire.News); m.Version != v+1 {
			t.Fatalf("news %d instead of %d", m.Version, v+1)
		}
	}
	if m := a.next(process.EventPeer).ev.Message.(*wire.News); m.Version != 1000 {
		t.Fatalf("news %d", m.Version)
	}

	seen.link.close() // it breaks, and is made again
	a.next(process.EventPeerDown)
	if again := a.next(process.EventPeerUp); again.link == up.link {
		t.Error("the broken link is up again")
	}
	b.next(process.EventPeerUp)

	b.die()
	if down := a.next(process.EventPeerDown); down.ev.Gone || down.link == nil {
		t.Errorf("a break is told as %+v", down.ev)
	}
	if gone := a.next(process.EventPeerDown); !gone.ev.Gone || gone.ev.Incarnation != 2 || gone.link != nil {
		t.Errorf("the end is told as %+v", gone.ev)
	}
}

// TestWhoIsDialedFindsOutToo: b does not dial a, but sees that it is gone.
func TestWhoIsDialedFindsOutToo(t *testing.T) {
	a, b := newStation(t, "a", 1), newStation(t, "b", 2)
	d := b.keep(a.owner)
	a.keep(b.owner)
	b.next(process.EventPeerUp)
	d.note(true)
	a.die()
	b.next(process.EventPeerDown)
	d.note(false)
	if gone := b.next(process.EventPeerDown); !gone.ev.Gone || gone.ev.Peer != "a" || gone.ev.Incarnation != 1 {
		t.Errorf("the end is told as %+v", gone.ev)
	}
}

func TestRestartedAndDisplaced(t *testing.T) {
	a, b := newStation(t, "a", 1), newStation(t, "b", 2)
	old := b.owner
	old.Incarnation--
	a.keep(old) // its later life answers
	if gone := a.next(process.EventPeerDown); !gone.ev.Gone || gone.ev.Incarnation != 1 {
		t.Errorf("told as %+v", gone.ev)
	}
	if up := a.next(process.EventPeerUp); up.ev.Incarnation != 2 {
		t.Errorf("up: %+v", up.ev)
	}
	other := newStation(t, "aa", 3)
	other.keep(mesh.Owner{Node: "z", Incarnation: 9, Address: b.owner.Address}) // b answers instead of z
	if gone := other.next(process.EventPeerDown); !gone.ev.Gone || gone.ev.Peer != "z" {
		t.Errorf("told as %+v", gone.ev)
	}
}

func TestMalformedMessagesCutTheLink(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"unknown type": {1, 0, 0, 0, 0xee},
		"cut field":    {2, 0, 0, 0, 0x12, 0x80},
		"no length":    {0, 0, 0, 0},
		"oversized":    {1, 0, 0x40, 0},
		"far too long": {0xff, 0xff, 0xff, 0xff},
	} {
		a, b := newStation(t, "a", 1), newStation(t, "b", 2)
		a.keep(b.owner)
		up := a.next(process.EventPeerUp)
		up.link.send(bytes)
		up.link.flush()
		if down := b.next(process.EventPeerDown); down.ev.Peer != "a" {
			t.Errorf("%s: %+v", name, down.ev)
		}
		if n := b.refused.Load(); n != 1 {
			t.Errorf("%s: counted %d times", name, n)
		}
		a.die()
		b.die()
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := newStation(t, "a", 1)
	silent := make([]net.Conn, 0, maxStrangers)
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	connect := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", s.owner.Address)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
		return c
	}
	for range maxStrangers {
		connect()
	}
	c := connect() // one too many: closed at once, not after the time of a handshake
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("the last stranger got %q, %v", b, err)
	}
	if s.refused.Load() != 1 {
		t.Errorf("%d were refused", s.refused.Load())
	}
}

// TestPeerThatDoesNotRead is cut off once too much waits for it, and holds
// nobody up meanwhile: no send waits.
func TestPeerThatDoesNotRead(t *testing.T) {
	a, b := net.Pipe() // which has no buffer at all
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	k := newIntake(ctx, newLog(slog.New(slog.DiscardHandler)))
	l := newLink(a, identity{"tavern", "b", mesh.RoleNode, 1})
	go l.run(k)
	block := make([]byte, 1<<20)
	sent := 0
	for l.send(block) {
		l.flush()
		if sent += len(block); sent > 2*maxLinkBytes {
			t.Fatal("the link takes more than its limit")
		}
	}
	if sent < maxLinkBytes/2 {
		t.Errorf("cut after %d bytes", sent)
	}
	<-k.inbox // up
	if down := <-k.inbox; down.ev.Kind != process.EventPeerDown {
		t.Errorf("then %+v", down.ev)
	}
	<-l.done
}
