package scenario

import (
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"weft/control/mesh"
	"weft/control/partition"
)

// The limits of a scenario.
const (
	maxFileBytes = 1 << 20
	MaxPlayers   = 100_000
	maxItems     = 1_000_000
	maxSizeM     = 1_000_000
	maxEvents    = 1000
	maxGroups    = 1000
	MaxDuration  = 24 * time.Hour
)

// Load reads the scenario in a file of the operating system. Traces are found
// beside it; trace, if not empty, is the path of the one to use in their place.
func Load(path, trace string) (*Scenario, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read: %w", ErrInvalid, path, err)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%w: %s:1: found %d bytes, expected at most %d", ErrInvalid, path, info.Size(), maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be read: %w", ErrInvalid, path, err)
	}
	return Parse(path, data, func(name string) (fs.File, error) {
		switch {
		case trace != "":
			name = trace
		case !filepath.IsAbs(name):
			name = filepath.Join(filepath.Dir(path), name)
		}
		return os.Open(name)
	})
}

// Parse reads a scenario; file is its name in errors, open opens the traces
// that it names. Every error about its content wraps ErrInvalid.
func Parse(file string, data []byte, open func(name string) (fs.File, error)) (*Scenario, error) {
	d := &decoder{file: file}
	root := d.document(data)
	if root == nil {
		return nil, d.err()
	}
	s := &Scenario{Seed: 1, TickHz: 20, SizeM: [3]float64{4000, 4000, 200}, Gateways: 2, Policy: "kdsplit", NodeActors: 120, Cooldown: 5 * time.Second}
	p := &parse{Scenario: s, open: open}
	p.readWorld(d, root)
	d.mapping("", root, p.fields()...)
	if err := d.err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return s, nil
}

// parse is a scenario on its way out of a file.
type parse struct {
	*Scenario
	open    func(name string) (fs.File, error)
	spawned bool
}

