package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"weft/control/mesh"
	"weft/simnode/wire"
)

// TestWebSocket holds a whole session over real sockets: welcome, view, event,
// the gateway's death, the resume on another one, and goodbye.
func TestWebSocket(t *testing.T) {
	goodbye := make(chan struct{})
	serve := func(f func(ctx context.Context, ws *websocket.Conn, next func() wire.ClientMessage, send func(wire.ServerMessage))) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer ws.CloseNow()
			next := func() wire.ClientMessage {
				kind, b, err := ws.Read(r.Context())
				if err != nil {
					t.Error(err)
					return nil
				}
				m, err := wire.DecodeClient(b)
				if err != nil || kind != websocket.MessageBinary {
					t.Error(err, kind)
				}
				return m
			}
			f(r.Context(), ws, next, func(m wire.ServerMessage) {
				if err := ws.Write(r.Context(), websocket.MessageBinary, wire.AppendServer(nil, m)); err != nil {
					t.Error(err)
				}
			})
		}))
	}
	big := &wire.View{Tick: 3}
	for i := range 1200 {
		big.Enters = append(big.Enters, enter(uint32(i), mesh.PlayerID(i+10), int32(i)))
	}
	second := serve(func(ctx context.Context, ws *websocket.Conn, next func() wire.ClientMessage, send func(wire.ServerMessage)) {
		if h, ok := next().(*wire.Hello); !ok || h.Session != 1 || h.Ticket != "again" {
			t.Errorf("hello %+v", h)
		}
		send(&wire.Welcome{Session: 2, TickHz: 20})
		send(big)
		if d, ok := next().(*wire.Do); !ok || d.Event.Number != 1 {
			t.Errorf("event %+v", d)
		}
		send(&wire.EventAck{Event: 1, Outcome: mesh.OutcomeOK})
		if _, ok := next().(*wire.Goodbye); !ok {
			t.Error("no goodbye")
		}
		close(goodbye)
	})
	defer second.Close()
	url := func(s *httptest.Server) string { return "ws" + strings.TrimPrefix(s.URL, "http") }
	first := serve(func(ctx context.Context, ws *websocket.Conn, next func() wire.ClientMessage, send func(wire.ServerMessage)) {
		next()
		send(&wire.Welcome{Session: 1, TickHz: 20, Resume: "again", Gateways: []string{url(second)}})
		next() // the event; then it dies without a word
	})
	defer first.Close()

	acked := make(chan wire.EventAck, 1)
	c, err := Dial(t.Context(), Options{Gateways: []string{url(first)}, Player: 7, Handler: ackChannel(acked),
		Ticket: func(context.Context) (string, error) { return "join", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(mesh.Event{Action: mesh.ActDrop}); err != nil {
		t.Fatal(err)
	}
	if a := <-acked; a.Event != 1 {
		t.Errorf("ack %+v", a)
	}
	if n := len(ids(c)); n != 1200 {
		t.Errorf("%d in sight, want 1200", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-goodbye
	http.DefaultClient.CloseIdleConnections()
}

type ackChannel chan wire.EventAck

func (a ackChannel) Acked(ack wire.EventAck) { a <- ack }
func (a ackChannel) Entered(*Entity)         {}
func (a ackChannel) Left(*Entity)            {}
func (a ackChannel) Viewed(*wire.View)       {}
