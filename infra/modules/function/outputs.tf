output "function" {
  value       = aws_lambda_function.this
  description = "The function."
}

output "queue" {
  value       = aws_sqs_queue.this
  description = "The queue of what it gave up."
}

output "role" {
  value       = aws_iam_role.this
  description = "Its role."
}

output "policy" {
  value       = aws_iam_role_policy.this.policy
  description = "What the role may do."
}

output "log_group" {
  value       = aws_cloudwatch_log_group.this
  description = "Its log."
}

output "alarms" {
  value       = { for what, a in aws_cloudwatch_metric_alarm.this : what => a.alarm_name }
  description = "Its alarms, by what they watch."
}
