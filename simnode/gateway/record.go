package gateway

import (
	"weft/control/mesh"
	"weft/simnode/process"
)

// record is what the gateway tells the store about itself and others.
type record struct {
	ids        process.RequestIDs
	written    mesh.ProcessState // as the store has it
	putID      uint64            // the request under way that writes it; 0 is none
	putState   mesh.ProcessState
	putAt      mesh.Tick
	reportID   uint64 // likewise
	reportAt   mesh.Tick
	sequence   uint64
	observed   mesh.Report
	counters   mesh.Counters // what the core counts itself
	storeDown  bool          // the last request was not carried out, or not answered
	suspicions int           // under way
	number     uint64        // of the last suspicion
	drainedAt  mesh.Tick
	stopped    bool
}

const (
	maxSuspicions = 8
	// unansweredTicks is how long an answer may take before the store counts as away.
	unansweredTicks = 100
	// farewellTicks is how long a drained gateway waits to be recorded as stopped.
	farewellTicks = 40
)

// Observe hands over what only the edge can measure, for the next report: the
// tick statistics, BytesToPeers, BytesToClients, the Store counters and
// RefusedInputs as far as the edge refused them. The rest of r is not looked at.
func (g *Gateway) Observe(r mesh.Report) { g.record.observed = r }

// Report returns the state of the process now, as its next report would say it.
func (g *Gateway) Report() mesh.Report {
	o := &g.record.observed
	r := mesh.Report{
		Process: g.self, Sequence: g.record.sequence, Tick: g.now,
		TickBudgetUS: o.TickBudgetUS, TickP50US: o.TickP50US, TickP99US: o.TickP99US, TickMaxUS: o.TickMaxUS,
		BusyUS: o.BusyUS, TicksMissed: o.TicksMissed, Ticks: o.Ticks,
		Clients: len(g.clients), Counters: o.Counters,
	}
	if g.layout != nil {
		r.LayoutVersion = g.layout.Version
	}
	r.Counters.RefusedInputs += g.record.counters.RefusedInputs
	r.Counters.DroppedFrames += g.record.counters.DroppedFrames
	return r
}

func (g *Gateway) request(r *process.Request) uint64 {
	r.ID = g.record.ids.Next()
	g.effect(process.Effect{Kind: process.EffectRequest, Request: r})
	return r.ID
}

// recordTick writes the process's record when its state changed, and its
// report when it is due, one of each at a time.
func (g *Gateway) recordTick() {
	rec := &g.record
	if rec.putID != 0 && g.now >= rec.putAt+unansweredTicks || rec.reportID != 0 && g.now >= rec.reportAt+unansweredTicks {
		rec.storeDown, rec.putID, rec.reportID = true, 0, 0
	}
	every := mesh.Tick(g.cfg.ReportEveryTicks)
	if rec.putID == 0 && g.self.State != rec.written && (rec.putAt == 0 || g.self.State != rec.putState || g.now >= rec.putAt+every) {
		rec.putAt, rec.putState = g.now, g.self.State
		rec.putID = g.request(&process.Request{Op: process.OpPutProcess, Process: g.self})
	}
	if rec.reportID == 0 && rec.written != 0 && (rec.reportAt == 0 || g.now >= rec.reportAt+every) {
		rec.reportAt = g.now
		rec.sequence++
		r := g.Report()
		rec.reportID = g.request(&process.Request{Op: process.OpPutReport, Report: &r})
	}
	if !g.draining || len(g.clients) > 0 || rec.stopped {
		return
	}
	if g.self.State != mesh.Stopped {
		g.self.State, rec.drainedAt = mesh.Stopped, g.now
	} else if rec.written == mesh.Stopped || g.now >= rec.drainedAt+farewellTicks {
		g.stop("drained")
	}
}

func (g *Gateway) stop(reason string) {
	if !g.record.stopped {
		g.record.stopped = true
		g.effect(process.Effect{Kind: process.EffectStop, Reason: reason})
	}
}

func (g *Gateway) writeSuspicion(accused mesh.Owner, kind mesh.SuspicionKind) {
	g.record.number++
	g.record.suspicions++
	g.request(&process.Request{Op: process.OpPutSuspicion, Suspicion: mesh.Suspicion{
		Suspect: accused.Node, Incarnation: accused.Incarnation, Kind: kind,
		Witness: g.self.ID, WitnessRole: mesh.RoleGateway, Tick: g.now, Number: g.record.number,
	}})
}

func (g *Gateway) answer(a *process.Answer) {
	rec := &g.record
	rec.storeDown = a.Verdict == process.Unavailable
	switch a.Op {
	case process.OpPutSuspicion:
		rec.suspicions = max(0, rec.suspicions-1)
	case process.OpPutProcess:
		if a.ID != rec.putID {
			return
		}
		rec.putID = 0
		if a.Verdict == process.OK {
			rec.written = rec.putState
		}
	case process.OpPutReport:
		if a.ID != rec.reportID {
			return
		}
		rec.reportID = 0
	default:
		return
	}
	if a.Verdict == process.Stale && a.Op != process.OpPutSuspicion && g.self.State != mesh.Stopped {
		g.stop("a later life of this gateway exists, or it was declared stopped")
	}
}
