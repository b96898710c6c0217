package client

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/coder/websocket"

	"weft/simnode/pin"
	"weft/simnode/wire"
)

// DialWebSocket opens a WebSocket connection to a gateway's URL: ws://, wss://
// with a certificate of an authority, or wss:// with the hash of the gateway's
// key (see simnode/pin), which is then all that is checked; pin.ErrOther if it is another.
func DialWebSocket(ctx context.Context, url string) (Conn, error) {
	url, pinned, err := pin.Split(url)
	if err != nil {
		return nil, err
	}
	var options *websocket.DialOptions
	if pinned != nil {
		transport := &http.Transport{TLSClientConfig: pinned, Proxy: http.ProxyFromEnvironment}
		defer transport.CloseIdleConnections() // of a refused one; the connection itself is the caller's
		options = &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	}
	ws, response, err := websocket.Dial(ctx, url, options)
	if response != nil && response.Body != nil {
		response.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(wire.MaxServerBytes)
	return &webSocket{ws: ws}, nil
}

type webSocket struct {
	ws     *websocket.Conn
	buffer []byte
}

var errText = errors.New("the gateway sent text")

func (w *webSocket) Read(ctx context.Context) ([]byte, error) {
	kind, r, err := w.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageBinary {
		return nil, errText
	}
	if w.buffer == nil {
		w.buffer = make([]byte, 4096)
	}
	for n := 0; ; {
		if n == len(w.buffer) {
			w.buffer = append(w.buffer, make([]byte, n)...)
		}
		m, err := r.Read(w.buffer[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return w.buffer[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *webSocket) Write(ctx context.Context, message []byte) error {
	return w.ws.Write(ctx, websocket.MessageBinary, message)
}

func (w *webSocket) Close() error { return w.ws.CloseNow() }
