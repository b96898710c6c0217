package authority

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"weft/control/mesh"
	"weft/simnode/process"
	"weft/simnode/replication"
	"weft/simnode/wire"
)

// TestTranscripts runs the scripts in testdata. Each command feeds a zone one
// event; what follows ---- are its effects, one a line. Entities are written
// e1@2: item 1 with hop 2. -rewrite writes what is printed into the scripts.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t, cfg: DefaultConfig(), chunks: map[string][]byte{}}
		datadriven.RunTest(t, path, s.run)
	})
}

var (
	self  = mesh.Owner{Node: "me", Incarnation: 1}
	other = mesh.Owner{Node: "other", Incarnation: 1}
)

// script is zone 1 of the test and what the store was asked and has not answered.
type script struct {
	t      *testing.T
	cfg    Config
	ids    process.RequestIDs
	z      *Zone
	tick   mesh.Tick
	asked  []*process.Request
	chunks map[string][]byte
}

func (s *script) run(_ *testing.T, d *datadriven.TestData) string {
	if s.z == nil {
		s.z = New(1, self, 2, s.cfg, &s.ids)
	}
	var b strings.Builder
	s.do(d, func(ev Event) { s.show(&b, s.z.Step(ev)) }, &b)
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) do(d *datadriven.TestData, step func(Event), b *strings.Builder) {
	switch d.Cmd {
	case "hold": // another hold of the zone, under another epoch
		s.z, s.asked = New(1, self, mesh.Epoch(s.num(d, "epoch")), s.cfg, &s.ids), nil
		fmt.Fprintf(b, "epoch %d\n", s.z.epoch)
	case "config":
		s.configure(d)
		s.z = nil
		b.WriteString("ok\n")
	case "start":
		step(Event{Kind: Start})
	case "open": // a fresh zone, without the story
		step(Event{Kind: Start})
		for _, op := range []process.Op{process.OpZone, process.OpReadSlots, process.OpAppend, process.OpRaisePoses, process.OpZone} {
			b.Reset()
			step(Event{Kind: AnswerEvent, Answer: s.answerTo(op, &process.Answer{Record: record(2, mesh.Pointer{Position: -1})})})
		}
	case "tick":
		s.tick += mesh.Tick(s.num(d, ""))
		step(Event{Kind: TickEvent, Tick: s.tick})
	case "answer":
		step(Event{Kind: AnswerEvent, Answer: s.answer(d)})
	case "journal":
		step(Event{Kind: Journal, Token: s.num(d, "token"), Lazy: d.HasArg("lazy"), Records: []replication.Record{s.record(d)}})
	case "mark":
		step(Event{Kind: Mark, N: s.z.NextMark(), To: mesh.ZoneID(s.num(d, "to")), Members: entities(d)})
	case "cancel":
		step(Event{Kind: Cancel, N: s.num(d, "n")})
	case "sent":
		step(Event{Kind: Sent, N: s.num(d, "n"), Tick: s.tick, Members: entities(d)})
	case "transfer":
		t := &wire.Transfer{From: mesh.ZoneID(s.num(d, "from")), N: s.num(d, "n"), To: 1, Members: entities(d)}
		ev := Event{Kind: TransferEvent, Transfer: t, Token: s.num(d, "token")}
		if s.z.Wants(t) {
			b.WriteString("install " + names(t.Members) + "\n")
			ev.Entities = t.Members
		}
		step(ev)
	case "installed", "durable", "low":
		kind := map[string]EventKind{"installed": InstalledEvent, "durable": DurableEvent, "low": LowEvent}[d.Cmd]
		step(Event{Kind: kind, From: mesh.ZoneID(s.num(d, "from")), N: s.num(d, "n")})
	case "zones":
		ev := Event{Kind: ZonesEvent, NextZone: mesh.ZoneID(s.num(d, "next"))}
		for _, a := range d.CmdArgs {
			if id, err := strconv.Atoi(a.Key); err == nil {
				ev.Zones = append(ev.Zones, mesh.ZoneID(id))
			}
		}
		step(ev)
	case "flush":
		step(Event{Kind: Flush})
	case "barrier":
		step(Event{Kind: Barrier, Token: s.num(d, "token")})
	case "state":
		fmt.Fprintf(b, "durable through %d: %s\n", s.z.Position(), describe(s.z.durable))
	default:
		s.t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
}

func (s *script) configure(d *datadriven.TestData) {
	for name, field := range map[string]*mesh.Tick{
		"lazy": &s.cfg.LazyTicks, "commit": &s.cfg.CommitEveryTicks, "snapshotticks": &s.cfg.SnapshotEveryTicks,
	} {
		if d.HasArg(name) {
			*field = mesh.Tick(s.num(d, name))
		}
	}
	for name, field := range map[string]*int{"batch": &s.cfg.MaxBatchBytes, "pending": &s.cfg.MaxPendingRecords, "chunk": &s.cfg.ChunkBytes} {
		if d.HasArg(name) {
			*field = int(s.num(d, name))
		}
	}
	if d.HasArg("slots") {
		s.cfg.SnapshotEverySlots = int64(s.num(d, "slots"))
	}
}

// num returns the argument of that name, or the first one for "".
func (s *script) num(d *datadriven.TestData, name string) uint64 {
	for i, a := range d.CmdArgs {
		text := ""
		switch {
		case a.Key == name && len(a.Vals) == 1:
			text = a.Vals[0]
		case name == "" && i == 0:
			text = a.Key
		default:
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		return uint64(n)
	}
	return 0
}

func entities(d *datadriven.TestData) (es []mesh.Entity) {
	for _, a := range d.CmdArgs {
		var n, hop int
		if k, _ := fmt.Sscanf(a.Key, "e%d@%d", &n, &hop); k > 0 {
			es = append(es, mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, uint64(n)), Hop: uint32(hop)}})
		}
	}
	return es
}

