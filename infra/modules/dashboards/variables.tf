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
  description = "The AWS region."
}

variable "env" {
  type        = string
  description = "The environment, a dimension of the metrics."
}

variable "shard" {
  type        = string
  description = "The shard, a dimension of the metrics."
}

variable "tables" {
  type        = object({ data = string, control = string })
  description = "Names of the two tables."
}

variable "functions" {
  type        = list(string)
  description = "The functions, without the prefix."

  validation {
    condition     = length(var.functions) > 0
    error_message = "functions names at least one."
  }
}
