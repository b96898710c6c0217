terraform {
  # 1.11 for write-only arguments: the shard's key is in no state and no plan.
  required_version = ">= 1.11.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = var.region

  # What an emulator has no answer for; see README.md. The account is asked for
  # all the same: ARNs are made of it.
  skip_credentials_validation = var.emulator
  skip_metadata_api_check     = var.emulator
  skip_region_validation      = var.emulator
  max_retries                 = var.emulator ? 3 : null
}
