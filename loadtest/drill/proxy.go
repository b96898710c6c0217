package drill

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"weft/control/mesh"
	"weft/simnode/edge"
	"weft/simnode/wire"
)

// The bounds of a proxy.
const (
	chunkBytes   = 32 << 10
	chunksQueued = 1024 // of a direction of a connection
	dialPatience = time.Second
	prefaceMost  = 4 << 10 // bytes in which a process introduces itself
)

// proxies stand before every node: what others send to one, and what it sends
// to them, goes through. Faults are of links between nodes only; gateways are
// served as they come, and what nodes have them pass on is counted.
type proxies struct {
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	rng     *rand.Rand
	nodes   map[mesh.NodeID]*proxy
	conns   map[*relayed]bool
	delay   time.Duration           // of every byte between nodes, give or take half
	silent  map[direction]time.Time // until then nothing arrives
	refused map[direction]time.Time // until then no connection is made, either way
	changed chan struct{}           // closed at each change of the above

	delayed, viaGateway int
}

// direction is from one node to another.
type direction struct{ from, to mesh.NodeID }

func (d direction) back() direction { return direction{d.to, d.from} }

// proxy is what stands before one node.
type proxy struct {
	listener net.Listener
	target   string // where the node listens
}

// relayed is one connection through a proxy.
type relayed struct {
	target mesh.NodeID
	dialer mesh.NodeID // once it has said so; empty for a gateway
	ends   [2]net.Conn // the dialer's and the node's
}

func (c *relayed) close() {
	for _, e := range c.ends {
		e.Close() //nolint:errcheck // it is over
	}
}

func newProxies(seed uint64) *proxies {
	ctx, cancel := context.WithCancel(context.Background())
	return &proxies{
		ctx: ctx, cancel: cancel, rng: rand.New(rand.NewPCG(seed, 1)), nodes: map[mesh.NodeID]*proxy{}, conns: map[*relayed]bool{},
		silent: map[direction]time.Time{}, refused: map[direction]time.Time{}, changed: make(chan struct{}),
	}
}

