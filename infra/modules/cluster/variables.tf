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
  description = "CPU units and MiB of a node's task."

  validation {
    condition     = var.size.memory >= 2 * var.size.cpu && var.size.memory <= 8 * var.size.cpu
    error_message = "size: memory is 2 to 8 MiB for each CPU unit, as Fargate sells them."
  }
}

variable "image_tag" {
  type        = string
  description = "Tag of the node's image."

  validation {
    condition     = length(var.image_tag) > 0
    error_message = "image_tag is the tag of an image in the node's repository."
  }
}

variable "environment" {
  type        = map(string)
  description = "What every node is told."
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

variable "process_statements" {
  type        = any
  description = "What nodes and gateways may do: statements of an IAM policy."
}

variable "log_retention_days" {
  type        = number
  description = "How long logs are kept."
}

variable "group_ids" {
  type        = list(string)
  description = "Security groups of a node."

  validation {
    condition     = length(var.group_ids) == 1
    error_message = "group_ids of a node is the cluster's group alone: nobody else may reach it."
  }
}

variable "instance_type" {
  type        = string
  description = "Instance type of a node for the ec2 launcher."

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
