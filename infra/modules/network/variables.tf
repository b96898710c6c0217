variable "prefix" {
  type        = string
  description = "Begins the names."

  validation {
    condition     = can(regex("^weft-[a-z][a-z0-9]{0,11}$", var.prefix))
    error_message = "prefix is weft-<env>."
  }
}

variable "cidr" {
  type        = string
  description = "Addresses of the network."

  validation {
    condition     = can(cidrsubnet(var.cidr, 4, 3))
    error_message = "cidr is an IPv4 network that can be cut into 16, such as 10.84.0.0/16."
  }
}

variable "zones" {
  type        = number
  description = "How many availability zones."

  validation {
    condition     = var.zones >= 2 && var.zones <= 4
    error_message = "zones is 2 to 4."
  }
}

variable "mesh_port" {
  type        = number
  description = "Port at which nodes and gateways hear each other."

  validation {
    condition     = var.mesh_port >= 1024 && var.mesh_port <= 65535
    error_message = "mesh_port is 1024 to 65535: processes are not root."
  }
}

variable "region" {
  type        = string
  description = "The AWS region, for the endpoints' names."

  validation {
    condition     = length(var.region) > 0
    error_message = "region is the code of an AWS region."
  }
}

variable "tags" {
  type        = map(string)
  description = "On every resource."
}
