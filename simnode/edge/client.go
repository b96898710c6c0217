package edge

import (
	"sync"
	"time"

	"weft/simnode/process"
	"weft/simnode/wire"
)

const (
	// maxClientQueue is how many messages may wait for a client, maxClientViews
	// how many of them may be views.
	maxClientQueue = 64
	maxClientViews = 2
	// slowTimeout is how long a client may fail to take every view.
	slowTimeout = 10 * time.Second
	// keptClientBytes is the largest buffer that goes back to the pool.
	keptClientBytes = 8 << 10
)

// client is one connection after its hello: the goroutine of its request
// reads, another writes what waits in the queue.
type client struct {
	id     process.ClientID
	socket socket
	wake   chan struct{}

	mu      sync.Mutex
	queue   []outgoing
	views   int  // in the queue
	closing bool // when the queue is empty

	slowSince time.Time // the loop's: when the first of a row of views was dropped
}

type outgoing struct {
	data *[]byte
	view bool
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func release(b *[]byte) {
	if cap(*b) <= keptClientBytes {
		buffers.Put(b)
	}
}

func newClient(id process.ClientID, s socket) *client {
	return &client{id: id, socket: s, wake: make(chan struct{}, 1)}
}

// fate is what became of a message.
type fate uint8

const (
	queued  fate = iota
	dropped      // a view, since others still wait
	overrun      // the queue is full
)

// push queues data, which it owns from here on. It never blocks.
func (c *client) push(data *[]byte, view bool) fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		release(data)
		return queued // nobody will miss it
	case view && c.views >= maxClientViews:
		release(data)
		return dropped
	case len(c.queue) >= maxClientQueue:
		release(data)
		return overrun
	}
	c.queue = append(c.queue, outgoing{data, view})
	if view {
		c.views++
	}
	c.rouse()
	return queued
}

// finish ends the connection once what waits, and bye if not nil, is written.
// Views are left out. Later calls do nothing.
func (c *client) finish(bye *wire.Bye) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	kept := c.queue[:0]
	for _, o := range c.queue {
		if o.view {
			release(o.data)
		} else {
			kept = append(kept, o)
		}
	}
	c.queue, c.views, c.closing = kept, 0, true
	if bye != nil {
		b := buffers.Get().(*[]byte)
		*b = wire.AppendServer((*b)[:0], bye)
		c.queue = append(c.queue, outgoing{data: b})
	}
	c.rouse()
}

func (c *client) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *client) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// write writes what is queued until the client is finished, does not take it,
// or ended is closed.
func (c *client) write(k *intake, ended <-chan struct{}) {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			closing := c.closing
			c.mu.Unlock()
			if closing {
				c.socket.Close("over")
				return
			}
			select {
			case <-c.wake:
			case <-ended:
				return
			}
			continue
		}
		o := c.queue[0]
		c.queue = append(c.queue[:0], c.queue[1:]...)
		if o.view {
			c.views--
		}
		c.mu.Unlock()
		err := c.socket.Write(*o.data)
		k.toClients.Add(uint64(len(*o.data)))
		release(o.data)
		if err != nil {
			c.socket.Close("")
			return
		}
	}
}
