# What every function shares: names, tags, the network, the tables, the cluster
# and the key. Each function is a file of its own, over modules/function.

data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}

locals {
  prefix      = "weft-${var.env}"
  mesh_port   = 7400
  client_port = 7443
  functions   = ["replan", "sweep", "drain", "join", "bill"]
  throttled   = { data = module.tables.data.name, control = module.tables.control.name }
  account     = data.aws_caller_identity.me.account_id
  arn         = "arn:${data.aws_partition.here.partition}"
  tags = {
    "weft:env"   = var.env
    "weft:shard" = var.shard
    "weft:infra" = local.prefix
  }

  # In the order in which they are asked: all but the last up to first_limit.
  launchers = split(",", var.launcher)
  limits = { for l in ["ecs", "ec2"] : l => {
    nodes    = length(local.launchers) > 1 && l == local.launchers[0] ? coalesce(var.first_limit.nodes, var.max_nodes) : var.max_nodes
    gateways = length(local.launchers) > 1 && l == local.launchers[0] ? coalesce(var.first_limit.gateways, var.max_gateways) : var.max_gateways
  } }
  launcher_url = join(" ", [for l in local.launchers : local.launcher_urls[l]])

  store_url = "dynamodb://${local.prefix}?region=${var.region}"
  launcher_urls = {
    ecs = join("", [
      "ecs://${module.cluster.name}?node=${module.cluster.node_family}&gateway=${module.gateway.family}",
      "&subnets=${join(",", module.network.subnet_ids)}",
      "&groups=${module.network.cluster_group_id}&gateway_groups=${module.network.cluster_group_id},${module.gateway.clients_group_id}",
      "&capacity=${var.capacity}&public=true&max_nodes=${local.limits.ecs.nodes}&max_gateways=${local.limits.ecs.gateways}&region=${var.region}",
    ])
    ec2 = join("", [
      "ec2://${module.cluster.node_template}?gateway=${module.gateway.template}",
      "&subnets=${join(",", module.network.subnet_ids)}",
      "&max_nodes=${local.limits.ec2.nodes}&max_gateways=${local.limits.ec2.gateways}&warm=${var.warm_instances}&capacity=${var.capacity == "FARGATE" ? "on-demand" : "spot"}&region=${var.region}",
    ])
  }

  # What every function is told; weft/control/options reads it.
  function_environment = merge({
    WEFT_STORE            = local.store_url
    WEFT_LAUNCHER         = local.launcher_url
    WEFT_SHARD            = var.shard
    WEFT_ENV              = var.env
    WEFT_SHARD_KEY_SECRET = aws_secretsmanager_secret.shard_key.arn
    WEFT_POLICY           = var.policy
    WEFT_NODE_ACTORS      = tostring(var.node_actors)
    WEFT_MAX_NODES        = tostring(var.max_nodes)
    WEFT_MAX_GATEWAYS     = tostring(var.max_gateways)
    WEFT_COOLDOWN         = var.cooldown
    WEFT_SLEEP_AFTER      = var.sleep_after
    WEFT_KIND             = local.launchers[0] == "ec2" ? local.instance_types.node : var.capacity
    WEFT_NODE_SIZE        = "${var.node_size.cpu}/${var.node_size.memory}"
    WEFT_GATEWAY_SIZE     = "${var.gateway_size.cpu}/${var.gateway_size.memory}"
    },
    { for name, value in { WEFT_PRICES = var.prices, WEFT_JOIN_SECRET = var.join_secret } : name => value if value != null },
    var.load_balancer ? { WEFT_BALANCER = local.client_url, WEFT_TARGET_GROUP = module.gateway.target_group_arn } : {},
  )

  function_shared = {
    prefix             = local.prefix
    zips               = var.zips
    arch               = var.arch
    log_retention_days = var.log_retention_days
    alarms_topic_arn   = aws_sns_topic.alarms.arn
    tags               = local.tags
  }

  # The functions as they are made, by what they do.
  made = { replan = module.replan, sweep = module.sweep, drain = module.drain, join = module.join, bill = module.bill }

  # How clients reach gateways, and what those show them: see README.md.
  client_url = var.load_balancer ? "wss://${coalesce(var.client_domain, "-")}:${local.client_port}/" : "wss://metadata${var.client_certificate == null ? "" : ".${coalesce(var.client_domain, "-")}"}:${local.client_port}/"
  client_tls = var.load_balancer ? "behind" : var.client_certificate == null ? "pinned" : "certificate"

  process_environment = {
    WEFT_STORE         = local.store_url
    WEFT_SHARD         = var.shard
    WEFT_ENV           = var.env
    WEFT_LISTEN        = "0.0.0.0:${local.mesh_port}"
    WEFT_ADVERTISE     = "metadata:${local.mesh_port}"
    WEFT_DRAIN_TIMEOUT = "110s"
  }

  sizes = {
    arm64  = { node = "c8g.large", gateway = "c8g.medium" }
    x86_64 = { node = "c7i.large", gateway = "c7i.large" }
  }
  instance_types = { for role, type in local.sizes[var.arch] : role => coalesce(var.instance_types[role], type) }

  ami = coalesce(var.ami, var.emulator ? "ami-00000000" : "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.arch}")
}

