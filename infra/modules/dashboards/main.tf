# Two boards: what operators look at when something is wrong, and what analysts
# look at when something is dear. Each is a file; custom metrics have the shard
# as their only dimension, since each name and dimension set costs $0.30 a month.

resource "aws_cloudwatch_dashboard" "this" {
  for_each = toset(["operators", "analysts"])

  dashboard_name = "${var.prefix}-${each.key}"
  # Through a decoder and back, so that a slip in a file is found at plan.
  dashboard_body = jsonencode(jsondecode(templatefile("${path.module}/${each.key}.json.tftpl", {
    prefix    = var.prefix
    region    = var.region
    env       = var.env
    shard     = var.shard
    tables    = var.tables
    functions = var.functions
  })))
}
