# Every name begins with weft-<env>, and every resource that takes tags says
# whose it is: the bill is split by them.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  env       = "prod"
  region    = "eu-central-1"
  shard     = "harbour"
  zips      = "./tests/zips"
  shard_key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
}

run "names" {
  assert {
    condition     = output.tables == { data = "weft-prod-data", control = "weft-prod-control" }
    error_message = "The store's URL names tables by prefix: weft-prod-data and weft-prod-control."
  }

  assert {
    condition     = output.store_url == "dynamodb://weft-prod?region=eu-central-1"
    error_message = "The store's URL is dynamodb://<prefix>?region=<region>."
  }

  assert {
    condition     = output.function_names == { for f in ["replan", "sweep", "drain", "join", "bill"] : f => "weft-prod-${f}" }
    error_message = "Functions are weft-prod-<what it does>."
  }

  assert {
    condition = alltrue([for n in concat(
      flatten([for f in local.made : concat([f.queue.name, f.role.name], values(f.alarms))]),
      [aws_secretsmanager_secret.shard_key.name, aws_sns_topic.alarms.name, output.cluster],
      values(output.dashboards),
    ) : startswith(n, "weft-prod")])
    error_message = "A name does not begin with weft-prod."
  }
}

run "tags" {
  assert {
    condition = alltrue([for tags in concat(
      flatten([for f in local.made : [f.function.tags, f.role.tags, f.log_group.tags, f.queue.tags]]),
      [aws_sns_topic.alarms.tags, aws_secretsmanager_secret.shard_key.tags, module.tables.data.tags, module.tables.control.tags],
    ) : tags["weft:env"] == "prod" && tags["weft:shard"] == "harbour"])
    error_message = "A resource does not carry weft:env and weft:shard."
  }
}