func (s *script) record(d *datadriven.TestData) replication.Record {
	r := replication.Record{Kind: replication.RecordPut, Entities: entities(d)}
	if d.HasArg("remove") {
		r = replication.Record{Kind: replication.RecordRemove}
		for _, e := range entities(d) {
			r.IDs = append(r.IDs, e.ID)
		}
	}
	return r
}

func record(epoch mesh.Epoch, p mesh.Pointer) mesh.ZoneRecord {
	return mesh.ZoneRecord{Zone: 1, Owner: self, Epoch: epoch, Pointer: p}
}

var verdicts = map[string]process.Verdict{
	"stale": process.Stale, "unavailable": process.Unavailable, "notfound": process.NotFound, "toolarge": process.TooLarge,
}

// answerTo makes a the answer to the oldest request of op.
func (s *script) answerTo(op process.Op, a *process.Answer) *process.Answer {
	i := slices.IndexFunc(s.asked, func(r *process.Request) bool { return r.Op == op })
	if i < 0 {
		s.t.Fatalf("nothing to answer: %d", op)
	}
	a.ID, a.Op, a.Zone = s.asked[i].ID, op, 1
	if a.Op == process.OpChunk {
		a.Data = s.chunks[s.asked[i].Key]
	}
	s.asked = slices.Delete(s.asked, i, i+1)
	return a
}

// answer reads "answer WHAT [VERDICT] …", the oldest such request's answer.
func (s *script) answer(d *datadriven.TestData) *process.Answer {
	a := &process.Answer{}
	for _, arg := range d.CmdArgs[1:] {
		if v, ok := verdicts[arg.Key]; ok {
			a.Verdict = v
		}
	}
	var op process.Op
	switch d.CmdArgs[0].Key {
	case "zone":
		op, a.Record = process.OpZone, record(mesh.Epoch(s.num(d, "epoch")), mesh.Pointer{Position: int64(s.num(d, "pointer"))})
		if d.HasArg("owner") {
			a.Record.Owner = other
		}
		if arg, ok := d.Arg("chunk"); ok {
			a.Record.Pointer.Chunks = arg.Vals
		}
	case "slots":
		op = process.OpReadSlots
		a.Slots = s.slots(d)
	case "append":
		op = process.OpAppend
	case "poses":
		op = process.OpRaisePoses
	case "chunk":
		op = process.OpChunk
		if a.Verdict == process.OK {
			i := slices.IndexFunc(s.asked, func(r *process.Request) bool { return r.Op == op })
			s.chunks[s.asked[i].Key] = s.snapshot(d).Encode(nil)
		}
	case "put":
		op = process.OpPutChunk
	case "pointer":
		op = process.OpMovePointer
	case "keys":
		op = process.OpChunkKeys
		if arg, ok := d.Arg("found"); ok {
			a.Keys = arg.Vals
		}
	case "delete":
		op = process.OpDeleteChunk
	}
	return s.answerTo(op, a)
}

