output "names" {
  value       = { for name, d in aws_cloudwatch_dashboard.this : name => d.dashboard_name }
  description = "The dashboards, by who reads them."
}

output "bodies" {
  value       = { for name, d in aws_cloudwatch_dashboard.this : name => d.dashboard_body }
  description = "What they show, as JSON."
}
