# drain empties a node inside the two minutes that AWS gives notice.

resource "aws_lambda_function" "drain" {
  function_name    = "${local.prefix}-drain"
  description      = "Empties a node that is about to be taken away"
  role             = aws_iam_role.drain.arn
  filename         = "${var.zips}/drain.zip"
  source_code_hash = filebase64sha256("${var.zips}/drain.zip")
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.arch]
  memory_size      = 256
  timeout          = 60
  tags             = local.tags

  environment {
    variables = local.function_environment
  }

  depends_on = [aws_cloudwatch_log_group.drain, aws_iam_role_policy.drain]
}

resource "aws_iam_role" "drain" {
  name               = "${local.prefix}-drain"
  assume_role_policy = local.function_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "drain" {
  name = "drain"
  role = aws_iam_role.drain.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.allow.drain, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.drain.arn}:log-stream:*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.drain.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "drain" {
  name              = "/aws/lambda/${local.prefix}-drain"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

# EC2's notices name any instance of the account; the function passes over those
# that are not the shard's.
locals {
  notices = {
    spot = {
      source        = ["aws.ec2"]
      "detail-type" = ["EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"]
    }
    instance = {
      source        = ["aws.ec2"]
      "detail-type" = ["EC2 Instance State-change Notification"]
      detail        = { state = ["shutting-down", "stopping", "stopped", "terminated"] }
    }
    task = {
      source        = ["aws.ecs"]
      "detail-type" = ["ECS Task State Change"]
      detail        = { clusterArn = [module.cluster.arn], desiredStatus = ["STOPPED"] }
    }
  }
}

resource "aws_cloudwatch_event_rule" "drain" {
  for_each = local.notices

  name          = "${local.prefix}-drain-${each.key}"
  description   = "Something that runs processes is about to end"
  event_pattern = jsonencode(each.value)
  tags          = local.tags
}

resource "aws_cloudwatch_event_target" "drain" {
  for_each = local.notices

  rule = aws_cloudwatch_event_rule.drain[each.key].name
  arn  = aws_lambda_function.drain.arn
}

resource "aws_lambda_permission" "drain" {
  for_each = local.notices

  statement_id  = "events-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.drain.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.drain[each.key].arn
}

# Tried three times in all; then to the dead letters.
resource "aws_lambda_function_event_invoke_config" "drain" {
  function_name                = aws_lambda_function.drain.function_name
  maximum_event_age_in_seconds = 120
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.drain.arn
    }
  }
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "drain" {
  name                      = "${local.prefix}-drain-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_metric_alarm" "drain" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.drain.function_name }, statistic = "Sum", above = 2
      says      = "drain fails: its log /aws/lambda/${local.prefix}-drain says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.drain.name }, statistic = "Maximum", above = 0
      says      = "drain gave events up: read them in queue ${local.prefix}-drain-dead."
    }
  }

  alarm_name          = "${local.prefix}-drain-${each.key}"
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
