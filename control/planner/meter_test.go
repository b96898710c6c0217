package planner

import (
	"testing"
	"time"

	"weft/control/mesh"
)

// TestMeter follows a fleet over an hour's end: what is counted, and what is not twice.
func TestMeter(t *testing.T) {
	s := scene(func(s *Snapshot) {
		procOf(s, "b").Kind = "FARGATE_SPOT"
		s.Reports[0].Counters = mesh.Counters{StoreWriteUnits: 1000, BytesToClients: 5, BytesToPeers: 7}
		s.Reports[3].Clients = 10
		s.Intents = []mesh.Intent{
			{Token: "launch-d", What: launch, Role: mesh.RoleNode, Target: "d", State: mesh.IntentDone, CreatedUnixMilli: at(0).UnixMilli()},
			{Token: "launch-e", What: launch, Role: mesh.RoleNode, Target: "e", State: mesh.IntentFailed, CreatedUnixMilli: at(0).UnixMilli()},
		}
	})
	begin := time.UnixMilli((at(0).UnixMilli()/milliPerHour+1)*milliPerHour - 10_000) // ten seconds before the hour
	hour := begin.UnixMilli() / milliPerHour
	pass := func(after time.Duration) Meter {
		for i := range s.Reports {
			s.Reports[i].Sequence++
		}
		_, s.State = Plan(DefaultConfig(), s, begin.Add(after))
		s.Spent = Spent{}
		return s.State.Meter
	}
	pass(0) // begins; what the counters showed is not known to be unbilled
	s.Reports[0].Counters = mesh.Counters{StoreWriteUnits: 1300, BytesToClients: 5, BytesToPeers: 107}
	s.Spent = Spent{Calls: 2, Millis: 50, ReadUnits: 9, WriteUnits: 1}
	pass(4 * time.Second)
	pass(4 * time.Second) // no time has passed
	s.Reports[0].Process.Incarnation, procOf(&s, "a").Incarnation = 8, 8
	s.Reports[0].Counters = mesh.Counters{StoreWriteUnits: 20} // a new life counts from 0
	m := pass(6 * time.Second)
	got, ok := m.Of(hour)
	if !ok || got.Processes["node "] != 3*6000 || got.Processes["node FARGATE_SPOT"] != 6000 || got.Processes["gateway "] != 2*6000 {
		t.Errorf("processes %v", got.Processes)
	}
	if got.ClientMillis != 60_000 || got.WriteUnits != 320 || got.ClientBytes != 0 || got.PeerBytes != 100 || got.Functions != (Spent{2, 50, 9, 1}) {
		t.Errorf("%+v", got)
	}
	if got.BusyMillis != 6000 {
		t.Errorf("nodes with zones for %d ms", got.BusyMillis)
	}
	if p := m.DayPeak(); p.Nodes != 4 || p.Gateways != 2 || p.Clients != 10 {
		t.Errorf("peak %+v", p)
	}
	before := got
	m = pass(time.Hour) // the planner was away: who ran then is not known
	got, _ = m.Of(hour)
	if next, ok := m.Of(hour + 1); !ok || got.Processes["gateway "] != before.Processes["gateway "] || next.Processes["gateway "] != 2*countedMilli || next.WriteUnits != 0 {
		t.Errorf("after an hour away: %+v, then %+v", got, next)
	}
	for range 3 {
		begin = begin.Add(time.Hour)
		m = pass(time.Hour)
	}
	if _, ok := m.Of(hour); ok || len(m.Hours) != keptHours {
		t.Errorf("%d hours are kept", len(m.Hours))
	}
}

func TestSpent(t *testing.T) {
	a, b := Spent{5, 6, 7, 8}, Spent{1, 2, 3, 4}
	if got := a.Plus(b).Minus(b); got != a {
		t.Errorf("%+v", got)
	}
}
