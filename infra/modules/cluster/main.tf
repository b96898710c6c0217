# Where nodes run: a Fargate cluster with the node's task family, and the same
# node as a launch template. The two roles of every task are here.

resource "aws_ecs_cluster" "this" {
  name = var.prefix
  tags = var.tags

  # Its metrics are billed by name and dimension; ours say more for less.
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_ecr_repository" "this" {
  for_each = toset(["node", "gateway"])

  name                 = "${var.prefix}/${each.key}"
  force_delete         = true # images are built from the source again
  image_tag_mutability = "MUTABLE"
  tags                 = var.tags

  image_scanning_configuration {
    scan_on_push = true
  }
}

# Old images cost; the last ten are enough to go back to.
resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name
  policy = jsonencode({ rules = [{
    rulePriority = 1
    description  = "keep ten"
    selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 10 }
    action       = { type = "expire" }
  }] })
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["node", "gateway"])

  name              = "/${var.prefix}/${each.key}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

# The execution role fetches the image and the key, and writes the log, before
# and beside the process. It is of tasks; instances have one of their own.
locals {
  image_statements = [
    {
      Sid      = "RegistryLogin"
      Effect   = "Allow"
      Action   = ["ecr:GetAuthorizationToken"]
      Resource = "*"
    },
    {
      Sid      = "Images"
      Effect   = "Allow"
      Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = [for r in aws_ecr_repository.this : r.arn]
    },
    {
      Sid      = "Logs"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = [for g in aws_cloudwatch_log_group.this : "${g.arn}:log-stream:*"]
    },
    {
      Sid      = "ShardKey"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = concat([var.secret_arn], [for arn in [var.certificate_secret] : arn if arn != null])
    },
  ]
  trust = { for name, service in { tasks = "ecs-tasks.amazonaws.com", instances = "ec2.amazonaws.com" } : name => jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = service } }]
  }) }
}

resource "aws_iam_role" "execution" {
  name               = "${var.prefix}-execution"
  assume_role_policy = local.trust.tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "execution"
  role   = aws_iam_role.execution.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.image_statements })
}

resource "aws_iam_role" "process" {
  name               = "${var.prefix}-process"
  assume_role_policy = local.trust.tasks
  tags               = var.tags
}

resource "aws_iam_role_policy" "process" {
  name   = "process"
  role   = aws_iam_role.process.id
  policy = jsonencode({ Version = "2012-10-17", Statement = var.process_statements })
}

resource "aws_iam_role" "instance" {
  name               = "${var.prefix}-instance"
  assume_role_policy = local.trust.instances
  tags               = var.tags
}

resource "aws_iam_role_policy" "instance" {
  name   = "instance"
  role   = aws_iam_role.instance.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.image_statements, var.process_statements) })
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.prefix}-instance"
  role = aws_iam_role.instance.name
  tags = var.tags
}

resource "aws_ecs_task_definition" "node" {
  family                   = "${var.prefix}-node"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.process.arn
  tags                     = merge(var.tags, { "weft:role" = "node" })

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.arch == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = "node"
    image                  = "${aws_ecr_repository.this["node"].repository_url}:${var.image_tag}"
    essential              = true
    cpu                    = var.size.cpu
    memory                 = var.size.memory
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    stopTimeout            = 120
    environment            = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
    secrets                = [{ name = "WEFT_SHARD_KEY", valueFrom = var.secret_arn }]
    portMappings           = [{ containerPort = 7400, hostPort = 7400, protocol = "tcp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this["node"].name
        awslogs-region        = var.region
        awslogs-stream-prefix = "node"
      }
    }
  }])
}

# The launcher gives tags and subnet with each launch; the template has the rest.
resource "aws_launch_template" "node" {
  name                   = "${var.prefix}-node"
  image_id               = var.ami
  instance_type          = var.instance_type
  vpc_security_group_ids = var.group_ids
  update_default_version = true
  tags                   = merge(var.tags, { "weft:role" = "node" })

  # Where it powers off for want of a process it stays, stopped, as one of the
  # warm pool; the launcher has what has a process end by terminating.
  instance_initiated_shutdown_behavior = "stop"

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2 # the process is in a container
    instance_metadata_tags      = "enabled"
  }

  user_data = base64encode(templatefile(var.boot, {
    role        = "node"
    region      = var.region
    registry    = split("/", aws_ecr_repository.this["node"].repository_url)[0]
    image       = "${aws_ecr_repository.this["node"].repository_url}:${var.image_tag}"
    log_group   = aws_cloudwatch_log_group.this["node"].name
    secret      = var.secret_arn
    certificate = null
    environment = var.environment
  }))

  # Never set here, but an emulator answers with the template's own tags.
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}
