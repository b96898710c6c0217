package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weft/control/launch/dryrun"
	"weft/control/mesh"
	"weft/control/options"
	"weft/control/planner"
	"weft/control/reconcile"
	"weft/control/store"
	"weft/control/store/storeurl"
)

// askPatience bounds an operator's command.
const askPatience = 30 * time.Second

// deployed are the flags of every command that asks a running world.
type deployed struct {
	Env    string `help:"The environment that weft deploy made." default:"dev"`
	Region string `help:"Its region; else the one of AWS's own settings." placeholder:"NAME"`
	Store  string `help:"URL of the store in place of an environment's tables." placeholder:"URL"`
}

// url is where the store is.
func (d *deployed) url() string {
	if d.Store != "" {
		return d.Store
	}
	u := url.URL{Scheme: "dynamodb", Host: "weft-" + d.Env}
	if d.Region != "" {
		u.RawQuery = url.Values{"region": {d.Region}}.Encode()
	}
	return u.String()
}

// with opens the store for f.
func (d *deployed) with(ctx context.Context, f func(context.Context, store.Store) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	st, err := storeurl.Open(ctx, d.url())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := st.LayoutVersion(ctx); err != nil {
		return fmt.Errorf("the store of %s cannot be read: %w", d.name(), err)
	}
	return f(ctx, st)
}

// name is the world's in sentences, without secrets.
func (d *deployed) name() string {
	if d.Store == "" {
		return "environment " + d.Env
	}
	scheme, _, _ := strings.Cut(d.Store, ":")
	return "the given " + scheme + " URL"
}

// layout reads the layout, or says that there is no world.
func (d *deployed) layout(ctx context.Context, st store.Store) (mesh.Layout, error) {
	l, err := st.Layout(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return l, fmt.Errorf("there is no world in %s; weft deploy makes one", d.name())
	}
	return l, err
}

type status struct{ deployed }

// Run shows the shard as its records have it.
func (c *status) Run(s *session) error {
	return c.with(s.ctx, func(ctx context.Context, st store.Store) error {
		l, err := c.layout(ctx, st)
		if err != nil {
			return err
		}
		processes, err1 := st.Processes(ctx)
		reports, err2 := st.Reports(ctx)
		intents, err3 := st.Intents(ctx)
		decisions, err4 := st.Decisions(ctx, 5)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return err
		}
		return writeStatus(s.out, time.Now(), l, processes, reports, intents, decisions)
	})
}

// writeStatus writes the tables of weft status.
func writeStatus(out io.Writer, now time.Time, l mesh.Layout, processes []mesh.Process, reports []mesh.Report, intents []mesh.Intent, decisions []mesh.Decision) error {
	word := "awake"
	if l.Asleep {
		word = "asleep"
	}
	byID, loads := map[mesh.NodeID]mesh.Report{}, map[mesh.ZoneID]mesh.ZoneLoad{}
	clients := 0
	for _, r := range reports {
		byID[r.Process.ID] = r
		clients += r.Clients
		for _, z := range r.Zones {
			if i := l.Index(z.Zone); i >= 0 && l.Zones[i].Epoch == z.Epoch {
				loads[z.Zone] = z
			}
		}
	}
	fmt.Fprintf(out, "shard %s is %s: layout %d, %d zones, %d players connected\n\n", l.Shard.Name, word, l.Version, len(l.Zones), clients)
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROCESS\tROLE\tSTATE\tADDRESS\tZONES\tCLIENTS\tTICK P99")
	slices.SortFunc(processes, func(a, b mesh.Process) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID)) })
	for _, p := range processes {
		owned := 0
		for _, z := range l.Zones {
			if z.Owner.Same(p.Owner()) {
				owned++
			}
		}
		r := byID[p.ID]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%.1f ms\n", p.ID, p.Role, p.State, cmp.Or(p.Address, p.ClientURL, "-"), owned, r.Clients, float64(r.TickP99US)/1000)
	}
	fmt.Fprintln(w, "\nZONE\tLAYER\tSTATE\tEPOCH\tOWNER\tACTORS\tPROPS")
	for _, z := range l.Zones {
		load := loads[z.ID]
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%d\t%d\n", z.ID, z.Layer, z.State, z.Epoch, cmp.Or(string(z.Owner.Node), "nobody"), load.Actors, load.Props)
	}
	if slices.ContainsFunc(intents, open) {
		fmt.Fprintln(w, "\nINTENT\tTARGET\tSINCE\tWHY")
		for _, i := range intents {
			if open(i) {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", i.What, cmp.Or(string(i.Target), "-"), now.Sub(time.UnixMilli(i.CreatedUnixMilli)).Round(time.Second), i.Reason)
			}
		}
	}
	if len(decisions) > 0 {
		fmt.Fprintln(w, "\nDECISION\tWHAT\tSUBJECT\tWHY")
		for _, d := range decisions {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.ID, d.Action, d.Subject, d.Reason)
		}
	}
	return w.Flush()
}

func open(i mesh.Intent) bool { return i.State == mesh.IntentWritten }

type plan struct {
	deployed
	Policy     string `help:"How zones follow the load, if not as WEFT_POLICY or the default has it." placeholder:"NAME"`
	NodeActors int    `help:"Actors that a node is declared to carry, likewise." placeholder:"N"`
}

