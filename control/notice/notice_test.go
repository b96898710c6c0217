package notice

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"weft/control/mesh"
	"weft/control/planner"
	"weft/control/store/memstore"
)

var at = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

func ec2(kind, detail string) string {
	return fmt.Sprintf(`{"version":"0","id":"x","detail-type":%q,"source":"aws.ec2","account":"123456789012","time":"2026-11-22T20:00:00Z","region":"us-east-1","resources":[],"detail":{"instance-id":"i-0abc",%s}}`, kind, detail)
}

func ecs(last, desired, rest string) string {
	return fmt.Sprintf(`{"detail-type":"ECS Task State Change","source":"aws.ecs","time":"2026-11-22T20:00:00Z","detail":{"taskArn":"arn:task/1","lastStatus":%q,"desiredStatus":%q,"overrides":{"containerOverrides":[{"name":"node","environment":[{"name":"A","value":"b"},{"name":"WEFT_NODE_ID","value":"node-7"}]}]}%s}}`, last, desired, rest)
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Notice
		ok         bool
	}{
		{"spot", ec2("EC2 Spot Instance Interruption Warning", `"instance-action":"terminate"`), Notice{"", "i-0abc", false, at, "EC2 takes its instance back (terminate)"}, true},
		{"rebalance", ec2("EC2 Instance Rebalance Recommendation", `"x":1`), Notice{"", "i-0abc", false, at, "EC2 expects to take its instance back"}, true},
		{"stopping", ec2("EC2 Instance State-change Notification", `"state":"stopping"`), Notice{"", "i-0abc", false, at, "its instance is stopping"}, true},
		{"terminated", ec2("EC2 Instance State-change Notification", `"state":"terminated"`), Notice{"", "i-0abc", true, at, "its instance is terminated"}, true},
		{"running", ec2("EC2 Instance State-change Notification", `"state":"running"`), Notice{}, false},
		{"a task that will stop", ecs("RUNNING", "STOPPED", `,"stopCode":"SpotInterruption","stoppedReason":"Your Spot Task was interrupted."`),
			Notice{"node-7", "arn:task/1", false, at, "its task is stopped (SpotInterruption: Your Spot Task was interrupted.)"}, true},
		{"a task that has stopped", ecs("STOPPED", "STOPPED", ""), Notice{"node-7", "arn:task/1", true, at, "its task is stopped"}, true},
		{"a task that runs", ecs("RUNNING", "RUNNING", ""), Notice{}, false},
	} {
		n, ok, err := Parse([]byte(c.text))
		if err != nil || ok != c.ok || ok && n != c.want {
			t.Errorf("%s: %+v, %v, %v", c.name, n, ok, err)
		}
	}
	for _, text := range []string{"", "x", "{}", `{"detail-type":"Scheduled Event","source":"aws.events"}`, `{"detail-type":"ECS Task State Change"}`, `{"detail-type":"EC2 Spot Instance Interruption Warning"}`} {
		if _, ok, err := Parse([]byte(text)); !errors.Is(err, ErrUnknown) || ok {
			t.Errorf("%q: %v, %v", text, ok, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(ecs("RUNNING", "STOPPED", "")))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, ok, err := Parse(text); ok && (err != nil || n.Machine == "") {
			t.Errorf("%+v, %v", n, err)
		}
	})
}

