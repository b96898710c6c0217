package world

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weft/control/mesh"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print into them")

// TestTranscripts runs the scripts in testdata. A line that begins with "> "
// is a command, the lines after it are what it prints.
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
			var got strings.Builder
			s := &stage{w: newTavern(), t: t}
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "> ") {
					got.WriteString(line)
					s.do(&got, strings.Fields(line[2:]))
				} else if strings.HasPrefix(line, "#") || line == "\n" {
					got.WriteString(line)
				}
			}
			if got.String() == string(want) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			a, b := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
			for i := range a {
				if i >= len(b) || a[i] != b[i] {
					t.Fatalf("line %d: got\n%s\nwant the rest of %s; see -rewrite", i+1, strings.Join(a[i:], "\n"), file)
				}
			}
			t.Fatalf("%s goes on after\n%s", file, got.String())
		})
	}
}

type stage struct {
	w      *World
	t      *testing.T
	tick   mesh.Tick
	events uint32
}

var kinds = []string{"", "player", "npc", "item", "rocket", "ship"}

func name(id mesh.EntityID) string {
	switch k := id.Kind(); {
	case id == 0:
		return "none"
	case k == mesh.KindRocket:
		return fmt.Sprintf("rocket%d.%d", id.Number()>>24, id.Number()&(1<<24-1))
	default:
		return fmt.Sprint(kinds[k], id.Number())
	}
}

func (s *stage) id(word string) mesh.EntityID {
	if word == "none" {
		return 0
	}
	at := strings.IndexAny(word, "0123456789")
	n, err := strconv.ParseUint(word[at:], 10, 56)
	k := slices.Index(kinds, word[:at])
	if err != nil || k <= 0 {
		s.t.Fatalf("no entity is called %q", word)
	}
	return mesh.MakeEntityID(mesh.Kind(k), n)
}

// vec reads three numbers of meters.
func (s *stage) vec(words []string) mesh.Vec {
	var v [3]int32
	for i := range v {
		f, err := strconv.ParseFloat(words[i], 64)
		if err != nil {
			s.t.Fatal(err)
		}
		v[i] = int32(f * m)
	}
	return mesh.Vec{X: v[0], Y: v[1], Z: v[2]}
}

func meters(v mesh.Vec) string {
	f := func(c int32) string { return strconv.FormatFloat(float64(c)/m, 'f', 2, 64) }
	return f(v.X) + " " + f(v.Y) + " " + f(v.Z)
}

func names(ids []mesh.EntityID) string {
	var s []string
	for _, id := range ids {
		s = append(s, name(id))
	}
	return strings.Join(s, " ")
}

func (s *stage) impacts(out *strings.Builder, what string, impacts []mesh.Impact) {
	for _, i := range impacts {
		fmt.Fprintf(out, "tick %d: %s %s by %s: push %s damage %d\n", s.tick, what, name(i.Target), name(i.Source), meters(i.Push), i.Damage)
	}
}

func (s *stage) step(out *strings.Builder) bool {
	s.tick++
	o := s.w.Step(s.tick, nil)
	s.impacts(out, "out to", o.Impacts)
	slices.SortFunc(s.w.pending, compareImpacts) // as it will be before it is applied
	s.impacts(out, "next for", s.w.pending)
	if len(o.Durable) > 0 {
		fmt.Fprintf(out, "tick %d: durable %s\n", s.tick, names(o.Durable))
	}
	if len(o.Ended) > 0 {
		fmt.Fprintf(out, "tick %d: ended %s\n", s.tick, names(o.Ended))
	}
	return len(o.Impacts)+len(s.w.pending)+len(o.Durable)+len(o.Ended) > 0
}

