package dashboard

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"
	"time"

	"weft/control/mesh"
)

// The kinds of events on the stream.
const (
	eventState     = iota // a State
	eventDecisions        // the newest decisions, newest first
	eventMap              // points that move
	eventProps            // points that lie still
	eventKinds
)

var eventNames = [eventKinds]string{"state", "decisions", "map", "props"}

// watcher is one event stream. Of each kind only the newest event waits for
// it, so a slow one misses some and holds back nobody.
type watcher struct {
	pending [eventKinds][]byte // guarded by Server.mu
	ring    chan struct{}
}

// Run reads the store and the map while somebody watches, and tells them. It
// returns when ctx ends.
func (s *Server) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.awake:
		}
		s.feed(ctx)
	}
}

// feed serves the watchers until there are none.
func (s *Server) feed(ctx context.Context) {
	frames := time.NewTicker(mapEvery)
	defer frames.Stop()
	var cutter cutter
	var read time.Time
	for n := 0; ; n++ {
		if !s.watched() {
			return
		}
		if now := time.Now(); now.Sub(read) >= readEvery {
			read = now
			r := s.read(ctx)
			if r.state == nil {
				r.state = marshal(State{UnixMilli: now.UnixMilli(), Fault: r.fault})
			}
			s.tell(eventState, r.state)
			if r.log != nil {
				s.tell(eventDecisions, r.log)
			}
			cutter.bounds = r.bounds
		}
		if s.cfg.Map != nil && cutter.bounds != (mesh.Box{}) {
			moving, lying := cutter.cut(s.cfg.Map, n%propsEvery == 0)
			s.tell(eventMap, moving)
			if lying != nil {
				s.tell(eventProps, lying)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-frames.C:
		}
	}
}

func (s *Server) watched() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watchers) > 0
}

// tell gives everyone the newest event of a kind.
func (s *Server) tell(kind int, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		w.pending[kind] = data
		select {
		case w.ring <- struct{}{}:
		default:
		}
	}
}

func (s *Server) join() (*watcher, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watchers) >= MaxWatchers {
		return nil, false
	}
	w := &watcher{ring: make(chan struct{}, 1)}
	s.watchers[w] = struct{}{}
	select {
	case s.awake <- struct{}{}:
	default:
	}
	return w, true
}

func (s *Server) leave(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

func (s *Server) take(w *watcher) [eventKinds][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := w.pending
	w.pending = [eventKinds][]byte{}
	return p
}

// getEvents streams events until the client goes away.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	me, ok := s.join()
	if !ok {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "too many pages watch already; close one")
		return
	}
	defer s.leave(me)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	if _, err := w.Write([]byte("retry: 1000\n\n")); err != nil || out.Flush() != nil {
		return
	}
	var last [eventKinds]string // decisions that did not change are not sent again
	var line []byte
	for {
		select {
		case <-r.Context().Done():
			return
		case <-me.ring:
		}
		line = line[:0]
		for kind, data := range s.take(me) {
			if data == nil || kind == eventDecisions && last[kind] == string(data) {
				continue
			}
			if kind == eventDecisions {
				last[kind] = string(data)
			}
			line = append(append(append(line, "event: "...), eventNames[kind]...), "\ndata: "...)
			line = append(append(line, data...), "\n\n"...)
		}
		if len(line) == 0 {
			continue
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has deadlines
		if _, err := w.Write(line); err != nil || out.Flush() != nil {
			return
		}
	}
}

// The most points of a frame. What is left out is the same from frame to
// frame, so that the map does not flicker, and the page says how many.
const (
	maxPoints      = 1 << 16 // asked of the feed
	maxMovingShown = 4096
	maxLyingShown  = 8192
	pointBytes     = 13
)

// cutter turns points into events and keeps its memory.
type cutter struct {
	bounds mesh.Box
	points []Point
	kinds  [2][]Point // moving, lying
	raw    []byte
}

// cut asks feed where everybody is. Lying is nil unless wanted.
func (c *cutter) cut(feed MapFeed, wantLying bool) (moving, lying []byte) {
	c.points, _ = feed.Points(c.points[:0], maxPoints)
	c.kinds[0], c.kinds[1] = c.kinds[0][:0], c.kinds[1][:0]
	for _, p := range c.points {
		if p.Flags&mesh.Asleep != 0 {
			continue
		}
		i := 0
		if p.ID.Kind() == mesh.KindItem && p.Flags&mesh.Flying == 0 {
			i = 1
		}
		c.kinds[i] = append(c.kinds[i], p)
	}
	moving = c.encode(c.kinds[0], maxMovingShown)
	if wantLying {
		lying = c.encode(c.kinds[1], maxLyingShown)
	}
	return moving, lying
}

// encode writes {"total":n,"points":"…"}: base64 of pointBytes each, little
// endian: u32 number, u8 kind, u32 zone, u16 x, u16 y as shares of the bounds.
// The kind's top bits are 0x80 flying and 0x40 idle.
func (c *cutter) encode(points []Point, most int) []byte {
	c.raw = c.raw[:0]
	for _, p := range points {
		n := p.ID.Number()
		if len(points) > most && mix(n)%uint64(len(points)) >= uint64(most) || len(c.raw) >= most*pointBytes {
			continue
		}
		kind := byte(p.ID.Kind()) & 0x3f
		if p.Flags&mesh.Flying != 0 {
			kind |= 0x80
		}
		if p.Flags&mesh.Idle != 0 {
			kind |= 0x40
		}
		c.raw = append(binary.LittleEndian.AppendUint32(c.raw, uint32(n^n>>32)), kind)
		c.raw = binary.LittleEndian.AppendUint32(c.raw, uint32(p.Zone))
		c.raw = binary.LittleEndian.AppendUint16(c.raw, share(p.Pos.X, c.bounds.Min.X, c.bounds.Max.X))
		c.raw = binary.LittleEndian.AppendUint16(c.raw, share(p.Pos.Y, c.bounds.Min.Y, c.bounds.Max.Y))
	}
	out := make([]byte, 0, len(c.raw)*4/3+48)
	out = strconv.AppendInt(append(out, `{"total":`...), int64(len(points)), 10)
	out = base64.StdEncoding.AppendEncode(append(out, `,"points":"`...), c.raw)
	return append(out, `"}`...)
}

// share places v between lo and hi as 0 to 65535.
func share(v, lo, hi int32) uint16 {
	span := max(int64(hi)-int64(lo), 1)
	return uint16(min(max((int64(v)-int64(lo))*65535/span, 0), 65535))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
