package dashboard_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/control/dashboard"
	"weft/control/mesh"
	"weft/control/store"
	"weft/control/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted counts readings and fails on demand.
type counted struct {
	dashboard.Records
	reads atomic.Int32
	fail  atomic.Bool
}

func (c *counted) Layout(ctx context.Context) (mesh.Layout, error) {
	c.reads.Add(1)
	if c.fail.Load() {
		return mesh.Layout{}, fmt.Errorf("layout: %w", store.ErrUnavailable)
	}
	return c.Records.Layout(ctx)
}

// crowd is a MapFeed.
type crowd struct {
	points []dashboard.Point
	asked  atomic.Int32
}

func (c *crowd) Points(dst []dashboard.Point, limit int) ([]dashboard.Point, int) {
	c.asked.Add(1)
	return append(dst, c.points[:min(limit, len(c.points))]...), len(c.points)
}

func world(t *testing.T) *memstore.Store {
	t.Helper()
	st, ctx := memstore.New(), t.Context()
	t.Cleanup(func() { _ = st.Close() })
	box := mesh.Box{Min: mesh.Meters(0, 0, 0), Max: mesh.Meters(100, 100, 10)}
	low, high := box.Cut(0, 40*mesh.UnitsPerMeter)
	node := mesh.Process{ID: "node-1", Incarnation: 3, Role: mesh.RoleNode, State: mesh.Ready, Capacity: 120, Address: "x:1"}
	gate := mesh.Process{ID: "gateway-1", Incarnation: 1, Role: mesh.RoleGateway, State: mesh.Draining, Capacity: 9}
	l := mesh.Layout{Version: 1, NextZone: 4, Shard: mesh.Shard{Name: "tavern", TickHz: 20, Bounds: box}, Zones: []mesh.Zone{
		{ID: 1, Box: low, Owner: node.Owner(), Epoch: 2}, {ID: 2, Box: high, Owner: node.Owner(), Epoch: 5},
	}}
	load := mesh.ZoneLoad{Zone: 1, Epoch: 2, Open: true, Actors: 30, Props: 4, Moving: 1, BusyUS: 1500,
		Density: mesh.Density{XEdges: []int32{0, 256, 512}, YEdges: []int32{0, 128}, Counts: []uint16{7, 8}}}
	stale := mesh.ZoneLoad{Zone: 2, Epoch: 4, Open: true, Actors: 5} // of an epoch that is over
	for _, err := range []error{
		st.PutLayout(ctx, l), st.PutProcess(ctx, node), st.PutProcess(ctx, gate),
		st.PutReport(ctx, mesh.Report{Process: node, Sequence: 7, TickBudgetUS: 50_000, TickP50US: 1000, TickP99US: 9500, Ticks: 100, Zones: []mesh.ZoneLoad{load, stale}}),
		st.PutReport(ctx, mesh.Report{Process: gate, Sequence: 1, Clients: 12}),
		st.PutDecision(ctx, mesh.Decision{ID: "1", UnixMilli: 5, Action: "split", Subject: "zone 1", Reason: "too full"}),
		st.PutDecision(ctx, mesh.Decision{ID: "2", UnixMilli: 6, Action: "move", Subject: "zone 2", Reason: "<script>alert(1)</script>"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func get(t *testing.T, h http.Handler, target string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequest("GET", "http://127.0.0.1:7070"+target, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Result().Header
}

func TestStateSaysWhatTheStoreKnows(t *testing.T) {
	s := dashboard.New(dashboard.Config{Records: world(t), Note: func() string { return "second 3" }})
	code, body, _ := get(t, s, "/api/state")
	var got dashboard.State
	if err := json.Unmarshal([]byte(body), &got); code != 200 || err != nil {
		t.Fatalf("status %d, %v: %s", code, err, body)
	}
	if got.Name != "tavern" || got.Note != "second 3" || got.BoundsM != [4]dashboard.Meters{0, 0, 100, 100} {
		t.Errorf("name %q, note %q, bounds %v", got.Name, got.Note, got.BoundsM)
	}
	h := got.Headline
	if h.Players != 12 || h.Actors != 35 || h.Nodes != 1 || h.Gateways != 1 || h.Zones != 2 || h.TickP99MS != 9.5 || h.TickBudgetMS != 50 {
		t.Errorf("headline %+v", h)
	}
	z := got.Zones[0]
	if !z.Open || z.BoxM != [4]dashboard.Meters{0, 0, 40, 100} || z.BusyMS != 1.5 || z.Density == nil || z.Density.XM[1] != 1 {
		t.Errorf("zone 1 is %+v", z)
	}
	if got.Zones[1].Open {
		t.Error("zone 2 is open by the word of an older epoch")
	}
	for _, p := range got.Processes {
		if p.ID == "node-1" && (p.Zones != 2 || p.Actors != 35 || !p.Reported || p.State != "ready") ||
			p.ID == "gateway-1" && (p.State != "draining" || p.Clients != 12) {
			t.Errorf("process %+v", p)
		}
	}
}

func TestDecisionsNewestFirst(t *testing.T) {
	s := dashboard.New(dashboard.Config{Records: world(t)})
	for target, want := range map[string]string{
		"/api/decisions?limit=1":   `{"decisions":[{"id":"2"`,
		"/api/decisions?limit=0":   `{"error":"limit must be`,
		"/api/decisions?limit=201": `{"error":"limit must be`,
		"/api/decisions?limit=x":   `{"error":"limit must be`,
	} {
		if _, body, _ := get(t, s, target); !strings.HasPrefix(body, want) {
			t.Errorf("%s answers %s", target, body)
		}
	}
	if _, body, _ := get(t, s, "/api/decisions"); strings.Contains(body, "<script>") || !strings.Contains(body, `"id":"1"`) {
		t.Errorf("decisions are %s", body)
	}
}

func TestStoreIsReadAtMostOnceASecond(t *testing.T) {
	records := &counted{Records: world(t)}
	s := dashboard.New(dashboard.Config{Records: records})
	began := time.Now()
	for range 200 {
		get(t, s, "/api/state")
	}
	if most := int32(time.Since(began)/time.Second) + 2; records.reads.Load() > most {
		t.Errorf("%d readings, want at most %d", records.reads.Load(), most)
	}
}

func TestFaultsAreSentences(t *testing.T) {
	records := &counted{Records: world(t)}
	records.fail.Store(true)
	code, body, _ := get(t, dashboard.New(dashboard.Config{Records: records}), "/api/state")
	if code != 503 || !strings.Contains(body, "does not answer") {
		t.Errorf("a store that is gone: %d %s", code, body)
	}
	code, body, _ = get(t, dashboard.New(dashboard.Config{Records: memstore.New()}), "/api/state")
	if code != 503 || !strings.Contains(body, "not been created") {
		t.Errorf("an empty store: %d %s", code, body)
	}
}

func TestJoin(t *testing.T) {
	var fault error
	s := dashboard.New(dashboard.Config{Records: world(t), Join: func(_ context.Context, p mesh.PlayerID) (dashboard.Invitation, error) {
		return dashboard.Invitation{Gateways: []string{"ws://127.0.0.1:1/"}, Ticket: fmt.Sprint("for ", p)}, fault
	}})
	if code, body, h := get(t, s, "/join?player=7"); code != 200 || body != `{"gateways":["ws://127.0.0.1:1/"],"ticket":"for 7"}` || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("join: %d %s", code, body)
	}
	for _, bad := range []string{"/join", "/join?player=0", "/join?player=-1", "/join?player=4294967296", "/join?player=bob"} {
		if code, body, _ := get(t, s, bad); code != 400 || !strings.Contains(body, "account number") {
			t.Errorf("%s: %d %s", bad, code, body)
		}
	}
	fault = dashboard.ErrNobodyHome
	if code, body, _ := get(t, s, "/join?player=7"); code != 503 || !strings.Contains(body, "try again") {
		t.Errorf("no gateway: %d %s", code, body)
	}
	if code, _, _ := get(t, dashboard.New(dashboard.Config{Records: world(t)}), "/join?player=7"); code != 404 {
		t.Errorf("join without a minter: %d", code)
	}
}

func TestForeignNamesAreRefused(t *testing.T) {
	for _, c := range []struct {
		host string
		any  bool
		want int
	}{
		{"127.0.0.1:7070", false, 200}, {"localhost:7070", false, 200}, {"[::1]:7070", false, 200}, {"LOCALHOST", false, 200},
		{"evil.example:7070", false, 403}, {"10.0.0.1", false, 403}, {"", false, 403}, {"mesh.example", true, 200},
	} {
		s := dashboard.New(dashboard.Config{Records: world(t), AnyHost: c.any})
		r := httptest.NewRequest("GET", "/api/state", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("host %q: %d, want %d", c.host, w.Code, c.want)
		}
	}
}

// The page must work with no network and under its own content policy.
func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	s := dashboard.New(dashboard.Config{Records: world(t)})
	code, html, h := get(t, s, "/")
	if code != 200 || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Fatalf("page: %d, policy %q", code, h.Get("Content-Security-Policy"))
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if code, _, _ := get(t, s, "/"+strings.TrimPrefix(m[1], "/")); code != 200 {
			t.Errorf("the page wants %s: %d", m[1], code)
		}
	}
	foreign := regexp.MustCompile(`https?://[^"'\s)]+`)
	err := fs.WalkDir(os.DirFS("page"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile("page/" + path)
		for _, u := range foreign.FindAllString(string(b), -1) {
			if u != "http://www.w3.org/2000/svg" { // a name, not a place
				t.Errorf("%s mentions %s", path, u)
			}
		}
		if bytes.Contains(b, []byte("innerHTML")) {
			t.Errorf("%s writes HTML from text", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stream opens an event stream and returns its events.
func stream(t *testing.T, url string) (<-chan [2]string, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("events: %s", resp.Status)
	}
	events := make(chan [2]string)
	go func() {
		defer close(events)
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		var kind string
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = v
			} else if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				select {
				case events <- [2]string{kind, v}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return events, func() {
		cancel()
		for range events {
		}
	}
}

func await(t *testing.T, events <-chan [2]string, kind string, ok func(data string) bool) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended before an event %s", kind)
			}
			if e[0] == kind && ok(e[1]) {
				return e[1]
			}
		case <-deadline:
			t.Fatalf("no event %s that will do", kind)
		}
	}
}

func TestEvents(t *testing.T) {
	records := &counted{Records: world(t)}
	people := &crowd{points: []dashboard.Point{
		{ID: mesh.PlayerEntity(7), Zone: 1, Pos: mesh.Meters(50, 100, 0)},
		{ID: mesh.PlayerEntity(8), Zone: 1, Flags: mesh.Asleep},
		{ID: mesh.MakeEntityID(mesh.KindItem, 9), Zone: 2, Flags: mesh.Flying},
		{ID: mesh.MakeEntityID(mesh.KindItem, 10), Zone: 2, Pos: mesh.Meters(-5, 200, 0)},
	}}
	s := dashboard.New(dashboard.Config{Records: records, Map: people})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { s.Run(ctx); close(ran) }()
	web := httptest.NewServer(s)
	events, leave := stream(t, web.URL)
	anything := func(string) bool { return true }
	await(t, events, "state", func(d string) bool { return strings.Contains(d, `"tavern"`) })
	await(t, events, "decisions", anything)
	moving := await(t, events, "map", anything)
	lying := await(t, events, "props", anything)
	if got, want := decode(t, moving), "7 kind 1 zone 1 at 32767 65535, 9 kind 83 zone 2 at 0 0"; got != want {
		t.Errorf("moving: %s, want %s", got, want)
	}
	if got, want := decode(t, lying), "10 kind 3 zone 2 at 0 65535"; got != want {
		t.Errorf("lying: %s, want %s", got, want)
	}
	records.fail.Store(true)
	await(t, events, "state", func(d string) bool { return strings.Contains(d, `"tavern"`) && strings.Contains(d, "does not answer") })
	records.fail.Store(false)
	await(t, events, "state", func(d string) bool { return !strings.Contains(d, "does not answer") })
	leave()
	stop()
	<-ran
	web.Close()
	http.DefaultClient.CloseIdleConnections()
}

func decode(t *testing.T, event string) string {
	t.Helper()
	var m struct {
		Total  int
		Points []byte
	}
	if err := json.Unmarshal([]byte(event), &m); err != nil {
		t.Fatal(err)
	}
	var out []string
	for b := m.Points; len(b) > 0; b = b[13:] {
		le := binary.LittleEndian
		out = append(out, fmt.Sprintf("%d kind %x zone %d at %d %d", le.Uint32(b), b[4], le.Uint32(b[5:]), le.Uint16(b[9:]), le.Uint16(b[11:])))
	}
	return strings.Join(out, ", ")
}

// Nothing is read or asked while nobody watches, and watchers are bounded.
func TestWatchersAreBounded(t *testing.T) {
	s := dashboard.New(dashboard.Config{Records: world(t)})
	web := httptest.NewServer(s)
	var leaves []func()
	for range dashboard.MaxWatchers {
		_, leave := stream(t, web.URL)
		leaves = append(leaves, leave)
	}
	resp, err := http.Get(web.URL + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one watcher too many: %s", resp.Status)
	}
	for _, leave := range leaves {
		leave()
	}
	web.Close()
	http.DefaultClient.CloseIdleConnections()
}

// A frame never grows beyond its bound, and leaves out the same from one to the next.
func TestFrameIsBounded(t *testing.T) {
	people := &crowd{}
	for i := range 60_000 {
		people.points = append(people.points, dashboard.Point{ID: mesh.MakeEntityID(mesh.KindItem, uint64(i)), Zone: 1})
	}
	s := dashboard.New(dashboard.Config{Records: world(t), Map: people})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { s.Run(ctx); close(ran) }()
	web := httptest.NewServer(s)
	events, leave := stream(t, web.URL)
	anything := func(string) bool { return true }
	first, second := await(t, events, "props", anything), await(t, events, "props", anything)
	if first != second {
		t.Error("two frames of the same crowd differ")
	}
	if n := len(first) / 4 * 3 / 13; n > 8192 || n < 7000 {
		t.Errorf("a frame of 60,000 points shows %d", n)
	}
	if !strings.HasPrefix(first, `{"total":60000,`) {
		t.Errorf("the total is missing: %.40s", first)
	}
	leave()
	stop()
	<-ran
	web.Close()
	http.DefaultClient.CloseIdleConnections()
}
