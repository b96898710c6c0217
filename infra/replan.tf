# replan decides: the stream of reports, suspicions and intents calls it, and it
# applies the plan.

resource "aws_lambda_function" "replan" {
  function_name    = "${local.prefix}-replan"
  description      = "Plans on the stream of reports"
  role             = aws_iam_role.replan.arn
  filename         = "${var.zips}/replan.zip"
  source_code_hash = filebase64sha256("${var.zips}/replan.zip")
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.arch]
  memory_size      = 256
  timeout          = 60
  tags             = local.tags

  environment {
    variables = local.function_environment
  }

  depends_on = [aws_cloudwatch_log_group.replan, aws_iam_role_policy.replan]
}

resource "aws_iam_role" "replan" {
  name               = "${local.prefix}-replan"
  assume_role_policy = local.function_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "replan" {
  name = "replan"
  role = aws_iam_role.replan.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.allow.plan, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.replan.arn}:log-stream:*"
    },
    {
      Sid      = "Stream"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"]
      Resource = "${module.tables.control.arn}/stream/*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.replan.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "replan" {
  name              = "/aws/lambda/${local.prefix}-replan"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

# Batches of a second's reports. A batch that fails is halved until the record
# that poisons it stands alone; that one goes to the dead letters, and the other
# processes' records flow on, since the stream keeps order by process only.
resource "aws_lambda_event_source_mapping" "replan" {
  event_source_arn                   = module.tables.control.stream_arn
  function_name                      = aws_lambda_function.replan.arn
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
      destination_arn = aws_sqs_queue.replan.arn
    }
  }
}

# Late plans are worse than none: the age of what it reads, a minute at most.
resource "aws_cloudwatch_metric_alarm" "replan_late" {
  alarm_name          = "${local.prefix}-replan-late"
  alarm_description   = "replan lags behind the stream: look at its duration and errors."
  namespace           = "AWS/Lambda"
  metric_name         = "IteratorAge"
  dimensions          = { FunctionName = aws_lambda_function.replan.function_name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 60000
  period              = 60
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "replan" {
  name                      = "${local.prefix}-replan-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_metric_alarm" "replan" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.replan.function_name }, statistic = "Sum", above = 5
      says      = "replan fails: its log /aws/lambda/${local.prefix}-replan says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.replan.name }, statistic = "Maximum", above = 0
      says      = "replan gave events up: read them in queue ${local.prefix}-replan-dead."
    }
  }

  alarm_name          = "${local.prefix}-replan-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}
