package drill

import (
	"context"
	"errors"
	"time"

	"weft/control/mesh"
	"weft/loadtest/scenario"
)

// links strikes one link between two nodes, by turns: silence one way, the
// other way, both ways, and a cut.
func (d *drill) links(ctx context.Context, t scenario.Trial, i int) error {
	p := d.proxies
	if i == 0 {
		p.change(func() { p.delay = t.Delay })
		d.Log("all between nodes is %s late", t.Delay)
	}
	before, err := d.sight(ctx)
	if err != nil {
		return err
	}
	all := p.links()
	if len(all) == 0 {
		return errors.New("there is no link between two nodes")
	}
	p.mu.Lock()
	link := all[p.rng.IntN(len(all))]
	p.mu.Unlock()
	at := time.Now()
	until := at.Add(t.For)
	l := &d.figures.Links
	switch i % 4 {
	case 0:
		d.Log("nothing goes from %s to %s for %s", link.from, link.to, t.For)
		p.change(func() { p.silent[link] = until })
		l.Silences++
	case 1:
		d.Log("nothing goes from %s to %s for %s", link.to, link.from, t.For)
		p.change(func() { p.silent[link.back()] = until })
		l.Silences++
	case 2:
		d.Log("nothing goes between %s and %s for %s", link.from, link.to, t.For)
		p.change(func() { p.silent[link], p.silent[link.back()] = until, until })
		l.Silences++
	default:
		d.Log("the link of %s and %s is cut for %s", link.from, link.to, t.For)
		p.cut(link, until)
		l.Cuts++
	}
	if err := wait(ctx, time.Until(until)); err != nil {
		return err
	}
	err = d.whole(ctx, at, map[mesh.NodeID]bool{"": true})
	after, sightErr := d.sight(ctx)
	l.Crossings += max(int64(after.crossings)-int64(before.crossings), 0)
	p.mu.Lock()
	l.Delayed, l.ViaGateway = p.delayed, p.viaGateway
	p.mu.Unlock()
	return errors.Join(err, sightErr)
}
