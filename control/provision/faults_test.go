package provision

import (
	"errors"
	"strings"
	"testing"
)

// What Terraform and AWS say, and what the operator reads.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name     string
		said     diagnostic
		reason   Reason
		action   string
		sentence []string
	}{
		{
			"no credentials", diagnostic{Address: `provider["registry.terraform.io/hashicorp/aws"]`, Summary: "No valid credential sources found", Detail: "Please see https://registry.terraform.io/providers/hashicorp/aws\nfor more information about providing credentials.\n\nError: failed to refresh cached credentials, no EC2 IMDS role found"},
			NoCredentials, "", []string{"Terraform failed (and 1 more alike): No valid credential sources found; ", "aws sso login", "AWS_PROFILE"},
		},
		{
			"wrong region", diagnostic{Summary: "invalid AWS Region: eu-middle-1"},
			WrongRegion, "", []string{"eu-middle-1", "--region"},
		},
		{
			"name taken",
			diagnostic{
				Address: "module.replan.aws_iam_role.this",
				Summary: "creating IAM Role (weft-dev-replan): operation error IAM: CreateRole, https response error StatusCode: 409, RequestID: 1, EntityAlreadyExists: Role with name weft-dev-replan already exists.",
			},
			NameTaken, "iam:CreateRole", []string{"iam:CreateRole failed for module.replan.aws_iam_role.this (and 1 more alike): EntityAlreadyExists: Role with name weft-dev-replan already exists; something else", "choose another --env"},
		},
		{
			"a table that is there",
			diagnostic{
				Address: `module.tables.aws_dynamodb_table.this["data"]`,
				Summary: "creating AWS DynamoDB Table (weft-dev-data): operation error DynamoDB: CreateTable, https response error StatusCode: 400, RequestID: 1, ResourceInUseException: Table already exists: weft-dev-data",
			},
			NameTaken, "dynamodb:CreateTable", []string{`module.tables.aws_dynamodb_table.this["data"]`},
		},
		{
			"throttled",
			diagnostic{
				Address: "module.join.aws_lambda_function.this",
				Summary: "creating Lambda Function (weft-dev-join): operation error Lambda: CreateFunction, exceeded maximum number of attempts, 25, https response error StatusCode: 429, api error TooManyRequestsException: Rate exceeded",
			},
			Throttled, "lambda:CreateFunction", []string{"TooManyRequestsException: Rate exceeded", "wait a minute and repeat"},
		},
		{
			"denied",
			diagnostic{
				Address: "module.cluster.aws_ecs_cluster.this",
				Summary: "creating ECS Cluster (weft-dev): operation error ECS: CreateCluster, https response error StatusCode: 400, RequestID: 1, api error AccessDeniedException: User: arn:aws:iam::123456789012:user/dev is not authorized to perform: ecs:CreateCluster on resource: * because no identity-based policy allows it",
			},
			Denied, "ecs:CreateCluster", []string{"ecs:CreateCluster failed for module.cluster.aws_ecs_cluster.this", "may not do that"},
		},
		{
			"denied in two words",
			diagnostic{Address: "aws_secretsmanager_secret.shard_key", Summary: "creating Secrets Manager Secret: operation error Secrets Manager: CreateSecret, api error AccessDenied: no"},
			Denied, "secretsmanager:CreateSecret", nil,
		},
		{
			"over quota",
			diagnostic{
				Address: "module.join.aws_lambda_function.this",
				Summary: "setting Lambda Function (weft-dev-join) concurrency: operation error Lambda: PutFunctionConcurrency, api error InvalidParameterValueException: Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [10].",
			},
			OverQuota, "lambda:PutFunctionConcurrency", []string{"join_concurrency=-1"},
		},
		{
			"no answer", diagnostic{Summary: "reading STS Caller Identity: request send failed, Post \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused"},
			NoAnswer, "", []string{"alike): dial tcp 127.0.0.1:1: connect: connection refused; AWS, or", "AWS_ENDPOINT_URL"},
		},
		{
			"no provider", diagnostic{Summary: "Failed to query available provider packages", Detail: "Could not retrieve the list of available versions for provider hashicorp/aws: could not connect to registry.terraform.io"},
			NoProvider, "", []string{MirrorVariable},
		},
		{
			"locked", diagnostic{Summary: "Error acquiring the state lock", Detail: "Error message: resource temporarily unavailable\nLock Info:\n  ID: 1"},
			Locked, "", []string{"wait for it"},
		},
		{
			"a variable", diagnostic{Summary: "Invalid value for variable", Detail: "max_nodes is 1 to 500: it bounds the bill.\n\nThis was checked by the validation rule at variables.tf:107,3-13."},
			BadVariable, "", []string{"failed (and 1 more alike): max_nodes is 1 to 500: it bounds the bill"},
		},
		{
			"something else", diagnostic{Address: "aws_vpc.this", Summary: "│ unheard of\n╵"},
			Unknown, "", []string{"aws_vpc.this failed (and 1 more alike): unheard of"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cause := errors.New("exit status 1")
			f := faultOf([]diagnostic{c.said, c.said}, cause)
			if f.Reason != c.reason || f.Action != c.action || f.More != 1 || !errors.Is(f, cause) {
				t.Errorf("reason %q, action %q, %d more", f.Reason, f.Action, f.More)
			}
			text := f.Error()
			for _, want := range c.sentence {
				if !strings.Contains(text, want) {
					t.Errorf("%q lacks %q", text, want)
				}
			}
			if strings.ContainsAny(text, "\n│") || len(text) > 1000 {
				t.Errorf("it is no sentence: %q", text)
			}
		})
	}
}

// Without diagnostics the words of the process count.
func TestFaultOfAnError(t *testing.T) {
	f := faultOf(nil, errors.New("exit status 1\n\nError: Failed to install provider\n\nError while installing hashicorp/aws"))
	if f.Reason != NoProvider {
		t.Errorf("%+v", f)
	}
}

func TestEvents(t *testing.T) {
	var told []string
	e := &events{total: 2, say: func(s string) { told = append(told, s) }}
	log := `{"@level":"info","type":"version"}
not JSON
{"type":"apply_complete","hook":{"resource":{"addr":"a.b"},"action":"create"}}
{"type":"apply_complete","hook":{"resource":{"addr":"data.c"},"action":"read"}}
{"@level":"error","type":"diagnostic","diagnostic":{"severity":"error","summary":"no","detail":"never","address":"a.c"}}
{"type":"diagnostic","diagnostic":{"severity":"warning","summary":"hm"}}
{"type":"apply_complete","hook":{"resource":{"addr":"a.b"},"action":"delete"}}
`
	for i := range len(log) { // in the smallest pieces
		if n, err := e.Write([]byte(log[i : i+1])); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := strings.Join(told, "; "); got != "1 of 2: made a.b; 2 of 2: removed a.b" {
		t.Errorf("told %q", got)
	}
	if len(e.errors) != 1 || e.errors[0] != (diagnostic{"error", "no", "never", "a.c"}) {
		t.Errorf("errors are %v", e.errors)
	}
}
