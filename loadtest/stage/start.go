package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"weft/control/launch"
	"weft/control/local"
	"weft/loadtest/scenario"
)

// Options are how a mesh is to be put up, besides its scenario.
type Options struct {
	Dir     string                     // keeps the world; empty is a temporary one
	Listen  string                     // host:port of the page; empty is no page
	Note    func() string              // a line for the page; may be nil
	Errs    io.Writer                  // where the page is, and warnings, a sentence each
	Env     func(launch.Spec) []string // see local.Config
	Verbose bool                       // the whole log on Errs, the words of children too
}

// Start puts up a mesh for the world of s. End it with Close.
func Start(ctx context.Context, s *scenario.Scenario, o Options) (Mesh, error) {
	cfg, err := Config(s)
	if err != nil {
		return Mesh{}, err
	}
	cfg.Dir, cfg.Listen, cfg.Note, cfg.Env = o.Dir, o.Listen, o.Note, o.Env
	cfg.Listening = func(url string) { fmt.Fprintf(o.Errs, "watch it at %s\n", url) }
	var file *logFile
	switch {
	case o.Verbose:
		cfg.Words = o.Errs
		cfg.Log = slog.New(slog.NewTextHandler(o.Errs, nil))
	case o.Dir != "":
		file = &logFile{path: filepath.Join(o.Dir, "weft.log")}
		cfg.Words = file
		cfg.Log = slog.New(slog.NewMultiHandler(slog.NewTextHandler(file, nil), warnings{w: o.Errs}))
	default:
		cfg.Log = slog.New(warnings{w: o.Errs})
	}
	m, err := local.Start(ctx, cfg)
	if err != nil {
		return Mesh{}, errors.Join(err, file.Close())
	}
	return Mesh{m, file}, nil
}

// Close stops the mesh and gives everything back. A Mesh that never started
// may be closed.
func (m Mesh) Close() error {
	if m.Mesh == nil {
		return nil
	}
	return errors.Join(m.Mesh.Close(), m.log.Close())
}

// Warnings returns a handler that writes what a person should know as sentences.
func Warnings(w io.Writer) slog.Handler { return warnings{w: w} }

// warnings writes what a person should know as sentences.
type warnings struct {
	w     io.Writer
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h warnings) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn
}

// Handle implements slog.Handler: an attribute err is the rest of the sentence.
func (h warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	add := func(a slog.Attr) bool {
		if a.Key == "err" {
			text += fmt.Sprintf(": %v", a.Value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	_, err := fmt.Fprintln(h.w, text)
	return err
}

// WithAttrs implements slog.Handler.
func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

// WithGroup implements slog.Handler.
func (h warnings) WithGroup(string) slog.Handler { return h }
