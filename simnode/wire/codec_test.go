package wire

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"weft/control/mesh"
)

// sample is one message of every type, with every field set.
var (
	samplePose = mesh.Pose{ID: mesh.PlayerEntity(7), Hop: 3, Flags: mesh.Idle, Health: -5, Yaw: 0x4000,
		Carrier: mesh.MakeEntityID(mesh.KindShip, 9), Pos: mesh.Meters(2000, -5, 3), Vel: mesh.Vec{X: -1, Y: 1280, Z: 3}}
	sampleEntity = mesh.Entity{Pose: samplePose, Placed: 99, Held: mesh.MakeEntityID(mesh.KindItem, 300), Data: 1 << 63,
		Session: 12, LastEvent: 17, Outcomes: 0x55555555}
	sampleEvent = mesh.Event{Number: 18, Action: mesh.ActThrow, Target: mesh.MakeEntityID(mesh.KindItem, 300), Hop: 4, Aim: mesh.Meters(3, 0, 4)}
	sampleView  = View{
		Tick: 1000, Self: Self{Zone: 3, Epoch: 2, Hop: 1, Tick: 999, Pos: mesh.Meters(1, 2, 3), Held: 5, Health: 100},
		Clocks: []Clock{{3, 2, 999}, {4, 1, 1001}},
		Enters: []Enter{{Handle: 70, ID: mesh.PlayerEntity(7), Hop: 3, Flags: mesh.Idle, Health: 9, Carrier: 1, Pos: mesh.Meters(4, 5, 6), Yaw: 7}},
		Moves:  []Move{Quantise(samplePose, 70, true), Quantise(samplePose, 71, false), {Handle: 1 << 31}},
		Leaves: []uint32{1, 1 << 31},
	}
	peers = []PeerMessage{
		&Subscribe{1, true}, &Frame{1, 2, 3, []byte("frame")}, &Login{7, 12}, &LoggedIn{1, 2, 7, 12, 17}, &Logout{7, 12, true},
		&Inputs{1, []Input{{7, 12, mesh.Command{Sequence: 5, MoveX: -127, MoveY: 127, Yaw: 0xabcd}}}},
		&Act{7, 12, 1, "gateway-1", sampleEvent}, &Ack{7, 12, 18, mesh.OutcomeOK, sampleEvent.Target, 5},
		&Transfer{1, 2, 3, 4, []mesh.Entity{sampleEntity, {}}, mesh.Pick{Player: 7, Event: 18}},
		&Installed{1, 2, 3}, &DurableAck{1, 2, 3}, &Low{1, 2, 3}, &PickRequest{1, 2, mesh.Pick{Player: 7, Event: 18}, 9, 3},
		&PickRefusal{1, 2, mesh.Pick{Player: 7, Event: 18}, 9},
		&Impacts{1, 2, 3, 9, 4, 5, []mesh.Impact{{Target: 1, Source: 2, Push: mesh.Vec{X: -1, Y: 2, Z: 3}, Damage: -7}}},
		&ImpactAck{1, 2, 3, 4}, &Freshen{1, 2, 3, []byte("poses")}, &News{5}, &Late{6}, &Relay{"node-1", []byte{typeNews, 5}},
	}
	clients = []ClientMessage{&Hello{7, 12, "ticket", 17}, &Steer{mesh.Command{Sequence: 5, MoveX: -127, MoveY: 127, Yaw: 0xabcd}},
		&Do{sampleEvent}, &Goodbye{}}
	servers = []ServerMessage{&Welcome{12, mesh.PlayerEntity(7), 17, 20, 1_700_000_000_000, 1000, 4000, "resume", []string{"ws://a", "ws://b"}},
		&EventAck{18, mesh.OutcomeRefused, 9, 3}, &Gateways{[]string{"ws://c"}}, &Bye{ByeDraining, true, "The gateway stops."}, &sampleView}
)

func TestEveryMessageComesBack(t *testing.T) {
	if got := len(peers); got != typeRelay {
		t.Errorf("%d peer messages have a sample, want %d", got, typeRelay)
	}
	for _, m := range peers {
		back(t, m, AppendPeer, DecodePeer)
	}
	for _, m := range clients {
		back(t, m, AppendClient, DecodeClient)
	}
	for _, m := range servers {
		back(t, m, AppendServer, DecodeServer)
	}
}

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// back holds that m survives its bytes, behind others too, and that no
// shortened, lengthened or emptied version of them decodes.
func back[M any](t failer, m M, enc func([]byte, M) []byte, dec func([]byte) (M, error)) {
	t.Helper()
	b := enc([]byte("before"), m)[len("before"):]
	got, err := dec(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%T:\n got %+v, %v\nwant %+v", m, got, err, m)
	}
	open := false // its last field is the rest of the message
	switch any(m).(type) {
	case *Frame, *Freshen, *Relay:
		open = true
	}
	if _, err := dec(append(bytes.Clone(b), 0)); !open && !errors.Is(err, ErrMalformed) {
		t.Fatalf("%T with a byte more: %v", m, err)
	}
	for n := range len(b) {
		if _, err := dec(b[:n]); err == nil && !open {
			t.Fatalf("%T cut to %d of %d bytes decodes", m, n, len(b))
		}
	}
}

func TestRandomMessagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		back[PeerMessage](t, draw[Inputs](t), AppendPeer, DecodePeer)
		back[PeerMessage](t, draw[Transfer](t), AppendPeer, DecodePeer)
		back[PeerMessage](t, draw[Impacts](t), AppendPeer, DecodePeer)
		back[PeerMessage](t, draw[Act](t), AppendPeer, DecodePeer)
		back[PeerMessage](t, draw[Ack](t), AppendPeer, DecodePeer)
		back[PeerMessage](t, draw[LoggedIn](t), AppendPeer, DecodePeer)
		back[ClientMessage](t, draw[Hello](t), AppendClient, DecodeClient)
		back[ClientMessage](t, draw[Steer](t), AppendClient, DecodeClient)
		back[ServerMessage](t, draw[EventAck](t), AppendServer, DecodeServer)
		v := draw[View](t)
		for i := range v.Moves {
			if m := &v.Moves[i]; !m.Changed {
				m.Hop, m.Flags, m.Health, m.Carrier = 0, 0, 0, 0
			}
		}
		back[ServerMessage](t, v, AppendServer, DecodeServer)
	})
}

// draw returns any value of T whose slices are short, and nil when empty.
func draw[T any](t *rapid.T) *T {
	v := rapid.Make[T]().Draw(t, reflect.TypeFor[T]().Name())
	for f, i := reflect.ValueOf(&v).Elem(), 0; i < f.NumField(); i++ {
		if f := f.Field(i); f.Kind() == reflect.Slice {
			if f.Len() == 0 {
				f.SetZero()
			} else if f.Len() > MaxClocks {
				f.SetLen(MaxClocks)
			}
		}
	}
	return &v
}