func TestApply(t *testing.T) {
	node := mesh.Process{ID: "node-7", Incarnation: mesh.Incarnation(at.Add(-time.Hour).UnixNano()), Role: mesh.RoleNode, State: mesh.Ready, Machine: "i-0abc"}
	with := func(change func(*mesh.Process)) *mesh.Process {
		p := node
		if change != nil {
			change(&p)
		}
		return &p
	}
	soon, over := Notice{Machine: "i-0abc", At: at, Reason: "r"}, Notice{Node: "node-7", Machine: "arn:task/1", Ended: true, At: at, Reason: "r"}
	launched := mesh.Intent{Token: "launch-node-7", What: "launch", Target: "node-7", State: mesh.IntentDone}
	for _, c := range []struct {
		name    string
		notice  Notice
		process *mesh.Process
		intents []mesh.Intent
		does    string
		state   mesh.ProcessState
		intent  mesh.Intent // afterwards, but for its time
	}{
		{"it will end", soon, with(nil), nil, "drain", mesh.Ready, mesh.Intent{Token: "drain-node-7", What: "drain", Role: mesh.RoleNode, Target: "node-7", State: mesh.IntentWritten, Reason: "r"}},
		{"it will end, and leaves already", soon, with(func(p *mesh.Process) { p.State = mesh.Draining }), nil, "", mesh.Draining, mesh.Intent{}},
		{"it will end, and was asked already", soon, with(nil), []mesh.Intent{{Token: "drain-node-7", What: "drain", Target: "node-7", State: mesh.IntentDone}}, "", mesh.Ready,
			mesh.Intent{Token: "drain-node-7", What: "drain", Target: "node-7", State: mesh.IntentDone}},
		{"it has ended", over, with(nil), nil, "condemn", mesh.Stopped, mesh.Intent{}},
		{"it has ended, in good order", over, with(func(p *mesh.Process) { p.State = mesh.Stopped }), nil, "", mesh.Stopped, mesh.Intent{}},
		{"it has ended before it was known", over, nil, []mesh.Intent{launched}, "failed", 0,
			mesh.Intent{Token: "launch-node-7", What: "launch", Target: "node-7", State: mesh.IntentFailed, Reason: "it ended before it made itself known: r"}},
		{"an earlier life ended", over, with(func(p *mesh.Process) { p.Incarnation = mesh.Incarnation(at.Add(time.Second).UnixNano()) }), nil, "", mesh.Ready, mesh.Intent{}},
		{"somebody else's machine", Notice{Machine: "i-0def", At: at, Ended: true}, with(nil), nil, "", mesh.Ready, mesh.Intent{}},
		{"nobody's", soon, nil, nil, "", 0, mesh.Intent{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, ctx := memstore.New(), t.Context()
			if c.process != nil {
				if err := st.PutProcess(ctx, *c.process); err != nil {
					t.Fatal(err)
				}
			}
			for _, i := range c.intents {
				if err := st.PutIntent(ctx, i); err != nil {
					t.Fatal(err)
				}
			}
			for n := range 3 { // again is nothing new
				d, did, err := c.notice.Apply(ctx, st, at.Add(time.Second))
				if err != nil || did != (c.does != "" && n == 0) || did && d.Action != c.does {
					t.Errorf("time %d: %+v, %v, %v", n+1, d, did, err)
				}
			}
			processes, err := st.Processes(ctx)
			if err != nil || c.process != nil && (len(processes) != 1 || processes[0].State != c.state) {
				t.Errorf("%+v, %v", processes, err)
			}
			intents, err := st.Intents(ctx)
			for i := range intents {
				intents[i].CreatedUnixMilli = 0
			}
			if want := c.intent; err != nil || want.Token == "" && len(intents) > 0 || want.Token != "" && !slices.Equal(intents, []mesh.Intent{want}) {
				t.Errorf("%+v, %v", intents, err)
			}
		})
	}
}

// TestTheDrainIsThePlanners: what a notice asks for is what the planner itself
// would have asked for.
func TestTheDrainIsThePlanners(t *testing.T) {
	p := mesh.Process{ID: "node-7", Role: mesh.RoleNode, State: mesh.Ready}
	i := planner.DrainIntent(p, at, "r")
	if !planner.Leaving([]mesh.Intent{i}, p) || planner.Leaving([]mesh.Intent{planner.WakeIntent(at, "")}, p) {
		t.Error("the planner does not know the intent")
	}
}