func (s *stage) do(out *strings.Builder, words []string) {
	w := s.w
	switch words[0] {
	case "put": // put player1 x y z
		e := mesh.Entity{Pose: mesh.Pose{ID: s.id(words[1]), Pos: s.vec(words[2:])}}
		if e.ID.Layer() == mesh.Actors {
			e.Health = fullHealth
		}
		w.Put(e)
	case "sleep", "wake":
		e, _ := w.Get(s.id(words[1]))
		e.Flags &^= mesh.Asleep
		if words[0] == "sleep" {
			e.Flags |= mesh.Asleep
		}
		w.Put(e)
	case "ghost": // ghost item1 x y z, or: ghost item1 x y z by player1
		p := mesh.Pose{ID: s.id(words[1]), Health: fullHealth, Pos: s.vec(words[2:])}
		if len(words) > 6 {
			p.Carrier = s.id(words[6])
		}
		w.PutGhost(p)
	case "remove":
		w.Remove(s.id(words[1]))
	case "step":
		n, _ := strconv.Atoi(words[1])
		for range n {
			s.step(out)
		}
	case "wait": // until something happens
		for range 200 {
			if s.step(out) {
				return
			}
		}
		fmt.Fprintln(out, "nothing happens")
	case "owed":
		s.impacts(out, "owed to", w.Owed(nil))
	case "walk": // walk player1 x y
		x, _ := strconv.Atoi(words[2])
		y, _ := strconv.Atoi(words[3])
		s.events++
		fmt.Fprintln(out, w.Command(s.id(words[1]), mesh.Command{Sequence: s.events, MoveX: int8(x), MoveY: int8(y)}))
	case "drop", "throw", "fire", "take", "board":
		s.act(out, words)
	case "hand":
		player, _ := w.Get(s.id(words[1]))
		fmt.Fprintln(out, w.Hand(s.id(words[1]), s.id(words[2]), player.Pos, s.tick+1))
	case "show":
		e, ok := w.Get(s.id(words[1]))
		if !ok {
			fmt.Fprintln(out, "not here")
			return
		}
		fmt.Fprintf(out, "%s at %s speed %s hop %d placed %d", name(e.ID), meters(e.Pos), meters(e.Vel), e.Hop, e.Placed)
		if e.ID.Layer() == mesh.Actors {
			fmt.Fprintf(out, " health %d holds %s", e.Health, name(e.Held))
		}
		fmt.Fprintf(out, " carrier %s flags %d\n", name(e.Carrier), e.Flags)
	case "len":
		awake, asleep := w.Len()
		actors, props, moving, bodies := w.Load()
		fmt.Fprintf(out, "awake %d asleep %d; actors %d props %d moving %d bodies %d\n", awake, asleep, actors, props, moving, bodies)
	case "group":
		fmt.Fprintf(out, "root %s: %s\n", name(w.Root(s.id(words[1]))), names(w.Group(s.id(words[1]), nil)))
	case "poses":
		for _, p := range w.Poses(nil) {
			fmt.Fprintf(out, "%s at %s\n", name(p.ID), meters(p.Pos))
		}
	default:
		s.t.Fatalf("unknown command %q", words[0])
	}
}

func (s *stage) act(out *strings.Builder, words []string) {
	s.events++
	ev := mesh.Event{Number: s.events}
	switch words[0] {
	case "drop":
		ev.Action = mesh.ActDrop
	case "throw":
		ev.Action, ev.Aim = mesh.ActThrow, s.vec(words[2:])
	case "fire":
		ev.Action, ev.Aim = mesh.ActFire, s.vec(words[2:])
	case "take": // take player1 item1 hop
		hop, _ := strconv.Atoi(words[3])
		ev.Action, ev.Target, ev.Hop = mesh.ActPickUp, s.id(words[2]), uint32(hop)
	case "board":
		ev.Action, ev.Target = mesh.ActBoard, s.id(words[2])
	}
	r := s.w.Act(s.tick+1, s.id(words[1]), ev)
	switch {
	case r.Elsewhere:
		fmt.Fprintln(out, "elsewhere")
	case r.Outcome == mesh.OutcomeOK:
		fmt.Fprintf(out, "ok: moved %s, changed %s\n", name(r.Moved), names(r.Changed))
	default:
		fmt.Fprintln(out, "refused")
	}
}
