package run

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"weft/loadtest/scenario"
)

// Printer shows a run to a person: one line that changes on a terminal, a line
// every few seconds elsewhere.
type Printer struct {
	w    io.Writer
	live bool

	mu     sync.Mutex
	drawn  bool // the changing line is on the screen
	spoken time.Duration
	begun  time.Time
}

// plainEvery is how often a plain line is written.
const plainEvery = 5 * time.Second

// NewPrinter returns a Printer on w, which may be a terminal.
func NewPrinter(w io.Writer) *Printer {
	f, ok := w.(*os.File)
	return &Printer{w: w, live: ok && term.IsTerminal(int(f.Fd())), begun: time.Now(), spoken: -plainEvery}
}

var (
	faint = lipgloss.NewStyle().Faint(true)
	bold  = lipgloss.NewStyle().Bold(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
)

// Progress shows how far the run is.
func (p *Printer) Progress(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := fmt.Sprintf("players %d/%d  nodes %d  zones %d  tick p99 %.1f ms", s.Players, s.Want, s.Nodes, s.Zones, s.TickP99MS)
	clock := fmt.Sprintf("%3.0f/%.0f s", s.Elapsed.Seconds(), s.Total.Seconds())
	if p.live {
		lipgloss.Fprint(p.w, "\r\x1b[K"+bar(s.Elapsed.Seconds()/s.Total.Seconds(), 24)+" "+faint.Render(clock)+"  "+counts)
		p.drawn = true
		return
	}
	if s.Elapsed-p.spoken >= plainEvery {
		p.spoken = s.Elapsed
		fmt.Fprintf(p.w, "%s  %s\n", clock, counts)
	}
}

// bar draws share 0..1 in n cells.
func bar(share float64, n int) string {
	full := int(min(max(share, 0), 1)*float64(n) + 0.5)
	return good.Render(strings.Repeat("━", full)) + faint.Render(strings.Repeat("─", n-full))
}

// Log writes a sentence above the line that changes.
func (p *Printer) Log(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	at := fmt.Sprintf("%5.1f s", time.Since(p.begun).Seconds())
	if p.live {
		lipgloss.Fprintln(p.w, faint.Render(at)+"  "+text)
		return
	}
	fmt.Fprintf(p.w, "%s  %s\n", at, text)
}

func (p *Printer) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// Close ends the line that changes.
func (p *Printer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// Verdicts shows what was expected and what came.
func (p *Printer) Verdicts(r *scenario.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := func(s string) {
		if p.live {
			lipgloss.Fprintln(p.w, s)
		} else {
			fmt.Fprintln(p.w, s)
		}
	}
	style := func(st lipgloss.Style, s string) string {
		if p.live {
			return st.Render(s)
		}
		return s
	}
	for _, v := range r.Expect {
		mark := style(good, "ok    ")
		if !v.OK {
			mark = style(bad, "FAILED")
		}
		line(fmt.Sprintf("%s  %s: %v", mark, v.Check, v.Got))
	}
	for _, o := range r.Offences {
		line(style(bad, "lost  ") + "  " + o)
	}
	for _, f := range r.BotFaults {
		line("note    " + f)
	}
	line(style(bold, fmt.Sprintf("%s: %d players, %d nodes at the peak, %d entities, %d acknowledged events, %d lost",
		r.Scenario, r.Players.Peak, r.Nodes.Peak, r.Entities.Expected, r.Durable.Acknowledged, r.Entities.Lost+r.Entities.Duplicated+r.Durable.Lost)))
}
