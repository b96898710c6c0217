package budget

import (
	"fmt"
	"io"
	"time"
)

// Command is the command line of a measurement; the tags are for kong.
type Command struct {
	Players    int           `help:"Players." default:"800"`
	Items      int           `help:"Items." default:"20000"`
	Side       int           `help:"Zones along each side of the world." default:"8"`
	Nodes      int           `help:"Nodes." default:"6"`
	Gateways   int           `help:"Gateways." default:"2"`
	Events     float64       `help:"Durable events a player-second." default:"0.1"`
	Crossings  float64       `help:"Crossings a second." default:"5"`
	Measure    time.Duration `help:"Virtual time to measure; whole minutes, since snapshots come once a minute." default:"2m"`
	Seed       uint64        `help:"What players do." default:"1"`
	LimitUnits float64       `help:"The budget, in write units a second." default:"200"`
}

// The exit statuses of Main.
const (
	ExitOver = 1 // the budget
	ExitBad  = 2 // what was asked for
)

// Main measures, prints the table to out, and returns the exit status.
func (c *Command) Main(out io.Writer) (status int, err error) {
	l := Design()
	l.Players, l.Items, l.ZonesPerSide, l.Nodes, l.Gateways = c.Players, c.Items, c.Side, c.Nodes, c.Gateways
	l.EventsPerPlayerHz, l.CrossingsHz, l.Measure, l.Seed = c.Events, c.Crossings, c.Measure, c.Seed
	r, err := Run(l)
	if err != nil {
		return ExitBad, err
	}
	if _, err := io.WriteString(out, r.Table(c.LimitUnits)); err != nil {
		return ExitBad, err
	}
	if r.Units() > c.LimitUnits {
		return ExitOver, nil
	}
	return 0, nil
}

// Table returns the figures as Markdown.
func (r *Result) Table(limitUnits float64) string {
	l, seconds := &r.Load, r.Load.Measure.Seconds()
	text := fmt.Sprintf("%d players, %d items, %d zones, %d nodes, %d gateways; %v of virtual time, seed %d.\n",
		l.Players, l.Items, l.ZonesPerSide*l.ZonesPerSide, l.Nodes, l.Gateways, l.Measure, l.Seed)
	text += fmt.Sprintf("Each second %.1f durable events were acknowledged, %.2f crossings done, %.2f snapshots taken.\n\n",
		float64(r.Events)/seconds, float64(r.Crossed)/seconds, float64(r.Snapshots)/seconds)
	text += "| write units a second | units | writes | refused | largest item, bytes of data |\n|---|---|---|---|---|\n"
	for k := range Kinds {
		s := &r.Spent[k]
		text += fmt.Sprintf("| %v | %.1f | %.1f | %d | %d |\n", k, r.PerSecond(k), float64(s.Writes)/seconds, s.Refused, s.LargestBytes)
	}
	return text + fmt.Sprintf("| **in all** | **%.1f** of %.0f | | | |\n", r.Units(), limitUnits)
}
