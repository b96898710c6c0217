# Least privilege: no "*" action, no "*" resource without a stated reason, and
# the few things that cost or break something bound as tightly as AWS allows.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = module.cluster.aws_iam_role.execution
  values = { arn = "arn:aws:iam::123456789012:role/weft-dev-execution" }
}

override_resource {
  target = module.cluster.aws_iam_role.process
  values = { arn = "arn:aws:iam::123456789012:role/weft-dev-process" }
}

override_resource {
  target = module.cluster.aws_iam_role.instance
  values = { arn = "arn:aws:iam::123456789012:role/weft-dev-instance" }
}

variables {
  env      = "dev"
  region   = "eu-central-1"
  zips     = "./tests/zips"
  launcher = "ecs,ec2" # the widest, with

  load_balancer   = true
  certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0"
  client_domain   = "play.example.com"

  shard_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
}

run "wildcards" {
  assert {
    condition = alltrue([for s in local.every_statement : alltrue([for a in flatten([s.Action]) :
    can(regex("^[a-z0-9-]+:[A-Za-z]+$", a))])])
    error_message = "An action holds a wildcard."
  }

  assert {
    condition     = alltrue([for s in local.every_statement : !contains(flatten([s.Resource]), "*") || contains(keys(local.any_resource), s.Sid)])
    error_message = "A statement is about every resource, and local.any_resource has no reason for it."
  }

  assert {
    condition     = alltrue([for sid in keys(local.any_resource) : contains([for s in local.every_statement : s.Sid if contains(flatten([s.Resource]), "*")], sid)])
    error_message = "local.any_resource excuses a statement that is not there."
  }

  assert {
    condition     = alltrue([for s in local.every_statement : s.Effect == "Allow" && !can(s.NotAction) && !can(s.NotResource)])
    error_message = "Statements say what is allowed, not what is not."
  }
}

run "launching" {
  assert {
    condition = alltrue([for s in local.every_statement : s.Condition.ArnEquals["ecs:cluster"] == module.cluster.arn && toset(s.Resource) == toset([
      "arn:aws:ecs:eu-central-1:123456789012:task-definition/weft-dev-node:*", "arn:aws:ecs:eu-central-1:123456789012:task-definition/weft-dev-gateway:*",
    ]) if contains(flatten([s.Action]), "ecs:RunTask")])
    error_message = "RunTask is for the two families on the one cluster."
  }

  assert {
    condition = alltrue([for s in local.every_statement : (
      s.Condition.StringEquals["iam:PassedToService"] == "ecs-tasks.amazonaws.com" && toset(flatten([s.Resource])) == toset([module.cluster.execution_role_arn, module.cluster.process_role_arn])
      || s.Condition.StringEquals["iam:PassedToService"] == "ec2.amazonaws.com" && flatten([s.Resource]) == [module.cluster.instance_role_arn]
    ) if contains(flatten([s.Action]), "iam:PassRole")])
    error_message = "PassRole is for exactly the roles of tasks to ECS, and of instances to EC2."
  }

  assert {
    condition = alltrue([for s in local.every_statement : s.Condition.StringEquals["aws:ResourceTag/weft:env"] == "dev" && s.Condition.StringEquals["aws:ResourceTag/weft:shard"] == "weft"
    if contains(flatten([s.Action]), "ec2:TerminateInstances")])
    error_message = "Instances are ended by tag."
  }

  assert {
    condition     = length([for s in local.every_statement : s if contains(flatten([s.Action]), "ecs:RunTask")]) == 2 && strcontains(module.replan.policy, "RunTask") && strcontains(module.sweep.policy, "RunTask")
    error_message = "replan and sweep launch, nobody else."
  }
}

run "without_ec2" {
  variables {
    launcher        = "ecs"
    load_balancer   = false
    certificate_arn = null
    client_domain   = null
  }

  assert {
    condition     = !strcontains(module.replan.policy, "elasticloadbalancing")
    error_message = "Without a load balancer functions may do nothing with any."
  }

  assert {
    condition     = !strcontains(module.replan.policy, "ec2:")
    error_message = "Functions that launch tasks may do nothing with instances."
  }
}

run "tables_by_action" {
  assert {
    condition = alltrue([for s in local.every_statement : alltrue([for a in flatten([s.Action]) : contains([
      "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
      "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams",
    ], a) if startswith(a, "dynamodb:")])])
    error_message = "Nobody scans, and nobody changes a table itself."
  }

  assert {
    condition = alltrue([for p in [module.drain.policy, module.join.policy, module.bill.policy] :
    alltrue([for s in jsondecode(p).Statement : flatten([s.Resource]) == [module.tables.control.arn] if strcontains(jsonencode(s.Action), "dynamodb:")])])
    error_message = "drain, join and bill know the control table only."
  }

  assert {
    condition     = !strcontains(module.bill.policy, "secretsmanager") && !strcontains(module.bill.policy, "DeleteItem")
    error_message = "bill needs neither the key nor to delete."
  }
}

run "ports" {
  module {
    source = "./modules/network"
  }

  variables {
    prefix    = "weft-dev"
    cidr      = "10.84.0.0/16"
    zones     = 2
    mesh_port = 7400
    tags      = {}
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.mesh.referenced_security_group_id == aws_security_group.cluster.id && aws_vpc_security_group_ingress_rule.mesh.cidr_ipv4 == null
    error_message = "Nodes hear the cluster's own group only."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.mesh.from_port == 7400 && aws_vpc_security_group_ingress_rule.mesh.to_port == 7400
    error_message = "Nodes hear at one port."
  }
}
