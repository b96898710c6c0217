# join lets a player in, and wakes a world that sleeps.

resource "aws_lambda_function" "join" {
  function_name    = "${local.prefix}-join"
  description      = "Admits a player and wakes the world"
  role             = aws_iam_role.join.arn
  filename         = "${var.zips}/join.zip"
  source_code_hash = filebase64sha256("${var.zips}/join.zip")
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.arch]
  memory_size      = 256
  timeout          = 10

  reserved_concurrent_executions = var.join_concurrency

  tags = local.tags

  environment {
    variables = local.function_environment
  }

  depends_on = [aws_cloudwatch_log_group.join, aws_iam_role_policy.join]
}

resource "aws_iam_role" "join" {
  name               = "${local.prefix}-join"
  assume_role_policy = local.function_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "join" {
  name = "join"
  role = aws_iam_role.join.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.allow.join, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.join.arn}:log-stream:*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.join.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "join" {
  name              = "/aws/lambda/${local.prefix}-join"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

# Anybody may knock: the function lets in who shows the join token. The reserved
# concurrency is the throttle, and keeps a rush from starving the planner.
resource "aws_lambda_function_url" "join" {
  function_name      = aws_lambda_function.join.function_name
  authorization_type = "NONE"
}

resource "aws_lambda_permission" "join" {
  statement_id           = "url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.join.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}

# Tried three times in all; then to the dead letters.
resource "aws_lambda_function_event_invoke_config" "join" {
  function_name                = aws_lambda_function.join.function_name
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.join.arn
    }
  }
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "join" {
  name                      = "${local.prefix}-join-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_metric_alarm" "join" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.join.function_name }, statistic = "Sum", above = 20
      says      = "join fails: its log /aws/lambda/${local.prefix}-join says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.join.name }, statistic = "Maximum", above = 0
      says      = "join gave events up: read them in queue ${local.prefix}-join-dead."
    }
  }

  alarm_name          = "${local.prefix}-join-${each.key}"
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
