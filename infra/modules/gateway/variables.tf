variable "prefix" {
  type        = string
  description = "Begins the names."

  validation {
    condition     = can(regex("^weft-[a-z][a-z0-9]{0,11}$", var.prefix))
    error_message = "prefix is weft-<env>."
  }
}

variable "region" {
  type        = string
  description = "The AWS region, for logs."

  validation {
    condition     = length(var.region) > 0
    error_message = "region is the code of an AWS region."
  }
}

variable "arch" {
  type        = string
  description = "Architecture of tasks and instances."

  validation {
    condition     = contains(["arm64", "x86_64"], var.arch)
    error_message = "arch is arm64 or x86_64."
  }
}

variable "size" {
  type        = object({ cpu = number, memory = number })
  description = "CPU units and MiB of a gateway's task."

  validation {
    condition     = var.size.memory >= 2 * var.size.cpu && var.size.memory <= 8 * var.size.cpu
    error_message = "size: memory is 2 to 8 MiB for each CPU unit, as Fargate sells them."
  }
}

variable "image" {
  type        = string
  description = "The gateway's image with its tag."

  validation {
    condition     = can(regex(":[^/:]+$", var.image))
    error_message = "image names its tag: repository:tag."
  }
}

variable "log_group" {
  type        = string
  description = "Where gateways write."
}

variable "environment" {
  type        = map(string)
  description = "What every gateway is told."
}

variable "secret_arn" {
  type        = string
  description = "The secret that holds the shard's key."
}

variable "certificate_secret" {
  type        = string
  default     = null
  description = "The secret with a certificate of the gateways' own; null for none."
}

variable "execution_role_arn" {
  type        = string
  description = "The role that starts a task."
}

variable "process_role_arn" {
  type        = string
  description = "The role of the process."
}

variable "instance_profile_arn" {
  type        = string
  description = "The profile of an instance."
}

variable "vpc_id" {
  type        = string
  description = "The network."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets of the load balancer."
}

variable "cluster_group_id" {
  type        = string
  description = "The security group of nodes and gateways."
}

variable "client_port" {
  type        = number
  description = "Port at which clients are heard."

  validation {
    condition     = var.client_port >= 1024 && var.client_port <= 65535
    error_message = "client_port is 1024 to 65535: processes are not root."
  }
}

variable "client_cidrs" {
  type        = list(string)
  description = "From where clients may come."

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for c in var.client_cidrs : can(cidrhost(c, 0))])
    error_message = "client_cidrs are IPv4 networks, at least one."
  }
}

variable "load_balancer" {
  type        = bool
  description = "Make a network load balancer."
}

variable "certificate_arn" {
  type        = string
  default     = null
  description = "Certificate of its TLS listener."
}

variable "instance_type" {
  type        = string
  description = "Instance type of a gateway for the ec2 launcher."

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is an EC2 instance type, such as c8g.large."
  }
}

variable "ami" {
  type        = string
  description = "Machine image, or resolve:ssm: and the parameter that names it."
}

variable "boot" {
  type        = string
  description = "Template of an instance's first boot."
}

variable "tags" {
  type        = map(string)
  description = "On every resource."
}
