# sweep is the backstop: each minute it finds what lost events left behind.

module "sweep" {
  source = "./modules/function"

  name              = "sweep"
  description       = "Dead nodes, orphans, the warm pool; each minute"
  timeout_seconds   = 55
  event_age_seconds = 120
  errors_above      = 2
  environment       = local.function_environment
  shared            = local.function_shared
  statements        = local.allow.plan
}

resource "aws_cloudwatch_event_rule" "sweep" {
  name                = "${local.prefix}-sweep"
  description         = "Each minute"
  schedule_expression = "rate(1 minute)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "sweep" {
  rule = aws_cloudwatch_event_rule.sweep.name
  arn  = module.sweep.function.arn
}

resource "aws_lambda_permission" "sweep" {
  statement_id  = "events"
  action        = "lambda:InvokeFunction"
  function_name = module.sweep.function.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.sweep.arn
}
