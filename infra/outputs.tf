output "prefix" {
  value       = local.prefix
  description = "Begins the name of everything."
}

output "region" {
  value       = var.region
  description = "Where it is."
}

output "store_url" {
  value       = local.store_url
  description = "The replication store, for weft status and its like."
}

output "launcher_url" {
  value       = local.launcher_url
  description = "What the functions launch with."
}

output "launcher_urls" {
  value       = local.launcher_urls
  description = "Each launcher by itself, by kind."
}

output "join_url" {
  value       = aws_lambda_function_url.join.function_url
  description = "Where clients ask for a ticket."
}

output "function_names" {
  value       = { for name, f in local.made : name => f.function.function_name }
  description = "The functions, by what they do."
}

output "function_zips" {
  value       = { for f in local.functions : f => abspath("${var.zips}/${f}.zip") }
  description = "What was deployed of each, for a host that runs them where the emulator does not."
}

output "tables" {
  value       = { data = module.tables.data.name, control = module.tables.control.name }
  description = "The tables of the store."
}

output "cluster" {
  value       = module.cluster.name
  description = "The ECS cluster."
}

output "repository_urls" {
  value       = module.cluster.repository_urls
  description = "Where the images are pushed to, by role."
}

output "shard_key_secret" {
  value       = aws_secretsmanager_secret.shard_key.arn
  description = "The secret that holds the shard's key."
}

output "alarms_topic" {
  value       = aws_sns_topic.alarms.arn
  description = "Where alarms go."
}

output "dashboards" {
  value       = module.dashboards.names
  description = "The dashboards, by who reads them."
}

output "target_group" {
  value       = module.gateway.target_group_arn
  description = "Where the load balancer sends clients; null without one."
}

output "load_balancer_name" {
  value       = module.gateway.load_balancer_name
  description = "Host name of the load balancer, to which client_domain is to lead; null without one."
}
