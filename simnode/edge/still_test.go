package edge

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// connected returns both ends of a plain connection.
func connected(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestStillIsAConn holds a still connection to what a net.Conn does.
func TestStillIsAConn(t *testing.T) {
	a, b := connected(t)
	from, to := still(a), still(b)
	if n, err := to.Read(nil); n != 0 || err != nil {
		t.Errorf("reading nothing gives %d, %v", n, err)
	}

	// More than any socket holds, so that writing has to wait for the reader, and
	// a reader that is faster than the writer.
	random := rand.NewChaCha8([32]byte{1})
	sent := make([]byte, 16<<20)
	random.Read(sent) //nolint:errcheck // it never fails
	wrote := make(chan error, 1)
	go func() {
		n, err := from.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		wrote <- errors.Join(err, a.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("of %d bytes %d came, %v", len(sent), len(got), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}

	// Deadlines end what waits.
	if err := from.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := from.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline a read gives %d, %v", n, err)
	}
	if err := to.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := to.Write(sent); n == len(sent) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline a write gives %d, %v", n, err)
	}

	// So does Close, and an end that is gone breaks both.
	ended := make(chan error, 1)
	if err := from.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := io.Copy(io.Discard, from)
		ended <- err
	}()
	from.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of what is closed gives %v", err)
	}
	if _, err := from.Write(sent); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to what is closed gives %v", err)
	}
	if err := to.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, to); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other end does not notice: %v", err)
	}
}

// TestStillAllocatesNothing: a tick reads and writes each link a few times.
func TestStillAllocatesNothing(t *testing.T) {
	a, b := connected(t)
	from, to := still(a), still(b)
	frame := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := from.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, frame); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%.0f allocations a message", n)
	}
}
