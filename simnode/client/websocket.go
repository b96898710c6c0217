package client

import (
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"

	"weft/simnode/wire"
)

// DialWebSocket opens a WebSocket connection to a gateway's URL (ws:// or wss://).
func DialWebSocket(ctx context.Context, url string) (Conn, error) {
	ws, response, err := websocket.Dial(ctx, url, nil)
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