module "tables" {
  source = "./modules/tables"

  prefix              = local.prefix
  deletion_protection = var.deletion_protection
  tags                = local.tags
}

module "network" {
  source = "./modules/network"

  prefix    = local.prefix
  region    = var.region
  cidr      = var.vpc_cidr
  zones     = var.zones
  mesh_port = local.mesh_port
  tags      = local.tags
}

module "cluster" {
  source = "./modules/cluster"

  prefix             = local.prefix
  region             = var.region
  arch               = var.arch
  size               = var.node_size
  image_tag          = var.image_tag
  environment        = merge(local.process_environment, { WEFT_NODE_ACTORS = tostring(var.node_actors) })
  secret_arn         = aws_secretsmanager_secret.shard_key.arn
  certificate_secret = var.client_certificate
  process_statements = local.allow.process
  log_retention_days = var.log_retention_days
  group_ids          = [module.network.cluster_group_id]
  instance_type      = local.instance_types.node
  ami                = local.ami
  boot               = "${path.module}/boot.sh.tftpl"
  tags               = local.tags
}

module "gateway" {
  source = "./modules/gateway"

  prefix    = local.prefix
  region    = var.region
  arch      = var.arch
  size      = var.gateway_size
  image     = "${module.cluster.repository_urls["gateway"]}:${var.image_tag}"
  log_group = module.cluster.log_groups["gateway"]
  environment = merge(local.process_environment, {
    WEFT_CLIENT_LISTEN      = "0.0.0.0:${local.client_port}"
    WEFT_CLIENT_ADVERTISE   = local.client_url
    WEFT_CLIENT_TLS         = local.client_tls
    WEFT_PUBLIC_ADDRESS_URL = var.public_address_url
  })
  certificate_secret   = var.client_certificate
  secret_arn           = aws_secretsmanager_secret.shard_key.arn
  execution_role_arn   = module.cluster.execution_role_arn
  process_role_arn     = module.cluster.process_role_arn
  instance_profile_arn = module.cluster.instance_profile_arn
  vpc_id               = module.network.vpc_id
  subnet_ids           = module.network.subnet_ids
  cluster_group_id     = module.network.cluster_group_id
  client_port          = local.client_port
  client_cidrs         = var.client_cidrs
  load_balancer        = var.load_balancer
  certificate_arn      = var.certificate_arn
  instance_type        = local.instance_types.gateway
  ami                  = local.ami
  boot                 = "${path.module}/boot.sh.tftpl"
  tags                 = local.tags
}

module "dashboards" {
  source = "./modules/dashboards"

  prefix    = local.prefix
  region    = var.region
  env       = var.env
  shard     = var.shard
  tables    = { data = module.tables.data.name, control = module.tables.control.name }
  functions = local.functions
}

# The shard's key: by it processes know each other and tickets are sealed. It is
# written once for each version, and Terraform keeps neither it nor its hash.
resource "aws_secretsmanager_secret" "shard_key" {
  name        = "${local.prefix}-shard-key"
  description = "The key of shard ${var.shard}: 64 hexadecimal digits"
  tags        = local.tags

  # Nothing is lost with it, and its name is free for the next deploy at once.
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "shard_key" {
  secret_id                = aws_secretsmanager_secret.shard_key.id
  secret_string_wo         = var.shard_key
  secret_string_wo_version = var.shard_key_version
}

# Where alarms go.
resource "aws_sns_topic" "alarms" {
  name = "${local.prefix}-alarms"
  tags = local.tags
}

resource "aws_sns_topic_subscription" "alarms" {
  count = var.alarm_email == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

# Writers who are refused because a partition is too hot say so here first.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  for_each = local.throttled

  alarm_name          = "${local.prefix}-${each.key}-throttled"
  alarm_description   = "Table ${each.value} refuses writes: one partition takes 1,000 units a second. Look for a hot zone with weft status."
  namespace           = "AWS/DynamoDB"
  metric_name         = "WriteThrottleEvents"
  dimensions          = { TableName = each.value }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}
