output "family" {
  value       = aws_ecs_task_definition.gateway.family
  description = "The gateway's task family."
}

output "container_definitions" {
  value       = aws_ecs_task_definition.gateway.container_definitions
  description = "What runs in a gateway's task, for the tests."
}

output "template" {
  value       = aws_launch_template.gateway.name
  description = "The gateway's launch template."
}

output "template_arn" {
  value       = aws_launch_template.gateway.arn
  description = "Its ARN."
}

output "clients_group_id" {
  value       = aws_security_group.clients.id
  description = "The security group that lets clients in."
}

output "target_group_arn" {
  value       = one(aws_lb_target_group.this[*].arn)
  description = "Where the load balancer sends clients; null without one."
}

output "load_balancer_name" {
  value       = one(aws_lb.this[*].dns_name)
  description = "Host name of the load balancer; null without one."
}
