output "data" {
  value       = aws_dynamodb_table.this["data"]
  description = "The table of zones, chunks and the layout."
}

output "control" {
  value       = aws_dynamodb_table.this["control"]
  description = "The table of control records, with the stream."
}

output "key_arn" {
  value       = aws_kms_key.tables.arn
  description = "The key that encrypts both."
}
