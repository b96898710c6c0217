package edge

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

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
	// lingerTimeout is how long a client may take to read its last messages.
	lingerTimeout = 3 * time.Second
)

// outlet is where the bytes for a client go.
type outlet interface {
	// write takes as much of b as it can without waiting. What is left is asked
	// for by flush when there is room again, or there is none any more: then it
	// says all was taken.
	write(b []byte) int
	// room asks for flush to be called, or no more.
	room(wanted bool)
	// shut ends the connection once what was written is sent.
	shut()
	// cut ends it at once.
	cut()
}

// client is one connection after its hello. What is sent goes to the outlet at
// once; only what that does not take waits.
type client struct {
	id      process.ClientID
	outlet  outlet
	in      inbound
	limiter *rate.Limiter
	over    func() // when both directions have ended

	mu      sync.Mutex
	rest    []byte // of a frame that was written in part
	queue   []outgoing
	views   int  // in the queue
	closing bool // when the queue is empty
	shut    bool // it was
	linger  *time.Timer

	slowSince time.Time // the loop's: when the first of a row of views was dropped
}

type outgoing struct {
	frame []byte
	view  bool
}

// fate is what became of a message.
type fate uint8

const (
	queued  fate = iota
	dropped      // a view, since others still wait
	overrun      // the queue is full
)

// push sends a frame, or queues a copy of it. It never blocks.
func (c *client) push(frame []byte, view bool) fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return queued // nobody will miss it
	case len(c.rest) == 0 && len(c.queue) == 0:
		n := c.outlet.write(frame)
		if n == len(frame) {
			return queued
		}
		c.outlet.room(true)
		if n > 0 {
			c.rest = append(c.rest, frame[n:]...)
			return queued
		}
	case view && c.views >= maxClientViews:
		return dropped
	case len(c.queue) >= maxClientQueue:
		return overrun
	}
	c.queue = append(c.queue, outgoing{append([]byte(nil), frame...), view})
	if view {
		c.views++
	}
	return queued
}

// flush goes on with what waits. The outlet calls it when it has room.
func (c *client) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drain()
}

func (c *client) drain() {
	for {
		if len(c.rest) > 0 {
			n := c.outlet.write(c.rest)
			if c.rest = c.rest[n:]; len(c.rest) > 0 {
				c.outlet.room(true)
				return
			}
		}
		c.rest = nil
		if len(c.queue) == 0 {
			break
		}
		o := c.queue[0]
		c.queue[0] = outgoing{}
		c.queue = c.queue[1:]
		if c.rest = o.frame; o.view {
			c.views--
		}
	}
	c.queue = nil
	c.outlet.room(false)
	if c.closing && !c.shut {
		c.shut = true
		c.outlet.shut()
	}
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
		if !o.view {
			kept = append(kept, o)
		}
	}
	c.queue, c.views, c.closing = kept, 0, true
	if bye != nil {
		c.queue = append(c.queue, outgoing{frame: appendFrame(nil, opBinary, wire.AppendServer(nil, bye), nil)})
	}
	c.queue = append(c.queue, outgoing{frame: appendFrame(nil, opClose, closeNormal, nil)})
	c.linger = time.AfterFunc(lingerTimeout, c.outlet.cut)
	c.drain()
}

// closeNormal is the payload of a close frame: status 1000.
var closeNormal = []byte{1000 >> 8, 1000 & 0xff}

func (c *client) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// ended forgets what waits; the connection is gone. It is called once.
func (c *client) ended() {
	c.mu.Lock()
	c.closing, c.shut, c.rest, c.queue = true, true, nil, nil
	if c.linger != nil {
		c.linger.Stop()
	}
	c.mu.Unlock()
	c.over()
}
