package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"weft/loadtest/run"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
	"weft/simnode/client"
	"weft/simnode/wire"
)

var start = Row{
	Name:    "start",
	What:    "weft demo, from the start of the program to the first view of the first bot's own body",
	Bars:    []Bar{{Figure: "first bot", Unit: "s", Limit: 3}},
	Parts:   map[string]Part{"demo": runDemo},
	Measure: measureStart,
}

// startPatience is how long a demo may take to be told as a figure at all.
const startPatience = time.Minute

func measureStart(ctx context.Context, o Options) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	began := time.Now()
	p, err := Start(ctx, "start", "demo", nil)
	if err != nil {
		return Sample{}, err
	}
	var at time.Time
	if err := p.Hear(&at); err != nil {
		return Sample{}, errors.Join(fmt.Errorf("nobody came into the world: %w", err), p.Close())
	}
	return Sample{Figures: map[string]float64{"first bot": at.Sub(began).Seconds()}}, p.Close()
}

// runDemo does what weft demo does, with its page, until a bot has seen where
// it stands: out is told when that was.
func runDemo(ctx context.Context, _ io.Reader, out io.Writer) error {
	tavern, err := scenario.Open("tavern", "")
	if err != nil {
		return err
	}
	m, err := stage.Start(ctx, tavern, stage.Options{Listen: "127.0.0.1:0", Errs: io.Discard})
	if err != nil {
		return err
	}
	playing, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	var seen time.Time
	_, err = run.Run(playing, tavern, m, run.Options{Dial: func(ctx context.Context, url string) (client.Conn, error) {
		conn, err := client.DialWebSocket(ctx, url)
		return &firstView{conn, func() { once.Do(func() { seen = time.Now(); cancel() }) }}, err
	}})
	if errors.Is(err, context.Canceled) && !seen.IsZero() {
		err = json.NewEncoder(out).Encode(seen)
	}
	return errors.Join(err, m.Close())
}

// firstView tells of the first view that says where its client's body is.
type firstView struct {
	client.Conn
	tell func()
}

func (c *firstView) Read(ctx context.Context) ([]byte, error) {
	b, err := c.Conn.Read(ctx)
	if err == nil && wire.IsView(b) {
		m, err := wire.DecodeServer(b)
		if v, ok := m.(*wire.View); ok && err == nil && v.Self.Zone != 0 {
			c.tell()
		}
	}
	return b, err
}
