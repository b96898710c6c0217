# What other programs read of a deployed world, and what they rely on.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  env       = "dev"
  region    = "eu-central-1"
  zips      = "./tests/zips"
  shard_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
}

run "launchers" {
  assert {
    condition     = output.launcher_url == output.launcher_urls.ecs && startswith(output.launcher_url, "ecs://weft-dev?node=weft-dev-node&gateway=weft-dev-gateway&subnets=")
    error_message = "The functions' launcher is the ECS one, by cluster and families."
  }

  assert {
    condition     = startswith(output.launcher_urls.ec2, "ec2://weft-dev-node?gateway=weft-dev-gateway&subnets=")
    error_message = "The EC2 launcher names the two launch templates."
  }

  assert {
    condition = alltrue([for name in ["STORE", "LAUNCHER", "SHARD", "ENV", "SHARD_KEY_SECRET", "POLICY", "NODE_ACTORS", "MAX_NODES", "MAX_GATEWAYS", "COOLDOWN", "SLEEP_AFTER", "KIND", "NODE_SIZE", "GATEWAY_SIZE"] :
    alltrue([for f in local.made : f.function.environment[0].variables["WEFT_${name}"] != ""])])
    error_message = "A function is not told what options.Function requires."
  }
}

run "ec2" {
  variables {
    launcher = "ec2"
  }

  assert {
    condition     = output.launcher_url == output.launcher_urls.ec2 && module.replan.function.environment[0].variables.WEFT_LAUNCHER == output.launcher_url && module.bill.function.environment[0].variables.WEFT_KIND == "c8g.large"
    error_message = "With launcher = ec2 the functions launch instances, and price them."
  }
}

run "both" {
  variables {
    launcher    = "ecs,ec2"
    first_limit = { nodes = 2 }
    max_nodes   = 6
  }

  assert {
    condition     = output.launcher_url == "${output.launcher_urls.ecs} ${output.launcher_urls.ec2}" && strcontains(output.launcher_urls.ecs, "&max_nodes=2&max_gateways=4&") && strcontains(output.launcher_urls.ec2, "&max_nodes=6&max_gateways=4&")
    error_message = "With two launchers the functions have both, the first up to its limit."
  }
}

run "shapes" {
  assert {
    condition     = keys(output.function_zips) == ["bill", "drain", "join", "replan", "sweep"] && alltrue([for f, z in output.function_zips : endswith(z, "/${f}.zip")])
    error_message = "function_zips names the zip of each function."
  }

  assert {
    condition     = keys(output.repository_urls) == ["gateway", "node"] && keys(output.dashboards) == ["analysts", "operators"] && output.target_group == null
    error_message = "An output has another shape, or there is a load balancer that nobody asked for."
  }

  assert {
    condition     = module.tables.control.stream_view_type == "NEW_AND_OLD_IMAGES" && !module.tables.data.stream_enabled
    error_message = "Only control has a stream, with both images."
  }

  assert {
    condition = alltrue([for t in [module.tables.data, module.tables.control] :
      t.billing_mode == "PAY_PER_REQUEST" && t.deletion_protection_enabled && t.point_in_time_recovery[0].enabled && t.server_side_encryption[0].enabled
      && t.hash_key == "pk" && t.range_key == "sk"
    ])
    error_message = "Tables are on demand, protected, encrypted and recoverable, with keys pk and sk."
  }

  assert {
    condition     = module.tables.control.ttl[0].attribute_name == "expires"
    error_message = "Decisions expire."
  }
}

# What a gateway is told, and that clients reach it.

run "gateways" {
  assert {
    condition = alltrue([for name, value in {
      WEFT_CLIENT_LISTEN = "0.0.0.0:7443", WEFT_CLIENT_ADVERTISE = "wss://metadata:7443/", WEFT_CLIENT_TLS = "pinned", WEFT_PUBLIC_ADDRESS_URL = "https://checkip.amazonaws.com",
    } : contains(jsondecode(module.gateway.container_definitions)[0].environment, { name = name, value = value })])
    error_message = "A gateway speaks TLS at its public address, and learns which that is."
  }

  assert {
    condition     = strcontains(output.launcher_urls.ecs, "&public=true&") && strcontains(output.launcher_urls.ecs, "&gateway_groups=${module.network.cluster_group_id},${module.gateway.clients_group_id}&")
    error_message = "Gateways have a public address and the clients' group."
  }

  assert {
    condition     = jsondecode(module.gateway.container_definitions)[0].secrets == [{ name = "WEFT_SHARD_KEY", valueFrom = aws_secretsmanager_secret.shard_key.arn }]
    error_message = "A gateway has the shard's key and no other secret."
  }
}

