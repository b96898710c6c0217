package provision

import (
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
)

func TestPlanInWords(t *testing.T) {
	change := func(kind string, do ...tfjson.Action) *tfjson.ResourceChange {
		return &tfjson.ResourceChange{Address: kind + ".x", Type: kind, Mode: tfjson.ManagedResourceMode, Change: &tfjson.Change{Actions: do}}
	}
	data := change("aws_partition", tfjson.ActionRead)
	data.Mode = tfjson.DataResourceMode
	resource := func(kind string, index any, attributes map[string]any) *tfjson.StateResource {
		return &tfjson.StateResource{Type: kind, Index: index, AttributeValues: attributes}
	}
	board := `{"widgets":[{"type":"text"},{"properties":{"metrics":[["Weft","NodesUSD","Env","dev"],["AWS/Lambda","Errors"],["Weft","TotalUSD"],["Weft","NodesUSD"]]}}]}`
	var p Plan
	p.read(&tfjson.Plan{
		ResourceChanges: []*tfjson.ResourceChange{
			change("aws_dynamodb_table", tfjson.ActionCreate), change("aws_dynamodb_table", tfjson.ActionCreate),
			change("aws_iam_role_policy", tfjson.ActionCreate), change("aws_iam_role_policy", tfjson.ActionCreate), change("aws_iam_role_policy", tfjson.ActionCreate),
			change("aws_lambda_function", tfjson.ActionUpdate), change("aws_vpc", tfjson.ActionNoop), data,
			change("aws_lb", tfjson.ActionDelete, tfjson.ActionCreate), change("aws_ecs_cluster", tfjson.ActionDelete),
		},
		PlannedValues: &tfjson.StateValues{RootModule: &tfjson.StateModule{
			Resources: []*tfjson.StateResource{resource("aws_lb", 0.0, nil), resource("aws_cloudwatch_metric_alarm", "errors", nil)},
			ChildModules: []*tfjson.StateModule{{Resources: []*tfjson.StateResource{
				resource("aws_kms_key", nil, nil),
				resource("aws_cloudwatch_dashboard", "analysts", map[string]any{"dashboard_body": board}),
				resource("aws_cloudwatch_dashboard", "operators", map[string]any{"dashboard_body": board}),
			}}},
		}},
	})
	text := p.String()
	for _, want := range []string{
		"5 to add: 3 iam role policies, 2 tables.", "1 to change: 1 function.", "1 to replace: 1 load balancer.", "1 to destroy: 1 ecs cluster.",
		"about $18.13 a month: 1 load balancer $16.43, 2 metrics $0.60, 1 alarm $0.10, 1 key $1.00 (",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan lacks %q:\n%s", want, text)
		}
	}
	if p.Empty() || !(Plan{}).Empty() || (Plan{}).String() != "Nothing changes." {
		t.Error("a plan does not know whether it is empty")
	}
}
