package provision

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"weft/control/cost"
)

// Action is what happens to a resource.
type Action uint8

const (
	Add Action = iota + 1
	Alter
	Replace // removed and made anew
	Remove
)

// words for each action, in the order in which they are told.
var actions = []struct {
	action Action
	words  string
}{{Add, "to add"}, {Alter, "to change"}, {Replace, "to replace"}, {Remove, "to destroy"}}

// Change is one resource of a plan that does not stay as it is.
type Change struct {
	Address string
	Kind    string // its type in words, such as "dynamodb table"
	Action  Action
}

// Plan is what an Apply would do.
type Plan struct {
	Changes  []Change
	Standing []Line // what the world will cost while nobody plays, a month

	file      string
	variables Variables
}

// Line is a line of a bill.
type Line struct {
	What string
	USD  float64
}

// Empty reports that nothing changes.
func (p Plan) Empty() bool { return len(p.Changes) == 0 }

// String tells the plan in words.
func (p Plan) String() string {
	if p.Empty() {
		return "Nothing changes."
	}
	var b strings.Builder
	for _, a := range actions {
		kinds, n := map[string]int{}, 0
		for _, c := range p.Changes {
			if c.Action == a.action {
				kinds[c.Kind]++
				n++
			}
		}
		if n == 0 {
			continue
		}
		var parts []string
		for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(x, y string) int {
			if kinds[x] != kinds[y] {
				return kinds[y] - kinds[x]
			}
			return strings.Compare(x, y)
		}) {
			parts = append(parts, count(kinds[kind], kind))
		}
		fmt.Fprintf(&b, "%d %s: %s.\n", n, a.words, strings.Join(parts, ", "))
	}
	if len(p.Standing) > 0 {
		total := 0.0
		var parts []string
		for _, l := range p.Standing {
			total += l.USD
			parts = append(parts, fmt.Sprintf("%s $%.2f", l.What, l.USD))
		}
		fmt.Fprintf(&b, "While nobody plays it costs about $%.2f a month: %s (list prices of us-east-1, %s).\n", total, strings.Join(parts, ", "), cost.Published().Date)
		b.WriteString("Nodes and gateways cost by the second once somebody plays; bytes to players cost most.\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// count says how many of a kind.
func count(n int, kind string) string {
	switch {
	case n == 1:
		return "1 " + kind
	case strings.HasSuffix(kind, "y") && !strings.HasSuffix(kind, "ey"):
		kind = strings.TrimSuffix(kind, "y") + "ies"
	case strings.HasSuffix(kind, "s"), strings.HasSuffix(kind, "x"):
		kind += "es"
	default:
		kind += "s"
	}
	return fmt.Sprintf("%d %s", n, kind)
}

// names are types whose own words are hard to read.
var names = map[string]string{
	"aws_cloudwatch_metric_alarm":             "alarm",
	"aws_cloudwatch_log_group":                "log group",
	"aws_cloudwatch_dashboard":                "dashboard",
	"aws_cloudwatch_event_rule":               "event rule",
	"aws_cloudwatch_event_target":             "event target",
	"aws_dynamodb_table":                      "table",
	"aws_lambda_function":                     "function",
	"aws_lambda_function_event_invoke_config": "retry rule",
	"aws_lambda_event_source_mapping":         "stream mapping",
	"aws_lambda_function_url":                 "function URL",
	"aws_lb":                                  "load balancer",
	"aws_sqs_queue":                           "dead-letter queue",
	"aws_vpc":                                 "network",
	"aws_ecs_task_definition":                 "task family",
	"aws_ecr_repository":                      "image repository",
	"aws_vpc_endpoint":                        "gateway endpoint",
	"aws_kms_key":                             "key",
	"aws_secretsmanager_secret":               "secret",
}

func kindOf(kind string) string {
	if name, ok := names[kind]; ok {
		return name
	}
	return strings.ReplaceAll(strings.TrimPrefix(kind, "aws_"), "_", " ")
}

// read fills p from what Terraform shows.
func (p *Plan) read(shown *tfjson.Plan) {
	for _, r := range shown.ResourceChanges {
		if r.Mode != tfjson.ManagedResourceMode || r.Change == nil {
			continue
		}
		var a Action
		switch do := r.Change.Actions; {
		case do.Create():
			a = Add
		case do.Update():
			a = Alter
		case do.Replace():
			a = Replace
		case do.Delete():
			a = Remove
		default:
			continue
		}
		p.Changes = append(p.Changes, Change{Address: r.Address, Kind: kindOf(r.Type), Action: a})
	}
	if shown.PlannedValues != nil {
		p.Standing = standing(shown.PlannedValues.RootModule)
	}
}

// What stands whether anybody plays or not, and cost has no price for.
const (
	monthHours     = 730
	balancerHour   = 0.0225
	dashboardMonth = 3.00
	dashboardsFree = 3
	sweepsMonth    = monthHours * 60
	sweepGBSeconds = 0.25 * 0.3 // 256 MB for 300 ms
	sweepReadUnits = 20
	storedGB       = 0.1 // a month of logs and a small world
	storedGBMonth  = 0.5
)

// standing prices what root will hold, while nobody plays.
func standing(root *tfjson.StateModule) (lines []Line) {
	kinds, metrics := map[string]int{}, map[string]bool{}
	walk(root, func(r *tfjson.StateResource) {
		kinds[r.Type]++
		if body, ok := r.AttributeValues["dashboard_body"].(string); ok {
			for _, name := range metricsOf(body) {
				metrics[name] = true
			}
		}
	})
	p := cost.Published()
	add := func(what string, n int, usd float64) {
		if n > 0 {
			lines = append(lines, Line{count(n, what), float64(n) * usd})
		}
	}
	add("load balancer", kinds["aws_lb"], balancerHour*monthHours)
	add("metric", len(metrics), p.MetricMonth)
	add("dashboard beyond the three free", max(0, kinds["aws_cloudwatch_dashboard"]-dashboardsFree), dashboardMonth)
	add("alarm", kinds["aws_cloudwatch_metric_alarm"], p.AlarmMonth)
	add("key", kinds["aws_kms_key"], p.KeyMonth)
	add("secret", kinds["aws_secretsmanager_secret"], p.SecretMonth)
	if kinds["aws_lambda_function"] > 0 {
		sweeps := sweepsMonth * (p.FunctionCallMillion/1e6 + sweepGBSeconds*p.FunctionGBSecond + sweepReadUnits*p.ReadMillion/1e6)
		lines = append(lines, Line{"the minute sweep", sweeps}, Line{"what is stored", storedGB * storedGBMonth})
	}
	return lines
}

// metricsOf returns the names of our own metrics that a dashboard shows: each
// is billed.
func metricsOf(body string) (names []string) {
	var board struct {
		Widgets []struct {
			Properties struct {
				Metrics [][]any `json:"metrics"`
			} `json:"properties"`
		} `json:"widgets"`
	}
	if json.Unmarshal([]byte(body), &board) != nil {
		return nil
	}
	for _, w := range board.Widgets {
		for _, m := range w.Properties.Metrics {
			if len(m) > 1 && m[0] == "Weft" {
				names = append(names, fmt.Sprint(m[1]))
			}
		}
	}
	return names
}
