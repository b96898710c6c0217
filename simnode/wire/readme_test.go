package wire

import (
	"encoding/hex"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"weft/control/mesh"
)

var update = flag.Bool("update", false, "write the example bytes of README.md anew")

// example is a message of README.md and what its bytes mean, in order: each
// part is how many bytes, and what they say.
type example struct {
	title string
	bytes []byte
	parts []part
}

type part struct {
	n    int
	says string
}

var (
	cup  = mesh.MakeEntityID(mesh.KindItem, 300)
	body = mesh.PlayerEntity(7)
)

func examples() []example {
	return []example{
		{"Client: Hello, to resume session 1,000", AppendClient(nil, &Hello{Player: 7, Session: 1000, Ticket: "let me in", LastEvent: 2}), []part{
			{1, "Hello"}, {4, `"WEFT"`}, {1, "version 3"}, {1, "player 7"}, {2, "session 1,000 (0 for a new one)"},
			{10, `ticket: 9 bytes, "let me in"`}, {1, "has the answers through event 2"}}},
		{"Server: Welcome", AppendServer(nil, &Welcome{Session: 1000, Entity: body, LastEvent: 3, TickHz: 20, OriginUnixMilli: 1_750_000_000_000,
			Tick: 5000, KeepAliveMilli: 5000, Resume: "again", Gateways: []string{"ws://g2/"}}), []part{
			{1, "Welcome"}, {2, "session 1,000"}, {2, "your body: a player, number 7"}, {1, "event 3 is decided: repeat from 4 on"}, {1, "20 ticks a second"},
			{6, "tick 0 was at Unix time 1,750,000,000,000 ms (zigzag)"}, {2, "tick 5,000 now"}, {2, "says something every 5,000 ms at the least"}, {6, `resume with the ticket "again"`},
			{1, "one gateway to resume on"}, {9, `"ws://g2/"`}}},
		{"Client: Steer", AppendClient(nil, &Steer{mesh.Command{Sequence: 130, MoveX: 127, MoveY: -1, Yaw: 0x4000}}), []part{
			{1, "Steer"}, {2, "command 130"}, {1, "full speed along +x"}, {1, "and 1/127 of it along −y"}, {2, "looking at a quarter turn"}}},
		{"Client: Do, event 4: throw", AppendClient(nil, &Do{mesh.Event{Number: 4, Action: mesh.ActThrow, Aim: mesh.Vec{X: 1280, Z: 512}}}), []part{
			{1, "Do"}, {1, "event 4"}, {1, "action: throw"}, {2, "no target"}, {1, "hop of the target"}, {2, "aim x: 1,280 units a second, 5 m/s"}, {1, "aim y: 0"}, {2, "aim z: 512, 2 m/s"}}},
		{"Server: EventAck", AppendServer(nil, &EventAck{Event: 4, Outcome: mesh.OutcomeOK, Entity: cup, Hop: 6}), []part{
			{1, "EventAck"}, {1, "event 4"}, {1, "done (2: refused)"}, {3, "moved: an item, number 300"}, {1, "now of hop 6"}}},
		{"Server: View", AppendServer(nil, &View{Tick: 5001,
			Self:   Self{Zone: 3, Epoch: 2, Hop: 1, Tick: 5000, Pos: mesh.Meters(100, 50, 0), Health: 100},
			Clocks: []Clock{{Zone: 3, Epoch: 2, Tick: 5000}},
			Enters: []Enter{{Handle: 40, ID: cup, Hop: 6, Flags: mesh.Flying, Pos: mesh.Meters(101, 50, 1), Yaw: 0}},
			Moves: []Move{{Handle: 5, X: 1600, Y: 816, Yaw: 64},
				{Handle: 40, X: 1616, Y: 800, Z: 8, Changed: true, Hop: 6}},
			Leaves: []uint32{9}}), []part{
			{1, "View"}, {2, "tick 5,001"},
			{1, "you are in zone 3"}, {1, "under epoch 2"}, {1, "hop 1"}, {1, "as of 1 tick before 5,001 (zigzag)"}, {3, "x 25,600 units: 100 m"}, {3, "y 12,800: 50 m"}, {1, "z 0"}, {2, "nothing in hand"}, {2, "health 100"},
			{1, "1 clock"}, {3, "zone 3, epoch 2, 1 tick before 5,001"},
			{1, "1 leave"}, {1, "handle 9"},
			{1, "1 enter"}, {1, "handle 40"}, {3, "an item, number 300"}, {1, "hop 6"}, {1, "flags: flying"}, {1, "health 0"}, {2, "carried by nobody"}, {3, "x 101 m"}, {3, "y 50 m"}, {2, "z 1 m"}, {2, "yaw 0"},
			{1, "2 moves"}, {1, "handle 5; nothing more, on the ground"}, {2, "x 1,600 sixteenths: 100 m"}, {2, "y 816: 51 m"}, {1, "yaw 64/256: a quarter turn"},
			{2, "handle 40; height follows, changes follow"}, {2, "x 101 m"}, {2, "y 50 m"}, {2, "z half a meter"}, {1, "yaw 0"}, {1, "hop 6"}, {1, "no flags: it lies"}, {1, "health 0"}, {2, "carried by nobody"}}},
		{"Server: Gateways", AppendServer(nil, &Gateways{[]string{"ws://g3/"}}), []part{{1, "Gateways"}, {1, "one"}, {9, `"ws://g3/"`}}},
		{"Server: Bye", AppendServer(nil, &Bye{Reason: ByeDraining, Resume: true, Text: "Stopping."}), []part{
			{1, "Bye"}, {1, "reason 7: draining"}, {1, "resume on the next gateway"}, {10, `9 bytes, "Stopping."`}}},
		{"Client: Goodbye", AppendClient(nil, &Goodbye{}), []part{{1, "Goodbye"}}},
	}
}

// render writes the examples as README.md has them.
func render(t *testing.T) string {
	var s strings.Builder
	for _, e := range examples() {
		s.WriteString(e.title + "\n")
		b := e.bytes
		for _, p := range e.parts {
			if p.n > len(b) {
				t.Fatalf("%s: %q begins beyond its bytes", e.title, p.says)
			}
			var pairs []string
			for _, v := range b[:p.n] {
				pairs = append(pairs, hex.EncodeToString([]byte{v}))
			}
			col := strings.Join(pairs, " ")
			s.WriteString("  " + col + strings.Repeat(" ", max(1, 32-len(col))) + p.says + "\n")
			b = b[p.n:]
		}
		if len(b) > 0 {
			t.Fatalf("%s: % x is not explained", e.title, b)
		}
		s.WriteString("\n")
	}
	return strings.TrimSuffix(s.String(), "\n")
}

func TestReadmeShowsTheBytes(t *testing.T) {
	const name, open, end = "README.md", "<!-- examples -->\n```\n", "```\n<!-- /examples -->"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), open)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has lost the marks around its examples")
	}
	want := render(t)
	if *update {
		if err := os.WriteFile(name, []byte(before+open+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != want {
		t.Errorf("README.md shows other bytes than the codec writes: go test ./simnode/wire -run Readme -update\n%s", want)
	}
}

func TestReadmeNamesEveryReason(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(string(text), "\n")
	for r := ByeMalformed; r <= ByeIdle; r++ {
		want := "| " + string('0'+byte(r)) + " |"
		if !slices.ContainsFunc(rows, func(row string) bool { return strings.HasPrefix(row, want) }) {
			t.Errorf("README.md has no row %q among the reasons of Bye", want)
		}
	}
}
