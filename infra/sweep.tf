# sweep is the backstop: each minute it finds what lost events left behind.

resource "aws_lambda_function" "sweep" {
  function_name    = "${local.prefix}-sweep"
  description      = "Dead nodes, orphans, the warm pool; each minute"
  role             = aws_iam_role.sweep.arn
  filename         = "${var.zips}/sweep.zip"
  source_code_hash = filebase64sha256("${var.zips}/sweep.zip")
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.arch]
  memory_size      = 256
  timeout          = 55
  tags             = local.tags

  environment {
    variables = local.function_environment
  }

  depends_on = [aws_cloudwatch_log_group.sweep, aws_iam_role_policy.sweep]
}

resource "aws_iam_role" "sweep" {
  name               = "${local.prefix}-sweep"
  assume_role_policy = local.function_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "sweep" {
  name = "sweep"
  role = aws_iam_role.sweep.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.allow.plan, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.sweep.arn}:log-stream:*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.sweep.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "sweep" {
  name              = "/aws/lambda/${local.prefix}-sweep"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_cloudwatch_event_rule" "sweep" {
  name                = "${local.prefix}-sweep"
  description         = "Each minute"
  schedule_expression = "rate(1 minute)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "sweep" {
  rule = aws_cloudwatch_event_rule.sweep.name
  arn  = aws_lambda_function.sweep.arn
}

resource "aws_lambda_permission" "sweep" {
  statement_id  = "events"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.sweep.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.sweep.arn
}

# Tried three times in all; then to the dead letters.
resource "aws_lambda_function_event_invoke_config" "sweep" {
  function_name                = aws_lambda_function.sweep.function_name
  maximum_event_age_in_seconds = 120
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.sweep.arn
    }
  }
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "sweep" {
  name                      = "${local.prefix}-sweep-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_metric_alarm" "sweep" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.sweep.function_name }, statistic = "Sum", above = 2
      says      = "sweep fails: its log /aws/lambda/${local.prefix}-sweep says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.sweep.name }, statistic = "Maximum", above = 0
      says      = "sweep gave events up: read them in queue ${local.prefix}-sweep-dead."
    }
  }

  alarm_name          = "${local.prefix}-sweep-${each.key}"
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
