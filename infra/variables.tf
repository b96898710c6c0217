# What is deployed ------------------------------------------------------------

variable "env" {
  type        = string
  description = "The environment; every name begins with weft-<env>."

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,11}$", var.env))
    error_message = "env begins the names of everything: give 1 to 12 lower-case letters and digits, a letter first, such as dev."
  }
}

variable "region" {
  type        = string
  description = "The AWS region."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the code of an AWS region, such as eu-central-1."
  }
}

variable "shard" {
  type        = string
  default     = "weft"
  description = "The world's name, in tags and tickets."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.shard))
    error_message = "shard is 1 to 31 lower-case letters, digits and dashes, a letter first."
  }
}

variable "emulator" {
  type        = bool
  default     = false
  description = "The endpoint is an emulator of AWS: leave out what README.md lists, and nothing else."
}

# Functions -------------------------------------------------------------------

variable "arch" {
  type        = string
  default     = "arm64"
  description = "Architecture of functions, tasks and instances."

  validation {
    condition     = contains(["arm64", "x86_64"], var.arch)
    error_message = "arch is arm64 or x86_64."
  }
}

variable "zips" {
  type        = string
  description = "Folder of the functions' zips: replan.zip, sweep.zip, drain.zip, join.zip, bill.zip."

  validation {
    condition     = alltrue([for f in ["replan", "sweep", "drain", "join", "bill"] : fileexists("${var.zips}/${f}.zip")])
    error_message = "zips is the folder that holds replan.zip, sweep.zip, drain.zip, join.zip and bill.zip; weft deploy builds them."
  }
}

variable "join_concurrency" {
  type        = number
  default     = 10
  description = "Most players admitted at the same moment, reserved of the account's concurrency; -1 reserves none, as accounts with a quota of 10 need."

  validation {
    condition     = var.join_concurrency == -1 || var.join_concurrency >= 1 && var.join_concurrency <= 1000
    error_message = "join_concurrency is 1 to 1000, or -1 to reserve none; 0 would lock every player out."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  description = "How long logs are kept."

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365], var.log_retention_days)
    error_message = "log_retention_days is one of the periods that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180 or 365."
  }
}

variable "alarm_email" {
  type        = string
  default     = null
  description = "Who is told of alarms; null for nobody but the topic."

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@ ]+@[^@ ]+$", var.alarm_email))
    error_message = "alarm_email is an e-mail address, or null."
  }
}

# The planner -----------------------------------------------------------------

variable "policy" {
  type        = string
  default     = "kdsplit"
  description = "How zones follow the load."

  validation {
    condition     = contains(["kdsplit", "quasi", "static"], var.policy)
    error_message = "policy is kdsplit, quasi or static."
  }
}

variable "node_actors" {
  type        = number
  default     = 250
  description = "Awake actors that a node is declared to carry."

  validation {
    condition     = var.node_actors >= 1 && var.node_actors <= 100000
    error_message = "node_actors is 1 to 100000."
  }
}

variable "max_nodes" {
  type        = number
  default     = 8
  description = "Most nodes at a time, whatever the crowd: the limit of the bill."

  validation {
    condition     = var.max_nodes >= 1 && var.max_nodes <= 500
    error_message = "max_nodes is 1 to 500: it bounds the bill."
  }
}

variable "max_gateways" {
  type        = number
  default     = 4
  description = "Most gateways at a time; clients hold two addresses."

  validation {
    condition     = var.max_gateways >= 2 && var.max_gateways <= 500
    error_message = "max_gateways is 2 to 500: each client holds the addresses of two."
  }
}

variable "cooldown" {
  type        = string
  default     = "60s"
  description = "How long a node that is too many is kept."

  validation {
    condition     = can(regex("^([0-9]+(ms|s|m|h))+$", var.cooldown))
    error_message = "cooldown is a duration, such as 60s or 2m30s."
  }
}

variable "sleep_after" {
  type        = string
  default     = "5m"
  description = "How long a world without players runs on before it sleeps; 0s is for ever."

  validation {
    condition     = can(regex("^([0-9]+(ms|s|m|h))+$", var.sleep_after))
    error_message = "sleep_after is a duration, such as 5m; 0s lets the world never sleep."
  }
}

