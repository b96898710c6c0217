variable "prefix" {
  type        = string
  description = "Begins the names."

  validation {
    condition     = can(regex("^weft-[a-z][a-z0-9]{0,11}$", var.prefix))
    error_message = "prefix is weft-<env>."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "DynamoDB refuses to delete the tables."
}

variable "tags" {
  type        = map(string)
  description = "On every resource."
}
