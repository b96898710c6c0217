package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"weft/simnode/wire"
)

// socket is a connection with one client. Read and Write are each called by
// one goroutine, Close by any.
type socket interface {
	// Read waits for one binary message and returns how long it is. A message
	// that is not binary or does not fit b is wire.ErrMalformed.
	Read(b []byte) (int, error)
	// Write sends b as one binary message. It fails if that takes too long.
	Write(b []byte) error
	// Close ends the connection, in good order if the client answers within a
	// few seconds; with an empty reason at once.
	Close(reason string)
}

// clientWriteTimeout is how long one message to a client may take.
const clientWriteTimeout = 10 * time.Second

type webSocket struct {
	ws  *websocket.Conn
	raw net.Conn
}

type rawConn struct{}

// withConn lets openWebSocket find the connection under a request.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, rawConn{}, c)
}

func openWebSocket(w http.ResponseWriter, r *http.Request) (*webSocket, error) {
	raw, ok := r.Context().Value(rawConn{}).(net.Conn)
	if !ok {
		return nil, errors.New("the server gives no connection")
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// A page of any origin may connect: what admits is the ticket in the
		// hello, never anything that a browser adds by itself.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(4 * wire.MaxClientBytes) // so that it is we who say goodbye
	return &webSocket{ws: ws, raw: raw}, nil
}

func (s *webSocket) Read(b []byte) (int, error) {
	kind, r, err := s.ws.Reader(context.Background())
	if err != nil {
		return 0, err
	}
	if kind != websocket.MessageBinary {
		return 0, wire.ErrMalformed
	}
	switch n, err := io.ReadFull(r, b); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, nil
	case err != nil:
		return 0, err
	}
	// b is full: nothing may be left.
	var more [1]byte
	switch n, err := r.Read(more[:]); {
	case n > 0:
		return 0, wire.ErrMalformed
	case errors.Is(err, io.EOF):
		return len(b), nil
	default:
		return 0, err
	}
}

func (s *webSocket) Write(b []byte) error {
	if err := s.raw.SetWriteDeadline(time.Now().Add(clientWriteTimeout)); err != nil {
		return err
	}
	return s.ws.Write(context.Background(), websocket.MessageBinary, b)
}

func (s *webSocket) Close(reason string) {
	if reason == "" {
		s.raw.Close()
		return
	}
	s.ws.Close(websocket.StatusNormalClosure, reason[:min(len(reason), 100)]) //nolint:errcheck // it is over, however
}
