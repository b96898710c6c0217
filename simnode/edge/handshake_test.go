package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weft/control/mesh"
	"weft/simnode/wire"
)

func credentialsOf(t *testing.T, key byte, shard string, id mesh.NodeID) credentials {
	t.Helper()
	c, err := newCredentials([32]byte{key}, identity{shard: shard, node: id, role: mesh.RoleNode, incarnation: 5})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type met struct {
	peer identity
	err  error
}

// recorder keeps what was written to a connection.
type recorder struct {
	net.Conn
	wrote bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote.Write(b)
	return r.Conn.Write(b)
}

// shake lets dial meet a process that accepts, and returns how it was for the
// latter and all that it wrote.
func shake(acceptor credentials, dial func(net.Conn)) (met, []byte) {
	a, b := net.Pipe()
	r := &recorder{Conn: b}
	done := make(chan met, 1)
	go func() {
		peer, err := acceptor.welcome(r)
		r.Close()
		done <- met{peer, err}
	}()
	dial(a)
	m := <-done
	a.Close()
	return m, r.wrote.Bytes()
}

func TestHandshake(t *testing.T) {
	acceptor := credentialsOf(t, 1, "tavern", "b")
	for _, c := range []struct {
		name              string
		dialer            credentials
		dialErr, otherErr error
	}{
		{"a friend", credentialsOf(t, 1, "tavern", "a"), nil, nil},
		{"another key", credentialsOf(t, 2, "tavern", "a"), ErrProof, io.EOF},
		{"another shard", credentialsOf(t, 1, "castle", "a"), io.EOF, ErrStranger},
		{"itself", acceptor, io.EOF, ErrStranger},
	} {
		var dialed met
		accepted, _ := shake(acceptor, func(conn net.Conn) {
			dialed.peer, dialed.err = c.dialer.greet(conn)
			conn.Close()
		})
		if !errors.Is(dialed.err, c.dialErr) || !errors.Is(accepted.err, c.otherErr) {
			t.Errorf("%s: the dialer got %v, the acceptor %v", c.name, dialed.err, accepted.err)
		}
		if c.otherErr == nil && (dialed.peer != acceptor.self || accepted.peer != c.dialer.self) {
			t.Errorf("%s: they met as %+v and %+v", c.name, accepted.peer, dialed.peer)
		}
	}
}

// TestIntruders has dialers who do not know the key, or do not keep to the
// rules. Whoever does not know it must get nothing but the greeting and a proof.
func TestIntruders(t *testing.T) {
	acceptor := credentialsOf(t, 1, "tavern", "b")
	friend := credentialsOf(t, 1, "tavern", "a")
	var overheard bytes.Buffer
	if m, _ := shake(acceptor, func(conn net.Conn) {
		r := &recorder{Conn: conn}
		if _, err := friend.greet(r); err != nil {
			t.Fatal(err)
		}
		overheard = r.wrote
	}); m.err != nil {
		t.Fatal(m.err)
	}
	greeting := append([]byte(greetingMagic), wire.Version)
	greeting = append(greeting, make([]byte, nonceBytes)...)
	otherVersion := slices.Clone(greeting)
	otherVersion[len(greetingMagic)]++
	say := func(parts ...[]byte) func(net.Conn) {
		return func(conn net.Conn) {
			go io.Copy(io.Discard, conn) //nolint:errcheck // it ends with conn
			for _, p := range parts {
				if _, err := conn.Write(p); err != nil {
					return
				}
			}
		}
	}
	self := friend.self.encode()
	const told = greetingBytes + 32 // a greeting and a proof of the key
	for _, c := range []struct {
		name string
		dial func(net.Conn)
		err  error
		told int // bytes, at most
	}{
		{"replay", say(overheard.Bytes()), ErrProof, told},
		{"garbage", say(bytes.Repeat([]byte{0xff}, 2*greetingBytes)), wire.ErrMalformed, 0},
		{"http", say([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1:7000\r\nAccept: */*\r\n\r\n")), wire.ErrMalformed, 0},
		{"another version", say(otherVersion), wire.ErrVersion, greetingBytes},
		{"no proof", say(greeting, []byte{uint8(len(self)), 0}, self, make([]byte, 32)), ErrProof, told},
		{"oversized", say(greeting, []byte{0xff, 0xff}), wire.ErrTooLarge, told},
		{"empty identity", say(greeting, []byte{0, 0}), wire.ErrTooLarge, told},
		{"cut short", func(conn net.Conn) { conn.Write(greeting[:10]); conn.Close() }, io.ErrUnexpectedEOF, 0}, //nolint:errcheck // that is the test
		{"reflecting", func(conn net.Conn) {
			b := make([]byte, told)
			conn.Write(greeting) //nolint:errcheck // the outcome tells
			if _, err := io.ReadFull(conn, b); err != nil {
				t.Error(err)
			}
			w := append([]byte{uint8(len(self)), 0}, self...)
			conn.Write(append(w, b[greetingBytes:]...)) //nolint:errcheck // the outcome tells
		}, ErrProof, told},
		{"nobody, with the key", func(conn net.Conn) {
			c := friend
			c.self.node = ""
			if _, err := c.greet(conn); err == nil {
				t.Error("nobody was let in")
			}
		}, ErrStranger, told},
	} {
		m, wrote := shake(acceptor, c.dial)
		if !errors.Is(m.err, c.err) {
			t.Errorf("%s: %v", c.name, m.err)
		}
		if len(wrote) > c.told || bytes.Contains(wrote, []byte("tavern")) {
			t.Errorf("%s was told %d bytes: %q", c.name, len(wrote), wrote)
		}
	}
}

func TestSlowHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m, _ := shake(credentialsOf(t, 1, "tavern", "b"), func(net.Conn) {})
		if !errors.Is(m.err, os.ErrDeadlineExceeded) || time.Since(began) > 2*handshakeTimeout {
			t.Errorf("after %v: %v", time.Since(began), m.err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // and one who never answers the dialer
		a, b := net.Pipe()
		defer b.Close()
		go io.Copy(io.Discard, b) //nolint:errcheck // it ends with b
		c := credentialsOf(t, 1, "tavern", "a")
		if _, err := c.greet(a); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(identity{"tavern", "a", mesh.RoleNode, 7}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := decodeIdentity(b); err == nil && !bytes.Equal(i.encode(), b) {
			t.Errorf("%x is %+v, which is %x", b, i, i.encode())
		}
	})
}
