# What cannot work is refused before anything is made. Every variable that a run
# lists must fail, and no other may.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  env       = "dev"
  region    = "eu-central-1"
  zips      = "./tests/zips"
  shard_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
}

run "malformed" {
  command = plan

  variables {
    env             = "production-europe"
    region          = "Frankfurt"
    shard           = "my world"
    arch            = "amd64"
    alarm_email     = "ops"
    policy          = "voronoi"
    cooldown        = "60"
    sleep_after     = "never"
    prices          = "cheap"
    launcher        = "eks"
    capacity        = "SPOT"
    image_tag       = "v1:latest"
    ami             = "debian"
    shard_key       = "abc"
    vpc_cidr        = "everywhere"
    certificate_arn = "my.pem"
    join_secret     = "token"
    client_cidrs    = ["home"]
    instance_types  = { node = "large" }
    first_limit     = { nodes = 0 }

    public_address_url = "http://example.com"
    client_domain      = "localhost"
  }

  expect_failures = [
    var.env,
    var.region,
    var.shard,
    var.arch,
    var.alarm_email,
    var.policy,
    var.cooldown,
    var.sleep_after,
    var.prices,
    var.launcher,
    var.capacity,
    var.image_tag,
    var.ami,
    var.shard_key,
    var.vpc_cidr,
    var.certificate_arn,
    var.join_secret,
    var.client_cidrs,
    var.instance_types,
    var.first_limit,
    var.public_address_url,
    var.client_domain,
  ]
}

run "certificate_without_domain" {
  command = plan

  variables {
    client_certificate = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:wildcard"
  }

  expect_failures = [var.client_certificate]
}

run "balancer_without_certificate" {
  command = plan

  variables {
    load_balancer = true
    client_domain = "play.example.com"
  }

  expect_failures = [var.load_balancer]
}

run "too_little" {
  command = plan

  variables {
    env                = ""
    zips               = "./tests"
    join_concurrency   = 0
    log_retention_days = 0
    node_actors        = 0
    max_nodes          = 0
    max_gateways       = 1
    node_size          = { cpu = 1024, memory = 1024 }
    gateway_size       = { cpu = 128, memory = 512 }
    warm_instances     = -1
    shard_key          = "0000000000000000000000000000000000000000000000000000000000000000"
    shard_key_version  = 0
    vpc_cidr           = "10.0.0.0/28"
    zones              = 1
    client_cidrs       = []
  }

  expect_failures = [
    var.env,
    var.zips,
    var.join_concurrency,
    var.log_retention_days,
    var.node_actors,
    var.max_nodes,
    var.max_gateways,
    var.node_size,
    var.gateway_size,
    var.warm_instances,
    var.shard_key,
    var.shard_key_version,
    var.vpc_cidr,
    var.zones,
    var.client_cidrs,
  ]
}

run "too_much" {
  command = plan

  variables {
    env                = "Dev"
    join_concurrency   = 1001
    log_retention_days = 31
    node_actors        = 100001
    max_nodes          = 501
    max_gateways       = 501
    node_size          = { cpu = 256, memory = 8192 }
    gateway_size       = { cpu = 300, memory = 1024 }
    warm_instances     = 51
    shard_key_version  = 1.5
    vpc_cidr           = "10.0.0.0/8"
    zones              = 5
  }

  expect_failures = [
    var.env,
    var.join_concurrency,
    var.log_retention_days,
    var.node_actors,
    var.max_nodes,
    var.max_gateways,
    var.node_size,
    var.gateway_size,
    var.warm_instances,
    var.shard_key_version,
    var.vpc_cidr,
    var.zones,
  ]
}

run "more_zones_than_the_region_has" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    prefix    = "weft-dev"
    cidr      = "10.84.0.0/16"
    zones     = 3
    mesh_port = 7400
    tags      = {}
  }

  expect_failures = [aws_vpc.this]
}

run "no_function_of_lambda" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name              = "Sweep"
    description       = ""
    timeout_seconds   = 901
    event_age_seconds = 59
    errors_above      = -1
    environment       = {}
    statements        = []
    shared            = { prefix = "dev", zips = "./tests/zips", arch = "amd64", log_retention_days = 30, alarms_topic_arn = "", tags = {} }
  }

  expect_failures = [var.name, var.timeout_seconds, var.event_age_seconds, var.errors_above, var.shared]
}
