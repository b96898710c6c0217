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
    alltrue([for f in [aws_lambda_function.replan, aws_lambda_function.sweep, aws_lambda_function.drain, aws_lambda_function.join, aws_lambda_function.bill] : f.environment[0].variables["WEFT_${name}"] != ""])])
    error_message = "A function is not told what options.Function requires."
  }
}

run "ec2" {
  variables {
    launcher = "ec2"
  }

  assert {
    condition     = output.launcher_url == output.launcher_urls.ec2 && aws_lambda_function.replan.environment[0].variables.WEFT_LAUNCHER == output.launcher_url && aws_lambda_function.bill.environment[0].variables.WEFT_KIND == "c8g.large"
    error_message = "With launcher = ec2 the functions launch instances, and price them."
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

run "load_balancer" {
  variables {
    load_balancer = true
  }

  assert {
    condition     = output.target_group != null
    error_message = "With load_balancer there is a target group."
  }
}

# The functions ---------------------------------------------------------------

run "functions" {
  assert {
    condition = alltrue([for f in [aws_lambda_function.replan, aws_lambda_function.sweep, aws_lambda_function.drain, aws_lambda_function.join, aws_lambda_function.bill] :
    f.runtime == "provided.al2023" && tolist(f.architectures) == tolist(["arm64"])])
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
    condition     = aws_lambda_function.join.reserved_concurrent_executions == 10
    error_message = "join is throttled."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.replan) == 2 && length(aws_cloudwatch_metric_alarm.sweep) == 2 && length(aws_cloudwatch_metric_alarm.drain) == 2 && length(aws_cloudwatch_metric_alarm.join) == 2 && length(aws_cloudwatch_metric_alarm.bill) == 2
    error_message = "Each function has an alarm for errors and one for dead letters."
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
