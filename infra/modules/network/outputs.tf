output "vpc_id" {
  value       = aws_vpc.this.id
  description = "The network."
}

output "subnet_ids" {
  value       = aws_subnet.public[*].id
  description = "Its subnets, one in each zone."
}

output "cluster_group_id" {
  value       = aws_security_group.cluster.id
  description = "The security group of nodes and gateways."
}