func TestRefusals(t *testing.T) {
	peer := func(b []byte) error { _, err := DecodePeer(b); return err }
	client := func(b []byte) error { _, err := DecodeClient(b); return err }
	server := func(b []byte) error { _, err := DecodeServer(b); return err }
	hello := AppendClient(nil, &Hello{Player: 1})
	other := bytes.Clone(hello)
	other[5] = Version + 1
	long := make([]byte, MaxTicketBytes+1)
	for name, c := range map[string]struct {
		decode func([]byte) error
		b      []byte
		want   error
	}{
		"empty":                     {peer, nil, ErrMalformed},
		"no such type":              {peer, []byte{200}, ErrMalformed},
		"no such client type":       {client, []byte{0}, ErrMalformed},
		"no such server type":       {server, []byte{9, 9}, ErrMalformed},
		"padded varint":             {peer, []byte{typeNews, 0x85, 0x00}, ErrMalformed},
		"varint of 65 bits":         {peer, []byte{typeNews, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, ErrMalformed},
		"varint without end":        {peer, []byte{typeNews, 255, 255}, ErrMalformed},
		"zone of 33 bits":           {peer, []byte{typeSubscribe, 255, 255, 255, 255, 31, 0}, ErrMalformed},
		"bool of 2":                 {peer, []byte{typeSubscribe, 1, 2}, ErrMalformed},
		"more inputs than bytes":    {peer, []byte{typeInputs, 1, 200, 31, 0, 0, 0}, ErrMalformed},
		"more inputs than allowed":  {peer, []byte{typeInputs, 1, 0x81, 0x20}, ErrTooLarge},
		"relay of a relay":          {peer, AppendPeer(nil, &Relay{"n", []byte{typeRelay}}), ErrMalformed},
		"relay of nothing":          {peer, AppendPeer(nil, &Relay{"n", nil}), ErrMalformed},
		"members beyond limit":      {peer, AppendPeer(nil, &Transfer{Members: make([]mesh.Entity, MaxMembers+1)}), ErrTooLarge},
		"peer message too long":     {peer, make([]byte, MaxPeerBytes+1), ErrTooLarge},
		"client message too long":   {client, make([]byte, MaxClientBytes+1), ErrTooLarge},
		"server message too long":   {server, make([]byte, MaxServerBytes+1), ErrTooLarge},
		"another version":           {client, other, ErrVersion},
		"another protocol":          {client, []byte("\x01HTTP\x01"), ErrMalformed},
		"version cut off":           {client, hello[:5], ErrMalformed},
		"ticket too long":           {client, AppendClient(nil, &Hello{Ticket: string(long)}), ErrTooLarge},
		"too many gateways":         {server, AppendServer(nil, &Gateways{make([]string, MaxGateways+1)}), ErrTooLarge},
		"set bit, zero field":       {peer, []byte{typeTransfer, 1, 1, 1, 1, 1, hasYaw, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ErrMalformed},
		"unknown bit of a pose":     {peer, []byte{typeTransfer, 1, 1, 1, 1, 1, 0x80, 1, 1, 0, 0, 0, 0, 0, 0, 0}, ErrMalformed},
		"unknown bit of an entity":  {peer, []byte{typeTransfer, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0x40, 0, 0}, ErrMalformed},
		"entity number of 57 bits":  {peer, []byte{typePickRefusal, 1, 1, 1, 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 1}, ErrMalformed},
		"height flag, height zero":  {server, append(AppendServer(nil, &View{})[:14], 1, 2, 0, 0, 0, 0, 0, 0, 0, 0), ErrMalformed},
		"more moves than are bytes": {server, append(AppendServer(nil, &View{})[:14], 200, 1), ErrMalformed},
	} {
		if err := c.decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if n := len(AppendServer(nil, &View{})); n != 16 {
		t.Errorf("the empty view has %d bytes: two cases above cut it in the wrong place", n)
	}
}

func TestFraming(t *testing.T) {
	m := &Frame{1, 2, 3, []byte("data")}
	b := AppendFramed([]byte("x"), m)[1:]
	n, err := Length(b)
	if err != nil || n != len(b)-LengthBytes || !bytes.Equal(b[LengthBytes:], AppendPeer(nil, m)) {
		t.Errorf("framed as % x: %d, %v", b, n, err)
	}
	for want, lengths := range map[error][]int{nil: {1, MaxPeerBytes}, ErrMalformed: {0}, ErrTooLarge: {MaxPeerBytes + 1, 1<<32 - 1}} {
		for _, n := range lengths {
			PutLength(b, n)
			if _, err := Length(b); !errors.Is(err, want) {
				t.Errorf("length %d: %v, want %v", n, err, want)
			}
		}
	}
	if _, err := Length(b[:3]); !errors.Is(err, ErrMalformed) {
		t.Errorf("three bytes of a length: %v", err)
	}
}

// TestDecodersAllocateWithinBound feeds each list at its most expensive: as
// many of the smallest items as there may be.
func TestDecodersAllocateWithinBound(t *testing.T) {
	leaves := make([]uint32, MaxViewEntries)
	for name, c := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"inputs":   {AppendPeer(nil, &Inputs{1, make([]Input, MaxInputs)}), nil},
		"transfer": {AppendPeer(nil, &Transfer{Members: make([]mesh.Entity, MaxMembers)}), nil},
		"impacts":  {AppendPeer(nil, &Impacts{Impacts: make([]mesh.Impact, MaxImpacts)}), nil},
		"hello":    {AppendClient(nil, &Hello{Ticket: string(make([]byte, MaxTicketBytes))}), func(b []byte) error { _, err := DecodeClient(b); return err }},
		"gateways": {AppendServer(nil, &Gateways{make([]string, MaxGateways)}), func(b []byte) error { _, err := DecodeServer(b); return err }},
		"moves":    {AppendServer(nil, &View{Moves: make([]Move, MaxViewEntries)}), func(b []byte) error { return DecodeView(b, new(View)) }},
		"leaves":   {AppendServer(nil, &View{Leaves: leaves, Clocks: make([]Clock, MaxClocks)}), func(b []byte) error { return DecodeView(b, new(View)) }},
	} {
		decode := c.decode
		if decode == nil {
			decode = func(b []byte) error { _, err := DecodePeer(b); return err }
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := decode(c.b)
		runtime.ReadMemStats(&after)
		if got, bound := after.TotalAlloc-before.TotalAlloc, uint64(16*len(c.b)+512); err != nil || got > bound {
			t.Errorf("%s: %d bytes for %d of input, above %d; %v", name, got, len(c.b), bound, err)
		}
	}
}

func FuzzDecodePeer(f *testing.F) {
	for _, m := range peers {
		f.Add(AppendPeer(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodePeer(b); err == nil && !bytes.Equal(AppendPeer(nil, m), b) {
			t.Fatalf("% x decodes to %+v, which encodes to % x", b, m, AppendPeer(nil, m))
		}
	})
}

func FuzzDecodeClient(f *testing.F) {
	for _, m := range clients {
		f.Add(AppendClient(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeClient(b); err == nil && !bytes.Equal(AppendClient(nil, m), b) {
			t.Fatalf("% x decodes to %+v, which encodes to % x", b, m, AppendClient(nil, m))
		}
	})
}

func FuzzDecodeServer(f *testing.F) {
	for _, m := range servers {
		f.Add(AppendServer(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeServer(b)
		if err == nil && !bytes.Equal(AppendServer(nil, m), b) {
			t.Fatalf("% x decodes to %+v, which encodes to % x", b, m, AppendServer(nil, m))
		}
		v := sampleView // reused slices must not show through
		v.Moves, v.Enters = append([]Move(nil), v.Moves...), append([]Enter(nil), v.Enters...)
		v.Clocks, v.Leaves = append([]Clock(nil), v.Clocks...), append([]uint32(nil), v.Leaves...)
		if verr := DecodeView(b, &v); IsView(b) != (verr == nil) && err == nil || verr == nil && !bytes.Equal(AppendServer(nil, &v), b) {
			t.Fatalf("% x: as a view %+v, %v", b, v, verr)
		}
	})
}