// readWorld reads the duration and the size of the world first: other values
// are measured by them wherever they stand in the file.
func (p *parse) readWorld(d *decoder, root ast.Node) {
	p.Duration = MaxDuration
	m, ok := root.(ast.MapNode)
	if !ok {
		return
	}
	silent := &decoder{file: d.file}
	for it := m.MapRange(); it.Next(); {
		switch it.Key().GetToken().Value {
		case "duration":
			duration(&p.Duration, time.Second, MaxDuration)(silent, "", it.Value())
		case "world":
			p.world(silent, "", it.Value())
		}
	}
	if !p.spawned {
		p.SpawnM = [3]float64{p.SizeM[0] / 2, p.SizeM[1] / 2, 0}
	}
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (p *parse) fields() []field {
	s := p.Scenario
	return []field{
		{"name", true, func(d *decoder, path string, n ast.Node) {
			v, ok := n.(*ast.StringNode)
			if !ok || !nameForm.MatchString(v.Value) {
				d.fault(n, path, "found %s, expected at most 63 small letters, digits and dashes", found(n))
				return
			}
			s.Name = v.Value
		}},
		{"seed", false, func(d *decoder, path string, n ast.Node) {
			if v, err := strconv.ParseUint(n.GetToken().Value, 0, 64); err == nil {
				s.Seed = v
				return
			}
			d.fault(n, path, "found %s, expected a whole number from 0 to 2⁶⁴−1", found(n))
		}},
		{"tick_hz", false, integer(&s.TickHz, 1, 100, "ticks a second")},
		{"world", false, p.world},
		{"items", false, integer(&s.Items, 0, maxItems, "items")},
		{"falling", false, p.falling},
		{"gateways", false, integer(&s.Gateways, 1, 64, "gateways")},
		{"gateway_clients", false, integer(&s.GatewayClients, 1, 100_000, "clients")},
		{"view_hz", false, integer(&s.ViewHz, 1, 100, "views a second")},
		{"players", true, p.players},
		{"events", false, p.events},
		{"faults", false, p.trials},
		{"duration", true, duration(&s.Duration, time.Second, MaxDuration)},
		{"policy", false, func(d *decoder, path string, n ast.Node) {
			v, ok := n.(*ast.StringNode)
			if !ok {
				d.fault(n, path, "found %s, expected static, quasi or kdsplit", found(n))
			} else if _, err := partition.ByName(v.Value); err != nil {
				d.fault(n, path, "found %q, expected static, quasi or kdsplit", v.Value)
			} else {
				s.Policy = v.Value
			}
		}},
		{"zones", false, integer(&s.Zones, 0, 256, "zones")},
		{"node_actors", false, integer(&s.NodeActors, 1, 1_000_000, "actors")},
		{"min_nodes", false, integer(&s.MinNodes, 0, 64, "nodes")},
		{"max_nodes", false, integer(&s.MaxNodes, 1, 64, "nodes")},
		{"cooldown", false, duration(&s.Cooldown, 100*time.Millisecond, time.Hour)},
		{"actor_cost_us", false, integer(&s.ActorCostUS, 0, 10_000, "microseconds")},
		{"node_cpu", false, decimal(&s.NodeCPU, 0, 64, "cores")},
		{"expect", false, p.expect},
	}
}

func (p *parse) world(d *decoder, path string, n ast.Node) {
	most := func() [3]float64 { return [3]float64{maxSizeM, maxSizeM, maxSizeM} }
	inside := func() [3]float64 { return p.SizeM }
	d.mapping(path, n,
		field{"size_m", true, meters(&p.SizeM, 1, most)},
		field{"spawn_m", false, func(d *decoder, path string, n ast.Node) {
			p.spawned = true
			meters(&p.SpawnM, 0, inside)(d, path, n)
		}},
	)
}

func (p *parse) falling(d *decoder, path string, n ast.Node) {
	f := &p.Falling
	height := func(into *float64) func(*decoder, string, ast.Node) { return decimal(into, 0, p.SizeM[2], "meters") }
	d.mapping(path, n,
		field{"items", true, integer(&f.Items, 1, maxItems, "items")},
		field{"from_m", true, height(&f.FromM)},
		field{"to_m", true, height(&f.ToM)},
	)
}

func (p *parse) players(d *decoder, path string, n ast.Node) {
	d.list(path, n, "groups of players", func(path string, n ast.Node) {
		if len(p.Groups) == maxGroups {
			d.fault(n, path, "found another group, expected at most %d", maxGroups)
			return
		}
		g := Group{Copies: 1, Behave: Wander}
		trace, counted, scripted := "", false, false
		ok := d.mapping(path, n,
			field{"count", false, func(d *decoder, path string, n ast.Node) {
				counted = true
				integer(&g.Count, 1, MaxPlayers, "players")(d, path, n)
			}},
			field{"join", false, func(d *decoder, path string, n ast.Node) {
				scripted = true
				d.mapping(path, n, field{"at", false, duration(&g.JoinAt, 0, p.Duration)}, field{"over", false, duration(&g.JoinOver, 0, p.Duration)})
			}},
			field{"behave", false, func(d *decoder, path string, n ast.Node) {
				scripted = true
				word(&g.Behave, Behaviours...)(d, path, n)
			}},
			field{"asleep", false, func(d *decoder, path string, n ast.Node) {
				scripted = true
				v, ok := n.(*ast.BoolNode)
				if !ok {
					d.fault(n, path, "found %s, expected true or false", found(n))
					return
				}
				g.Asleep = v.Value
			}},
			field{"trace", false, func(d *decoder, path string, n ast.Node) {
				if v, ok := n.(*ast.StringNode); ok && v.Value != "" {
					trace = v.Value
					g.Trace = p.trace(d, path, n, trace)
					return
				}
				d.fault(n, path, "found %s, expected the path of a CSV file", found(n))
			}},
			field{"copies", false, integer(&g.Copies, 1, 10_000, "copies")},
			field{"origin_m", false, meters(&g.OriginM, 0, func() [3]float64 { return p.SizeM })},
		)
		switch {
		case !ok:
		case counted == (trace != ""):
			d.fault(n, path, "found %s, expected either count or trace", map[bool]string{true: "count and trace", false: "neither count nor trace"}[counted])
		case trace != "" && scripted:
			d.fault(n, path, "found join, behave or asleep beside trace, expected only copies and origin_m")
		}
		if p.Groups = append(p.Groups, g); p.Players() > MaxPlayers {
			d.fault(n, path, "found %d players so far, expected at most %d", p.Players(), MaxPlayers)
		}
	})
	if p.Players() == 0 && len(d.faults) == 0 {
		d.fault(n, path, "found no players, expected at least one group")
	}
}

func (p *parse) trace(d *decoder, path string, n ast.Node, name string) *Trace {
	f, err := p.open(name)
	if err != nil {
		d.fault(n, path, "found %q, expected a CSV file that can be read: %v", name, err)
		return nil
	}
	defer f.Close()
	t, err := ReadTrace(name, f)
	if err != nil {
		d.fault(n, path, "%s", strings.TrimPrefix(err.Error(), ErrInvalid.Error()+": "))
		return nil
	}
	return t
}

func (p *parse) events(d *decoder, path string, n ast.Node) {
	d.list(path, n, "events", func(path string, n ast.Node) {
		if len(p.Events) == maxEvents {
			d.fault(n, path, "found another event, expected at most %d", maxEvents)
			return
		}
		var e Event
		acts := 0
		kind := func(take func(*decoder, string, ast.Node)) func(*decoder, string, ast.Node) {
			return func(d *decoder, path string, n ast.Node) {
				acts++
				take(d, path, n)
			}
		}
		ok := d.mapping(path, n,
			field{"at", true, duration(&e.At, 0, p.Duration)},
			field{"gather", false, kind(p.gather(&e))},
			field{"act", false, kind(p.act(&e))},
			field{"kill", false, kind(p.fault(&e.Kill, false))},
			field{"pause", false, kind(p.fault(&e.Pause, true))},
			field{"disperse", false, kind(func(d *decoder, path string, n ast.Node) {
				e.Disperse = &Disperse{}
				d.mapping(path, n)
			})},
		)
		if ok && acts != 1 {
			d.fault(n, path, "found %d things that happen, expected one of gather, act, kill, pause, disperse", acts)
		}
		p.Events = append(p.Events, e)
	})
}

func (p *parse) trials(d *decoder, path string, n ast.Node) {
	d.list(path, n, "faults", func(path string, n ast.Node) {
		if len(p.Faults) == maxEvents {
			d.fault(n, path, "found another fault, expected at most %d", maxEvents)
			return
		}
		t := Trial{Times: 1, For: 3 * time.Second}
		d.mapping(path, n,
			field{"do", true, word(&t.Do, Trials...)},
			field{"at", true, duration(&t.At, 0, p.Duration)},
			field{"times", false, integer(&t.Times, 1, maxEvents, "times")},
			field{"for", false, duration(&t.For, 100*time.Millisecond, p.Duration)},
			field{"delay", false, duration(&t.Delay, 0, time.Second)},
		)
		p.Faults = append(p.Faults, t)
	})
}

func (p *parse) gather(e *Event) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		g := &Gather{Fraction: 1}
		e.Gather = g
		d.mapping(path, n,
			field{"fraction", false, decimal(&g.Fraction, 0, 1, "a share")},
			field{"at_m", true, meters(&g.AtM, 0, func() [3]float64 { return p.SizeM })},
			field{"radius_m", true, decimal(&g.RadiusM, 0.5, math.Max(p.SizeM[0], p.SizeM[1]), "meters")},
			field{"within", true, duration(&g.Within, time.Second, p.Duration)},
		)
	}
}

