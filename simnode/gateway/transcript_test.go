package gateway

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print into them")

// TestTranscripts runs the scripts in testdata. A line that begins with "> "
// is an event, the lines after it are the effects.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg := DefaultConfig(3)
			cfg.MaxPending = 2
			s := &stage{t: t, now: 99, zones: map[mesh.ZoneID]*stageZone{},
				g: New(cfg, mesh.Process{ID: "g1", Incarnation: 1, Address: "g1:1", ClientURL: "ws://g1"})}
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "> ") {
					s.out.WriteString(line)
					s.do(strings.Fields(line[2:]))
				} else if strings.HasPrefix(line, "#") || line == "\n" {
					s.out.WriteString(line)
				}
			}
			got := s.out.String()
			if got == string(want) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
			for i := range a {
				if i >= len(b) || a[i] != b[i] {
					t.Fatalf("line %d: got\n%s\nwant the rest of %s; see -rewrite", i+1, strings.Join(a[i:], "\n"), file)
				}
			}
			t.Fatalf("%s goes on after\n%s", file, got)
		})
	}
}

type stage struct {
	t       *testing.T
	g       *Gateway
	out     strings.Builder
	now     mesh.Tick
	zones   map[mesh.ZoneID]*stageZone
	verdict process.Verdict // of the store's answers
}

type stageZone struct {
	enc   replication.FrameEncoder
	owner mesh.Owner
	epoch mesh.Epoch
	poses []mesh.Pose
	mute  bool
}

