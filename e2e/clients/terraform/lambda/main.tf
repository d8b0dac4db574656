# An application as people describe theirs: a function with all that hangs on it. `change` makes a second state of it.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "code" {
  description = "The function's zip"
}

variable "layer" {
  description = "The layer's zip"
}

variable "change" {
  default = false
}

data "aws_caller_identity" "me" {}
data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.me.account_id
  queue   = aws_sqs_queue.orders.arn
}

# Queues.

resource "aws_sqs_queue" "orders" {
  name                       = "orders"
  visibility_timeout_seconds = 900
  delay_seconds              = var.change ? 5 : 0
  receive_wait_time_seconds  = 20
  tags                       = { team = "shop" }
}

resource "aws_sqs_queue" "steps" {
  name                        = "steps.fifo"
  fifo_queue                  = true
  content_based_deduplication = var.change
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
}

# Roles and policies.

data "aws_iam_policy_document" "lambda_may_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "orders" {
  name                 = "orders"
  path                 = "/service-role/"
  description          = var.change ? "May handle orders, and log" : "May handle orders"
  assume_role_policy   = data.aws_iam_policy_document.lambda_may_assume.json
  max_session_duration = var.change ? 7200 : 3600
  tags                 = { team = "shop" }
}

resource "aws_iam_role_policy" "queue" {
  name = "queue"
  role = aws_iam_role.orders.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.change ? ["sqs:ReceiveMessage", "sqs:DeleteMessage"] : ["sqs:ReceiveMessage"]
      Resource = local.queue
    }]
  })
}

resource "aws_iam_policy" "trace" {
  name   = "trace"
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "xray:Put*", Resource = "*" }] })
}

resource "aws_iam_role_policy_attachment" "trace" {
  role       = aws_iam_role.orders.name
  policy_arn = aws_iam_policy.trace.arn
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.orders.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

# Layers.

resource "aws_lambda_layer_version" "library" {
  layer_name               = "library"
  filename                 = var.layer
  source_code_hash         = filebase64sha256(var.layer)
  description              = "What orders share"
  license_info             = "Apache-2.0"
  compatible_runtimes      = ["python3.12", "python3.13"]
  compatible_architectures = ["arm64", "x86_64"]
}

resource "aws_lambda_layer_version_permission" "library" {
  layer_name     = aws_lambda_layer_version.library.layer_name
  version_number = aws_lambda_layer_version.library.version
  statement_id   = "partner"
  principal      = "111111111111"
  action         = "lambda:GetLayerVersion"
}

# The function.

resource "aws_lambda_code_signing_config" "ours" {
  description = "Who may sign"
  allowed_publishers {
    signing_profile_version_arns = ["arn:aws:signer:${data.aws_region.here.name}:${local.account}:/signing-profiles/orders/0123456789"]
  }
  policies {
    untrusted_artifact_on_deployment = "Warn"
  }
}

resource "aws_lambda_function" "orders" {
  function_name    = "orders"
  description      = var.change ? "Handles orders, faster" : "Handles orders"
  role             = aws_iam_role.orders.arn
  filename         = var.code
  source_code_hash = filebase64sha256(var.code)
  runtime          = "python3.13"
  handler          = "app.handler"
  architectures    = ["arm64"]
  memory_size      = var.change ? 512 : 256
  timeout          = var.change ? 30 : 15
  publish          = true
  layers           = [aws_lambda_layer_version.library.arn]

  reserved_concurrent_executions = var.change ? 20 : 10
  code_signing_config_arn        = aws_lambda_code_signing_config.ours.arn

  environment {
    variables = var.change ? { STAGE = "two", EMPTY = "" } : { STAGE = "one", GONE = "soon" }
  }
  ephemeral_storage {
    size = var.change ? 2048 : 1024
  }
  dead_letter_config {
    target_arn = local.queue
  }
  tracing_config {
    mode = var.change ? "PassThrough" : "Active"
  }
  logging_config {
    log_format            = "JSON"
    application_log_level = var.change ? "DEBUG" : "INFO"
    system_log_level      = "WARN"
    log_group             = "/aws/lambda/all-orders"
  }
  tags = var.change ? { team = "shop", stage = "two" } : { team = "shop", old = "yes" }
}

# One with nothing but what AWS asks for: its defaults must not look like drift.
resource "aws_lambda_function" "plain" {
  function_name = var.change ? "plainer" : "plain"
  role          = aws_iam_role.orders.arn
  filename      = var.code
  runtime       = "nodejs22.x"
  handler       = "index.handler"
}

resource "aws_lambda_function" "quick" {
  function_name    = "quick"
  role             = aws_iam_role.orders.arn
  filename         = var.code
  source_code_hash = filebase64sha256(var.code)
  runtime          = "java21"
  handler          = "shop.Orders::handle"
  publish          = true
  dynamic "snap_start" {
    for_each = var.change ? ["PublishedVersions"] : []
    content {
      apply_on = snap_start.value
    }
  }
}

resource "aws_lambda_function" "image" {
  function_name = "image"
  role          = aws_iam_role.orders.arn
  package_type  = "Image"
  image_uri     = "${local.account}.dkr.ecr.${data.aws_region.here.name}.amazonaws.com/orders:1"
  image_config {
    command           = ["app.handler"]
    entry_point       = ["python3", "-m", "awslambdaric"]
    working_directory = "/app"
  }
}

# What hangs on it.

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "What customers see"
  function_name    = aws_lambda_function.orders.function_name
  function_version = var.change ? aws_lambda_function.orders.version : "1"
}

