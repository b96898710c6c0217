# drain empties a node inside the two minutes that AWS gives notice.

module "drain" {
  source = "./modules/function"

  name              = "drain"
  description       = "Empties a node that is about to be taken away"
  timeout_seconds   = 60
  event_age_seconds = 120
  errors_above      = 2
  environment       = local.function_environment
  shared            = local.function_shared
  statements        = local.allow.drain
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
  arn  = module.drain.function.arn
}

resource "aws_lambda_permission" "drain" {
  for_each = local.notices

  statement_id  = "events-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = module.drain.function.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.drain[each.key].arn
}
