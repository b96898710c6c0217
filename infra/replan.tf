# replan decides: the stream of reports, suspicions and intents calls it, and it
# applies the plan.

module "replan" {
  source = "./modules/function"

  name            = "replan"
  description     = "Plans on the stream of reports"
  timeout_seconds = 60
  errors_above    = 5
  environment     = local.function_environment
  shared          = local.function_shared
  statements = concat(local.allow.plan, [{
    Sid      = "Stream"
    Effect   = "Allow"
    Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"]
    Resource = "${module.tables.control.arn}/stream/*"
  }])
}

# Batches of a second's reports. A batch that fails is halved until the record
# that poisons it stands alone; that one goes to the dead letters, and the other
# processes' records flow on, since the stream keeps order by process only.
resource "aws_lambda_event_source_mapping" "replan" {
  event_source_arn                   = module.tables.control.stream_arn
  function_name                      = module.replan.function.arn
  starting_position                  = "LATEST"
  batch_size                         = 100
  maximum_batching_window_in_seconds = 0
  maximum_retry_attempts             = 3
  maximum_record_age_in_seconds      = 120
  bisect_batch_on_function_error     = true
  function_response_types            = ["ReportBatchItemFailures"]
  tags                               = local.tags

  # What the planner itself writes calls it no more.
  filter_criteria {
    dynamic "filter" {
      for_each = ["process", "report", "suspicion", "intent"]

      content {
        pattern = jsonencode({
          eventName = ["INSERT", "MODIFY"]
          dynamodb  = { Keys = { pk = { S = [filter.value] } } }
        })
      }
    }
  }

  destination_config {
    on_failure {
      destination_arn = module.replan.queue.arn
    }
  }
}

# Late plans are worse than none: the age of what it reads, a minute at most.
resource "aws_cloudwatch_metric_alarm" "replan_late" {
  alarm_name          = "${local.prefix}-replan-late"
  alarm_description   = "replan lags behind the stream: look at its duration and errors."
  namespace           = "AWS/Lambda"
  metric_name         = "IteratorAge"
  dimensions          = { FunctionName = module.replan.function.function_name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 60000
  period              = 60
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}