# In the second state, a tenth of the traffic still goes to the first version.
resource "aws_lambda_alias" "canary" {
  name             = "canary"
  function_name    = aws_lambda_function.orders.function_name
  function_version = aws_lambda_function.orders.version
  dynamic "routing_config" {
    for_each = var.change ? [0.1] : []
    content {
      additional_version_weights = { "1" = routing_config.value }
    }
  }
}

resource "aws_lambda_permission" "topic" {
  statement_id   = "topic"
  function_name  = aws_lambda_function.orders.function_name
  action         = "lambda:InvokeFunction"
  principal      = "sns.amazonaws.com"
  source_arn     = "arn:aws:sns:${data.aws_region.here.name}:${local.account}:${var.change ? "orders-two" : "orders"}"
  source_account = local.account
}

resource "aws_lambda_permission" "partner" {
  function_name = aws_lambda_function.orders.function_name
  qualifier     = aws_lambda_alias.live.name
  action        = "lambda:InvokeFunction"
  principal     = "arn:aws:iam::111111111111:root" # As AWS keeps an account; its bare number is drift there too.
}

resource "aws_lambda_permission" "web" {
  statement_id           = "web"
  function_name          = aws_lambda_function.orders.function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_function_url" "web" {
  function_name      = aws_lambda_function.orders.function_name
  authorization_type = "NONE"
  invoke_mode        = var.change ? "RESPONSE_STREAM" : "BUFFERED"
  cors {
    allow_credentials = true
    allow_origins     = ["https://shop.example"]
    allow_methods     = ["GET", "POST"]
    allow_headers     = ["date"]
    expose_headers    = ["keep-alive"]
    max_age           = var.change ? 600 : 60
  }
}

resource "aws_lambda_function_url" "signed" {
  function_name      = aws_lambda_function.orders.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = "AWS_IAM"
}

resource "aws_lambda_function_event_invoke_config" "orders" {
  function_name                = aws_lambda_function.orders.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_retry_attempts       = var.change ? 0 : 1
  maximum_event_age_in_seconds = 120
  destination_config {
    on_failure {
      destination = local.queue
    }
    dynamic "on_success" {
      for_each = var.change ? [local.queue] : []
      content {
        destination = on_success.value
      }
    }
  }
}

resource "aws_lambda_provisioned_concurrency_config" "live" {
  function_name                     = aws_lambda_function.orders.function_name
  qualifier                         = aws_lambda_alias.live.name
  provisioned_concurrent_executions = var.change ? 4 : 2
}

resource "aws_lambda_event_source_mapping" "queue" {
  event_source_arn                   = local.queue
  function_name                      = aws_lambda_alias.live.arn
  enabled                            = var.change
  batch_size                         = var.change ? 50 : 5
  maximum_batching_window_in_seconds = 2
  function_response_types            = ["ReportBatchItemFailures"]
  scaling_config {
    maximum_concurrency = var.change ? 7 : 5
  }
  filter_criteria {
    filter {
      pattern = jsonencode({ body = { kind = [var.change ? "order" : "test"] } })
    }
  }
  tags = { team = "shop" }
}

resource "aws_lambda_event_source_mapping" "stream" {
  event_source_arn               = "arn:aws:kinesis:${data.aws_region.here.name}:${local.account}:stream/orders"
  function_name                  = aws_lambda_function.orders.arn
  starting_position              = "TRIM_HORIZON"
  batch_size                     = 200
  parallelization_factor         = var.change ? 3 : 2
  maximum_record_age_in_seconds  = 3600
  maximum_retry_attempts         = 4
  bisect_batch_on_function_error = true
  tumbling_window_in_seconds     = 30
  destination_config {
    on_failure {
      destination_arn = local.queue
    }
  }
}

resource "aws_lambda_runtime_management_config" "orders" {
  function_name     = aws_lambda_function.orders.function_name
  update_runtime_on = var.change ? "FunctionUpdate" : "Auto"
}

resource "aws_lambda_function_recursion_config" "orders" {
  function_name  = aws_lambda_function.orders.function_name
  recursive_loop = var.change ? "Terminate" : "Allow"
}

# What a second look finds.

data "aws_lambda_function" "orders" {
  function_name = aws_lambda_function.orders.function_name
  qualifier     = aws_lambda_alias.live.name
}

output "version" {
  value = data.aws_lambda_function.orders.version
}

output "url" {
  value = aws_lambda_function_url.web.function_url
}
