# The replication store: <prefix>-data and <prefix>-control, the only one with
# a stream. Nothing but DynamoDB uses the key.

resource "aws_kms_key" "tables" {
  description             = "${var.prefix}: the tables of the world"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  tags                    = var.tags
}

resource "aws_kms_alias" "tables" {
  name          = "alias/${var.prefix}-tables"
  target_key_id = aws_kms_key.tables.key_id
}

resource "aws_dynamodb_table" "this" {
  for_each = { data = false, control = true } # with a stream

  name                        = "${var.prefix}-${each.key}"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection
  stream_enabled              = each.value
  stream_view_type            = each.value ? "NEW_AND_OLD_IMAGES" : null
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  # Decisions carry the time at which they go.
  dynamic "ttl" {
    for_each = each.value ? ["expires"] : []

    content {
      enabled        = true
      attribute_name = ttl.value
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.tables.arn
  }
}