func (s *stage) number(word string) uint64 {
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// do runs one command of a script.
func (s *stage) do(words []string) {
	n := func(i int) uint64 { return s.number(words[i]) }
	client := func() process.ClientID { return process.ClientID(n(1)) }
	from := func(m wire.ClientMessage) {
		s.step(process.Event{Kind: process.EventClient, Client: client(), ClientMessage: m})
	}
	peer := func(m wire.PeerMessage) {
		s.step(process.Event{Kind: process.EventPeer, Peer: mesh.NodeID(words[1]), Message: m})
	}
	switch words[0] {
	case "up": // node incarnation
		s.step(process.Event{Kind: process.EventPeerUp, Peer: mesh.NodeID(words[1]), Incarnation: mesh.Incarnation(n(2)), Role: mesh.RoleNode})
	case "down": // node incarnation [gone]
		s.step(process.Event{Kind: process.EventPeerDown, Peer: mesh.NodeID(words[1]), Incarnation: mesh.Incarnation(n(2)), Gone: len(words) > 3})
	case "layout": // version zone:epoch:node:incarnation ...
		s.layout(n(1), words[2:])
	case "fleet": // urls of other gateways
		var fleet []mesh.Process
		for _, u := range words[1:] {
			fleet = append(fleet, mesh.Process{ID: mesh.NodeID(u), Role: mesh.RoleGateway, State: mesh.Ready, ClientURL: u})
		}
		s.step(process.Event{Kind: process.EventFleet, Fleet: fleet})
	case "pose": // zone player x y hop [flags]
		flags := mesh.Flags(0)
		if len(words) > 6 {
			flags = mesh.Flags(n(6))
		}
		s.pose(mesh.ZoneID(n(1)), mesh.Pose{ID: mesh.PlayerEntity(mesh.PlayerID(n(2))), Pos: mesh.Meters(int32(n(3)), int32(n(4)), 0),
			Hop: uint32(n(5)), Flags: flags, Health: 100})
	case "unpose": // zone player
		z := s.zones[mesh.ZoneID(n(1))]
		z.poses = slices.DeleteFunc(z.poses, func(p mesh.Pose) bool { return p.ID.Player() == mesh.PlayerID(n(2)) })
	case "mute", "unmute": // zone: it sends no frames
		s.zones[mesh.ZoneID(n(1))].mute = words[0] == "mute"
	case "stale": // zone epoch: a frame of that epoch
		var enc replication.FrameEncoder
		enc.Begin(mesh.ZoneID(n(1)), mesh.Epoch(n(2)))
		z := s.zones[mesh.ZoneID(n(1))]
		s.step(process.Event{Kind: process.EventPeer, Peer: z.owner.Node,
			Message: &wire.Frame{Zone: mesh.ZoneID(n(1)), Epoch: mesh.Epoch(n(2)), Tick: s.now, Data: enc.Encode(nil, s.now, nil)}})
		fmt.Fprintf(&s.out, "dropped frames: %d\n", s.g.Report().Counters.DroppedFrames)
	case "run": // ticks, with the frames of every zone
		for range n(1) {
			s.tick(process.Event{})
		}
	case "late": // how late the tick is, in microseconds
		s.tick(process.Event{LateUS: uint32(n(1))})
	case "store": // ok, away or stale
		s.verdict = map[string]process.Verdict{"ok": process.OK, "away": process.Unavailable, "stale": process.Stale}[words[1]]
	case "drain":
		s.step(process.Event{Kind: process.EventDrain})
	case "connect": // client player fresh
		s.step(process.Event{Kind: process.EventClientUp, Client: client(), Hello: wire.Hello{Player: mesh.PlayerID(n(2))}, Fresh: n(3)})
	case "hangup": // client
		s.step(process.Event{Kind: process.EventClientDown, Client: client()})
	case "goodbye": // client
		from(&wire.Goodbye{})
	case "hello": // client: a second one
		from(&wire.Hello{})
	case "steer": // client sequence x y
		x, _ := strconv.Atoi(words[3])
		y, _ := strconv.Atoi(words[4])
		from(&wire.Steer{Command: mesh.Command{Sequence: uint32(n(2)), MoveX: int8(x), MoveY: int8(y)}})
		fmt.Fprintf(&s.out, "refused inputs: %d\n", s.g.Report().Counters.RefusedInputs)
	case "do": // client number action
		from(&wire.Do{Event: mesh.Event{Number: uint32(n(2)), Action: mesh.Action(n(3))}})
	case "flood": // client n: events 1 to n, each acknowledged at once
		c := s.g.byID[client()]
		for i := range uint32(n(2)) {
			s.g.Step(process.Event{Kind: process.EventClient, Client: c.id, ClientMessage: &wire.Do{Event: mesh.Event{Number: i + 1, Action: mesh.ActDrop}}})
			s.g.Step(process.Event{Kind: process.EventPeer, Peer: "n1", Message: &wire.Ack{Player: c.player, Session: c.session, Event: i + 1}})
		}
		fmt.Fprintf(&s.out, "%d events taken, refused inputs: %d\n", c.last, s.g.Report().Counters.RefusedInputs)
	case "loggedin": // node zone epoch player session last
		peer(&wire.LoggedIn{Zone: mesh.ZoneID(n(2)), Epoch: mesh.Epoch(n(3)), Player: mesh.PlayerID(n(4)), Session: n(5), LastEvent: uint32(n(6))})
	case "ack": // node player session event
		peer(&wire.Ack{Player: mesh.PlayerID(n(2)), Session: n(3), Event: uint32(n(4)), Outcome: mesh.OutcomeOK})
	case "news": // node version
		peer(&wire.News{Version: n(2)})
	case "iamlate": // node
		peer(&wire.Late{Tick: s.now})
	case "relay": // node to
		peer(&wire.Relay{To: mesh.NodeID(words[2]), Message: wire.AppendPeer(nil, &wire.DurableAck{From: 1, N: 7, To: 2})})
	default:
		s.t.Fatalf("no command is called %q", words[0])
	}
}

// layout cuts the world along X into as many zones as are named.
func (s *stage) layout(version uint64, words []string) {
	l := mesh.Layout{Version: version, NextZone: 99, Shard: mesh.Shard{Name: "s", TickHz: 20, Bounds: world}}
	width := world.Max.X / int32(len(words))
	for i, w := range words {
		f := strings.Split(w, ":")
		z := mesh.Zone{ID: mesh.ZoneID(s.number(f[0])), Epoch: mesh.Epoch(s.number(f[1])),
			Owner: mesh.Owner{Node: mesh.NodeID(f[2]), Incarnation: mesh.Incarnation(s.number(f[3]))}, Box: world}
		z.Box.Min.X, z.Box.Max.X = int32(i)*width, int32(i+1)*width
		l.Zones = append(l.Zones, z)
		sz := s.zones[z.ID]
		if sz == nil {
			sz = &stageZone{}
			s.zones[z.ID] = sz
		}
		if sz.epoch != z.Epoch {
			sz.enc.Begin(z.ID, z.Epoch)
		}
		sz.owner, sz.epoch = z.Owner, z.Epoch
	}
	if err := l.Validate(); err != nil {
		s.t.Fatal(err)
	}
	s.step(process.Event{Kind: process.EventLayout, Layout: &l})
}

func (s *stage) pose(zone mesh.ZoneID, p mesh.Pose) {
	z := s.zones[zone]
	if i := slices.IndexFunc(z.poses, func(q mesh.Pose) bool { return q.ID == p.ID }); i >= 0 {
		z.poses[i] = p
	} else {
		z.poses = append(z.poses, p)
	}
}

func (s *stage) tick(ev process.Event) {
	s.now++
	ids := make([]mesh.ZoneID, 0, len(s.zones))
	for id := range s.zones {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare[mesh.ZoneID])
	for _, id := range ids {
		if z := s.zones[id]; !z.mute {
			s.step(process.Event{Kind: process.EventPeer, Peer: z.owner.Node,
				Message: &wire.Frame{Zone: id, Epoch: z.epoch, Tick: s.now, Data: z.enc.Encode(nil, s.now, z.poses)}})
		}
	}
	ev.Kind, ev.Tick = process.EventTick, s.now
	s.step(ev)
}

// step prints the effects of an event and answers the requests among them.
func (s *stage) step(ev process.Event) {
	var answers []*process.Answer
	for _, e := range s.g.Step(ev) {
		if ev.Kind == process.EventTick && !(e.Kind == process.EffectRequest && e.Request.Op == process.OpPutReport) {
			fmt.Fprintf(&s.out, "%d ", s.now)
		}
		switch e.Kind {
		case process.EffectSend:
			fmt.Fprintf(&s.out, "to %s: %s\n", e.Peer, describe(e.Message))
		case process.EffectRequest:
			r := e.Request
			answers = append(answers, &process.Answer{ID: r.ID, Op: r.Op, Verdict: s.verdict})
			switch r.Op {
			case process.OpPutProcess:
				fmt.Fprintf(&s.out, "store: %s is %s\n", r.Process.ID, r.Process.State)
			case process.OpPutSuspicion:
				fmt.Fprintf(&s.out, "store: suspicion %d: %s/%d is %s\n", r.Suspicion.Number, r.Suspicion.Suspect, r.Suspicion.Incarnation,
					[]string{"", "broken", "silent"}[r.Suspicion.Kind])
			}
		case process.EffectFetchLayout:
			s.out.WriteString("fetch the layout\n")
		case process.EffectStop:
			fmt.Fprintf(&s.out, "stop: %s\n", e.Reason)
		case process.EffectLog:
			fmt.Fprintf(&s.out, "log: %s\n", e.Reason)
		case process.EffectClient:
			if e.Data != nil {
				fmt.Fprintf(&s.out, "client %d: %s\n", e.Client, describeView(s.t, append(e.Data, e.Shared...)))
			} else {
				fmt.Fprintf(&s.out, "client %d: %s\n", e.Client, describe(e.ServerMessage))
			}
		case process.EffectClientClose:
			fmt.Fprintf(&s.out, "close client %d: %s\n", e.Client, describe(e.ServerMessage))
		}
	}
	for _, a := range answers {
		s.step(process.Event{Kind: process.EventAnswer, Answer: a})
	}
}

func describe(m any) string {
	if f, ok := m.(*wire.Freshen); ok {
		poses, err := replication.DecodePoses(f.Poses)
		return fmt.Sprintf("Freshen{Zone:%d Epoch:%d Tick:%d %d poses, error %v}", f.Zone, f.Epoch, f.Tick, len(poses), err)
	}
	if m == nil {
		return "-"
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*wire.") + strings.TrimPrefix(fmt.Sprintf("%+v", m), "&")
}

func describeView(t *testing.T, b []byte) string {
	var v wire.View
	if err := wire.DecodeView(b, &v); err != nil {
		t.Fatal(err)
	}
	p := v.Self.Pos
	s := fmt.Sprintf("view: self %d/%d hop %d at %d,%d", v.Self.Zone, v.Self.Epoch, v.Self.Hop, p.X/256, p.Y/256)
	for _, e := range v.Enters {
		s += fmt.Sprintf("; player%d enters as %d", e.ID.Player(), e.Handle)
	}
	for _, m := range v.Moves {
		s += fmt.Sprintf("; %d moves", m.Handle)
	}
	for _, h := range v.Leaves {
		s += fmt.Sprintf("; %d leaves", h)
	}
	for _, c := range v.Clocks {
		s += fmt.Sprintf("; clock %d/%d %d", c.Zone, c.Epoch, c.Tick)
	}
	return s
}