// slots reads lines "EPOCH seal", "EPOCH put e1@0", "EPOCH mark n=1 to=2 e1@1" or
// "EPOCH arrive from=2 n=1 e1@1"; count=n stands for so many puts of e1.
func (s *script) slots(d *datadriven.TestData) (slots []mesh.Slot) {
	at := int64(s.num(d, "from"))
	for i := range int64(s.num(d, "count")) {
		e := mesh.Entity{Pose: mesh.Pose{ID: mesh.MakeEntityID(mesh.KindItem, 1), Hop: uint32(at + i)}}
		data := replication.EncodeRecords(nil, []replication.Record{{Kind: replication.RecordPut, Entities: []mesh.Entity{e}}})
		slots = append(slots, mesh.Slot{Position: at + i, Epoch: 1, Data: data})
	}
	for line := range strings.Lines(d.Input) {
		cmd, args, err := datadriven.ParseLine(line)
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		epoch, _ := strconv.Atoi(cmd)
		slot := mesh.Slot{Position: at, Epoch: mesh.Epoch(epoch), Seal: args[0].Key == "seal"}
		at++
		sub := &datadriven.TestData{CmdArgs: args}
		var r replication.Record
		switch args[0].Key {
		case "put":
			r = s.record(sub)
		case "mark":
			r = replication.Record{Kind: replication.RecordMark, N: s.num(sub, "n"), Zone: mesh.ZoneID(s.num(sub, "to")), Entities: entities(sub)}
		case "arrive":
			r = replication.Record{Kind: replication.RecordArrive, N: s.num(sub, "n"), Zone: mesh.ZoneID(s.num(sub, "from")), Entities: entities(sub)}
		}
		if !slot.Seal {
			slot.Data = replication.EncodeRecords(nil, []replication.Record{r})
		}
		slots = append(slots, slot)
	}
	return slots
}

// snapshot reads residents, received=(zone,n) and low=(zone,n).
func (s *script) snapshot(d *datadriven.TestData) *replication.State {
	st := replication.NewState()
	st.Apply(replication.Record{Kind: replication.RecordPut, Entities: entities(d)})
	pair := func(name string, kind replication.RecordKind) {
		if a, ok := d.Arg(name); ok {
			zone, _ := strconv.Atoi(a.Vals[0])
			n, _ := strconv.Atoi(a.Vals[1])
			st.Apply(replication.Record{Kind: kind, Zone: mesh.ZoneID(zone), N: uint64(n)})
		}
	}
	pair("low", replication.RecordLow)
	pair("received", replication.RecordArrive)
	return st
}

func (s *script) show(b *strings.Builder, effects []Effect) {
	for _, e := range effects {
		switch e.Kind {
		case Request:
			s.asked = append(s.asked, e.Request)
			b.WriteString("store: " + s.request(e.Request))
		case Message:
			fmt.Fprintf(b, "to zone %d: %s", e.To, message(e.Message))
		case Opened:
			b.WriteString("opened: " + describe(e.State))
		case Durable:
			fmt.Fprintf(b, "durable: token %d", e.Token)
		case MarkDurable:
			fmt.Fprintf(b, "mark %d is durable", e.N)
		case Landed:
			fmt.Fprintf(b, "landed: %d", e.N)
		case Forgotten:
			fmt.Fprintf(b, "forgotten: %d", e.N)
		case Stopped:
			b.WriteString("stopped: " + strings.TrimSuffix(e.Reason, ": "))
		}
		b.WriteByte('\n')
	}
}

