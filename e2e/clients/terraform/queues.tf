# Queues with all that they may have, and a function that reads one. `change` makes a second state of it.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "change" {
  default = false
}

# Dead letters, with who may send them as a part of it and as a thing of its own.

resource "aws_sqs_queue" "dead" {
  name                      = "dead"
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.url
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.jobs.arn]
  })
}

resource "aws_sqs_queue" "jobs" {
  name                       = "jobs"
  delay_seconds              = var.change ? 5 : 0
  max_message_size           = 65536
  message_retention_seconds  = 86400
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 60
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.change ? 5 : 3
  })
  sqs_managed_sse_enabled = true
  tags                    = var.change ? { team = "shop", stage = "two" } : { team = "shop", old = "yes" }
}

data "aws_iam_policy_document" "topics_may_send" {
  statement {
    sid       = "topics"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.jobs.arn]
    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = ["arn:aws:sns:us-east-1:000000000000:${var.change ? "two" : "one"}"]
    }
  }
}

resource "aws_sqs_queue_policy" "jobs" {
  queue_url = aws_sqs_queue.jobs.url
  policy    = data.aws_iam_policy_document.topics_may_send.json
}

resource "aws_sqs_queue" "dead_steps" {
  name       = "dead-steps.fifo"
  fifo_queue = true
  redrive_allow_policy = jsonencode({
    redrivePermission = "denyAll"
  })
}

resource "aws_sqs_queue" "steps" {
  name_prefix                       = "steps-"
  fifo_queue                        = true
  content_based_deduplication       = true
  deduplication_scope               = "messageGroup"
  fifo_throughput_limit             = "perMessageGroupId"
  kms_master_key_id                 = "alias/aws/sqs"
  kms_data_key_reuse_period_seconds = var.change ? 600 : 300
  visibility_timeout_seconds        = 60
}

# With nothing but a name: its defaults must not look like drift.
resource "aws_sqs_queue" "plain" {
  name = "plain"
}

# A function that reads them.

resource "aws_lambda_function" "worker" {
  function_name = "worker"
  role          = "arn:aws:iam::000000000000:role/any"
  filename      = "one.zip"
  runtime       = "python3.13"
  handler       = "app.handler"
}

resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn                   = aws_sqs_queue.jobs.arn
  function_name                      = aws_lambda_function.worker.arn
  batch_size                         = 500
  maximum_batching_window_in_seconds = var.change ? 3 : 1
  function_response_types            = ["ReportBatchItemFailures"]
  scaling_config {
    maximum_concurrency = var.change ? 9 : 2
  }
  metrics_config {
    metrics = ["EventCount"]
  }
  filter_criteria {
    filter {
      pattern = jsonencode({ body = { kind = ["order"], total = [{ numeric = [">", var.change ? 100 : 10] }] } })
    }
    filter {
      pattern = jsonencode({ messageAttributes = { urgent = { stringValue = [{ exists = true }] } } })
    }
  }
}

resource "aws_lambda_event_source_mapping" "steps" {
  event_source_arn = aws_sqs_queue.steps.arn
  function_name    = aws_lambda_function.worker.arn
  enabled          = var.change
}

# What a second look finds.

data "aws_sqs_queue" "jobs" {
  name       = aws_sqs_queue.jobs.name
  depends_on = [aws_sqs_queue_policy.jobs]
}

data "aws_sqs_queues" "all" {
  queue_name_prefix = "d"
  depends_on        = [aws_sqs_queue.dead, aws_sqs_queue.dead_steps]
}

output "url" {
  value = data.aws_sqs_queue.jobs.url
}

output "dead" {
  value = join(" ", sort(data.aws_sqs_queues.all.queue_urls))
}
