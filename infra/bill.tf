# bill prices the hour: node-seconds, store units, function time and bytes.

resource "aws_lambda_function" "bill" {
  function_name    = "${local.prefix}-bill"
  description      = "Prices the last hour"
  role             = aws_iam_role.bill.arn
  filename         = "${var.zips}/bill.zip"
  source_code_hash = filebase64sha256("${var.zips}/bill.zip")
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.arch]
  memory_size      = 256
  timeout          = 60
  tags             = local.tags

  environment {
    variables = merge(local.function_environment, { WEFT_STANDING = local.standing })
  }

  depends_on = [aws_cloudwatch_log_group.bill, aws_iam_role_policy.bill]
}

# What costs by the month whoever plays: keys, secrets, metrics of our own, and
# alarms: two for each function, one for each table, and replan's lateness.
locals {
  own_metrics = distinct(flatten([for body in values(module.dashboards.bodies) : [for w in jsondecode(body).widgets : [
    for m in try(w.properties.metrics, []) : m[1] if length(m) > 1 && m[0] == "Weft"
  ]]]))
  standing = join("/", [1, 1, length(local.own_metrics), 2 * length(local.functions) + length(local.throttled) + 1])
}

resource "aws_iam_role" "bill" {
  name               = "${local.prefix}-bill"
  assume_role_policy = local.function_trust
  tags               = local.tags
}

resource "aws_iam_role_policy" "bill" {
  name = "bill"
  role = aws_iam_role.bill.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.allow.bill, [
    {
      Sid      = "Log"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.bill.arn}:log-stream:*"
    },
    {
      Sid      = "DeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = aws_sqs_queue.bill.arn
    },
  ]) })
}

resource "aws_cloudwatch_log_group" "bill" {
  name              = "/aws/lambda/${local.prefix}-bill"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

resource "aws_cloudwatch_event_rule" "bill" {
  name                = "${local.prefix}-bill"
  description         = "Each hour"
  schedule_expression = "rate(1 hour)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "bill" {
  rule = aws_cloudwatch_event_rule.bill.name
  arn  = aws_lambda_function.bill.arn
}

resource "aws_lambda_permission" "bill" {
  statement_id  = "events"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.bill.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.bill.arn
}

# Tried three times in all; then to the dead letters.
resource "aws_lambda_function_event_invoke_config" "bill" {
  function_name                = aws_lambda_function.bill.function_name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.bill.arn
    }
  }
}

# What could not be handled, for two weeks.
resource "aws_sqs_queue" "bill" {
  name                      = "${local.prefix}-bill-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_metric_alarm" "bill" {
  for_each = {
    errors = {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = aws_lambda_function.bill.function_name }, statistic = "Sum", above = 2
      says      = "bill fails: its log /aws/lambda/${local.prefix}-bill says why."
    }
    dead = {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = aws_sqs_queue.bill.name }, statistic = "Maximum", above = 0
      says      = "bill gave events up: read them in queue ${local.prefix}-bill-dead."
    }
  }

  alarm_name          = "${local.prefix}-bill-${each.key}"
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
