# Every name begins with weft-<env>, and every resource that takes tags says
# whose it is: the bill is split by them.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  env       = "prod"
  region    = "eu-central-1"
  shard     = "harbour"
  zips      = "./tests/zips"
  shard_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
}

run "names" {
  assert {
    condition     = output.tables == { data = "weft-prod-data", control = "weft-prod-control" }
    error_message = "The store's URL names tables by prefix: weft-prod-data and weft-prod-control."
  }

  assert {
    condition     = output.store_url == "dynamodb://weft-prod?region=eu-central-1"
    error_message = "The store's URL is dynamodb://<prefix>?region=<region>."
  }

  assert {
    condition     = output.function_names == { for f in ["replan", "sweep", "drain", "join", "bill"] : f => "weft-prod-${f}" }
    error_message = "Functions are weft-prod-<what it does>."
  }

  assert {
    condition = alltrue([for n in concat(
      [for q in [aws_sqs_queue.replan, aws_sqs_queue.sweep, aws_sqs_queue.drain, aws_sqs_queue.join, aws_sqs_queue.bill] : q.name],
      [for r in [aws_iam_role.replan, aws_iam_role.sweep, aws_iam_role.drain, aws_iam_role.join, aws_iam_role.bill] : r.name],
      [for a in merge(aws_cloudwatch_metric_alarm.replan, aws_cloudwatch_metric_alarm.join) : a.alarm_name],
      [aws_secretsmanager_secret.shard_key.name, aws_sns_topic.alarms.name, output.cluster],
      values(output.dashboards),
    ) : startswith(n, "weft-prod")])
    error_message = "A name does not begin with weft-prod."
  }
}

run "tags" {
  assert {
    condition = alltrue([for tags in concat(
      [for f in [aws_lambda_function.replan, aws_lambda_function.sweep, aws_lambda_function.drain, aws_lambda_function.join, aws_lambda_function.bill] : f.tags],
      [for q in [aws_sqs_queue.replan, aws_sqs_queue.sweep, aws_sqs_queue.drain, aws_sqs_queue.join, aws_sqs_queue.bill] : q.tags],
      [for g in [aws_cloudwatch_log_group.replan, aws_cloudwatch_log_group.join] : g.tags],
      [for r in [aws_iam_role.replan, aws_iam_role.join] : r.tags],
      [aws_sns_topic.alarms.tags, aws_secretsmanager_secret.shard_key.tags, module.tables.data.tags, module.tables.control.tags],
    ) : tags["weft:env"] == "prod" && tags["weft:shard"] == "harbour"])
    error_message = "A resource does not carry weft:env and weft:shard."
  }
}
