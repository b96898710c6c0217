package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weft/simnode/process"
	"weft/simnode/wire"
)

const (
	// maxLinkBytes is how much may wait to be written to a peer; one that is
	// over it is cut off.
	maxLinkBytes = 32 << 20
	// keptLinkBytes is the most that an idle link keeps of its buffers.
	keptLinkBytes = 1 << 20
	// linkWriteTimeout bounds a write to a peer that does not read.
	linkWriteTimeout = 5 * time.Second
	linkReadBytes    = 64 << 10
)

// link is one proved connection to a peer: a goroutine that reads, and one
// that writes what send has gathered since its last write.
type link struct {
	conn net.Conn
	peer identity
	wake chan struct{}
	done chan struct{} // closed when both goroutines have ended

	mu      sync.Mutex
	waiting []byte
	writing int // bytes in the write under way
	cut     bool
}

func newLink(conn net.Conn, peer identity) *link {
	return &link{conn: still(conn), peer: peer, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// send appends framed messages to what is to be written; it never blocks. The
// bytes are copied. It reports false once the link is cut.
func (l *link) send(framed []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut && len(l.waiting)+l.writing+len(framed) > maxLinkBytes {
		l.cut = true
		l.conn.Close()
	}
	if l.cut {
		return false
	}
	l.waiting = append(l.waiting, framed...)
	return true
}

// flush wakes the writer.
func (l *link) flush() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// close ends the link, whatever still waits.
func (l *link) close() {
	l.mu.Lock()
	l.cut = true
	l.mu.Unlock()
	l.conn.Close()
}

// intake is where connections put what came, and what they count.
type intake struct {
	ctx       context.Context // ends with the process
	inbox     chan input
	refused   atomic.Uint64 // malformed inputs, failed handshakes
	toPeers   atomic.Uint64 // bytes
	toClients atomic.Uint64 // bytes
	log       *throttledLog
}

// put hands in to the loop; false when the process ends.
func (k *intake) put(in input) bool {
	select {
	case k.inbox <- in:
		return true
	case <-k.ctx.Done():
		return false
	}
}

// run reads and writes until the link breaks or the process ends. It tells
// the loop of the link before and after.
func (l *link) run(k *intake) {
	defer close(l.done)
	stop := context.AfterFunc(k.ctx, l.close)
	defer stop()
	var writer sync.WaitGroup
	ended := make(chan struct{})
	writer.Go(func() {
		l.write(k, ended)
		l.close()
	})
	event := process.Event{Kind: process.EventPeerUp, Peer: l.peer.node, Incarnation: l.peer.incarnation, Role: l.peer.role}
	if k.put(input{link: l, ev: event}) {
		err := l.read(k)
		if errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTooLarge) || errors.Is(err, wire.ErrVersion) {
			k.refused.Add(1)
			k.log.warn("a peer sent what is no message; the link is cut", "peer", l.peer.node, "error", err)
		}
		event.Kind = process.EventPeerDown
		l.close()
		k.put(input{link: l, ev: event})
	}
	l.close()
	close(ended)
	writer.Wait()
}

func (l *link) read(k *intake) error {
	r := bufio.NewReaderSize(l.conn, linkReadBytes)
	var head [wire.LengthBytes]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n, err := wire.Length(head[:])
		if err != nil {
			return err
		}
		b := make([]byte, n) // the message may alias it
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		m, err := wire.DecodePeer(b)
		if err != nil {
			return err
		}
		if !k.put(input{link: l, ev: process.Event{Kind: process.EventPeer, Peer: l.peer.node, Message: m}}) {
			return k.ctx.Err()
		}
	}
}

// write writes whatever waits, all of it at once, until ended or an error.
func (l *link) write(k *intake, ended <-chan struct{}) {
	var b []byte
	for {
		select {
		case <-l.wake:
		case <-ended:
			return
		}
		for {
			l.mu.Lock()
			b, l.waiting = l.waiting, b[:0]
			l.writing = len(b)
			l.mu.Unlock()
			if len(b) == 0 {
				break
			}
			if err := l.conn.SetWriteDeadline(time.Now().Add(linkWriteTimeout)); err != nil {
				return
			}
			n, err := l.conn.Write(b)
			k.toPeers.Add(uint64(n))
			if err != nil {
				return
			}
			if cap(b) > keptLinkBytes {
				b = nil
			}
		}
	}
}