// close ends all connections and waits for that.
func (p *proxies) close() {
	p.cancel()
	p.mu.Lock()
	for _, x := range p.nodes {
		x.listener.Close() //nolint:errcheck // it is over
	}
	for c := range p.conns {
		c.close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}

// env puts a proxy before a node that is about to start. Without a free port
// there is none, and the node is reached directly.
func (p *proxies) env(node mesh.NodeID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.nodes[node]
	if x == nil {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		x = &proxy{listener: l, target: free.Addr().String()}
		if free.Close(); err != nil || p.ctx.Err() != nil { //nolint:errcheck // the node takes its port
			return nil
		}
		p.nodes[node] = x
		p.tasks.Go(func() { p.accept(node, x) })
	}
	return []string{"WEFT_LISTEN=" + x.target, "WEFT_ADVERTISE=" + x.listener.Addr().String()}
}

func (p *proxies) accept(node mesh.NodeID, x *proxy) {
	for {
		conn, err := x.listener.Accept()
		if err != nil {
			return // closed
		}
		p.tasks.Go(func() { p.serve(node, x.target, conn) })
	}
}

// serve joins a connection with the node's until one end closes.
func (p *proxies) serve(node mesh.NodeID, target string, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // it is over
	inner, err := (&net.Dialer{Timeout: dialPatience}).DialContext(p.ctx, "tcp", target)
	if err != nil {
		return
	}
	c := &relayed{target: node, ends: [2]net.Conn{conn, inner}}
	defer c.close()
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { p.carry(c, false) })
	p.carry(c, true)
	back.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// chunk is what was read at once.
type chunk struct {
	data []byte
	due  time.Time
}

// carry reads one direction of c, and writes what was read when it is due.
func (p *proxies) carry(c *relayed, forth bool) {
	defer c.close()
	from, to := c.ends[0], c.ends[1]
	if !forth {
		from, to = to, from
	}
	queue := make(chan chunk, chunksQueued)
	var writer sync.WaitGroup
	writer.Go(func() { p.deliver(c, to, queue, forth) })
	defer writer.Wait()
	defer close(queue)
	var seen []byte // the beginning
	known := false
	var relays relayCounter
	var last time.Time
	for {
		b := make([]byte, chunkBytes)
		n, err := from.Read(b)
		if n > 0 {
			b = b[:n]
			if !known {
				seen = append(seen, b...)
				id, role, preface, ok := edge.Introduction(seen, forth)
				switch {
				case ok && forth && role == mesh.RoleNode && !p.admit(c, id):
					return
				case ok:
					known = true
					relays.feed(seen[min(preface, len(seen)):], preface-len(seen))
				case len(seen) > prefaceMost:
					known = true
				}
			} else {
				relays.feed(b, 0)
			}
			last = p.due(c, n, last)
			p.count(c, forth, &relays)
			queue <- chunk{b, last}
		}
		if err != nil {
			return
		}
	}
}

// admit takes in which node dials; false while it may not.
func (p *proxies) admit(c *relayed, dialer mesh.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.dialer = dialer
	d := direction{dialer, c.target}
	now := time.Now()
	return !now.Before(p.refused[d]) && !now.Before(p.refused[d.back()])
}

// due returns when n bytes that came now arrive, never before the last.
func (p *proxies) due(c *relayed, n int, last time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if c.dialer != "" && p.delay > 0 {
		p.delayed += n
		now = now.Add(p.delay/2 + time.Duration(p.rng.Int64N(int64(p.delay))))
	}
	if now.Before(last) {
		return last
	}
	return now
}

// count adds what a node has a gateway pass on.
func (p *proxies) count(c *relayed, forth bool, r *relayCounter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.dialer == "" && !forth {
		p.viaGateway += r.found
	}
	r.found = 0
}

// deliver writes chunks when they are due and their direction is not silent.
func (p *proxies) deliver(c *relayed, to net.Conn, queue <-chan chunk, forth bool) {
	failed := false
	for x := range queue { // to the end, so that the reader never waits in vain
		for !failed {
			until, changed := p.until(c, x.due, forth)
			if !until.After(time.Now()) {
				break
			}
			timer := time.NewTimer(time.Until(until))
			select {
			case <-timer.C:
			case <-changed:
			case <-p.ctx.Done():
				failed = true
			}
			timer.Stop()
		}
		if failed {
			continue
		}
		if _, err := to.Write(x.data); err != nil {
			failed = true
			c.close()
		}
	}
}

// until returns when what is due arrives, as things stand.
func (p *proxies) until(c *relayed, due time.Time, forth bool) (time.Time, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.dialer == "" {
		return due, p.changed
	}
	d := direction{c.dialer, c.target}
	if !forth {
		d = d.back()
	}
	if s := p.silent[d]; s.After(due) {
		return s, p.changed
	}
	return due, p.changed
}

func (p *proxies) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// links are the pairs of nodes with a connection, in order.
func (p *proxies) links() []direction {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []direction
	for c := range p.conns {
		if c.dialer != "" {
			all = append(all, direction{c.dialer, c.target})
		}
	}
	slices.SortFunc(all, func(a, b direction) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	return slices.Compact(all)
}

// cut breaks the connections between two nodes and refuses new ones until then.
func (p *proxies) cut(d direction, until time.Time) {
	p.change(func() {
		p.refused[d] = until
		for c := range p.conns {
			if have := (direction{c.dialer, c.target}); have == d || have == d.back() {
				c.close()
			}
		}
	})
}

// relayCounter counts the relays in a stream of framed messages.
type relayCounter struct {
	head  []byte // of a frame: its length, then its type
	skip  int    // bytes of the rest of it, or of a preface
	found int
}

// relayType is the first byte of a wire.Relay.
var relayType = wire.AppendPeer(nil, &wire.Relay{})[0]

// feed takes in bytes of the stream, after ahead others that do not count.
func (r *relayCounter) feed(b []byte, ahead int) {
	r.skip += max(ahead, 0)
	for len(b) > 0 {
		if r.skip > 0 {
			n := min(r.skip, len(b))
			r.skip, b = r.skip-n, b[n:]
			continue
		}
		r.head, b = append(r.head, b[0]), b[1:]
		if len(r.head) < wire.LengthBytes+1 {
			continue
		}
		n, err := wire.Length(r.head[:wire.LengthBytes])
		if err != nil {
			r.skip, r.head = 1<<62, nil // no stream of messages
			return
		}
		if r.head[wire.LengthBytes] == relayType {
			r.found++
		}
		r.skip, r.head = n-1, r.head[:0]
	}
}
