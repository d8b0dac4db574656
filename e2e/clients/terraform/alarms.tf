# Alarms on a metric, on an expression and on each other, and a dashboard.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "threshold" {
  default = 3
}

resource "aws_cloudwatch_metric_alarm" "depth" {
  alarm_name          = "depth"
  alarm_description   = "the queue is long"
  namespace           = "e2e"
  metric_name         = "depth"
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = var.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = ["arn:aws:sns:us-east-1:000000000000:topic"]
  dimensions          = { Queue = "q" }
  tags                = { team = "lamp" }
}

resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name                            = "slow"
  namespace                             = "e2e"
  metric_name                           = "took"
  extended_statistic                    = "p99"
  evaluate_low_sample_count_percentiles = "ignore"
  period                                = 300
  evaluation_periods                    = 1
  threshold                             = 0.5
  comparison_operator                   = "GreaterThanOrEqualToThreshold"
  unit                                  = "Seconds"
}

resource "aws_cloudwatch_metric_alarm" "rate" {
  alarm_name          = "rate"
  evaluation_periods  = 1
  threshold           = var.threshold
  comparison_operator = "LessThanThreshold"
  actions_enabled     = false

  metric_query {
    id          = "rate"
    expression  = "100 * bad / good"
    label       = "rate"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = toset(["good", "bad"])
    content {
      id = metric_query.value
      metric {
        namespace   = "e2e"
        metric_name = metric_query.value
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "any" {
  alarm_name        = "any"
  alarm_description = "something is wrong"
  alarm_rule        = join(" OR ", [for one in [aws_cloudwatch_metric_alarm.depth, aws_cloudwatch_metric_alarm.rate] : "ALARM(${one.alarm_name})"])
  ok_actions        = ["arn:aws:sns:us-east-1:000000000000:topic"]
  tags              = { team = "lamp" }

  actions_suppressor {
    alarm            = aws_cloudwatch_metric_alarm.slow.alarm_name
    extension_period = 10
    wait_period      = var.threshold
  }
}

resource "aws_cloudwatch_dashboard" "queue" {
  dashboard_name = "queue"
  dashboard_body = jsonencode({
    widgets = [{
      type = "metric", x = 0, y = 0, width = 12, height = 6
      properties = { metrics = [["e2e", "depth", "Queue", "q"]], period = 60, region = "us-east-1", title = "Depth over ${var.threshold}" }
    }]
  })
}

output "arn" {
  value = aws_cloudwatch_composite_alarm.any.arn
}
