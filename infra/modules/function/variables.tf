variable "name" {
  type        = string
  description = "What it does, in one word: the end of its names, and its zip."

  validation {
    condition     = can(regex("^[a-z]{1,20}$", var.name))
    error_message = "name is 1 to 20 lower-case letters, such as sweep."
  }
}

variable "shared" {
  type = object({
    prefix             = string
    zips               = string
    arch               = string
    log_retention_days = number
    alarms_topic_arn   = string
    tags               = map(string)
  })
  description = "What is alike for all functions: what begins the names, folder of the zips, architecture, how long logs are kept, where alarms go, tags on every resource."

  validation {
    condition     = can(regex("^weft-[a-z][a-z0-9]{0,11}$", var.shared.prefix)) && contains(["arm64", "x86_64"], var.shared.arch)
    error_message = "shared: prefix is weft-<env>, arch is arm64 or x86_64."
  }
}

variable "description" {
  type        = string
  description = "What it does, for the console."
}

variable "timeout_seconds" {
  type        = number
  description = "How long a call may take."

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 900
    error_message = "timeout_seconds is 1 to 900, as Lambda allows."
  }
}

variable "concurrency" {
  type        = number
  default     = -1
  description = "Most calls at the same moment, reserved of the account's concurrency; -1 reserves none."
}

variable "event_age_seconds" {
  type        = number
  default     = null
  description = "How old an event may be that it is tried with again; null if nobody calls it asynchronously."

  validation {
    condition     = var.event_age_seconds == null || try(var.event_age_seconds >= 60 && var.event_age_seconds <= 21600, false)
    error_message = "event_age_seconds is 60 to 21600, as Lambda allows, or null."
  }
}

variable "errors_above" {
  type        = number
  description = "Errors in five minutes that are no alarm yet."

  validation {
    condition     = var.errors_above >= 0
    error_message = "errors_above is 0 or more."
  }
}

variable "environment" {
  type        = map(string)
  description = "What it is told."
}

variable "statements" {
  type        = any
  description = "What it may do besides writing its log and its dead letters: statements of an IAM policy."
}