func (s *script) request(r *process.Request) string {
	switch r.Op {
	case process.OpZone:
		return "read the record"
	case process.OpReadSlots:
		return fmt.Sprintf("read slots from %d", r.From)
	case process.OpAppend:
		if r.Slot.Seal {
			return fmt.Sprintf("seal %d", r.Slot.Position)
		}
		records, err := replication.DecodeRecords(r.Slot.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		return fmt.Sprintf("append %d [%s]", r.Slot.Position, list(records, recordText))
	case process.OpRaisePoses:
		return "raise the poses"
	case process.OpChunk:
		return "read chunk " + short(r.Key)
	case process.OpPutChunk:
		s.chunks[r.Key] = r.Data
		if st, err := replication.DecodeState(r.Data); err == nil {
			return fmt.Sprintf("put chunk %s: %s", short(r.Key), describe(st))
		}
		return fmt.Sprintf("put chunk %s: a part", short(r.Key))
	case process.OpMovePointer:
		return fmt.Sprintf("move the pointer to %d %s", r.Pointer.Position, list(r.Pointer.Chunks, short))
	case process.OpChunkKeys:
		return "list the chunks of " + r.Key
	case process.OpDeleteChunk:
		return "delete chunk " + short(r.Key)
	}
	return fmt.Sprintf("op %d", r.Op)
}

// short takes the zeros out of an epoch in a key.
func short(key string) string { return strings.Replace(key, "0000000000000000000", "", 1) }

func list[T any](all []T, text func(T) string) string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = text(v)
	}
	return strings.Join(out, "; ")
}

func names(es []mesh.Entity) string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = fmt.Sprintf("e%d@%d", e.ID.Number(), e.Hop)
	}
	return strings.Join(out, " ")
}

func recordText(r replication.Record) string {
	switch r.Kind {
	case replication.RecordPut:
		return "put " + names(r.Entities)
	case replication.RecordRemove:
		return fmt.Sprintf("remove e%d", r.IDs[0].Number())
	case replication.RecordMark:
		return fmt.Sprintf("mark %d to %d: %s", r.N, r.Zone, names(r.Entities))
	case replication.RecordCancel:
		return fmt.Sprintf("cancel %d", r.N)
	case replication.RecordForget:
		return fmt.Sprintf("forget %d", r.N)
	case replication.RecordArrive:
		return fmt.Sprintf("arrive %d of %d: %s", r.N, r.Zone, names(r.Entities))
	case replication.RecordLow:
		return fmt.Sprintf("low of %d is %d", r.Zone, r.N)
	case replication.RecordDropSource:
		return fmt.Sprintf("drop source %d", r.Zone)
	}
	return "?"
}

func message(m wire.PeerMessage) string {
	switch m := m.(type) {
	case *wire.Transfer:
		return fmt.Sprintf("transfer %d at tick %d: %s", m.N, m.Tick, names(m.Members))
	case *wire.Installed:
		return fmt.Sprintf("installed %d", m.N)
	case *wire.DurableAck:
		return fmt.Sprintf("durable %d", m.N)
	case *wire.Low:
		return fmt.Sprintf("low %d", m.N)
	}
	return "?"
}

func describe(s *replication.State) string {
	var parts []string
	add := func(format string, a ...any) { parts = append(parts, fmt.Sprintf(format, a...)) }
	for _, id := range slices.Sorted(maps.Keys(s.Entities)) {
		add("%s", names([]mesh.Entity{s.Entities[id]}))
	}
	for _, n := range slices.Sorted(maps.Keys(s.Outbound)) {
		add("outbound %d to %d: %s", n, s.Outbound[n].To, names(s.Outbound[n].Members))
	}
	for _, from := range slices.Sorted(maps.Keys(s.Received)) {
		add("received %d of %d", slices.Sorted(maps.Keys(s.Received[from])), from)
	}
	for _, from := range slices.Sorted(maps.Keys(s.Low)) {
		add("low of %d is %d", from, s.Low[from])
	}
	if len(parts) == 0 {
		return "empty"
	}
	return strings.Join(parts, ", ")
}
