# join lets a player in, and wakes a world that sleeps.

module "join" {
  source = "./modules/function"

  name              = "join"
  description       = "Admits a player and wakes the world"
  timeout_seconds   = 10
  concurrency       = var.join_concurrency
  event_age_seconds = 60
  errors_above      = 20
  environment       = local.function_environment
  shared            = local.function_shared
  statements        = local.allow.join
}

# Anybody may knock: the function lets in who shows the join token. The reserved
# concurrency is the throttle, and keeps a rush from starving the planner.
resource "aws_lambda_function_url" "join" {
  function_name      = module.join.function.function_name
  authorization_type = "NONE"
}

resource "aws_lambda_permission" "join" {
  statement_id           = "url"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = module.join.function.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}