variable "prices" {
  type        = string
  default     = null
  description = "Prices of your own as JSON, instead of the dated table; null for the table."

  validation {
    condition     = var.prices == null || can(jsondecode(var.prices))
    error_message = "prices is JSON, or null."
  }
}

# Nodes and gateways ----------------------------------------------------------

variable "launcher" {
  type        = string
  default     = "ecs"
  description = "What runs nodes and gateways: ecs (Fargate), ec2 (instances of a launch template), or both in the order in which they are asked: the second has what the first has no room for."

  validation {
    condition     = contains(["ecs", "ec2", "ecs,ec2", "ec2,ecs"], var.launcher)
    error_message = "launcher is ecs, ec2, or both in an order: ecs,ec2 or ec2,ecs."
  }
}

variable "first_limit" {
  type        = object({ nodes = optional(number), gateways = optional(number) })
  default     = {}
  description = "With two launchers: most nodes and gateways of the first one, such as those instances that are always needed, beside Fargate for an evening's peak; absent: as many as there may be in all."

  validation {
    condition     = alltrue([for n in values(var.first_limit) : n == null || try(n >= 1 && floor(n) == n, false)])
    error_message = "first_limit holds nodes and gateways, whole numbers from 1 on."
  }
}

variable "capacity" {
  type        = string
  default     = "FARGATE"
  description = "What is asked for first: FARGATE, or FARGATE_SPOT for about 70 % less and two minutes' notice; with the ec2 launcher, instances on demand or Spot."

  validation {
    condition     = contains(["FARGATE", "FARGATE_SPOT"], var.capacity)
    error_message = "capacity is FARGATE or FARGATE_SPOT."
  }
}

variable "node_size" {
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 1024, memory = 2048 }
  description = "CPU units (1024 is one vCPU) and MiB of a node's task."

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.node_size.cpu) && var.node_size.memory >= 2 * var.node_size.cpu && var.node_size.memory <= 8 * var.node_size.cpu
    error_message = "node_size: cpu is 256, 512, 1024 … 16384 units, and memory 2 to 8 MiB for each of them, as Fargate sells them."
  }
}

variable "gateway_size" {
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 512, memory = 1024 }
  description = "CPU units and MiB of a gateway's task."

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.gateway_size.cpu) && var.gateway_size.memory >= 2 * var.gateway_size.cpu && var.gateway_size.memory <= 8 * var.gateway_size.cpu
    error_message = "gateway_size: cpu is 256, 512, 1024 … 16384 units, and memory 2 to 8 MiB for each of them, as Fargate sells them."
  }
}

variable "image_tag" {
  type        = string
  default     = "latest"
  description = "Tag of the images in the two repositories."

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", var.image_tag))
    error_message = "image_tag is an image's tag: letters, digits, dots, dashes and underscores."
  }
}

variable "instance_types" {
  type        = object({ node = optional(string), gateway = optional(string) })
  default     = {}
  description = "Instance types for the ec2 launcher; of the architecture in arch."

  validation {
    condition     = alltrue([for t in values(var.instance_types) : t == null || can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", t))])
    error_message = "instance_types are EC2 instance types, such as c8g.large."
  }
}

variable "ami" {
  type        = string
  default     = null
  description = "Machine image for the ec2 launcher; null is Amazon Linux 2023 as it is at each launch."

  validation {
    condition     = var.ami == null || can(regex("^ami-[0-9a-f]+$", var.ami))
    error_message = "ami is the id of a machine image, such as ami-0abcdef1234567890, or null."
  }
}

variable "warm_instances" {
  type        = number
  default     = 1
  description = "Stopped, pre-loaded instances that the ec2 launcher keeps for a quick start."

  validation {
    condition     = var.warm_instances >= 0 && var.warm_instances <= 50
    error_message = "warm_instances is 0 to 50."
  }
}

# The shard's key -------------------------------------------------------------

variable "shard_key" {
  type        = string
  ephemeral   = true
  sensitive   = true
  description = "The shard's key, 64 hexadecimal digits, written once for each shard_key_version and kept in no state: later runs may give any other. weft deploy makes one up; by hand, openssl rand -hex 32."

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.shard_key)) && var.shard_key != join("", [for i in range(64) : "0"])
    error_message = "shard_key is 64 lower-case hexadecimal digits that are not all zero; openssl rand -hex 32 makes some."
  }
}

