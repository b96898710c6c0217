# What functions and processes may do, by action. A resource of "*" stands only
# where its Sid has a reason in local.any_resource; the tests hold it so.

locals {
  any_resource = {
    RegistryLogin = "ecr:GetAuthorizationToken logs in to the account's registry as a whole and knows no resource"
    ListTasks     = "ecs:ListTasks knows container instances only, of which Fargate has none; the condition names the cluster"
    SeeInstances  = "ec2:DescribeInstances knows no resource"
    SeeTargets    = "elasticloadbalancing:DescribeTargetHealth knows no resource; with a load balancer only"
  }

  region_arn = local.region_service["ec2"]
  region_service = { for s in ["ec2", "ecs"] :
  s => "${local.arn}:${s}:${var.region}:${local.account}" }

  read_items  = ["dynamodb:GetItem", "dynamodb:Query"]
  write_items = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"]

  statement = {
    store = {
      Sid      = "Store"
      Effect   = "Allow"
      Action   = concat(local.read_items, local.write_items)
      Resource = [module.tables.data.arn, module.tables.control.arn]
    }
    # DynamoDB uses the key for whoever uses the tables, and for nothing else.
    key = {
      Sid       = "TableKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:DescribeKey"]
      Resource  = module.tables.key_arn
      Condition = { StringEquals = { "kms:ViaService" = "dynamodb.${var.region}.amazonaws.com" } }
    }
    control_only = {
      Sid      = "Control"
      Effect   = "Allow"
      Action   = concat(local.read_items, ["dynamodb:PutItem"])
      Resource = module.tables.control.arn
    }
    # join takes back the wake that nobody used.
    control_join = {
      Sid      = "Control"
      Effect   = "Allow"
      Action   = concat(local.read_items, ["dynamodb:PutItem", "dynamodb:DeleteItem"])
      Resource = module.tables.control.arn
    }
    join_secrets = {
      Sid      = "Secrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = concat([aws_secretsmanager_secret.shard_key.arn], [for arn in [var.join_secret] : arn if arn != null])
    }
    shard_key = {
      Sid      = "ShardKey"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = aws_secretsmanager_secret.shard_key.arn
    }
  }

  # Starting and stopping tasks: two families, one cluster, two roles.
  launch_ecs = [
    {
      Sid       = "RunTask"
      Effect    = "Allow"
      Action    = ["ecs:RunTask"]
      Resource  = [for f in [module.cluster.node_family, module.gateway.family] : "${local.region_service["ecs"]}:task-definition/${f}:*"]
      Condition = { ArnEquals = { "ecs:cluster" = module.cluster.arn } }
    },
    {
      Sid       = "EndTask"
      Effect    = "Allow"
      Action    = ["ecs:StopTask", "ecs:DescribeTasks"]
      Resource  = "${local.region_service["ecs"]}:task/${module.cluster.name}/*"
      Condition = { ArnEquals = { "ecs:cluster" = module.cluster.arn } }
    },
    {
      Sid       = "TagTask"
      Effect    = "Allow"
      Action    = ["ecs:TagResource"]
      Resource  = "${local.region_service["ecs"]}:task/${module.cluster.name}/*"
      Condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
    },
    {
      Sid       = "ListTasks"
      Effect    = "Allow"
      Action    = ["ecs:ListTasks"]
      Resource  = "*"
      Condition = { ArnEquals = { "ecs:cluster" = module.cluster.arn } }
    },
    {
      Sid       = "PassRoles"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = [module.cluster.execution_role_arn, module.cluster.process_role_arn]
      Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
    },
  ]

  # Starting and ending instances: two templates, and only what carries our tags.
  launch_ec2 = [
    {
      Sid    = "RunInstance"
      Effect = "Allow"
      Action = ["ec2:RunInstances"]
      Resource = concat(
        [module.cluster.node_template_arn, module.gateway.template_arn],
        [for s in module.network.subnet_ids : "${local.region_arn}:subnet/${s}"],
        [for g in [module.network.cluster_group_id, module.gateway.clients_group_id] : "${local.region_arn}:security-group/${g}"],
        ["${local.region_arn}:network-interface/*", "${local.region_arn}:volume/*", "${local.arn}:ec2:${var.region}::image/*"],
      )
    },
    {
      Sid      = "RunTagged"
      Effect   = "Allow"
      Action   = ["ec2:RunInstances"]
      Resource = "${local.region_arn}:instance/*"
      Condition = {
        StringEquals = { "aws:RequestTag/weft:env" = var.env, "aws:RequestTag/weft:shard" = var.shard }
        ArnEquals    = { "ec2:LaunchTemplate" = [module.cluster.node_template_arn, module.gateway.template_arn] }
      }
    },
    {
      Sid       = "TagAtLaunch"
      Effect    = "Allow"
      Action    = ["ec2:CreateTags"]
      Resource  = [for kind in ["instance", "volume", "network-interface"] : "${local.region_arn}:${kind}/*"]
      Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
    },
    {
      Sid      = "OwnInstances"
      Effect   = "Allow"
      Action   = ["ec2:StartInstances", "ec2:ModifyInstanceAttribute", "ec2:TerminateInstances", "ec2:CreateTags"]
      Resource = "${local.region_arn}:instance/*"
      Condition = { StringEquals = {
        "aws:ResourceTag/weft:env"   = var.env
        "aws:ResourceTag/weft:shard" = var.shard
      } }
    },
    {
      Sid      = "SeeInstances"
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances"]
      Resource = "*"
    },
    {
      Sid       = "PassInstanceRole"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = module.cluster.instance_role_arn
      Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
    },
  ]

  # Keeping the load balancer's targets to the gateways.
  balance = [
    {
      Sid      = "Targets"
      Effect   = "Allow"
      Action   = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"]
      Resource = module.gateway.target_group_arn
    },
    {
      Sid      = "SeeTargets"
      Effect   = "Allow"
      Action   = ["elasticloadbalancing:DescribeTargetHealth"]
      Resource = "*"
    },
  ]

  # By who has them; replan adds its trigger, modules/function log and queue.
  allow = {
    process = [local.statement.store, local.statement.key]
    drain   = [local.statement.control_only, local.statement.key]
    plan    = concat([local.statement.store, local.statement.key, local.statement.shard_key], [for s in local.launch_ecs : s if contains(local.launchers, "ecs")], [for s in local.launch_ec2 : s if contains(local.launchers, "ec2")], [for s in local.balance : s if var.load_balancer])
    join    = [local.statement.control_join, local.statement.key, local.statement.join_secrets]
    bill    = [local.statement.control_only, local.statement.key]
  }

  # All that is allowed to anybody, for the tests.
  every_statement = flatten([for policy in concat(values(module.cluster.policies), [for f in local.made : f.policy]) : jsondecode(policy).Statement])
}
