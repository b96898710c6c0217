output "name" {
  value       = aws_ecs_cluster.this.name
  description = "The cluster."
}

output "arn" {
  value       = aws_ecs_cluster.this.arn
  description = "Its ARN."
}

output "node_family" {
  value       = aws_ecs_task_definition.node.family
  description = "The node's task family."
}

output "node_template" {
  value       = aws_launch_template.node.name
  description = "The node's launch template."
}

output "node_template_arn" {
  value       = aws_launch_template.node.arn
  description = "Its ARN."
}

output "repository_urls" {
  value       = { for role, r in aws_ecr_repository.this : role => r.repository_url }
  description = "Where the images are pushed to, by role."
}

output "log_groups" {
  value       = { for role, g in aws_cloudwatch_log_group.this : role => g.name }
  description = "Where processes write, by role."
}

output "execution_role_arn" {
  value       = aws_iam_role.execution.arn
  description = "The role that starts a task."
}

output "process_role_arn" {
  value       = aws_iam_role.process.arn
  description = "The role that a node or a gateway has."
}

output "instance_role_arn" {
  value       = aws_iam_role.instance.arn
  description = "The role of an instance."
}

output "instance_profile_arn" {
  value       = aws_iam_instance_profile.this.arn
  description = "The profile that gives an instance its role."
}

output "policies" {
  value = {
    execution = aws_iam_role_policy.execution.policy
    process   = aws_iam_role_policy.process.policy
    instance  = aws_iam_role_policy.instance.policy
  }
  description = "The policies of the three roles, for the tests."
}