// Actions are the acts that players do, by their names in a file.
var Actions = map[string]mesh.Action{"drop": mesh.ActDrop, "pickup": mesh.ActPickUp, "throw": mesh.ActThrow, "fire": mesh.ActFire}

func (p *parse) act(e *Event) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		a := &Act{Fraction: 1}
		e.Act = a
		d.mapping(path, n,
			field{"fraction", false, decimal(&a.Fraction, 0, 1, "a share")},
			field{"do", true, func(d *decoder, path string, n ast.Node) {
				d.list(path, n, "drop, pickup, throw and fire", func(path string, n ast.Node) {
					var name string
					word(&name, "drop", "pickup", "throw", "fire")(d, path, n)
					a.Do = append(a.Do, Actions[name])
				})
				if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
					d.fault(n, path, "found an empty list, expected some of drop, pickup, throw, fire")
				}
			}},
			field{"for", false, duration(&a.For, time.Second, p.Duration)},
		)
	}
}

// fault reads a kill, or a pause with its length.
func (p *parse) fault(into **Fault, pause bool) func(*decoder, string, ast.Node) {
	return func(d *decoder, path string, n ast.Node) {
		f := &Fault{}
		*into = f
		node, gateway, signal := "", "", ""
		fields := []field{
			{"node", false, word(&node, Busiest, Random)},
			{"gateway", false, word(&gateway, Random)},
			{"on", false, word(&f.On, Task, Instance)},
		}
		if pause {
			fields = append(fields, field{"for", true, duration(&f.For, 100*time.Millisecond, p.Duration)})
		} else {
			fields = append(fields, field{"signal", false, word(&signal, "KILL")})
		}
		before := len(d.faults)
		if !d.mapping(path, n, fields...) || len(d.faults) > before {
			return
		}
		f.Role, f.Victim = mesh.RoleNode, node
		if gateway != "" {
			f.Role, f.Victim = mesh.RoleGateway, gateway
		}
		if (node == "") == (gateway == "") {
			d.fault(n, path, "found %s, expected either node or gateway", map[bool]string{true: "no victim", false: "two victims"}[node == ""])
		}
	}
}

func (p *parse) expect(d *decoder, path string, n ast.Node) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.fault(n, path, "found %s, expected a mapping of names of the report to conditions", found(n))
		return
	}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		_, list := it.Value().(*ast.SequenceNode)
		_, inner := it.Value().(ast.MapNode)
		if list || inner {
			d.fault(it.Value(), join(path, key), "found %s, expected a number or a condition such as \">=4\"", found(it.Value()))
			continue
		}
		e, err := ParseExpectation(key, it.Value().GetToken().Value)
		if err != nil {
			d.fault(it.KeyValue(), join(path, key), "%v", err)
			continue
		}
		p.Expect = append(p.Expect, e)
	}
}