// Run says what the planner would do now, and why. Nothing is done.
func (c *plan) Run(s *session) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	return c.with(s.ctx, func(ctx context.Context, st store.Store) error {
		if _, err := c.layout(ctx, st); err != nil {
			return err
		}
		r, err := reconcile.New(reconcile.Deps{Config: cfg, Store: unchanged{st}, Launcher: dryrun.New(0), Now: time.Now})
		if err != nil {
			return err
		}
		decisions, err := r.Once(ctx)
		if err != nil {
			return err
		}
		if len(decisions) == 0 {
			fmt.Fprintln(s.out, "Nothing is to be done.")
		}
		for _, d := range decisions {
			writeDecision(s.out, d, "would "+d.Action)
		}
		return nil
	})
}

// config is the planner's as functions read it from the same environment.
func (c *plan) config() (planner.Config, error) {
	cfg := planner.DefaultConfig()
	if strings.HasPrefix(c.url(), "dynamodb:") {
		o, err := options.ReadFunction(append(os.Environ(), "WEFT_STORE="+c.url()))
		if err != nil {
			return cfg, err
		}
		cfg = o.Planner()
	}
	cfg.Policy = cmp.Or(c.Policy, cfg.Policy)
	cfg.NodeActors = cmp.Or(c.NodeActors, cfg.NodeActors)
	return cfg, cfg.Validate()
}

// unchanged is a store on which every write succeeds and changes nothing.
type unchanged struct{ reconcile.Store }

func (unchanged) CreateZone(context.Context, mesh.ZoneRecord) error                     { return nil }
func (unchanged) RaiseEpoch(context.Context, mesh.ZoneID, mesh.Epoch, mesh.Owner) error { return nil }
func (unchanged) MovePointer(context.Context, mesh.ZoneID, mesh.Epoch, mesh.Pointer) error {
	return nil
}
func (unchanged) RemoveZone(context.Context, mesh.ZoneID) error                      { return nil }
func (unchanged) DeleteChunk(context.Context, string) error                          { return nil }
func (unchanged) PutLayout(context.Context, mesh.Layout) error                       { return nil }
func (unchanged) PutProcess(context.Context, mesh.Process) error                     { return nil }
func (unchanged) RemoveProcess(context.Context, mesh.NodeID, mesh.Incarnation) error { return nil }
func (unchanged) PutReport(context.Context, mesh.Report) error                       { return nil }
func (unchanged) PutSuspicion(context.Context, mesh.Suspicion) error                 { return nil }
func (unchanged) DeleteSuspicion(context.Context, mesh.NodeID, mesh.NodeID) error    { return nil }
func (unchanged) PutIntent(context.Context, mesh.Intent) error                       { return nil }
func (unchanged) DeleteIntent(context.Context, string) error                         { return nil }
func (unchanged) PutDecision(context.Context, mesh.Decision) error                   { return nil }
func (unchanged) PutPlannerState(context.Context, mesh.PlannerState) error           { return nil }

type explain struct {
	Decision string `arg:"" help:"A decision's id, or the beginning of one; latest is the newest."`
	deployed
}

// Run tells a decision with what was refused instead.
func (c *explain) Run(s *session) error {
	return c.with(s.ctx, func(ctx context.Context, st store.Store) error {
		all, err := st.Decisions(ctx, store.KeptDecisions)
		if err != nil {
			return err
		}
		d, err := find(all, c.Decision)
		if err != nil {
			return err
		}
		writeDecision(s.out, d, d.Action)
		return nil
	})
}

// find returns the decision that id names; all are newest first.
func find(all []mesh.Decision, id string) (mesh.Decision, error) {
	if len(all) == 0 {
		return mesh.Decision{}, errors.New("no decision is kept; the planner has done nothing yet")
	}
	if id == "latest" {
		return all[0], nil
	}
	var found []mesh.Decision
	for _, d := range all {
		if d.ID == id {
			return d, nil
		}
		if strings.HasPrefix(d.ID, id) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return mesh.Decision{}, fmt.Errorf("no decision %q is kept; weft status shows the newest", id)
	case 1:
		return found[0], nil
	}
	return mesh.Decision{}, fmt.Errorf("%d decisions begin with %q, such as %s and %s; give more of it", len(found), id, found[0].ID, found[1].ID)
}

// writeDecision tells a decision in words.
func writeDecision(out io.Writer, d mesh.Decision, what string) {
	fmt.Fprintf(out, "%s %s\n  because %s\n", what, d.Subject, cmp.Or(d.Reason, "of nothing that was noted"))
	for _, a := range d.Alternatives {
		fmt.Fprintf(out, "  instead of %s\n", a)
	}
	fmt.Fprintf(out, "  decision %s, %s, layout %d\n", d.ID, time.UnixMilli(d.UnixMilli).UTC().Format(time.RFC3339), d.LayoutVersion)
}

type drain struct {
	Node string `arg:"" help:"A node or gateway, as weft status names it."`
	deployed
}

// Run asks the planner to empty a process and let it go.
func (c *drain) Run(s *session) error {
	return c.with(s.ctx, func(ctx context.Context, st store.Store) error {
		all, err := st.Processes(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(p mesh.Process) bool { return p.ID == mesh.NodeID(c.Node) })
		if i < 0 || all[i].State == mesh.Stopped {
			return fmt.Errorf("no process %q runs in %s; weft status lists them", c.Node, c.name())
		}
		err = st.PutIntent(ctx, planner.DrainIntent(all[i], time.Now(), "the operator drains it"))
		if err == nil {
			fmt.Fprintf(s.out, "%s is asked to leave; weft status shows how far it is\n", c.Node)
		}
		return err
	})
}
