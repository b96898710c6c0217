# The gateway's task family and launch template, and the one port of the shard
# that the world can reach.

resource "aws_security_group" "clients" {
  name        = "${var.prefix}-clients"
  description = "Clients of the gateways of ${var.prefix}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.prefix}-clients" })
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.clients.id
  description       = "Clients"
  ip_protocol       = "tcp"
  from_port         = var.client_port
  to_port           = var.client_port
  cidr_ipv4         = each.value
  tags              = var.tags
}

# The balancer is of the cluster's group, and gateways hear it wherever clients
# come from.
resource "aws_vpc_security_group_ingress_rule" "balancer" {
  count = var.load_balancer ? 1 : 0

  security_group_id            = aws_security_group.clients.id
  ip_protocol                  = "tcp"
  from_port                    = var.client_port
  to_port                      = var.client_port
  referenced_security_group_id = var.cluster_group_id
  tags                         = var.tags
}

resource "aws_ecs_task_definition" "gateway" {
  family                   = "${var.prefix}-gateway"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory
  execution_role_arn       = var.execution_role_arn
  task_role_arn            = var.process_role_arn
  tags                     = merge(var.tags, { "weft:role" = "gateway" })

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.arch == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = "gateway"
    image                  = var.image
    essential              = true
    cpu                    = var.size.cpu
    memory                 = var.size.memory
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    stopTimeout            = 120
    environment            = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
    secrets = concat([{ name = "WEFT_SHARD_KEY", valueFrom = var.secret_arn }],
    [for arn in [var.certificate_secret] : { name = "WEFT_CLIENT_CERTIFICATE", valueFrom = arn } if arn != null])
    portMappings = [for port in [7400, var.client_port] :
    { containerPort = port, hostPort = port, protocol = "tcp" }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = var.log_group
        awslogs-region        = var.region
        awslogs-stream-prefix = "gateway"
      }
    }
  }])
}

resource "aws_launch_template" "gateway" {
  name                   = "${var.prefix}-gateway"
  image_id               = var.ami
  instance_type          = var.instance_type
  vpc_security_group_ids = [var.cluster_group_id, aws_security_group.clients.id]
  update_default_version = true
  tags                   = merge(var.tags, { "weft:role" = "gateway" })

  instance_initiated_shutdown_behavior = "stop"

  iam_instance_profile {
    arn = var.instance_profile_arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2 # the process is in a container
    instance_metadata_tags      = "enabled"
  }

  user_data = base64encode(templatefile(var.boot, {
    role        = "gateway"
    region      = var.region
    registry    = split("/", var.image)[0]
    image       = var.image
    log_group   = var.log_group
    secret      = var.secret_arn
    certificate = var.certificate_secret
    environment = var.environment
  }))

  # Never set here, but an emulator answers with the template's own tags.
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}

# Off by default: join names gateways by address, and a balancer costs while
# nobody plays. replan and sweep register the gateways that are ready. It ends the
# clients' TLS with its certificate, and speaks TLS with gateways, too.
resource "aws_lb" "this" {
  count = var.load_balancer ? 1 : 0

  name               = "${var.prefix}-clients"
  load_balancer_type = "network"
  subnets            = var.subnet_ids
  security_groups    = [aws_security_group.clients.id, var.cluster_group_id]
  tags               = var.tags
}

resource "aws_lb_target_group" "this" {
  count = var.load_balancer ? 1 : 0

  name                 = "${var.prefix}-gateways"
  target_type          = "ip"
  protocol             = "TLS"
  port                 = var.client_port
  vpc_id               = var.vpc_id
  deregistration_delay = 30
  tags                 = var.tags
}

resource "aws_lb_listener" "this" {
  count = var.load_balancer ? 1 : 0

  load_balancer_arn = aws_lb.this[0].arn
  protocol          = "TLS"
  port              = var.client_port
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[0].arn
  }
}
