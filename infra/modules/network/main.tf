# A network of public subnets without a NAT gateway, which would cost $32 a
# month with nobody there. Processes have public addresses, and no port open but
# to each other; gateways alone add the clients' port.

data "aws_availability_zones" "here" {
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(var.tags, { Name = var.prefix })

  lifecycle {
    precondition {
      condition     = length(data.aws_availability_zones.here.names) >= var.zones
      error_message = "This region has ${length(data.aws_availability_zones.here.names)} availability zones: lower zones."
    }
  }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.prefix })
}

resource "aws_subnet" "public" {
  count = var.zones

  vpc_id                  = aws_vpc.this.id
  availability_zone       = data.aws_availability_zones.here.names[count.index]
  cidr_block              = cidrsubnet(var.cidr, 4, count.index)
  map_public_ip_on_launch = true
  tags                    = merge(var.tags, { Name = "${var.prefix}-${count.index}" })
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.prefix })
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count = var.zones

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# Free, and the bytes of the world do not leave the region's network. S3 is
# where the layers of the images lie.
resource "aws_vpc_endpoint" "this" {
  for_each = toset(["dynamodb", "s3"])

  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id]
  tags              = merge(var.tags, { Name = "${var.prefix}-${each.key}" })
}

# Members hear members at the mesh's port; nobody else hears them. (The rule has
# no description of its own: moto forgets those of rules between groups.)
resource "aws_security_group" "cluster" {
  name        = "${var.prefix}-cluster"
  description = "Nodes and gateways of ${var.prefix} among themselves"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.prefix}-cluster" })
}

resource "aws_vpc_security_group_ingress_rule" "mesh" {
  security_group_id            = aws_security_group.cluster.id
  ip_protocol                  = "tcp"
  from_port                    = var.mesh_port
  to_port                      = var.mesh_port
  referenced_security_group_id = aws_security_group.cluster.id
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "out" {
  security_group_id = aws_security_group.cluster.id
  description       = "Peers, the store, images and logs"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}

# The group that a thing without a group gets has no rule at all.
resource "aws_default_security_group" "none" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.prefix}-unused" })
}
