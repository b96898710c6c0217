# A function with what each has: a role, a log, a queue for what it gives up, and
# alarms for errors and for that queue. What calls it is in the caller's file.

locals {
  name = "${var.shared.prefix}-${var.name}"
  zip  = "${var.shared.zips}/${var.name}.zip"
}

resource "aws_lambda_function" "this" {
  function_name                  = local.name
  description                    = var.description
  role                           = aws_iam_role.this.arn
  filename                       = local.zip
  source_code_hash               = filebase64sha256(local.zip)
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.shared.arch]
  memory_size                    = 256
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = var.concurrency
  tags                           = var.shared.tags

  environment {
    variables = var.environment
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]
}

resource "aws_iam_role" "this" {
  name = local.name
  tags = var.shared.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = var.name
  role = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(var.statements, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.this.arn}:log-stream:*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.this.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.name}"
  retention_in_days = var.shared.log_retention_days
  tags              = var.shared.tags
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "this" {
  name                      = "${local.name}-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.shared.tags
}

# Tried three times in all; then to the dead letters.
resource "aws_lambda_function_event_invoke_config" "this" {
  count = var.event_age_seconds == null ? 0 : 1

  function_name                = aws_lambda_function.this.function_name
  maximum_event_age_in_seconds = var.event_age_seconds
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.this.arn
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.this.function_name }, statistic = "Sum", above = var.errors_above
      says      = "${var.name} fails: its log ${aws_cloudwatch_log_group.this.name} says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.this.name }, statistic = "Maximum", above = 0
      says      = "${var.name} gave events up: read them in queue ${aws_sqs_queue.this.name}."
    }
  }

  alarm_name          = "${local.name}-${each.key}"
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
  alarm_actions       = [var.shared.alarms_topic_arn]
  tags                = var.shared.tags
}