run "certificate" {
  variables {
    client_certificate = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:wildcard"
    client_domain      = "gw.example.com"
  }

  assert {
    condition = alltrue([for name, value in { WEFT_CLIENT_ADVERTISE = "wss://metadata.gw.example.com:7443/", WEFT_CLIENT_TLS = "certificate" } :
    contains(jsondecode(module.gateway.container_definitions)[0].environment, { name = name, value = value })])
    error_message = "With a certificate gateways go by their names in the domain."
  }

  assert {
    condition     = contains(jsondecode(module.gateway.container_definitions)[0].secrets[*].name, "WEFT_CLIENT_CERTIFICATE") && strcontains(module.cluster.policies.execution, "secret:wildcard") && strcontains(module.cluster.policies.instance, "secret:wildcard")
    error_message = "Tasks and instances of gateways get the certificate."
  }
}

run "load_balancer" {
  variables {
    load_balancer   = true
    certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0"
    client_domain   = "play.example.com"
  }

  assert {
    condition = output.target_group != null && alltrue([for f in [module.replan, module.sweep, module.join] :
    f.function.environment[0].variables.WEFT_TARGET_GROUP == output.target_group && f.function.environment[0].variables.WEFT_BALANCER == "wss://play.example.com:7443/"])
    error_message = "With load_balancer the functions keep its targets, and join sends clients there."
  }

  assert {
    condition = alltrue([for name, value in { WEFT_CLIENT_ADVERTISE = "wss://play.example.com:7443/", WEFT_CLIENT_TLS = "behind" } :
    contains(jsondecode(module.gateway.container_definitions)[0].environment, { name = name, value = value })])
    error_message = "Gateways behind a balancer go by its name."
  }
}

# The functions ---------------------------------------------------------------

run "functions" {
  assert {
    condition     = alltrue([for f in local.made : f.function.runtime == "provided.al2023" && tolist(f.function.architectures) == tolist(["arm64"])])
    error_message = "Functions are provided.al2023 on arm64."
  }

  assert {
    condition = (aws_lambda_event_source_mapping.replan.bisect_batch_on_function_error
      && contains(aws_lambda_event_source_mapping.replan.function_response_types, "ReportBatchItemFailures")
    && length(aws_lambda_event_source_mapping.replan.filter_criteria[0].filter) == 4)
    error_message = "replan isolates poison, reports partial failures and sees control records only."
  }

  assert {
    condition     = aws_cloudwatch_event_rule.sweep.schedule_expression == "rate(1 minute)" && aws_cloudwatch_event_rule.bill.schedule_expression == "rate(1 hour)"
    error_message = "sweep comes each minute, bill each hour."
  }

  assert {
    condition     = module.join.function.reserved_concurrent_executions == 10
    error_message = "join is throttled."
  }

  assert {
    condition     = alltrue([for f in local.made : keys(f.alarms) == ["dead", "errors"]])
    error_message = "Each function has an alarm for errors and one for dead letters."
  }
}

# bill is told what stands; it cannot count by itself.
run "standing" {
  assert {
    condition     = module.bill.function.environment[0].variables.WEFT_STANDING == join("/", [1, 1, 19, length(aws_cloudwatch_metric_alarm.throttled) + sum([for f in local.made : length(f.alarms)]) + 1])
    error_message = "bill counts other metrics or alarms than there are."
  }
}

# Each custom metric is billed by name and dimension set.
run "dashboards" {
  module {
    source = "./modules/dashboards"
  }

  variables {
    prefix    = "weft-dev"
    shard     = "weft"
    tables    = { data = "weft-dev-data", control = "weft-dev-control" }
    functions = ["replan", "sweep", "drain", "join", "bill"]
  }

  assert {
    condition = alltrue(flatten([for body in values(output.bodies) : [for w in jsondecode(body).widgets : [for m in try(w.properties.metrics, []) :
      m[0] != "Weft" || length(m) == 7 && m[2] == "Env" && m[4] == "Shard"
    ]]]))
    error_message = "A metric of ours has a dimension besides Env and Shard."
  }
}
