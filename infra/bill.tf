# bill prices the hour: node-seconds, store units, function time and bytes.

module "bill" {
  source = "./modules/function"

  name              = "bill"
  description       = "Prices the last hour"
  timeout_seconds   = 60
  event_age_seconds = 3600
  errors_above      = 2
  environment       = merge(local.function_environment, { WEFT_STANDING = local.standing })
  shared            = local.function_shared
  statements        = local.allow.bill
}

# What costs by the month whoever plays: keys, secrets, metrics of our own, and
# alarms: two for each function, one for each table, and replan's lateness.
locals {
  own_metrics = distinct(flatten([for body in values(module.dashboards.bodies) : [for w in jsondecode(body).widgets : [
    for m in try(w.properties.metrics, []) : m[1] if length(m) > 1 && m[0] == "Weft"
  ]]]))
  standing = join("/", [1, 1, length(local.own_metrics), 2 * length(local.functions) + length(local.throttled) + 1])
}

resource "aws_cloudwatch_event_rule" "bill" {
  name                = "${local.prefix}-bill"
  description         = "Each hour"
  schedule_expression = "rate(1 hour)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "bill" {
  rule = aws_cloudwatch_event_rule.bill.name
  arn  = module.bill.function.arn
}

resource "aws_lambda_permission" "bill" {
  statement_id  = "events"
  action        = "lambda:InvokeFunction"
  function_name = module.bill.function.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.bill.arn
}