variable "join_secret" {
  type        = string
  default     = null
  description = "ARN of a secret with the bearer token by which your own backend asks join for tickets; null derives the token from the shard's key."

  validation {
    condition     = var.join_secret == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.join_secret))
    error_message = "join_secret is the ARN of a secret in Secrets Manager, or null."
  }
}

variable "shard_key_version" {
  type        = number
  default     = 1
  description = "Raise it to write a new key; running processes must then be restarted."

  validation {
    condition     = var.shard_key_version >= 1 && floor(var.shard_key_version) == var.shard_key_version
    error_message = "shard_key_version is a whole number from 1 on."
  }
}

# Tables and network ----------------------------------------------------------

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "DynamoDB refuses to delete the tables; weft destroy turns it off first."
}

variable "vpc_cidr" {
  type        = string
  default     = "10.84.0.0/16"
  description = "Addresses of the shard's own network."

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.vpc_cidr)[1]), 32) <= 22
    error_message = "vpc_cidr is an IPv4 network of /16 to /22, such as 10.84.0.0/16."
  }
}

variable "zones" {
  type        = number
  default     = 2
  description = "Availability zones to spread over; bytes between zones cost."

  validation {
    condition     = var.zones >= 2 && var.zones <= 4
    error_message = "zones is 2 to 4: one alone takes the world down with it."
  }
}

variable "client_cidrs" {
  type        = list(string)
  default     = ["0.0.0.0/0"]
  description = "From where clients may connect to gateways."

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for c in var.client_cidrs : can(cidrhost(c, 0))])
    error_message = "client_cidrs are IPv4 networks, at least one, such as 0.0.0.0/0."
  }
}

variable "public_address_url" {
  type        = string
  default     = "https://checkip.amazonaws.com"
  description = "A service that answers with the address it is called from, by which a gateway on Fargate learns its public address: AWS's own unless you have another."

  validation {
    condition     = can(regex("^https://[^ ]+$", var.public_address_url))
    error_message = "public_address_url is an https:// URL."
  }
}

variable "client_certificate" {
  type        = string
  default     = null
  description = "ARN of a secret with a certificate of your own for *.client_domain, its chain and its private key as PEM, as browsers need it; null: each gateway makes a key whose hash is in its address."

  validation {
    condition     = var.client_certificate == null || can(regex("^arn:[a-z-]+:secretsmanager:", var.client_certificate)) && var.client_domain != null && !var.load_balancer
    error_message = "client_certificate is the ARN of a secret in Secrets Manager, or null; it needs client_domain, and no load_balancer."
  }
}

variable "client_domain" {
  type        = string
  default     = null
  description = "With client_certificate: the domain whose name server answers 203-0-113-7.DOMAIN with 203.0.113.7. With load_balancer: the name that leads to the balancer."

  validation {
    condition     = var.client_domain == null || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.client_domain))
    error_message = "client_domain is a domain, such as play.example.com, or null."
  }
}

variable "load_balancer" {
  type        = bool
  default     = false
  description = "Make a network load balancer before the gateways, about $16 a month; see README.md for what it is for."

  validation {
    condition     = !var.load_balancer || var.certificate_arn != null && var.client_domain != null
    error_message = "load_balancer needs certificate_arn, and client_domain: the name in that certificate."
  }
}

variable "certificate_arn" {
  type        = string
  default     = null
  description = "Certificate of the load balancer, in ACM."

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[a-z-]+:acm:", var.certificate_arn))
    error_message = "certificate_arn is the ARN of a certificate in ACM, or null."
  }
}
