// Package dashboard is the web page of a mesh and the JSON behind it: the
// live map, the fleet, and what the planner decided and why. It only reads.
// Begin with New; serve Server with net/http and keep Server.Run running.
//
// The page is files in page/, embedded as they are: it has no build step and
// fetches nothing from anywhere else.
package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"weft/control/mesh"
)

// Records is what the page reads of the replication store.
type Records interface {
	Layout(ctx context.Context) (mesh.Layout, error)
	Processes(ctx context.Context) ([]mesh.Process, error)
	Reports(ctx context.Context) ([]mesh.Report, error)
	Decisions(ctx context.Context, limit int) ([]mesh.Decision, error)
}

// MapFeed knows where everybody is.
type MapFeed interface {
	// Points appends at most limit entities to dst and returns it with the
	// number that there are. It is called a few times a second while somebody
	// looks at the map and never otherwise, and must not block.
	Points(dst []Point, limit int) (points []Point, total int)
}

// Point is an entity on the map.
type Point struct {
	ID    mesh.EntityID
	Zone  mesh.ZoneID // whose word this is
	Flags mesh.Flags
	Pos   mesh.Vec
}

// Invitation is what a client needs to join the world.
type Invitation struct {
	Gateways []string `json:"gateways"` // WebSocket URLs, best first
	Ticket   string   `json:"ticket"`
}

// ErrNobodyHome is what a Join returns while there is no gateway: try again.
var ErrNobodyHome = errors.New("no gateway is ready yet; try again in a second")

// Config is what a Server shows. Only Records is needed.
type Config struct {
	Records Records
	Map     MapFeed // nil: zones without anybody in them
	// Join admits a player; nil: /join does not exist.
	Join func(ctx context.Context, player mesh.PlayerID) (Invitation, error)
	// Note is a line about what is going on, shown beside the name; may be nil.
	Note func() string
	// AnyHost serves requests whatever host name they ask for. Otherwise only
	// loopback names are answered, so that a web page elsewhere cannot make a
	// browser read this one under a name of its own.
	AnyHost bool
}

// The bounds of a Server.
const (
	MaxWatchers  = 32               // event streams at a time; more are told 503
	MaxDecisions = 200              // that the API gives at once
	readEvery    = time.Second      // at most so often is the store read
	readTimeout  = 3 * time.Second  // for one reading of the store
	mapEvery     = time.Second / 10 // frames of the map
	propsEvery   = 10               // every so many frames, what lies still
	writeTimeout = 10 * time.Second // a watcher that takes longer is dropped
)

//go:embed page
var pages embed.FS

// Server is an http.Handler.
type Server struct {
	cfg Config
	mux *http.ServeMux

	loading sync.Mutex // held while the store is read; guards seen and rates
	seen    map[mesh.NodeID]sighting
	rates   rates

	mu       sync.Mutex // guards cached and watchers
	cached   reading
	watchers map[*watcher]struct{}
	awake    chan struct{} // told when the first watcher comes
}

// New returns a server that has read nothing yet.
func New(cfg Config) *Server {
	s := &Server{
		cfg: cfg, mux: http.NewServeMux(), seen: map[mesh.NodeID]sighting{},
		watchers: map[*watcher]struct{}{}, awake: make(chan struct{}, 1),
	}
	files, err := fs.Sub(pages, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	s.mux.Handle("GET /", http.FileServerFS(files))
	s.mux.HandleFunc("GET /api/state", s.getState)
	s.mux.HandleFunc("GET /api/decisions", s.getDecisions)
	s.mux.HandleFunc("GET /api/events", s.getEvents)
	if cfg.Join != nil {
		s.mux.HandleFunc("GET /join", s.getJoin)
	}
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if !s.cfg.AnyHost && !loopback(r.Host) {
		refuse(w, http.StatusForbidden, "this page answers on loopback names only; start it with another listen address to open it to others")
		return
	}
	s.mux.ServeHTTP(w, r)
}

func loopback(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.Trim(name, "[]")
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func (s *Server) getState(w http.ResponseWriter, r *http.Request) {
	now := s.read(r.Context())
	if now.fault != "" && now.state == nil {
		refuse(w, http.StatusServiceUnavailable, now.fault)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(now.state)
}

func (s *Server) getDecisions(w http.ResponseWriter, r *http.Request) {
	limit := 50
	if v := r.FormValue("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > MaxDecisions {
			refuse(w, http.StatusBadRequest, "limit must be a number from 1 to "+strconv.Itoa(MaxDecisions))
			return
		}
		limit = n
	}
	now := s.read(r.Context())
	if now.fault != "" && now.state == nil {
		refuse(w, http.StatusServiceUnavailable, now.fault)
		return
	}
	reply(w, struct {
		Decisions []mesh.Decision `json:"decisions"`
	}{now.decisions[:min(limit, len(now.decisions))]})
}

func (s *Server) getJoin(w http.ResponseWriter, r *http.Request) {
	player, err := strconv.ParseUint(r.FormValue("player"), 10, 32)
	if err != nil || player == 0 {
		refuse(w, http.StatusBadRequest, "player must be an account number from 1 to 4294967295, as in /join?player=7")
		return
	}
	in, err := s.cfg.Join(r.Context(), mesh.PlayerID(player))
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	reply(w, in)
}

func reply(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func refuse(w http.ResponseWriter, status int, why string) {
	b, err := json.Marshal(struct {
		Error string `json:"error"`
	}{why})
	if err != nil {
		b = []byte(`{"error":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
