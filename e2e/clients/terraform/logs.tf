# Log groups, what they count, and who hears of them.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "days" {
  default = 7
}

resource "aws_cloudwatch_log_group" "orders" {
  name              = "/shop/orders"
  retention_in_days = var.days
  tags              = { team = "lamp" }
}

resource "aws_cloudwatch_log_stream" "one" {
  name           = "one"
  log_group_name = aws_cloudwatch_log_group.orders.name
}

resource "aws_cloudwatch_log_metric_filter" "failed" {
  name           = "failed"
  pattern        = "{ $.status >= 500 }"
  log_group_name = aws_cloudwatch_log_group.orders.name

  metric_transformation {
    name       = "Failed"
    namespace  = "Shop"
    value      = "1"
    unit       = "Count"
    dimensions = { path = "$.path" }
  }
}

resource "aws_lambda_function" "hears" {
  function_name = "hears"
  role          = "arn:aws:iam::000000000000:role/r"
  runtime       = "python3.13"
  handler       = "app.handler"
  filename      = "one.zip"
}

resource "aws_lambda_permission" "logs" {
  function_name = aws_lambda_function.hears.function_name
  action        = "lambda:InvokeFunction"
  principal     = "logs.amazonaws.com"
  source_arn    = "${aws_cloudwatch_log_group.orders.arn}:*"
}

resource "aws_cloudwatch_log_subscription_filter" "hears" {
  name            = "hears"
  log_group_name  = aws_cloudwatch_log_group.orders.name
  filter_pattern  = "failed"
  destination_arn = aws_lambda_function.hears.arn
  depends_on      = [aws_lambda_permission.logs]
}

resource "aws_cloudwatch_query_definition" "slow" {
  name            = "slow"
  log_group_names = [aws_cloudwatch_log_group.orders.name]
  query_string    = "fields @timestamp, @message | sort @timestamp desc | limit ${var.days}"
}

resource "aws_cloudwatch_log_resource_policy" "others" {
  policy_name = "others"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "es.amazonaws.com" }
      Action    = ["logs:PutLogEvents", "logs:CreateLogStream"]
      Resource  = "arn:aws:logs:*"
    }]
  })
}

output "arn" {
  value = aws_cloudwatch_log_group.orders.arn
}
